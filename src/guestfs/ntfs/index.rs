//! Indexes: sorted trees of entries. Their root lies in the file's record, the rest in blocks ("index records") of an attribute of its
//! own. Layout: the Linux-NTFS project's documentation ("$INDEX_ROOT", "Index Records").

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::bytes::{index, slice_at, u16_at, u32_at, u64_at};
use super::record::{kind, undo_fixups};
use super::volume::{Inode, Volume};
use crate::guestfs::{FileData, GuestError, GuestResult};

/// Levels of a tree. A million names need four.
const DEEPEST: usize = 32;
/// Bytes of a block: 4 KiB everywhere, but the format allows others.
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 512..=65536;
/// Bytes of a root, which lies in one file record.
const LONGEST_ROOT: u64 = 1 << 16;
/// Bytes of the bitmap of blocks in use that are looked at: for 32 million blocks.
const LONGEST_BITMAP: u64 = 4 << 20;

/// Flags of an entry: it has blocks below it.
const HAS_CHILD: u16 = 1;
/// It is the last one of its node, and has no key.
const LAST: u16 = 2;

/// An index of a file.
pub(super) struct Index {
    object: String,
    root: Vec<u8>,
    blocks: Option<Arc<dyn FileData>>,
    bitmap: Vec<u8>,
    block_bytes: u32,
    /// The unit in which blocks are numbered: clusters, or 512 bytes where blocks are smaller than clusters.
    vcn_bytes: u32,
}

/// An entry of an index.
#[derive(Clone, Copy)]
pub(super) struct IndexEntry<'node> {
    /// The first eight bytes: of a directory, the file's reference.
    pub(super) head: u64,
    /// What it is sorted by.
    pub(super) key: &'node [u8],
    /// All of it, for indexes that keep something beside the key.
    pub(super) whole: &'node [u8],
    flags: u16,
    length: usize,
}

/// A node that is being walked.
struct Level {
    node: Vec<u8>,
    at: usize,
    end: usize,
    /// Whether the child before the entry at `at` has been walked.
    below_done: bool,
}

/// Calls for each entry that is wanted.
type Visit<'visit> = &'visit mut dyn FnMut(&IndexEntry<'_>) -> ControlFlow<()>;

impl Index {
    /// The index of that name.
    ///
    /// # Errors
    /// Wrong kind where the file has none; damage.
    pub(super) fn open(volume: &Volume, inode: &Inode, name: &str) -> GuestResult<Self> {
        let name: Vec<u16> = name.encode_utf16().collect();
        let object = format!("the index of {}", inode.name());
        let root = volume.value(inode, kind::INDEX_ROOT, &name, LONGEST_ROOT)?;
        let root = root.ok_or_else(|| GuestError::damaged(&object, "it has no root"))?;
        let block_bytes = u32_at(&root, 8).unwrap_or(0);
        if !block_bytes.is_power_of_two() || !BLOCK_BYTES.contains(&block_bytes) {
            return Err(GuestError::damaged(object, format!("blocks of {block_bytes} bytes")));
        }
        let blocks = volume.metadata(inode, kind::INDEX_ALLOCATION, &name)?;
        // The bitmap only helps where the tree is damaged: without it as much is found as the tree tells.
        let bitmap = volume.value(inode, kind::BITMAP, &name, LONGEST_BITMAP).ok().flatten().unwrap_or_default();
        let cluster_bytes = volume.geometry.cluster_bytes;
        let vcn_bytes = if cluster_bytes <= block_bytes { cluster_bytes } else { 512 };
        Ok(Self { object, root, blocks, bitmap, block_bytes, vcn_bytes })
    }

    /// Visits all entries in their order. Where a part of the tree is damaged, the blocks in use that it no longer leads to follow.
    ///
    /// # Errors
    /// The first damage, after everything that can be read was visited.
    pub(super) fn walk(&self, visit: Visit<'_>) -> GuestResult<()> {
        let mut walked = HashSet::new();
        let result = self.search(&mut |_| Ordering::Equal, visit, &mut walked)?;
        let Some(damage) = result else { return Ok(()) };
        self.rescue(&walked, visit);
        Err(damage)
    }

    /// Visits the entries for which `compare` says that they are neither below nor above what is sought.
    ///
    /// # Errors
    /// Damage on the way.
    pub(super) fn find(&self, compare: &mut dyn FnMut(&[u8]) -> Ordering, visit: Visit<'_>) -> GuestResult<()> {
        match self.search(compare, visit, &mut HashSet::new())? {
            Some(damage) => Err(damage),
            None => Ok(()),
        }
    }

    /// The first damage is the result where the rest was walked nevertheless.
    fn search(
        &self,
        compare: &mut dyn FnMut(&[u8]) -> Ordering,
        visit: Visit<'_>,
        walked: &mut HashSet<u64>,
    ) -> GuestResult<Option<GuestError>> {
        let mut levels = vec![self.level(self.root.clone(), 16)?];
        let mut damage: Option<GuestError> = None;
        while let Some(level) = levels.last_mut() {
            let entry = match self.entry(&level.node, level.at, level.end) {
                Ok(entry) => entry,
                Err(error) => {
                    damage.get_or_insert(error);
                    levels.pop();
                    continue;
                }
            };
            let order = if entry.flags & LAST != 0 { Ordering::Greater } else { compare(entry.key) };
            if !level.below_done && order != Ordering::Less && entry.flags & HAS_CHILD != 0 {
                level.below_done = true;
                let child = entry.whole.len().checked_sub(8).and_then(|at| u64_at(entry.whole, at));
                match self.child(child, walked, levels.len()) {
                    Ok(below) => levels.push(below),
                    Err(error) => drop(damage.get_or_insert(error)),
                }
                continue;
            }
            match order {
                Ordering::Greater => {
                    levels.pop();
                    continue;
                }
                Ordering::Equal if visit(&entry).is_break() => return Ok(None),
                Ordering::Equal | Ordering::Less => {}
            }
            level.at = level.at.saturating_add(entry.length);
            level.below_done = false;
        }
        Ok(damage)
    }

    fn child(&self, vcn: Option<u64>, walked: &mut HashSet<u64>, depth: usize) -> GuestResult<Level> {
        let vcn = vcn.ok_or_else(|| self.wrong("an entry without the number of its block"))?;
        if !walked.insert(vcn) {
            return Err(self.wrong(&format!("block {vcn} is in the tree more than once")));
        }
        if depth >= DEEPEST {
            return Err(GuestError::limit(&self.object, format!("a tree of more than {DEEPEST} levels")));
        }
        self.block(vcn)
    }

    fn block(&self, vcn: u64) -> GuestResult<Level> {
        let at = vcn.saturating_mul(u64::from(self.vcn_bytes));
        let blocks = self.blocks.as_ref().filter(|blocks| at.saturating_add(u64::from(self.block_bytes)) <= blocks.size_bytes());
        let blocks = blocks.ok_or_else(|| self.wrong(&format!("block {vcn} lies past its end")))?;
        let mut node = vec![0; index(self.block_bytes)];
        blocks.read_at(at, &mut node)?;
        undo_fixups(&mut node, *b"INDX", &|| format!("block {vcn} of {}", self.object))?;
        if u64_at(&node, 16) != Some(vcn) {
            return Err(self.wrong(&format!("block {vcn} says that it is another one")));
        }
        self.level(node, 24)
    }

    /// A node whose header lies at `header`.
    fn level(&self, node: Vec<u8>, header: usize) -> GuestResult<Level> {
        let first = u32_at(&node, header).map(|first| header.saturating_add(index(first)));
        let end = u32_at(&node, header.saturating_add(4)).map(|length| header.saturating_add(index(length)));
        match (first, end) {
            (Some(at), Some(end)) if at <= end && end <= node.len() => Ok(Level { node, at, end, below_done: false }),
            _ => Err(self.wrong("a node whose entries lie outside of it")),
        }
    }

    fn entry<'node>(&self, node: &'node [u8], at: usize, end: usize) -> GuestResult<IndexEntry<'node>> {
        let parse = || {
            let length = usize::from(u16_at(node, at.checked_add(8)?)?);
            let whole = slice_at(node, at, length).filter(|_| length >= 16 && at.saturating_add(length) <= end)?;
            let flags = u16_at(whole, 12)?;
            let key_length = if flags & LAST == 0 { usize::from(u16_at(whole, 10)?) } else { 0 };
            Some(IndexEntry { head: u64_at(whole, 0)?, key: slice_at(whole, 16, key_length)?, whole, flags, length })
        };
        parse().ok_or_else(|| self.wrong(&format!("an entry at byte {at} of its node contradicts itself")))
    }

    /// Visits the entries of blocks that are in use, but to which the tree did not lead.
    fn rescue(&self, walked: &HashSet<u64>, visit: Visit<'_>) {
        let per_block = u64::from((self.block_bytes / self.vcn_bytes.max(1)).max(1));
        for (byte, bits) in (0_u64..).zip(&self.bitmap) {
            for bit in (0_u64..8).filter(|bit| bits & (1 << bit) != 0) {
                let vcn = byte.saturating_mul(8).saturating_add(bit).saturating_mul(per_block);
                if walked.contains(&vcn) {
                    continue;
                }
                let Ok(mut level) = self.block(vcn) else { continue };
                while let Ok(entry) = self.entry(&level.node, level.at, level.end) {
                    if entry.flags & LAST != 0 {
                        break;
                    }
                    if visit(&entry).is_break() {
                        return;
                    }
                    level.at = level.at.saturating_add(entry.length);
                }
            }
        }
    }

    fn wrong(&self, problem: &str) -> GuestError {
        GuestError::damaged(&self.object, problem)
    }
}
