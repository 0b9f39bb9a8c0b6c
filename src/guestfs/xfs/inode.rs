//! Inodes of XFS. Layout: `struct xfs_dinode` in `fs/xfs/libxfs/xfs_format.h` of Linux.

use super::mapping::Fork;
use super::sealed::checksum;
use super::superblock::Superblock;
use crate::guestfs::fields::{array, be16, be32, be64, byte, le32};
use crate::guestfs::{Attributes, DeviceNumber, FileKind, GuestError, GuestResult, Timestamp};

pub(super) const MAGIC: &[u8] = b"IN";
/// Where the forks begin, before version 3 and since.
const OLD_FORKS_AT: usize = 100;
pub(super) const FORKS_AT: usize = 176;
const CHECKSUM_AT: usize = 100;

const FLAG_REAL_TIME: u16 = 1;
pub(super) const FLAG2_BIG_TIME: u64 = 1 << 3;
const FLAG2_BIG_COUNTS: u64 = 1 << 4;

/// How the contents of a fork are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Number of a device.
    Device,
    /// In the inode.
    Local,
    /// In extents that the inode lists.
    Extents,
    /// In extents that a tree lists.
    Tree,
}

/// An inode as it lies on disk, with its number.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) raw: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) size_bytes: u64,
    pub(super) blocks: u64,
}

/// Where the forks of an inode begin.
pub(super) fn forks_at(raw: &[u8]) -> usize {
    if byte(raw, 4) >= 3 { FORKS_AT } else { OLD_FORKS_AT }
}

/// The bytes of a fork, as a range of the inode's.
pub(super) fn fork_range(raw: &[u8], fork: Fork) -> std::ops::Range<usize> {
    let start = forks_at(raw);
    let middle = match usize::from(byte(raw, 82)) {
        0 => raw.len(),
        words => start.saturating_add(words.saturating_mul(8)).min(raw.len()),
    };
    match fork {
        Fork::Data => start.min(middle)..middle,
        Fork::Attributes => middle..raw.len(),
    }
}

impl Inode {
    /// Checks an inode that exists.
    pub(super) fn parse(superblock: &Superblock, number: u64, raw: Vec<u8>, is_replayed: bool) -> GuestResult<Self> {
        let object = || format!("inode {number}");
        let damaged = |problem: String| GuestError::damaged(object(), problem);
        if !raw.starts_with(MAGIC) {
            return Err(GuestError::NotFound { object: object() });
        }
        let version = byte(&raw, 4);
        if (version >= 3) != superblock.has_checksums || version > 3 {
            return Err(damaged(format!("it has version {version}")));
        }
        if superblock.has_checksums {
            let (expected, found) = (checksum(&raw, CHECKSUM_AT), le32(&raw, CHECKSUM_AT));
            if expected != found && !is_replayed {
                return Err(damaged(format!("its checksum is {found:08x}, not {expected:08x}")));
            }
            if be64(&raw, 152) != number || array(&raw, 160) != superblock.structure_uuid {
                return Err(damaged(format!("it says that it is inode {} of perhaps another filesystem", be64(&raw, 152))));
            }
        }
        let mode = u32::from(be16(&raw, 2));
        if mode == 0 {
            return Err(GuestError::NotFound { object: object() });
        }
        let kind = FileKind::of_mode(mode).ok_or_else(|| damaged(format!("its mode {mode:o} is of no kind")))?;
        let size_bytes = be64(&raw, 56);
        if size_bytes > i64::MAX as u64 {
            return Err(damaged(format!("its size {size_bytes} is more than can be")));
        }
        Ok(Self { number, kind, size_bytes, blocks: be64(&raw, 64), raw })
    }

    fn flags2(&self) -> u64 {
        if byte(&self.raw, 4) >= 3 { be64(&self.raw, 120) } else { 0 }
    }

    /// Whether its contents lie on the real-time device.
    pub(super) fn is_real_time(&self) -> bool {
        be16(&self.raw, 90) & FLAG_REAL_TIME != 0 && self.kind == FileKind::Regular
    }

    /// Whether it has attributes.
    pub(super) fn has_attributes(&self) -> bool {
        byte(&self.raw, 82) != 0
    }

    /// How a fork is stored.
    pub(super) fn format(&self, fork: Fork) -> GuestResult<Format> {
        let stored = byte(&self.raw, if fork == Fork::Data { 5 } else { 83 });
        match stored {
            0 if fork == Fork::Data => Ok(Format::Device),
            1 => Ok(Format::Local),
            2 => Ok(Format::Extents),
            3 => Ok(Format::Tree),
            _ => Err(GuestError::damaged(format!("inode {}", self.number), format!("its {fork} are stored in the way {stored}"))),
        }
    }

    /// The bytes of a fork inside the inode.
    pub(super) fn fork(&self, fork: Fork) -> &[u8] {
        self.raw.get(fork_range(&self.raw, fork)).unwrap_or_default()
    }

    /// How many extents a fork has.
    pub(super) fn extents(&self, fork: Fork) -> u64 {
        match (self.flags2() & FLAG2_BIG_COUNTS != 0, fork) {
            (true, Fork::Data) => be64(&self.raw, 24),
            (true, Fork::Attributes) => u64::from(be32(&self.raw, 76)),
            (false, Fork::Data) => u64::from(be32(&self.raw, 76)),
            (false, Fork::Attributes) => u64::from(be16(&self.raw, 80)),
        }
    }

    fn time(&self, at: usize) -> Timestamp {
        if self.flags2() & FLAG2_BIG_TIME == 0 {
            return Timestamp { seconds: i64::from(be32(&self.raw, at).cast_signed()), nanoseconds: be32(&self.raw, at + 4) };
        }
        // Nanoseconds since the first moment that 32 bits of seconds can tell.
        let stored = be64(&self.raw, at);
        let seconds = i64::try_from(stored / 1_000_000_000).unwrap_or(i64::MAX).saturating_add(i64::from(i32::MIN));
        Timestamp { seconds, nanoseconds: (stored % 1_000_000_000) as u32 }
    }

    /// 14 bits for the driver, 18 for its device.
    fn device(&self) -> Option<DeviceNumber> {
        let has_device = matches!(self.kind, FileKind::BlockDevice | FileKind::CharacterDevice);
        let stored = be32(self.fork(Fork::Data), 0);
        has_device.then_some(DeviceNumber { major: (stored >> 18) & 0x3fff, minor: stored & 0x3_ffff })
    }

    pub(super) fn attributes(&self, superblock: &Superblock) -> Attributes {
        let version = byte(&self.raw, 4);
        Attributes {
            kind: self.kind,
            size_bytes: self.size_bytes,
            allocated_bytes: self.blocks.saturating_mul(u64::from(superblock.block_bytes)),
            mode: be16(&self.raw, 2) & 0o7777,
            uid: be32(&self.raw, 8),
            gid: be32(&self.raw, 12),
            links: if version == 1 { u32::from(be16(&self.raw, 6)) } else { be32(&self.raw, 16) },
            device: self.device(),
            modified: self.time(40),
            changed: Some(self.time(48)),
            accessed: Some(self.time(32)),
            created: (version >= 3).then(|| self.time(144)),
        }
    }
}
