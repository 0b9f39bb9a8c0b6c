//! The one way in which a whole file comes to be: nobody ever sees a part of it, and once seen it survives a loss of power.
//!
//! Steps: a temporary file with a random suffix in the same directory; write; fsync; hard-link to the final name (which, unlike a rename,
//! never replaces what is there; a filesystem without hard links is asked for an exclusive rename); fsync the directory; unlink the
//! temporary name. A crash leaves at worst the temporary file,
//! whose name starts with [`TEMPORARY_PREFIX`]. A file that may change is renamed over the old one instead of linked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How the names of unfinished files start.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// A file under way; dropped without [`DurableFile::finish`] it leaves nothing.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl DurableFile {
    /// Starts a file that will be called `target`; its directory must exist.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` where the path has no file name.
    pub fn create(target: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"));
        };
        let mut suffix = [0_u8; 8];
        getrandom::fill(&mut suffix).map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let suffix = u64::from_le_bytes(suffix);
        let temporary = directory.join(format!("{TEMPORARY_PREFIX}{}-{suffix:016x}", name.to_string_lossy()));
        let file = OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the file durable and visible under its final name. `Ok(false)`: the name was taken, and what has it stays as it is; its
    /// name is durable too, though whoever made it may not have come as far.
    ///
    /// # Errors
    /// What the system says. After an error the final name may exist or not; if it does, its content is whole.
    pub fn finish(self) -> io::Result<bool> {
        self.file.sync_all()?;
        let linked = match fs::hard_link(&self.temporary, &self.target) {
            Err(error) if is_without_links(&error) => self.rename_exclusively(),
            other => other,
        };
        let linked = match linked {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        if let Some(directory) = self.target.parent() {
            sync_directory(directory)?;
        }
        Ok(linked)
    }

    /// Gives the file its final name if that is free, where the filesystem (FAT, exFAT) has no hard links.
    fn rename_exclusively(&self) -> io::Result<()> {
        Ok(renameat_with(CWD, &self.temporary, CWD, &self.target, RenameFlags::NOREPLACE)?)
    }

    /// Makes the file durable and visible under its final name, in place of what has that name.
    ///
    /// # Errors
    /// What the system says. After an error the old file or the new one is there, whole.
    pub fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        if let Some(directory) = self.target.parent() {
            sync_directory(directory)?;
        }
        Ok(())
    }
}

impl Drop for DurableFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure here: the leftover's name says what it is, and collection removes it.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Whether the error says that a filesystem has no hard links.
fn is_without_links(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Puts a file with exactly `bytes` at `target`, in place of what is there: a reader sees the old file or the new one, and after a loss of
/// power one of them is there. For files of this computer that change; objects of a vault are never replaced.
///
/// # Errors
/// What the system says. After an error the old file or the new one is there, whole.
pub fn replace_durable(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = DurableFile::create(target)?;
    file.file().write_all(bytes)?;
    file.replace()
}

/// Creates `target` with exactly `bytes`, durable when this returns. `Ok(false)`: the name was taken.
///
/// # Errors
/// What the system says.
pub fn create_durable(target: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = DurableFile::create(target)?;
    file.file().write_all(bytes)?;
    file.finish()
}

/// Returns when the names in `directory` survive a loss of power.
///
/// # Errors
/// What the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{FailingSync, fail_calls, fail_fsync};
    use std::os::fd::AsRawFd;

    fn names(directory: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    #[test]
    fn creates_once_and_leaves_no_temporary_file() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("object");
        assert!(create_durable(&target, b"first")?);
        assert!(!create_durable(&target, b"second")?, "an existing name was replaced");
        assert_eq!(fs::read(&target)?, b"first");
        assert_eq!(names(directory.path())?, ["object"]);
        Ok(())
    }

    #[test]
    fn a_filesystem_without_hard_links_creates_once_too() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("object");
        let twice = || {
            fail_calls(libc::SYS_linkat, libc::EPERM, FailingSync::All)?;
            Ok([create_durable(&target, b"first")?, create_durable(&target, b"second")?])
        };
        let created: io::Result<[bool; 2]> = std::thread::scope(|scope| scope.spawn(twice).join().unwrap());
        assert_eq!(created?, [true, false]);
        assert_eq!(fs::read(&target)?, b"first");
        assert_eq!(names(directory.path())?, ["object"]);
        Ok(())
    }

    #[test]
    fn a_replaced_file_is_the_new_one() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("seen");
        replace_durable(&target, b"a long first text")?;
        replace_durable(&target, b"second")?;
        assert_eq!(fs::read(&target)?, b"second");
        assert_eq!(names(directory.path())?, ["seen"]);
        Ok(())
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut file = DurableFile::create(&directory.path().join("object"))?;
        file.file().write_all(b"half")?;
        assert_eq!(names(directory.path())?.len(), 1);
        drop(file);
        assert!(names(directory.path())?.is_empty());
        Ok(())
    }

    /// Finishes `target` while some calls of fsync fail; the error's code.
    fn finish_with(target: &Path, which: fn(std::os::fd::RawFd) -> FailingSync) -> Option<i32> {
        end_with(target, which, |file| file.finish().map(drop))
    }

    /// Ends a file in some way while some calls of fsync fail; the error's code.
    fn end_with(target: &Path, which: fn(std::os::fd::RawFd) -> FailingSync, end: fn(DurableFile) -> io::Result<()>) -> Option<i32> {
        let work = || {
            let mut file = DurableFile::create(target)?;
            file.file().write_all(b"bytes")?;
            fail_fsync(which(file.file().as_raw_fd()))?;
            end(file)
        };
        let finished = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
        finished.unwrap_err().raw_os_error()
    }

    /// Red when the file's fsync is left out or comes after the link.
    #[test]
    fn the_file_is_synced_before_anybody_sees_it() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert_eq!(finish_with(&directory.path().join("object"), FailingSync::Of), Some(libc::EIO));
        assert!(names(directory.path())?.is_empty(), "a file is visible, but its content is not durable");
        Ok(())
    }

    /// Red when the directory's fsync is left out or comes before the link.
    #[test]
    fn the_directory_is_synced_after_the_link() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert_eq!(finish_with(&directory.path().join("object"), FailingSync::OfAllBut), Some(libc::EIO));
        assert_eq!(names(directory.path())?, ["object"]);
        Ok(())
    }

    /// Red when a replacement leaves out either fsync, or does them out of order.
    #[test]
    fn a_replacement_is_synced_before_and_after_the_rename() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("seen");
        fs::write(&target, "old")?;
        assert_eq!(end_with(&target, FailingSync::Of, DurableFile::replace), Some(libc::EIO));
        assert_eq!(fs::read(&target)?, b"old", "the old file was replaced by one that is not durable");
        assert_eq!(end_with(&target, FailingSync::OfAllBut, DurableFile::replace), Some(libc::EIO));
        assert_eq!(fs::read(&target)?, b"bytes");
        Ok(())
    }

    /// Red when a file of another process is taken for durable because it is visible.
    #[test]
    fn a_name_that_was_taken_is_made_durable() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("object");
        fs::write(&target, "other")?;
        assert_eq!(finish_with(&target, FailingSync::OfAllBut), Some(libc::EIO));
        assert_eq!(fs::read(&target)?, b"other");
        Ok(())
    }
}
