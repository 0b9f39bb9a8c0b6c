//! Which chunks a node of a map covers: arithmetic on levels and indices, without nodes.
//!
//! Node `index` of level `level` covers the chunks `index * 256^(level+1)` up to the next node's, cut to the disk. Leaves are level 0;
//! the root is node 0 of the lowest level that covers the disk.

use crate::format::map::{root_level, subtree_chunks};
use crate::units::{ChunkIndex, ChunkRange, Grid, NODE_CHILDREN};

/// Children of an inner node, for arithmetic on indices.
pub(super) const FAN: u64 = NODE_CHILDREN as u64;

/// A node's place in its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 for leaves.
    pub(super) level: u8,
    /// Its number among the nodes of its level, from 0.
    pub(super) index: u64,
}

impl Place {
    /// The node of `level` that covers `chunk`.
    pub(super) fn covering(level: u8, chunk: u64) -> Self {
        Self { level, index: chunk / subtree_chunks(level) }
    }

    /// The node above.
    pub(super) fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index / FAN }
    }

    /// The node below, `nth` of 256.
    pub(super) fn child(self, nth: u64) -> Self {
        Self { level: self.level.saturating_sub(1), index: self.index.saturating_mul(FAN).saturating_add(nth) }
    }

    /// Which child of its parent it is.
    pub(super) fn nth(self) -> usize {
        // Below 256 by the modulus, so the cast cannot cut.
        (self.index % FAN) as usize
    }
}

/// The nodes of the map of a disk with so many chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    chunk_count: u64,
    root_level: u8,
}

impl Shape {
    pub(super) fn new(grid: &Grid) -> Self {
        let chunk_count = grid.chunk_count();
        Self { chunk_count, root_level: root_level(chunk_count) }
    }

    pub(super) fn chunk_count(&self) -> u64 {
        self.chunk_count
    }

    pub(super) fn root(&self) -> Place {
        Place { level: self.root_level, index: 0 }
    }

    /// The chunks below a place, cut to the disk; empty past its end.
    pub(super) fn range(&self, place: Place) -> ChunkRange {
        let start = place.index.saturating_mul(subtree_chunks(place.level)).min(self.chunk_count);
        let end = place.index.saturating_add(1).saturating_mul(subtree_chunks(place.level)).min(self.chunk_count);
        ChunkRange { start, end }
    }

    /// The entries that a leaf, or the children that an inner node, must have at `place`.
    pub(super) fn member_count(&self, place: Place) -> u64 {
        let range = self.range(place);
        let member_span = if place.level == 0 { 1 } else { subtree_chunks(place.level - 1) };
        (range.end - range.start).div_ceil(member_span)
    }

    /// The place of the highest level that starts at `chunk` and ends no later than `end`.
    pub(super) fn largest_whole(&self, chunk: u64, end: u64) -> Option<Place> {
        (0..=self.root_level).rev().map(|level| Place::covering(level, chunk)).find(|&place| {
            let range = self.range(place);
            range.start == chunk && range.start < range.end && range.end <= end
        })
    }
}

/// How many chunks, from the first on, are the same bytes of the disk on two grids of the same offset: all that both disks have, but
/// for the last where one disk's end cuts it shorter. Only these can be compared or kept.
pub fn equal_chunks(a: &Grid, b: &Grid) -> u64 {
    let common = a.chunk_count().min(b.chunk_count());
    let last = ChunkIndex(common.saturating_sub(1));
    // Only the smaller disk's last chunk can be cut differently.
    if a.chunk_extent(last) == b.chunk_extent(last) { common } else { common.saturating_sub(1) }
}
