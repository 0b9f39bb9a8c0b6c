//! Whether a file that is run, or says what is run, could have been written by somebody else.
//!
//! It is looked at through the opened file, not by its path, and so are the directories above it: who may write to one of them may put
//! another file in the place of the one that was looked at.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is none.
    NotFound,
    /// Somebody else could have written it, or may read it.
    Why(String),
}

/// Bits of a mode that somebody else profits from.
const OTHERS: u32 = 0o077;
/// The same, and bits that make a file a program.
const OTHERS_AND_PROGRAM: u32 = 0o177;
/// Bits of a directory's mode that let somebody else change it.
const OTHERS_WRITE: u32 = 0o022;
/// The bit of a directory in which nobody may replace another's files.
const STICKY: u32 = 0o1000;

/// Opens a script: owned by whoever runs Cairn (or root), with no rights for anybody else.
pub(super) fn open_script(path: &Path) -> Result<File, Denied> {
    open(path, OTHERS, "700")
}

/// Opens a file that says what is run; it is no program itself.
pub(super) fn open_config(path: &Path) -> Result<File, Denied> {
    open(path, OTHERS_AND_PROGRAM, "600")
}

fn open(path: &Path, forbidden: u32, advised: &str) -> Result<File, Denied> {
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Denied::NotFound,
        _ => Denied::Why(format!("it cannot be opened ({error})")),
    };
    // Without waiting, since a pipe of that name would never be ready.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(why)?;
    let metadata = file.metadata().map_err(why)?;
    if !metadata.is_file() {
        return Err(Denied::Why("it is no file".to_owned()));
    }
    if !is_trusted(metadata.uid()) {
        return Err(Denied::Why(format!("it belongs to user {}; chown it to {}", metadata.uid(), expected_owner())));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(Denied::Why(format!("its mode is {mode:03o}; chmod it to {advised}")));
    }
    check_directories(&path.canonicalize().map_err(why)?)?;
    Ok(file)
}

fn check_directories(file: &Path) -> Result<(), Denied> {
    for directory in file.ancestors().skip(1) {
        let metadata = directory.metadata().map_err(|error| Denied::Why(format!("{}: {error}", directory.display())))?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if !is_trusted(owner) {
            return Err(Denied::Why(format!("its directory {} belongs to user {owner}, who could replace it", directory.display())));
        }
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            let mode = mode & 0o7777;
            return Err(Denied::Why(format!("others may write to its directory {} (mode {mode:03o}) and replace it", directory.display())));
        }
    }
    Ok(())
}

fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == expected_owner()
}

fn expected_owner() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn why(denied: Result<File, Denied>) -> String {
        match denied {
            Ok(_) => String::new(),
            Err(Denied::NotFound) => "not found".to_owned(),
            Err(Denied::Why(why)) => why,
        }
    }

    #[test]
    fn modes_decide() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script");
        fs::write(&path, "").unwrap();
        for (bits, script, config) in [
            (0o700, true, false),
            (0o600, true, true),
            (0o400, true, true),
            (0o710, false, false),
            (0o604, false, false),
            (0o620, false, false),
        ] {
            mode(&path, bits);
            assert_eq!((open_script(&path).is_ok(), open_config(&path).is_ok()), (script, config), "{bits:o}");
        }
        assert_eq!(why(open_script(&path)), "its mode is 620; chmod it to 700");
    }

    #[test]
    fn what_is_no_file_or_not_there_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(why(open_script(&directory.path().join("none"))), "not found");
        assert_eq!(why(open_script(directory.path())), "it is no file");
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(why(open_script(&pipe)), "it is no file");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_as_bad() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("script");
        fs::write(&path, "").unwrap();
        mode(&path, 0o700);
        mode(&inner, 0o770);
        assert!(why(open_script(&path)).contains("others may write to its directory"));
        mode(&inner, 0o1777);
        assert_eq!(why(open_script(&path)), "");
        if expected_owner() == 0 {
            chown(&inner, Some(65534), None).unwrap();
            assert!(why(open_script(&path)).contains("belongs to user 65534"));
            chown(&path, Some(65534), None).unwrap();
            assert_eq!(why(open_script(&path)), "it belongs to user 65534; chown it to 0");
        }
    }
}
