//! What was done around the moment of a backup, as it is kept with the point.

use serde::{Deserialize, Serialize};

use super::Label;

/// The name under which the account is kept among a point's files.
pub const ACCOUNT_NAME: &str = "cairn-consistency.json";
/// The account's version.
const VERSION: u32 = 1;

/// What was done, how long it took, and which label it earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    version: u32,
    /// The label that was earned.
    pub consistency: Label,
    /// Pre- and post-script, where somebody asked for them.
    pub scripts: Option<ScriptsAccount>,
    /// The freeze, where somebody asked for one.
    pub freeze: Option<FreezeAccount>,
    /// What was read instead of the disks: "clone", "kept clone" or "command".
    pub snapshot: Option<String>,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// What the scripts did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScriptsAccount {
    /// The file that names them.
    pub file: String,
    /// The one before the snapshot, where it was run.
    pub pre: Option<ScriptAccount>,
    /// The one after it, where it was run.
    pub post: Option<ScriptAccount>,
}

/// What one script did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScriptAccount {
    /// How often it was run.
    pub tries: u32,
    /// Whether it did its work.
    pub succeeded: bool,
    /// How long all tries took.
    pub elapsed_seconds: f64,
    /// The end of what the last try wrote.
    pub output: String,
}

/// What the freeze was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FreezeAccount {
    /// The mount points.
    pub mounts: Vec<String>,
    /// Whether all were frozen until the snapshot was complete.
    pub held: bool,
    /// From before the first was frozen until after the last was thawed; 0 where nothing was frozen.
    pub frozen_seconds: f64,
}

impl Account {
    pub(super) fn new(consistency: Label) -> Self {
        Self { version: VERSION, consistency, scripts: None, freeze: None, snapshot: None, problems: Vec::new() }
    }

    /// The account as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        // Texts and numbers always can be written as JSON; a duration is never infinite.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The account from what was kept; `None` where this version cannot read it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|account: &Self| account.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_survives() {
        let script = ScriptAccount { tries: 2, succeeded: true, elapsed_seconds: 0.25, output: "locked".to_owned() };
        let account = Account {
            scripts: Some(ScriptsAccount { file: "/etc/s.json".into(), pre: Some(script), post: None }),
            freeze: Some(FreezeAccount { mounts: vec!["/srv".into()], held: true, frozen_seconds: 0.08 }),
            problems: vec!["x".to_owned()],
            ..Account::new(Label::FileSystem)
        };
        assert_eq!(Account::decode(&account.encode()), Some(account.clone()));
        assert_eq!(Account::decode(&Account { version: 2, ..account }.encode()), None);
        assert_eq!(Account::decode(b"{"), None);
    }
}
