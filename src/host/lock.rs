//! Locks between processes of this host: they end with the process that holds them, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::HostError;

/// How often a lock is tried, and what is waited in between.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A lock on a file, held until it is dropped. Programs started by this process do not inherit it.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock, or says who has it; `what` names its holder for a person: "a scheduler".
    ///
    /// # Errors
    /// [`HostError::Locked`]; what the system says.
    pub fn take(path: &Path, what: &str) -> Result<Self, HostError> {
        let mut file = open(path)?;
        match try_exclusive(&file) {
            Err(Errno::WOULDBLOCK) => Err(HostError::Locked { what: what.to_owned(), holder: holder(&mut file) }),
            Err(error) => Err(HostError::file(path, "locked")(error.into())),
            Ok(()) => {
                let pid = format!("{}\n", std::process::id());
                let write = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(pid.as_bytes()));
                write.map_err(HostError::file(path, "written"))?;
                Ok(Self { _file: file })
            }
        }
    }

    /// Takes the lock when it is free.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn wait(path: &Path) -> Result<Self, HostError> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => return other.map(|()| Self { _file: file }).map_err(|error| HostError::file(path, "locked")(error.into())),
            }
        }
    }

    /// Whether somebody holds the lock at this moment.
    pub fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }
}

/// Tries a few times: somebody who only asks whether a lock is held holds it for an instant.
fn try_exclusive(file: &File) -> Result<(), Errno> {
    for _ in 1..TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(BETWEEN_TRIES),
            other => return other,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

fn open(path: &Path) -> Result<File, HostError> {
    if let Some(directory) = path.parent() {
        super::files::make_directory(directory)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).map_err(HostError::file(path, "opened"))
}

/// The process that wrote its number; `None` where it has not come so far.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks").join("a");
        assert!(!FileLock::is_held(&path));
        let held = FileLock::take(&path, "a scheduler").unwrap();
        assert!(FileLock::is_held(&path));
        let refused = FileLock::take(&path, "a scheduler").unwrap_err().to_string();
        assert!(refused.starts_with(&format!("a scheduler is running already (process {})", std::process::id())), "{refused}");
        drop(held);
        assert!(!FileLock::is_held(&path));
        FileLock::take(&path, "a scheduler").unwrap();
    }

    #[test]
    fn whoever_asks_keeps_nobody_from_taking_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        drop(FileLock::take(&path, "a scheduler").unwrap());
        let asks = File::open(&path).unwrap();
        flock(&asks, FlockOperation::NonBlockingLockShared).unwrap();
        let waits = std::thread::scope(|scope| {
            let taken = scope.spawn(|| FileLock::take(&path, "a scheduler").is_ok());
            std::thread::sleep(BETWEEN_TRIES);
            drop(asks);
            taken.join().unwrap()
        });
        assert!(waits);
    }
}
