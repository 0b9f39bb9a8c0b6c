//! The directory to mount on: whether it can be, what a dead mount leaves there, and how a mount is ended.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::MountError;

/// Checks that a directory can be mounted on. What a mount whose program died has left there is taken away; says whether there was one.
pub(super) fn prepare(path: &Path) -> Result<bool, MountError> {
    let denied = |source| MountError::Denied { path: path.to_owned(), source };
    // Listed, not only looked at: the kernel may still have the attributes from before.
    let cleaned = match fs::metadata(path).and_then(|_| fs::read_dir(path)) {
        Err(error) if is_dead(&error) => {
            detach(path).map_err(denied)?;
            true
        }
        _ => false,
    };
    let known = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::Missing { path: path.to_owned() },
        _ => denied(error),
    })?;
    if !known.is_dir() {
        return Err(MountError::NoDirectory { path: path.to_owned() });
    }
    let whole = path.canonicalize().map_err(denied)?;
    if let Some(what) = mounted_on(&whole) {
        let root = rustix::process::geteuid().is_root();
        let cure = if root { format!("umount {}", path.display()) } else { format!("fusermount3 -u {}", path.display()) };
        return Err(MountError::Mounted { path: path.to_owned(), what, cure });
    }
    if fs::read_dir(path).map_err(denied)?.next().is_some() {
        return Err(MountError::NotEmpty { path: path.to_owned() });
    }
    Ok(cleaned)
}

/// Whether an error is what the kernel says of a mount whose program has died.
fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error())
}

/// Checks that this system and this user can mount at all.
pub(super) fn check_fuse(allow_other: bool) -> Result<(), MountError> {
    fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|source| MountError::NoFuse { source })?;
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if helper().is_none() {
        return Err(MountError::NoHelper);
    }
    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default().lines().any(|line| line.trim() == "user_allow_other");
    if allow_other && !allowed { Err(MountError::OthersNotAllowed) } else { Ok(()) }
}

/// The program that mounts and unmounts for users without root.
fn helper() -> Option<PathBuf> {
    let named = std::env::var_os("FUSERMOUNT_PATH").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let found =
        || std::env::split_paths(&paths).flat_map(|path| [path.join("fusermount3"), path.join("fusermount")]).find(|path| path.exists());
    named.or_else(found)
}

/// Takes a mount out of the tree of directories; who still has files of it open can read on.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        Err(Errno::PERM) => {}
        Err(Errno::INVAL) | Ok(()) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let helper = helper().ok_or(io::ErrorKind::PermissionDenied)?;
    let output = Command::new(helper).args(["-u", "-z", "--"]).arg(path).stdin(Stdio::null()).output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
}

/// What is mounted on a directory (an absolute path without links), if anything: its type and source. Format: proc(5), mountinfo.
fn mounted_on(path: &Path) -> Option<String> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    table.split(|&byte| byte == b'\n').filter_map(parse_mount).filter(|(place, _)| place == path).map(|(_, what)| what).next_back()
}

fn parse_mount(line: &[u8]) -> Option<(PathBuf, String)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let place = fields.nth(4)?;
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (behind.next()?, behind.next()?);
    let what = format!("{} ({})", String::from_utf8_lossy(&unescape(source)), String::from_utf8_lossy(kind));
    Some((PathBuf::from(OsString::from_vec(unescape(place))), what))
}

/// Spaces and such are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        let value = digits.map(|digits| digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    bytes
}

/// Has the kernel read ahead in requests of a megabyte; only root may. `path` is the mounted directory, whose filesystem answers already.
pub(super) fn raise_read_ahead(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(known) = fs::metadata(path) else { return };
    let (major, minor) = (rustix::fs::major(known.dev()), rustix::fs::minor(known.dev()));
    // Without it reads come in requests of 128 KiB: slower, not wrong.
    let _ = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), "1024");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_understood() {
        let line = b"36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 - fuse.cairn cairn\\134x rw,errors=continue";
        assert_eq!(parse_mount(line), Some((PathBuf::from("/mnt two"), "cairn\\x (fuse.cairn)".to_owned())));
        assert_eq!(parse_mount(b""), None);
        assert_eq!(parse_mount(b"1 2 3 4 /a"), None);
    }

    #[test]
    fn what_cannot_be_mounted_on_is_said_with_a_cure() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!prepare(directory.path()).expect("an empty directory"));
        let missing = prepare(&directory.path().join("missing")).expect_err("it is not there").to_string();
        assert!(missing.contains("mkdir -p"), "{missing}");
        fs::write(directory.path().join("file"), "x").expect("a file");
        let file = prepare(&directory.path().join("file")).expect_err("a file").to_string();
        assert!(file.contains("is no directory"), "{file}");
        let full = prepare(directory.path()).expect_err("it has a file").to_string();
        assert!(full.contains("is not empty"), "{full}");
        let mounted = prepare(Path::new("/proc")).expect_err("it is mounted").to_string();
        assert!(mounted.contains("(proc) mounted on it already"), "{mounted}");
    }
}
