//! What must be undone, in a note that outlives a crash: snapshots to remove, a post-script to run.
//!
//! Order of writes: the note, durable, that a post-script is owed; the pre-script; the note, durable, of the snapshots; the freeze; the
//! snapshots; the thaw; the note of which were taken and where. What is paid is taken out of the note, and a note of nothing is removed.
//! A crash before a snapshot leaves a note of one that may not exist, one after it a note of one that does; none leaves a snapshot
//! without a note.
//!
//! A note tells which process wrote it, so that what a running backup owes is left to it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::QuiesceError;
use super::command::SNAPSHOT;
use super::config::ScriptsConfig;
use super::error::Said;
use super::permit::open_config;
use super::run::{Helper, run};
use super::scripts::{ending, said};
use crate::io::{TEMPORARY_PREFIX, replace_durable, sync_directory};
use crate::monitor::{Monitor, Problem};

/// The version of notes.
const VERSION: u32 = 1;
/// No note is longer.
const MOST_BYTES: u64 = 1024 * 1024;
/// Who undoes what others left holds a lock on this file in the directory of notes.
const TURN: &str = "turn";
/// How long a command that takes or removes a snapshot may run.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// Something that must be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owed {
    /// A clone of an image to remove.
    Clone { path: PathBuf },
    /// A snapshot of a disk to remove by a command, in which only the snapshot's path is still to be filled in.
    Snapshot { disk: String, command: Vec<String>, taken: bool, path: Option<String> },
    /// The post-script of this file to run.
    PostScript { file: PathBuf },
}

/// A note on the medium.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// For a person: which backup.
    backup: String,
    process: Process,
    owed: Vec<Owed>,
}

/// A process, told apart from all others that have its number before or after.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    started: String,
    boot: String,
}

impl Process {
    fn this() -> Self {
        let pid = std::process::id();
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self { pid, started: started(pid).unwrap_or_default(), boot: read("/proc/sys/kernel/random/boot_id") }
    }

    fn is_alive(&self) -> bool {
        self.boot == Self::this().boot && started(self.pid).is_some_and(|started| started == self.started)
    }
}

/// When a process began, in ticks since the machine did.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(19).map(str::to_owned)
}

impl Note {
    /// A note of nothing, which is not written yet.
    pub(super) fn new(directory: &Path, id: &str, backup: &str) -> Self {
        let content = Content { version: VERSION, backup: backup.to_owned(), process: Process::this(), owed: Vec::new() };
        Self { path: directory.join(format!("{id}.json")), content }
    }

    pub(super) fn owed(&self) -> &[Owed] {
        &self.content.owed
    }

    /// Changes what is owed; durable when this returns.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Vec<Owed>)) -> Result<(), QuiesceError> {
        let before = self.content.owed.clone();
        change(&mut self.content.owed);
        if self.content.owed == before {
            return Ok(());
        }
        self.saved()
    }

    /// Takes note in memory that the snapshot of a disk was taken, and of its path; [`Note::save_remembered`] makes it durable.
    pub(super) fn remember(&mut self, of: &str, found: Option<String>) {
        for owed in &mut self.content.owed {
            if let Owed::Snapshot { disk, taken, path, .. } = owed
                && disk == of
            {
                (*taken, *path) = (true, found.clone());
            }
        }
    }

    /// Makes what was remembered durable.
    pub(super) fn save_remembered(&self) -> Result<(), QuiesceError> {
        if self.owed().iter().any(|owed| matches!(owed, Owed::Snapshot { taken: true, .. })) { self.saved() } else { Ok(()) }
    }

    /// Whether the command that removes the snapshot of a disk asks for its path.
    pub(super) fn needs_path(&self, of: &str) -> bool {
        self.content.owed.iter().any(|owed| match owed {
            Owed::Snapshot { disk, command, .. } => disk == of && command.iter().any(|word| word.contains(SNAPSHOT)),
            _ => false,
        })
    }

    fn saved(&self) -> Result<(), QuiesceError> {
        self.save().map_err(|source| QuiesceError::Note { path: self.path.clone(), doing: "cannot be written", source })
    }

    fn save(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if self.content.owed.is_empty() {
            fs::remove_file(&self.path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
            return sync_directory(directory);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let writing = File::open(directory)?;
        flock(&writing, FlockOperation::LockShared)?;
        replace_durable(&self.path, &serde_json::to_vec_pretty(&self.content)?)
    }

    /// Undoes what it names and `which` admits, as far as that is possible; one text for each thing that is not. What may not exist is
    /// given up after one try.
    pub(super) fn pay(&mut self, helper: &Helper, which: impl Fn(&Owed) -> bool) -> Vec<String> {
        let mut problems = Vec::new();
        for owed in self.content.owed.clone() {
            if !which(&owed) {
                continue;
            }
            let given_up = match owed.pay(helper) {
                Ok(()) => true,
                Err(why) => {
                    let advice = format!("{why}; {} tells what is left to undo: remove it when that is done", self.path.display());
                    let gives_up = owed.may_not_exist();
                    problems.push(if gives_up { why } else { advice });
                    gives_up
                }
            };
            if given_up && let Err(error) = self.change(|all| all.retain(|other| *other != owed)) {
                problems.push(error.to_string());
            }
        }
        problems
    }

    fn read(path: &Path) -> Result<Self, String> {
        let file = open_config(path).map_err(|denied| format!("it is not believed: {denied:?}"))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let content: Content = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if content.version != VERSION {
            return Err(format!("it has version {}, which only a later Cairn understands", content.version));
        }
        Ok(Self { path: path.to_owned(), content })
    }
}

impl Owed {
    /// Whether a crash may have come before it was made.
    fn may_not_exist(&self) -> bool {
        matches!(self, Self::Snapshot { taken: false, .. } | Self::PostScript { .. })
    }

    fn pay(&self, helper: &Helper) -> Result<(), String> {
        match self {
            Self::Clone { path } => remove_clone(path).map_err(|error| format!("the clone {} cannot be removed: {error}", path.display())),
            Self::Snapshot { disk, command, path, .. } => remove_snapshot(helper, disk, command, path.as_deref()),
            Self::PostScript { file } => {
                let config = ScriptsConfig::read(file).map_err(|problem| problem.to_string())?;
                let outcome = config.post.run(&config, helper, None).map_err(|error| error.to_string())?;
                outcome.problem.map_or(Ok(()), |problem| Err(problem.to_string()))
            }
        }
    }
}

/// Removes a clone, and what was left of one that was being made.
fn remove_clone(path: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let unfinished = format!("{TEMPORARY_PREFIX}{}-", name.to_string_lossy());
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == name || entry.file_name().to_string_lossy().starts_with(&unfinished) {
            fs::remove_file(entry.path()).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
    }
    Ok(())
}

fn remove_snapshot(helper: &Helper, disk: &str, command: &[String], path: Option<&str>) -> Result<(), String> {
    let needs_path = command.iter().any(|word| word.contains(SNAPSHOT));
    if needs_path && path.is_none() {
        return Err(format!(
            "the snapshot of disk {disk}, if there is one, must be removed by hand: its command was interrupted or printed no path, which the \
             command that removes it asks for"
        ));
    }
    let argv: Vec<_> = command.iter().map(|word| word.replace(SNAPSHOT, path.unwrap_or_default()).into()).collect();
    let report = run(helper, &argv, COMMAND_LIMIT, None).map_err(|error| error.to_string())?;
    match ending(&report.end) {
        None => Ok(()),
        Some(end) => Err(format!("the snapshot of disk {disk} is not removed: the command {end}{}", Said(&said(&report)))),
    }
}

/// Undoes what backups that were killed have left undone. To be called before a backup, and when a scheduler starts.
///
/// # Errors
/// [`QuiesceError::Note`] where the directory of notes cannot be read. What cannot be undone is a problem of the monitor's.
pub fn recover(ledger: &Path, helper: &Helper, monitor: &dyn Monitor) -> Result<(), QuiesceError> {
    let failed = |source| QuiesceError::Note { path: ledger.to_owned(), doing: "cannot be read", source };
    let directory = match File::open(ledger) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    remove_unfinished(ledger, &directory).map_err(failed)?;
    // Another process that is at it does it for all.
    let turn = File::create(ledger.join(TURN)).map_err(failed)?;
    if flock(&turn, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    for entry in fs::read_dir(ledger).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            recover_one(&path, helper, monitor);
        }
    }
    Ok(())
}

/// Removes notes that were being written when their process was killed. While somebody writes one, they are left for another time.
fn remove_unfinished(ledger: &Path, directory: &File) -> io::Result<()> {
    if flock(directory, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    for entry in fs::read_dir(ledger)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(flock(directory, FlockOperation::Unlock)?)
}

fn recover_one(path: &Path, helper: &Helper, monitor: &dyn Monitor) {
    let problem = |subject: &str, message| monitor.problem(Problem { subject: subject.to_owned(), message });
    let mut note = match Note::read(path) {
        Ok(note) => note,
        Err(why) => return problem("an interrupted backup", format!("the note {} is passed over: {why}", path.display())),
    };
    if note.content.process.is_alive() {
        return;
    }
    let backup = note.content.backup.clone();
    monitor.step(&format!("undoing what an interrupted backup of {backup} left"));
    if note.owed().iter().any(|owed| matches!(owed, Owed::PostScript { .. })) {
        problem(&backup, "its last backup was killed before the post-script, which is run now".to_owned());
    }
    // The application first: it stands still.
    for is_script in [true, false] {
        let which = |owed: &Owed| matches!(owed, Owed::PostScript { .. }) == is_script;
        note.pay(helper, which).into_iter().for_each(|why| problem(&backup, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_lasts_until_all_is_paid() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("owed");
        let clone = directory.path().join(".image.cairn-x");
        let mut note = Note::new(&ledger, "77", "web01");
        note.change(|owed| owed.extend([Owed::Clone { path: clone.clone() }, Owed::PostScript { file: "/none".into() }])).unwrap();
        let read = Note::read(&ledger.join("77.json")).unwrap();
        assert_eq!(read.owed(), note.owed());
        assert!(read.content.process.is_alive());
        fs::write(&clone, "x").unwrap();
        fs::write(directory.path().join(".tmp-.image.cairn-x-0123"), "half").unwrap();
        fs::write(directory.path().join(".tmp-.image.cairn-y-0123"), "another's").unwrap();
        let helper = Helper::at("/none");
        assert_eq!(note.pay(&helper, |owed| matches!(owed, Owed::Clone { .. })), [""; 0]);
        assert!(!clone.exists() && Note::read(&ledger.join("77.json")).unwrap().owed().len() == 1);
        assert!(!directory.path().join(".tmp-.image.cairn-x-0123").exists() && directory.path().join(".tmp-.image.cairn-y-0123").exists());
        let problems = note.pay(&helper, |_| true);
        assert!(problems.len() == 1 && problems[0].starts_with("ConfigFileNotFound (316)"), "{problems:?}");
        assert_eq!(fs::read_dir(&ledger).unwrap().count(), 0);
    }

    #[test]
    fn a_snapshot_without_its_path_is_not_removed_blindly() {
        let owed = |taken| Owed::Snapshot {
            disk: "vda".to_owned(),
            command: vec!["rm".to_owned(), "-rf".to_owned(), SNAPSHOT.to_owned()],
            taken,
            path: None,
        };
        assert!(owed(true).pay(&Helper::at("/bin/true")).unwrap_err().contains("must be removed by hand"));
        assert_eq!((owed(true).may_not_exist(), owed(false).may_not_exist()), (false, true));
    }

    #[test]
    fn a_process_is_not_taken_for_another_of_its_number() {
        let this = Process::this();
        assert!(this.is_alive());
        assert!(!Process { started: "1".to_owned(), ..Process::this() }.is_alive());
        assert!(!Process { boot: "another".to_owned(), ..Process::this() }.is_alive());
        assert!(!Process { pid: u32::MAX, ..this }.is_alive());
    }

    #[test]
    fn a_note_of_somebody_else_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let mut note = Note::new(directory.path(), "1", "web01");
        note.change(|owed| owed.push(Owed::PostScript { file: "/x".into() })).unwrap();
        let path = directory.path().join("1.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Note::read(&path).unwrap_err().contains("it is not believed"));
    }
}
