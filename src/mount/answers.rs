//! Attributes, kinds and errors in the kernel's words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};

use crate::guestfs::{Attributes, DeviceNumber, FileKind, GuestError, Timestamp};

/// Bytes that programs are told to read at a time.
const PREFERRED_BYTES: u32 = 128 << 10;

pub(super) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Link => FileType::Symlink,
        FileKind::Pipe => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// A moment; one that the clock cannot show becomes 1970.
fn time(time: Timestamp) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// A device number as Linux writes it in 32 bits.
fn device(device: DeviceNumber) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xfff00) << 12)
}

pub(super) fn attributes(number: u64, known: &Attributes) -> FileAttr {
    let modified = time(known.modified);
    FileAttr {
        ino: INodeNo(number),
        size: known.size_bytes,
        blocks: known.allocated_bytes.div_ceil(512),
        atime: known.accessed.map_or(modified, time),
        mtime: modified,
        ctime: known.changed.map_or(modified, time),
        crtime: known.created.map_or(modified, time),
        kind: kind(known.kind),
        perm: known.mode & 0o7777,
        nlink: known.links,
        uid: known.uid,
        gid: known.gid,
        rdev: known.device.map_or(0, device),
        flags: 0,
        blksize: PREFERRED_BYTES,
    }
}

/// The number of an error that the kernel hands to a program.
pub(super) fn errno(error: &GuestError) -> Errno {
    match error {
        GuestError::NotFound { .. } => Errno::ENOENT,
        GuestError::Unsupported { .. } => Errno::EOPNOTSUPP,
        GuestError::WrongKind { expected: "directory", .. } => Errno::ENOTDIR,
        GuestError::WrongKind { expected: "regular file", .. } => Errno::EISDIR,
        GuestError::WrongKind { .. } => Errno::EINVAL,
        GuestError::Device(_) | GuestError::Damaged { .. } | GuestError::Limit { .. } => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_after_2038_are_kept() {
        for (seconds, nanoseconds) in [(-1_000_000_001, 750_000_000), (0, 1), (4_102_444_800, 999_999_999)] {
            let shown = time(Timestamp { seconds, nanoseconds });
            let nanos = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).expect("small"),
                Err(before) => -i128::try_from(before.duration().as_nanos()).expect("small"),
            };
            assert_eq!(nanos(shown), i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds));
        }
        for seconds in [i64::MIN, i64::MAX] {
            // What the clock cannot show does no harm.
            let _ = time(Timestamp { seconds, nanoseconds: 999_999_999 });
        }
    }

    #[test]
    fn large_device_numbers_are_written_as_linux_does() {
        assert_eq!(device(DeviceNumber { major: 259, minor: 70_000 }), 0x1111_0370);
        assert_eq!(u64::from(device(DeviceNumber { major: 1, minor: 3 })), rustix::fs::makedev(1, 3));
    }
}
