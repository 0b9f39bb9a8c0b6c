//! Options of what is done around the moment of a backup, and the account of it in words.

use std::path::PathBuf;

use cairn::format::point::Manifest;
use cairn::quiesce::{ACCOUNT_NAME, Account, CommandLine, DEFAULT_FREEZE_SECONDS, FreezeAccount, Options, ScriptAccount, Snapshot};

use super::fault::usage;
use super::render::{duration, safe};

/// What is done around the moment of a backup.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bringing the machine to rest (docs/consistency.md)")]
pub(crate) struct QuiesceArgs {
    /// Run the pre- and post-script that this file names, a VMSnapshotScriptPluginConfig.json
    #[arg(long, value_name = "FILE")]
    scripts: Option<PathBuf>,

    /// Freeze the filesystem mounted here while the snapshot is taken; once for each
    #[arg(long, value_name = "MOUNT")]
    freeze: Vec<PathBuf>,

    /// Thaw after so many seconds, whatever happens
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_FREEZE_SECONDS, requires = "freeze")]
    freeze_timeout: u64,

    /// Read a snapshot that Cairn takes itself, and remove it again
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["snapshot_command", "keep_clone"])]
    snapshot: Option<SnapshotChoice>,

    /// Take a snapshot of each disk by this command, which prints the path to read, or nothing
    ///
    /// Words with quotes, or a JSON array; no shell. {disk}, {path}, {machine} and {id} are filled in; {id} is another one each time.
    #[arg(long, value_name = "COMMAND", conflicts_with = "keep_clone")]
    snapshot_command: Option<String>,

    /// Remove it again by this command, in which {snapshot} is what the other one printed
    #[arg(long, value_name = "COMMAND", requires = "snapshot_command")]
    snapshot_remove: Option<String>,
}

/// A snapshot that Cairn takes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SnapshotChoice {
    /// A reflink clone of each raw image, on XFS and btrfs
    Clone,
}

impl QuiesceArgs {
    /// What was typed, checked as far as it can be without looking at the machine.
    pub(crate) fn options(&self, keeps_clones: bool) -> anyhow::Result<Options> {
        let command = |text: &String| CommandLine::parse(text).map_err(usage);
        let take = self.snapshot_command.as_ref().map(command).transpose()?;
        let remove = self.snapshot_remove.as_ref().map(command).transpose()?;
        let snapshot = match (self.snapshot, take) {
            (Some(SnapshotChoice::Clone), _) => Some(Snapshot::Clone),
            (None, Some(take)) => Some(Snapshot::Command { take, remove }),
            (None, None) => None,
        };
        let (scripts, freeze) = (self.scripts.clone(), self.freeze.clone());
        let options = Options { scripts, freeze, freeze_timeout_seconds: self.freeze_timeout, snapshot };
        options.check(keeps_clones).map_err(|error| usage(error.to_string()))?;
        Ok(options)
    }
}

/// The account that is kept with a point, if there is one that this version can read.
pub(crate) fn account(manifest: &Manifest) -> Option<Account> {
    let kept = manifest.configs.iter().find(|config| config.name == ACCOUNT_NAME)?;
    Account::decode(&kept.bytes)
}

/// What was done, one line for each thing: what it is called, and what became of it.
pub(crate) fn words(account: &Account) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(scripts) = &account.scripts {
        lines.push(("Pre-script", script(scripts.pre.as_ref())));
        lines.push(("Post-script", script(scripts.post.as_ref())));
    }
    if let Some(FreezeAccount { mounts, held, frozen_seconds }) = &account.freeze {
        let how = if *held { "until the snapshot was complete" } else { "not until the snapshot was complete" };
        let mounts: Vec<_> = mounts.iter().map(|mount| safe(mount)).collect();
        lines.push(("Frozen", format!("{} for {frozen_seconds:.3} s, {how}", mounts.join(" "))));
    }
    if let Some(snapshot) = &account.snapshot {
        lines.push(("Read from", if snapshot == "command" { "a snapshot".to_owned() } else { format!("a {}", safe(snapshot)) }));
    }
    lines.extend(account.problems.iter().map(|problem| ("Problem", safe(problem).into_owned())));
    lines
}

fn script(account: Option<&ScriptAccount>) -> String {
    let Some(ScriptAccount { tries, succeeded, elapsed_seconds, .. }) = account else { return "not run".to_owned() };
    let how = if *succeeded { "succeeded" } else { "failed" };
    let tries = if *tries == 1 { String::new() } else { format!(" at try {tries}") };
    format!("{how}{tries} after {}", duration(std::time::Duration::try_from_secs_f64(*elapsed_seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: QuiesceArgs,
        #[arg(long)]
        keep_clone: bool,
    }

    fn options(arguments: &[&str]) -> Result<Options, String> {
        let typed = Typed::try_parse_from([&["backup"], arguments].concat()).map_err(|error| error.to_string())?;
        typed.args.options(typed.keep_clone).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_what_was_typed() {
        assert_eq!(options(&[]), Ok(Options::default()));
        let typed = options(&["--freeze", "/srv", "--freeze", "/", "--freeze-timeout", "5", "--snapshot", "clone"]).unwrap();
        assert_eq!((typed.freeze.len(), typed.freeze_timeout_seconds, typed.snapshot), (2, 5, Some(Snapshot::Clone)));
        let typed = options(&["--snapshot-command", "snap {path}", "--snapshot-remove", "[\"rm\",\"{snapshot}\"]"]).unwrap();
        assert!(matches!(typed.snapshot, Some(Snapshot::Command { remove: Some(_), .. })));
        assert!(options(&["--freeze", "/srv", "--keep-clone"]).is_ok());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (arguments, expected) in [
            (&["--freeze", "/srv"][..], "without a snapshot it protects nothing"),
            (&["--snapshot-remove", "x"], "--snapshot-command"),
            (&["--freeze-timeout", "5"], "--freeze"),
            (&["--snapshot", "clone", "--snapshot-command", "x"], "cannot be used with"),
            (&["--snapshot", "clone", "--keep-clone"], "cannot be used with"),
            (&["--snapshot-command", "x {nothing}"], "stands for nothing"),
            (&["--snapshot-command", "'x"], "without its other"),
        ] {
            let refusal = options(arguments).unwrap_err();
            assert!(refusal.contains(expected), "{arguments:?}: {refusal}");
        }
    }
}
