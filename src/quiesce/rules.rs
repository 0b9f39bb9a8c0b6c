//! The decisions, without anything that does them: whether there is a backup when something failed, and which label it has earned.

use serde::{Deserialize, Serialize};

/// How far the machine was at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// As after a loss of power.
    Crash,
    /// Filesystems were frozen until the snapshot was complete.
    FileSystem,
    /// Both scripts did their work, and what was to be frozen was.
    Application,
}

/// What became of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripts {
    /// Nobody asked for any.
    NotAsked,
    /// Both succeeded.
    Succeeded,
    /// One failed, or none could be run.
    Failed,
}

/// What became of the freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freeze {
    /// Nobody asked for one, or the file of scripts says that there is none.
    NotAsked,
    /// All were frozen until the snapshot was complete.
    Held,
    /// Not so.
    Failed,
}

/// What the file of scripts says of failures; without one, what it says by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) continue_on_failure: bool,
    pub(super) freeze_enabled: bool,
}

impl Rules {
    pub(super) const DEFAULT: Self = Self { continue_on_failure: true, freeze_enabled: true };

    /// Whether there is a backup after a script failed. Without a freeze to fall back on there is none.
    pub(super) fn goes_on_after_script(self) -> bool {
        self.continue_on_failure && self.freeze_enabled
    }

    /// Whether there is a backup after a freeze failed.
    pub(super) fn goes_on_after_freeze(self) -> bool {
        self.continue_on_failure
    }
}

/// The label that was earned.
pub(super) fn label(scripts: Scripts, freeze: Freeze) -> Label {
    match (scripts, freeze) {
        (_, Freeze::Failed) => Label::Crash,
        (Scripts::Succeeded, _) => Label::Application,
        (_, Freeze::Held) => Label::FileSystem,
        (_, Freeze::NotAsked) => Label::Crash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_earned() {
        use Label::{Application, Crash, FileSystem};
        for (scripts, freeze, expected) in [
            (Scripts::NotAsked, Freeze::NotAsked, Crash),
            (Scripts::NotAsked, Freeze::Held, FileSystem),
            (Scripts::NotAsked, Freeze::Failed, Crash),
            (Scripts::Succeeded, Freeze::NotAsked, Application),
            (Scripts::Succeeded, Freeze::Held, Application),
            (Scripts::Succeeded, Freeze::Failed, Crash),
            (Scripts::Failed, Freeze::NotAsked, Crash),
            (Scripts::Failed, Freeze::Held, FileSystem),
            (Scripts::Failed, Freeze::Failed, Crash),
        ] {
            assert_eq!(label(scripts, freeze), expected, "{scripts:?}, {freeze:?}");
        }
    }

    #[test]
    fn failures_end_a_backup_where_the_file_says_so() {
        for (continue_on_failure, freeze_enabled, after_script, after_freeze) in
            [(true, true, true, true), (true, false, false, true), (false, true, false, false), (false, false, false, false)]
        {
            let rules = Rules { continue_on_failure, freeze_enabled };
            assert_eq!((rules.goes_on_after_script(), rules.goes_on_after_freeze()), (after_script, after_freeze), "{rules:?}");
        }
    }
}
