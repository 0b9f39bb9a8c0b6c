//! What a person wants done around the moment of a backup, as it is typed and as it is kept with a machine's definition.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::QuiesceError;
use super::command::CommandLine;

/// How long filesystems stay frozen at most, unless somebody says.
pub const DEFAULT_FREEZE_SECONDS: u64 = 10;
/// Longer than this nobody can have his programs stand still by mistake.
const MOST_FREEZE_SECONDS: u64 = 600;
/// More mount points than this are refused: they are frozen one after the other.
const MOST_MOUNTS: usize = 64;

/// What is done around the moment of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The file that names pre- and post-script.
    pub scripts: Option<PathBuf>,
    /// Mount points to freeze, in this order, `/` last.
    pub freeze: Vec<PathBuf>,
    /// After so many seconds they are thawed whatever happens.
    pub freeze_timeout_seconds: u64,
    /// What is read instead of the disks.
    pub snapshot: Option<Snapshot>,
}

/// What is read instead of the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Snapshot {
    /// A reflink clone of each raw image, on XFS and btrfs.
    Clone,
    /// What a command makes for each disk.
    Command {
        /// Makes the snapshot; prints nothing, or the path to read.
        take: CommandLine,
        /// Removes it again.
        remove: Option<CommandLine>,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self { scripts: None, freeze: Vec::new(), freeze_timeout_seconds: DEFAULT_FREEZE_SECONDS, snapshot: None }
    }
}

impl Options {
    /// Whether anything is done that earns a label.
    pub fn earns_label(&self) -> bool {
        self.scripts.is_some() || !self.freeze.is_empty()
    }

    /// Whether anything is done at all.
    pub fn is_empty(&self) -> bool {
        !self.earns_label() && self.snapshot.is_none()
    }

    /// Checks what can be seen without looking at the machine. `keeps_clones`: clones that are kept are read, which are snapshots too.
    ///
    /// # Errors
    /// [`QuiesceError::Refused`].
    pub fn check(&self, keeps_clones: bool) -> Result<(), QuiesceError> {
        let refused = |why: String| Err(QuiesceError::Refused(why));
        if !(1..=MOST_FREEZE_SECONDS).contains(&self.freeze_timeout_seconds) {
            let seconds = self.freeze_timeout_seconds;
            return refused(format!("a freeze of at most {seconds} s cannot be meant: give 1 to {MOST_FREEZE_SECONDS}"));
        }
        if self.freeze.len() > MOST_MOUNTS {
            return refused(format!("{} mount points are to be frozen; {MOST_MOUNTS} is the most", self.freeze.len()));
        }
        if !self.freeze.is_empty() && self.snapshot.is_none() && !keeps_clones {
            return refused(
                "a freeze ends long before a disk is read, so without a snapshot it protects nothing; give a snapshot command or \
                 clones as well"
                    .to_owned(),
            );
        }
        if keeps_clones && self.snapshot.is_some() {
            return refused("clones are kept and are snapshots already; leave out the other snapshot".to_owned());
        }
        if let Some(Snapshot::Command { take, remove }) = &self.snapshot {
            take.check(false)?;
            remove.iter().try_for_each(|remove| remove.check(true))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str, keeps_clones: bool) -> String {
        let options: Options = serde_json::from_str(json).unwrap();
        options.check(keeps_clones).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_survive_json_and_default_where_nothing_is_said() {
        let options: Options = serde_json::from_str("{}").unwrap();
        assert_eq!(options, Options::default());
        assert!(options.is_empty() && options.check(false).is_ok());
        let full = r#"{"scripts":"/etc/s.json","freeze":["/srv","/"],"freeze_timeout_seconds":5,"snapshot":{"command":{"take":["snap","{path}"],"remove":null}}}"#;
        let options: Options = serde_json::from_str(full).unwrap();
        assert_eq!(serde_json::to_string(&options).unwrap(), full);
        assert!(serde_json::from_str::<Options>(r#"{"freze":["/"]}"#).is_err(), "a typing error is taken for nothing");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(refusal(r#"{"freeze":["/srv"]}"#, false).contains("protects nothing"));
        assert_eq!(refusal(r#"{"freeze":["/srv"]}"#, true), "");
        assert_eq!(refusal(r#"{"freeze":["/srv"],"snapshot":"clone"}"#, false), "");
        assert!(refusal(r#"{"snapshot":"clone"}"#, true).contains("kept"));
        for seconds in [0, 601] {
            assert!(refusal(&format!(r#"{{"freeze_timeout_seconds":{seconds}}}"#), false).contains("1 to 600"));
        }
        assert!(refusal(r#"{"snapshot":{"command":{"take":[],"remove":null}}}"#, false).contains("empty"));
        assert!(refusal(r#"{"snapshot":{"command":{"take":["x","{snapshot}"],"remove":null}}}"#, false).contains("{snapshot}"));
    }
}
