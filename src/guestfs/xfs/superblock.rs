//! The superblock of XFS: geometry, features, checksum. Layout: `struct xfs_dsb` in `fs/xfs/libxfs/xfs_format.h` of Linux. All numbers
//! are big-endian.

use super::sealed::checksum;
use crate::guestfs::fields::{array, be16, be32, be64, byte, le32, uuid_text};
use crate::guestfs::{GuestError, GuestResult, Identity};
use crate::io::ReadAt;

const MAGIC: &[u8] = b"XFSB";
/// Bytes of it that mean something.
const BYTES: usize = 512;
const CHECKSUM_AT: usize = 224;

/// Bits beside the version: version 2 of directories and flags in extents, without which no kernel of today mounts.
const VERSION_DIRECTORIES_2: u16 = 0x2000;
const VERSION_EXTENT_FLAGS: u16 = 0x1000;
const VERSION_MORE_BITS: u16 = 0x8000;
const FEATURES2_FTYPE: u32 = 0x200;
const FEATURES2_CRC: u32 = 0x100;

const INCOMPAT_FTYPE: u32 = 1;
const INCOMPAT_META_UUID: u32 = 1 << 2;
const INCOMPAT_NEEDS_REPAIR: u32 = 1 << 4;
/// Incompatible features that are understood here: ftype, sparse inodes, meta_uuid, bigtime, needsrepair, nrext64, exchange-range,
/// parent pointers, metadir.
const UNDERSTOOD: u32 = 0x1ff;
/// Names of those that are not.
const NAMES: [(u32, &str); 2] = [(1 << 9, "zoned"), (1 << 10, "zone_gaps")];

/// Features of the log: attribute intents.
const LOG_UNDERSTOOD: u32 = 1;

/// The largest log: `XFS_MAX_LOG_BYTES`.
const MOST_LOG_BYTES: u64 = 2 << 30;

/// What the superblock says, checked.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_bytes: u32,
    pub(super) sector_bytes: u32,
    pub(super) inode_bytes: u32,
    /// Inodes of a block, as a power of two.
    inodes_log: u32,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) groups: u32,
    /// Blocks of a group, of all but perhaps the last.
    group_blocks: u32,
    /// Bits of a block's number within its group.
    group_log: u32,
    /// Bytes of a block of a directory.
    pub(super) directory_bytes: u32,
    pub(super) root: u64,
    /// The first block of the log; 0 where it is on another device.
    pub(super) log_start: u64,
    pub(super) log_blocks: u32,
    pub(super) uuid: [u8; 16],
    /// The UUID that structures carry.
    pub(super) structure_uuid: [u8; 16],
    /// Version 5: structures have checksums, and say where they lie.
    pub(super) has_checksums: bool,
    /// Whether directories tell the kinds of what they name.
    pub(super) has_kinds: bool,
    pub(super) needs_repair: bool,
    log_incompat: u32,
}

fn read(device: &dyn ReadAt) -> GuestResult<Option<[u8; BYTES]>> {
    let mut bytes = [0; BYTES];
    if device.size_bytes() < BYTES as u64 {
        return Ok(None);
    }
    device.read_at(0, &mut bytes)?;
    Ok(bytes.starts_with(MAGIC).then_some(bytes))
}

/// What blkid(8) would say of it.
pub(in crate::guestfs) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some(bytes) = read(device)? else { return Ok(None) };
    let label = bytes.get(108..120).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(Identity {
        kind: "xfs",
        label: (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned()),
        uuid: uuid_text(array(&bytes, 32)),
        size_bytes: be64(&bytes, 8).checked_mul(u64::from(be32(&bytes, 4))),
        member: None,
    }))
}

fn damaged(problem: impl Into<String>) -> GuestError {
    GuestError::damaged("the superblock", problem)
}

impl Superblock {
    /// Reads and checks it; its checksum too, unless what the log holds lies over it.
    pub(super) fn read(device: &dyn ReadAt, is_replayed: bool) -> GuestResult<Self> {
        let bytes = read(device)?.ok_or_else(|| damaged("its magic number is missing"))?;
        check_version(&bytes)?;
        let superblock = Self::parse(&bytes);
        superblock.check_geometry(&bytes).map_err(damaged)?;
        if superblock.has_checksums && !is_replayed {
            let mut sector = vec![0; superblock.sector_bytes as usize];
            device.read_at(0, &mut sector)?;
            let (expected, found) = (checksum(&sector, CHECKSUM_AT), le32(&sector, CHECKSUM_AT));
            if expected != found {
                return Err(damaged(format!("its checksum is {found:08x}, not {expected:08x}")));
            }
        }
        Ok(superblock)
    }

    fn parse(bytes: &[u8]) -> Self {
        let has_checksums = be16(bytes, 100) & 15 == 5;
        let (features2, incompat) = (be32(bytes, 200), if has_checksums { be32(bytes, 216) } else { 0 });
        let has_features2 = be16(bytes, 100) & VERSION_MORE_BITS != 0;
        let uuid = array(bytes, 32);
        let block_bytes = be32(bytes, 4);
        Self {
            block_bytes,
            sector_bytes: u32::from(be16(bytes, 102)),
            inode_bytes: u32::from(be16(bytes, 104)),
            inodes_log: u32::from(byte(bytes, 123)),
            blocks: be64(bytes, 8),
            free_blocks: be64(bytes, 144),
            groups: be32(bytes, 88),
            group_blocks: be32(bytes, 84),
            group_log: u32::from(byte(bytes, 124)),
            directory_bytes: block_bytes.checked_mul(1_u32.checked_shl(u32::from(byte(bytes, 192))).unwrap_or(0)).unwrap_or(0),
            root: be64(bytes, 56),
            log_start: be64(bytes, 48),
            log_blocks: be32(bytes, 96),
            uuid,
            structure_uuid: if incompat & INCOMPAT_META_UUID != 0 { array(bytes, 248) } else { uuid },
            has_checksums,
            has_kinds: incompat & INCOMPAT_FTYPE != 0 || (!has_checksums && has_features2 && features2 & FEATURES2_FTYPE != 0),
            needs_repair: incompat & INCOMPAT_NEEDS_REPAIR != 0,
            log_incompat: if has_checksums { be32(bytes, 220) } else { 0 },
        }
    }

    /// Whether every later computation with these numbers makes sense.
    fn check_geometry(&self, bytes: &[u8]) -> Result<(), String> {
        let power = |value: u32, least: u32, most: u32| value.is_power_of_two() && (least..=most).contains(&value);
        if !power(self.block_bytes, 512, 64 << 10) || !power(self.sector_bytes, 512, 32 << 10) || self.sector_bytes > self.block_bytes {
            return Err(format!("it has blocks of {} bytes in sectors of {}", self.block_bytes, self.sector_bytes));
        }
        if !power(self.inode_bytes, 256, 2048) || self.inode_bytes > self.block_bytes {
            return Err(format!("it has inodes of {} bytes in blocks of {}", self.inode_bytes, self.block_bytes));
        }
        if 1_u32.checked_shl(self.inodes_log) != self.block_bytes.checked_div(self.inode_bytes) {
            return Err(format!("2^{} inodes of {} bytes are no block", self.inodes_log, self.inode_bytes));
        }
        if !power(self.directory_bytes, self.block_bytes, 64 << 10) {
            return Err(format!("it has blocks of directories of {} times 2^{} bytes", self.block_bytes, byte(bytes, 192)));
        }
        if self.group_log > 31 || self.group_blocks == 0 || self.group_blocks > 1 << self.group_log {
            return Err(format!("its groups have {} blocks, whose numbers have {} bits", self.group_blocks, self.group_log));
        }
        let groups = self.blocks.div_ceil(u64::from(self.group_blocks));
        if self.blocks == 0 || groups != u64::from(self.groups) || self.blocks.checked_mul(u64::from(self.block_bytes)).is_none() {
            return Err(format!("{} blocks are not {} groups of {}", self.blocks, self.groups, self.group_blocks));
        }
        if u64::from(self.log_blocks).saturating_mul(u64::from(self.block_bytes)) > MOST_LOG_BYTES {
            return Err(format!("its log has {} blocks", self.log_blocks));
        }
        Ok(())
    }

    /// The group and the block in it of a block's number; `None` where there is none of that number.
    fn split(&self, number: u64) -> Option<(u64, u64)> {
        let (group, within) = (number >> self.group_log, number & ((1 << self.group_log) - 1));
        let linear = group.checked_mul(u64::from(self.group_blocks))?.checked_add(within)?;
        (within < u64::from(self.group_blocks) && linear < self.blocks).then_some((group, within))
    }

    /// Where `count` blocks from a number on lie, in bytes. They never lie in two groups.
    pub(super) fn place_of_blocks(&self, number: u64, count: u64) -> Option<u64> {
        let (group, within) = self.split(number)?;
        let linear = group.checked_mul(u64::from(self.group_blocks))?.checked_add(within)?;
        let inside = within.checked_add(count)? <= u64::from(self.group_blocks) && linear.checked_add(count)? <= self.blocks;
        if inside { linear.checked_mul(u64::from(self.block_bytes)) } else { None }
    }

    /// Where an inode lies, in bytes.
    pub(super) fn place_of_inode(&self, number: u64) -> Option<u64> {
        let within = number & ((1 << self.inodes_log) - 1);
        let block = self.place_of_blocks(number >> self.inodes_log, 1)?;
        block.checked_add(within.checked_mul(u64::from(self.inode_bytes))?)
    }

    /// The number of the inode at a place in bytes, which lies inside the filesystem.
    pub(super) fn inode_of_place(&self, at_bytes: u64) -> u64 {
        let (linear, within) = (at_bytes / u64::from(self.block_bytes), at_bytes % u64::from(self.block_bytes));
        let (group, block) = (linear / u64::from(self.group_blocks), linear % u64::from(self.group_blocks));
        ((group << self.group_log | block) << self.inodes_log) | (within / u64::from(self.inode_bytes))
    }

    /// Where a group begins, in bytes.
    pub(super) fn place_of_group(&self, group: u32) -> u64 {
        u64::from(group).saturating_mul(u64::from(self.group_blocks)).saturating_mul(u64::from(self.block_bytes))
    }

    /// Refuses a log with features that are not known here.
    pub(super) fn check_log_features(&self) -> GuestResult<()> {
        let unknown = self.log_incompat & !LOG_UNDERSTOOD;
        if unknown == 0 { Ok(()) } else { Err(GuestError::unsupported(format!("XFS feature 'log incompat {unknown:#x}'"))) }
    }
}

/// Refuses versions and features that are not known here.
fn check_version(bytes: &[u8]) -> GuestResult<()> {
    let version = be16(bytes, 100);
    let needed = VERSION_DIRECTORIES_2 | VERSION_EXTENT_FLAGS;
    match version & 15 {
        4 if version & needed != needed => {
            return Err(GuestError::unsupported(format!("XFS of version 4 with the old features {version:#x}")));
        }
        4 if be32(bytes, 200) & FEATURES2_CRC != 0 => return Err(damaged("it has version 4 and checksums")),
        4 => return Ok(()),
        5 => {}
        other => return Err(GuestError::unsupported(format!("XFS of version {other}"))),
    }
    let unknown = be32(bytes, 216) & !UNDERSTOOD;
    if unknown == 0 {
        return Ok(());
    }
    let bits = (0..32).map(|bit| 1_u32 << bit).filter(|bit| unknown & bit != 0);
    let name =
        |bit: u32| NAMES.iter().find(|(known, _)| *known == bit).map_or(format!("incompat {bit:#x}"), |(_, name)| (*name).to_owned());
    let named: Vec<String> = bits.map(name).collect();
    Err(GuestError::unsupported(format!("XFS feature '{}'", named.join("', '"))))
}
