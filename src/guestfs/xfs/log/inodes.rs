//! Inodes of the log: the core in the order of the machine's bytes, and forks as they lie on the disk, but for roots of trees, which are
//! whole blocks in the log. Layout: `struct xfs_inode_log_format` and `struct xfs_log_dinode` in `fs/xfs/libxfs/xfs_log_format.h`.

use std::ops::Range;

use super::apply::Apply;
use super::transactions::Item;
use super::{UNIT, damaged};
use crate::guestfs::GuestResult;
use crate::guestfs::fields::{be16, be64, byte, le16, le32, le64};
use crate::guestfs::xfs::inode::{FLAG2_BIG_TIME, FORKS_AT, MAGIC, fork_range};
use crate::guestfs::xfs::mapping::Fork;

/// `XFS_ILOG_*`: what was logged.
const DATA_ROOT: u32 = 8;
const DEVICE: u32 = 0x10;
const DATA_FORK: u32 = 2 | 4 | DATA_ROOT;
const ATTRIBUTES_ROOT: u32 = 0x100;
const ATTRIBUTES_FORK: u32 = 0x40 | 0x80 | ATTRIBUTES_ROOT;

/// Numbers of the core, by place and width, that lie before version 3, and those since.
const CORE: [(usize, usize); 19] = [
    (0, 2),
    (2, 2),
    (4, 1),
    (5, 1),
    (6, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (76, 4),
    (80, 2),
    (82, 1),
    (83, 1),
    (90, 2),
    (92, 4),
];
const CORE_3: [(usize, usize); 4] = [(24, 8), (104, 8), (120, 8), (128, 4)];
/// Where the count of flushes of versions 1 and 2 is, and the moments.
const FLUSHES_AT: usize = 30;
const TIMES: [usize; 4] = [32, 40, 48, 144];
const LSN_AT: usize = 112;

/// `struct xfs_inode_log_format`, also as 32-bit machines packed it.
struct Format {
    fields: u32,
    number: u64,
    device: u32,
    sector: u64,
    sectors: u32,
    within: u32,
}

impl Format {
    fn parse(bytes: &[u8]) -> Self {
        let wide = bytes.len() >= 56;
        let (fields, number, device, place) = if wide { (4, 16, 24, 40) } else { (4, 12, 20, 36) };
        Self {
            fields: le32(bytes, fields),
            number: le64(bytes, number),
            device: le32(bytes, device),
            sector: le64(bytes, place),
            sectors: le32(bytes, place + 8),
            within: le32(bytes, place + 12),
        }
    }
}

impl Apply<'_> {
    pub(super) fn inode(&mut self, item: &Item, lsn: u64) -> GuestResult<()> {
        let format = Format::parse(item.region(0));
        if self.is_cancelled(format.sector, u64::from(format.sectors)) {
            return Ok(());
        }
        let object = || format!("inode {}, which the log changes,", format.number);
        let start = format.sector.checked_mul(UNIT as u64).and_then(|start| start.checked_add(u64::from(format.within)));
        let superblock = &self.volume.superblock;
        let start = start.filter(|&start| superblock.place_of_inode(format.number) == Some(start));
        let start = start.ok_or_else(|| damaged(format!("inode {} does not lie in sector {}", format.number, format.sector)))?;
        let mut inode = self.read(start, superblock.inode_bytes as usize, &object)?;
        let core = item.region(1);
        if !inode.starts_with(MAGIC) || le16(core, 0) != be16(MAGIC, 0) {
            return Err(damaged(format!("inode {} is none on the disk or in the log", format.number)));
        }
        if is_newer(&inode, core, lsn) {
            return Ok(());
        }
        put_core(&mut inode, core, lsn);
        put_forks(&mut inode, item, &format).map_err(|problem| damaged(format!("inode {}: {problem}", format.number)))?;
        self.overlay.write(start, &inode)
    }
}

/// Whether an inode was written to its place after the log.
fn is_newer(inode: &[u8], core: &[u8], lsn: u64) -> bool {
    if byte(inode, 4) >= 3 {
        let written = be64(inode, LSN_AT);
        return written != 0 && written != u64::MAX && written > lsn;
    }
    // Older versions count how often they were written, in 16 bits.
    let (written, logged) = (be16(inode, FLUSHES_AT), le16(core, FLUSHES_AT));
    logged < written && !(written == u16::MAX && logged < u16::MAX >> 1)
}

/// Copies a number, turned round.
fn turn(inode: &mut [u8], core: &[u8], at: usize, width: usize) {
    let source = core.get(at..at + width).unwrap_or_default().iter().rev();
    for (target, source) in inode.iter_mut().skip(at).zip(source) {
        *target = *source;
    }
}

fn put_core(inode: &mut [u8], core: &[u8], lsn: u64) {
    let is_3 = byte(core, 4) >= 3;
    CORE.iter().for_each(|&(at, width)| turn(inode, core, at, width));
    let times = if is_3 { &TIMES[..] } else { &TIMES[..3] };
    let is_big = is_3 && le64(core, 120) & FLAG2_BIG_TIME != 0;
    for &at in times {
        if is_big {
            turn(inode, core, at, 8);
        } else {
            turn(inode, core, at, 4);
            turn(inode, core, at + 4, 4);
        }
    }
    if !is_3 {
        // The count begins anew, as in the kernel.
        put(inode, FLUSHES_AT..FLUSHES_AT + 2, &[0; 2]);
        return;
    }
    CORE_3.iter().for_each(|&(at, width)| turn(inode, core, at, width));
    put(inode, LSN_AT..LSN_AT + 8, &lsn.to_be_bytes());
    // Its own number is turned round, its UUID is not.
    turn(inode, core, 152, 8);
    put(inode, 160..FORKS_AT, core.get(160..FORKS_AT).unwrap_or_default());
}

fn put(inode: &mut [u8], range: Range<usize>, bytes: &[u8]) {
    if let Some(target) = inode.get_mut(range) {
        target.iter_mut().zip(bytes).for_each(|(target, source)| *target = *source);
    }
}

/// The forks come after the core, if they were logged.
fn put_forks(inode: &mut [u8], item: &Item, format: &Format) -> Result<(), String> {
    let data = fork_range(inode, Fork::Data);
    if format.fields & DEVICE != 0 {
        put(inode, data.start..data.start + 4, &format.device.to_be_bytes());
    }
    if item.regions() <= 2 {
        return Ok(());
    }
    let mut next = 2;
    if format.fields & DATA_FORK != 0 {
        put_fork(inode, data, item.region(next), format.fields & DATA_ROOT != 0)?;
        next += 1;
    }
    if format.fields & ATTRIBUTES_FORK != 0 {
        let attributes = fork_range(inode, Fork::Attributes);
        put_fork(inode, attributes, item.region(next), format.fields & ATTRIBUTES_ROOT != 0)?;
    }
    Ok(())
}

fn put_fork(inode: &mut [u8], fork: Range<usize>, bytes: &[u8], is_root: bool) -> Result<(), String> {
    let root;
    let bytes = if is_root {
        root = root_of(bytes, fork.len(), byte(inode, 4) >= 3)?;
        root.as_slice()
    } else {
        bytes
    };
    if bytes.len() > fork.len() {
        return Err(format!("{} bytes do not fit a fork of {}", bytes.len(), fork.len()));
    }
    let end = fork.start + bytes.len();
    put(inode, fork.start..end, bytes);
    Ok(())
}

/// The root of a tree as it lies in an inode: without most of the head of a block, and the pointers where they are in one of that size.
fn root_of(block: &[u8], fork_bytes: usize, is_3: bool) -> Result<Vec<u8>, String> {
    let head = if is_3 { 72 } else { 24 };
    let count = usize::from(be16(block, 6));
    let (room_here, room_there) = (block.len().saturating_sub(head) / 16, fork_bytes.saturating_sub(4) / 16);
    if count > room_here || count > room_there {
        return Err(format!("a root of {count} does not fit {room_here} and {room_there}"));
    }
    let mut root = block.get(4..8).unwrap_or_default().to_vec();
    root.extend_from_slice(block.get(head..head + count * 8).unwrap_or_default());
    root.resize(4 + room_there * 8, 0);
    let pointers = head + room_here * 8;
    root.extend_from_slice(block.get(pointers..pointers + count * 8).unwrap_or_default());
    Ok(root)
}
