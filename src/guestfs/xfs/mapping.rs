//! Where the blocks of a file lie: a list of extents in the inode, or a tree of them. Layout: `struct xfs_bmbt_rec`,
//! `xfs_bmdr_block` and `xfs_btree_block` in `fs/xfs/libxfs/xfs_format.h` of Linux.
//!
//! The tree is walked with a list of what is left to read, never by recursion, and no block of it is read twice for one file.

use std::collections::HashSet;
use std::fmt;

use super::inode::{Format, Inode};
use super::sealed;
use super::volume::Volume;
use crate::guestfs::fields::{be16, be64};
use crate::guestfs::mapped::MOST_EXTENTS;
use crate::guestfs::{GuestError, GuestResult};

/// Bytes of an extent, and of a key with its pointer.
const RECORD_BYTES: usize = 16;
/// Levels of a tree, as the kernel allows (`XFS_BM_MAXLEVELS`).
const MOST_LEVELS: u16 = 12;
/// Blocks of one tree: enough for the most extents in blocks that are nearly empty.
const MOST_NODES: usize = 4 << 20;

/// What an inode has blocks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fork {
    Data,
    Attributes,
}

impl fmt::Display for Fork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Data => "contents",
            Self::Attributes => "attributes",
        })
    }
}

/// Some blocks of a fork that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// The first of them in the file.
    pub(super) start: u64,
    pub(super) count: u64,
    /// The number of the first of them.
    pub(super) block: u64,
    /// Reserved, but never written: zeros.
    pub(super) unwritten: bool,
}

impl Mapping {
    /// From 128 bits: a flag, 54 bits of place in the file, 52 of block, 21 of count.
    fn parse(record: &[u8]) -> Self {
        let (high, low) = (be64(record, 0), be64(record, 8));
        Self {
            start: (high & !(1 << 63)) >> 9,
            count: low & 0x1f_ffff,
            block: (high & 0x1ff) << 43 | low >> 21,
            unwritten: high >> 63 != 0,
        }
    }

    /// The block of the file after the last of them.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.count)
    }
}

/// All blocks of a fork, as the inode says.
pub(super) fn read(volume: &Volume, inode: &Inode, fork: Fork) -> GuestResult<Vec<Mapping>> {
    let mut walk = Walk { volume, inode, fork, found: Vec::new(), nodes: HashSet::new() };
    match inode.format(fork)? {
        Format::Extents => walk.list()?,
        Format::Tree => walk.tree()?,
        Format::Device | Format::Local => {}
    }
    Ok(walk.found)
}

struct Walk<'walk> {
    volume: &'walk Volume,
    inode: &'walk Inode,
    fork: Fork,
    found: Vec<Mapping>,
    nodes: HashSet<u64>,
}

impl Walk<'_> {
    fn object(&self) -> String {
        format!("the block map of the {} of inode {}", self.fork, self.inode.number)
    }

    fn damaged(&self, problem: impl Into<String>) -> GuestError {
        GuestError::damaged(self.object(), problem)
    }

    fn add(&mut self, record: &[u8]) -> GuestResult<()> {
        if self.found.len() >= MOST_EXTENTS {
            return Err(GuestError::limit(self.object(), format!("more than {MOST_EXTENTS} extents")));
        }
        let mapping = Mapping::parse(record);
        if self.found.last().is_some_and(|last| last.end() > mapping.start) {
            return Err(self.damaged(format!("its extent at block {} lies before the end of the one before", mapping.start)));
        }
        if mapping.count > 0 {
            self.found.push(mapping);
        }
        Ok(())
    }

    fn list(&mut self) -> GuestResult<()> {
        let count = self.inode.extents(self.fork);
        let inode = self.inode;
        let bytes = inode.fork(self.fork);
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(RECORD_BYTES)).filter(|length| *length <= bytes.len());
        let length = length.ok_or_else(|| self.damaged(format!("{count} extents do not fit {} bytes", bytes.len())))?;
        bytes.get(..length).unwrap_or_default().chunks_exact(RECORD_BYTES).try_for_each(|record| self.add(record))
    }

    fn tree(&mut self) -> GuestResult<()> {
        let inode = self.inode;
        let root = inode.fork(self.fork);
        let (level, count) = (be16(root, 0), usize::from(be16(root, 2)));
        if level == 0 || level > MOST_LEVELS {
            return Err(self.damaged(format!("it has {level} levels")));
        }
        let mut left = Vec::new();
        self.descend(root, 4, level, count, &mut left)?;
        while let Some((number, level)) = left.pop() {
            let block = self.node(number, level)?;
            let head = if self.volume.superblock.has_checksums { 72 } else { 24 };
            let count = usize::from(be16(&block, 6));
            if level > 0 {
                self.descend(&block, head, level, count, &mut left)?;
                continue;
            }
            let records = head.checked_add(count.saturating_mul(RECORD_BYTES)).and_then(|end| block.get(head..end));
            let records = records.ok_or_else(|| self.damaged(format!("block {number} says that it has {count} extents")))?;
            records.chunks_exact(RECORD_BYTES).try_for_each(|record| self.add(record))?;
        }
        Ok(())
    }

    /// Notes the blocks below a node, whose numbers follow the keys that it has room for, so that the first is read next.
    fn descend(&self, node: &[u8], head: usize, level: u16, count: usize, left: &mut Vec<(u64, u16)>) -> GuestResult<()> {
        let room = node.len().saturating_sub(head) / RECORD_BYTES;
        if count == 0 || count > room {
            return Err(self.damaged(format!("a node of level {level} has {count} blocks below it, with room for {room}")));
        }
        if left.len().saturating_add(count) > MOST_NODES {
            return Err(GuestError::limit(self.object(), format!("more than {MOST_NODES} blocks")));
        }
        let numbers = node.get(head + room * 8..).unwrap_or_default();
        left.extend((0..count).rev().map(|at| (be64(numbers, at * 8), level - 1)));
        Ok(())
    }

    /// A block of the tree, which must be of that level.
    fn node(&mut self, number: u64, level: u16) -> GuestResult<Vec<u8>> {
        if !self.nodes.insert(number) || self.nodes.len() > MOST_NODES {
            return Err(self.damaged(format!("it leads to block {number} twice")));
        }
        let superblock = &self.volume.superblock;
        let at = superblock.place_of_blocks(number, 1).ok_or_else(|| self.damaged(format!("there is no block {number}")))?;
        let block = sealed::EXTENTS.read(self.volume, at, superblock.block_bytes as usize, &|| self.object())?;
        let magic: &[u8] = if superblock.has_checksums { b"BMA3" } else { b"BMAP" };
        if !block.starts_with(magic) || be16(&block, 4) != level {
            return Err(self.damaged(format!("block {number} is no part of it of level {level}")));
        }
        Ok(block)
    }
}
