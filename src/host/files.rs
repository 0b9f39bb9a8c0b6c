//! Files of this host that people edit: read only where nobody but their owner and root can have written them, written durably.

use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::HostError;
use crate::io::replace_durable;

/// Largest file of definitions or settings.
const MAX_BYTES: u64 = 1 << 20;

/// Bits of a mode that let a group or everybody write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads a text that says what Cairn shall do; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, HostError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(HostError::file(path, "opened"))?,
    };
    // The open file is asked, not its name, which could be given to another one in between.
    check_owner(path, &file.metadata().map_err(HostError::file(path, "looked at"))?)?;
    if let Some(directory) = path.parent() {
        check_owner(directory, &fs::metadata(directory).map_err(HostError::file(directory, "looked at"))?)?;
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(HostError::file(path, "read"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(HostError::Text { path: path.to_owned(), why: format!("it has more than {MAX_BYTES} bytes") });
    }
    Ok(Some(text))
}

/// Refuses what another user than root and the one who runs this could have written.
fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), HostError> {
    let own = rustix::process::geteuid().as_raw();
    let refuse = |why: String, cure: String| Err(HostError::Unsafe { path: path.to_owned(), why, cure });
    if metadata.uid() != own && metadata.uid() != 0 {
        return refuse(format!("belongs to the user {}", metadata.uid()), format!("`chown {own}` it if it is yours"));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse(
            format!("can be written by others than its owner (mode {:03o})", metadata.mode() & 0o777),
            "`chmod go-w` it after reading it".to_owned(),
        );
    }
    Ok(())
}

/// Writes a text in place of what is there, and makes its directory where there is none.
pub(super) fn write(path: &Path, text: &str) -> Result<(), HostError> {
    if let Some(directory) = path.parent() {
        make_directory(directory)?;
    }
    replace_durable(path, text.as_bytes()).map_err(HostError::file(path, "written"))
}

/// Makes a directory that only its owner can write.
pub(super) fn make_directory(directory: &Path) -> Result<(), HostError> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(HostError::file(directory, "made"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_could_have_written_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub").join("a.toml");
        assert!(read(&path).unwrap().is_none());
        write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("text"));
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&path, 0o620);
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("can be written by others than its owner (mode 620)"), "{refused}");
        set(&path, 0o644);
        assert!(read(&path).unwrap().is_some());
        set(path.parent().unwrap(), 0o777);
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("sub' can be written by others than its owner (mode 777)"), "{refused}");
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        write(&path, "text").unwrap();
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("belongs to the user 12345"), "{refused}");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        write(&path, &" ".repeat(MAX_BYTES as usize + 1)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than 1048576 bytes"));
    }
}
