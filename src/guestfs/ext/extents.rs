//! Where the blocks of a file lie, from a tree of extents (ext4) or from lists of block numbers (ext2, ext3).
//!
//! Layout: `Documentation/filesystems/ext4/ifork.rst` of Linux. Both are walked with a list of what is left to read, never by recursion,
//! and no block of a tree is read twice for one file: a tree that leads back into itself is damaged.

use std::collections::HashSet;

use super::fields::Fields;
use super::inode::Inode;
use super::volume::Volume;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::mapped::{FileExtent, MOST_EXTENTS};
use crate::guestfs::{GuestError, GuestResult};

const MAGIC: u16 = 0xf30a;
/// Levels of a tree of extents, as the kernel allows.
const MOST_LEVELS: u16 = 5;
/// Lengths above this mean blocks that are reserved and read as zeros.
const LONGEST: u16 = 1 << 15;
/// Blocks of one tree: enough for 16 TiB by lists of block numbers.
const MOST_NODES: usize = 4 << 20;

/// Some blocks of a file that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The first of them in the file.
    pub(super) logical: u64,
    pub(super) count: u64,
    /// The first of them on the device.
    pub(super) physical: u64,
    /// Reserved, but never written: zeros.
    pub(super) unwritten: bool,
}

impl Blocks {
    /// From the 12 bytes of an extent on disk.
    pub(super) fn parse(fields: Fields<'_>) -> Self {
        let length = fields.le16(4);
        let unwritten = length > LONGEST;
        Self {
            logical: u64::from(fields.le32(0)),
            count: u64::from(if unwritten { length.wrapping_sub(LONGEST) } else { length }),
            physical: u64::from(fields.le32(8)) | u64::from(fields.le16(6)) << 32,
            unwritten,
        }
    }
}

/// All blocks of an inode, in ascending order if it is sound.
pub(super) fn blocks_of(volume: &Volume, inode: &Inode) -> GuestResult<Vec<Blocks>> {
    if let Some(blocks) = volume.changed_blocks(inode.number) {
        return Ok(blocks);
    }
    let mut walk = Walk { volume, inode, found: Vec::new(), nodes: HashSet::new() };
    if inode.has_extents() {
        walk.tree()?
    } else {
        walk.lists()?
    }
    Ok(walk.found)
}

/// The same as places in bytes, without what reads as zeros and what lies past the end of the file.
pub(super) fn extents_of(volume: &Volume, inode: &Inode) -> GuestResult<Vec<FileExtent>> {
    let block_bytes = u64::from(volume.superblock.block_bytes);
    let blocks = blocks_of(volume, inode)?;
    let to_bytes = |blocks: &Blocks| {
        let start_bytes = blocks.logical.checked_mul(block_bytes)?;
        let length_bytes = blocks.count.checked_mul(block_bytes)?;
        Some(FileExtent { start_bytes, length_bytes, device_bytes: blocks.physical.checked_mul(block_bytes)? })
    };
    let written = blocks.iter().filter(|blocks| !blocks.unwritten);
    let extents = written.map(to_bytes).collect::<Option<Vec<_>>>();
    extents.ok_or_else(|| GuestError::damaged(format!("inode {}", inode.number), "an extent lies past the end of numbers"))
}

struct Walk<'walk> {
    volume: &'walk Volume,
    inode: &'walk Inode,
    found: Vec<Blocks>,
    nodes: HashSet<u64>,
}

impl Walk<'_> {
    fn damaged(&self, problem: impl Into<String>) -> GuestError {
        GuestError::damaged(format!("the block map of inode {}", self.inode.number), problem)
    }

    /// Adds blocks, continuing the last ones if they do.
    fn add(&mut self, blocks: Blocks) -> GuestResult<()> {
        if let Some(last) = self.found.last_mut()
            && last.unwritten == blocks.unwritten
            && last.logical.checked_add(last.count) == Some(blocks.logical)
            && last.physical.checked_add(last.count) == Some(blocks.physical)
        {
            last.count = last.count.saturating_add(blocks.count);
            return Ok(());
        }
        if self.found.len() >= MOST_EXTENTS {
            return Err(GuestError::limit(format!("inode {}", self.inode.number), format!("more than {MOST_EXTENTS} extents")));
        }
        self.found.push(blocks);
        Ok(())
    }

    fn node(&mut self, block: u64) -> GuestResult<Vec<u8>> {
        if !self.nodes.insert(block) {
            return Err(self.damaged(format!("block {block} is in it twice")));
        }
        if self.nodes.len() > MOST_NODES {
            return Err(GuestError::limit(format!("inode {}", self.inode.number), "its block map has too many blocks"));
        }
        self.volume.block(block)
    }

    fn tree(&mut self) -> GuestResult<()> {
        let root = self.inode.block().to_vec();
        let depth = Fields(&root).le16(6);
        if depth > MOST_LEVELS {
            return Err(self.damaged(format!("its tree has {depth} levels, more than {MOST_LEVELS}")));
        }
        // Blocks left to read, the next one last, each with the level that it must have.
        let mut left = Vec::new();
        self.tree_node(&root, depth, &mut left)?;
        while let Some((block, level)) = left.pop() {
            let bytes = self.node(block)?;
            self.check_tail(block, &bytes)?;
            self.tree_node(&bytes, level, &mut left)?;
        }
        Ok(())
    }

    fn tree_node(&mut self, bytes: &[u8], level: u16, left: &mut Vec<(u64, u16)>) -> GuestResult<()> {
        let fields = Fields(bytes);
        let (magic, entries, depth) = (fields.le16(0), usize::from(fields.le16(2)), fields.le16(6));
        if magic != MAGIC || depth != level {
            return Err(self.damaged(format!("a node of level {level} has magic {magic:#06x} and level {depth}")));
        }
        let entries = bytes.get(12..).unwrap_or_default().chunks_exact(12).take(entries);
        if level == 0 {
            for entry in entries {
                self.add(Blocks::parse(Fields(entry)))?;
            }
            return Ok(());
        }
        let children = entries.map(|entry| {
            let fields = Fields(entry);
            (u64::from(fields.le32(4)) | u64::from(fields.le16(8)) << 32, level.saturating_sub(1))
        });
        left.extend(children.rev());
        Ok(())
    }

    /// The checksum after the last possible entry of a block.
    fn check_tail(&self, block: u64, bytes: &[u8]) -> GuestResult<()> {
        let Some(seed) = self.inode.checksum_seed(&self.volume.superblock) else { return Ok(()) };
        let tail = usize::from(Fields(bytes).le16(4)).saturating_mul(12).saturating_add(12);
        let (expected, found) = (crc32c(seed, Fields(bytes).bytes(0, tail)), Fields(bytes).le32(tail));
        if expected == found {
            return Ok(());
        }
        Err(self.damaged(format!("the checksum of block {block} is {found:08x}, not {expected:08x}")))
    }

    /// 12 numbers of blocks, then one each of a block of numbers, of a block of such, of a block of these.
    fn lists(&mut self) -> GuestResult<()> {
        let numbers: Vec<u32> = self.inode.block().chunks_exact(4).map(|number| Fields(number).le32(0)).collect();
        let per_block = u64::from(self.volume.superblock.block_bytes) / 4;
        let end = self.inode.size_bytes.div_ceil(u64::from(self.volume.superblock.block_bytes));
        let mut left = Vec::new();
        let mut logical = 0_u64;
        for (at, &number) in numbers.iter().enumerate() {
            let level = at.saturating_sub(11).min(3) as u32;
            left.push((u64::from(number), level, logical));
            logical = logical.saturating_add(per_block.saturating_pow(level));
        }
        left.reverse();
        while let Some((number, level, logical)) = left.pop() {
            if number == 0 || logical >= end {
                continue;
            }
            if level == 0 {
                self.add(Blocks { logical, count: 1, physical: number, unwritten: false })?;
                continue;
            }
            let bytes = self.node(number)?;
            let below = level.saturating_sub(1);
            let span = per_block.saturating_pow(below);
            // From the back, so that the first is read next.
            for (at, entry) in bytes.chunks_exact(4).enumerate().rev() {
                let number = u64::from(Fields(entry).le32(0));
                if number != 0 {
                    left.push((number, below, logical.saturating_add(span.saturating_mul(at as u64))));
                }
            }
        }
        Ok(())
    }
}
