//! The fixed grid on which a disk is cut into chunks.
//!
//! When the grid is shifted by `grid_offset`, chunk 0 is the bytes before it and chunk `n` starts at `grid_offset + (n - 1) * 256 KiB`,
//! so that the 4 KiB grid falls on the partitions' own (old tables start at sector 63). Else chunk `n` starts at `n * 256 KiB`;
//! the last chunk may be short, and no chunk is longer than 256 KiB.

use super::{BLOCK_BYTES, CHUNK_BYTES, Extent};

/// A chunk's number on its disk, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u64);

/// Chunks `start..end` of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// First chunk.
    pub start: u64,
    /// The chunk after the last one.
    pub end: u64,
}

/// Why a grid cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// The offset is not a multiple of 512 below 4096.
    #[error("a grid offset of {0} bytes is not a multiple of 512 below 4096")]
    Offset(u32),
    /// More bytes than Cairn counts: disks go to 2^60 bytes (1 EiB).
    #[error("a disk of {0} bytes is larger than 1 EiB, the largest that Cairn keeps")]
    Size(u64),
}

/// A disk's size and the offset of its grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    size_bytes: u64,
    offset_bytes: u32,
}

/// [`CHUNK_BYTES`] for arithmetic on disk offsets.
const CHUNK: u64 = CHUNK_BYTES as u64;

impl Grid {
    /// Largest disk: 1 EiB.
    pub const MAX_DISK_BYTES: u64 = 1 << 60;

    /// The grid of a disk of `size_bytes` whose 4 KiB blocks start at `offset_bytes` (a multiple of 512 below 4096).
    ///
    /// # Errors
    /// [`GridError`] for an offset or a size out of range.
    pub fn new(size_bytes: u64, offset_bytes: u32) -> Result<Self, GridError> {
        if offset_bytes as usize >= BLOCK_BYTES || !offset_bytes.is_multiple_of(512) {
            return Err(GridError::Offset(offset_bytes));
        }
        if size_bytes > Self::MAX_DISK_BYTES {
            return Err(GridError::Size(size_bytes));
        }
        Ok(Self { size_bytes, offset_bytes })
    }

    /// Bytes of the disk.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes by which the grid is shifted, 0 on most disks.
    pub fn offset_bytes(&self) -> u32 {
        self.offset_bytes
    }

    /// Bytes that a shifted grid puts in front of the first whole chunk: 0 or `offset_bytes`.
    fn shift(&self) -> u64 {
        if self.offset_bytes == 0 { 0 } else { CHUNK - u64::from(self.offset_bytes) }
    }

    /// Chunks of the disk.
    pub fn chunk_count(&self) -> u64 {
        if self.size_bytes == 0 { 0 } else { (self.size_bytes + self.shift()).div_ceil(CHUNK) }
    }

    /// The bytes of a chunk; empty past the end of the disk.
    pub fn chunk_extent(&self, chunk: ChunkIndex) -> Extent {
        let start = chunk.0.saturating_mul(CHUNK).saturating_sub(self.shift());
        let end = chunk.0.saturating_add(1).saturating_mul(CHUNK).saturating_sub(self.shift());
        Extent::between(start, end.min(self.size_bytes))
    }

    /// The bytes of a range of chunks, cut to the disk.
    pub fn range_extent(&self, range: ChunkRange) -> Extent {
        let start = range.start.saturating_mul(CHUNK).saturating_sub(self.shift());
        let end = range.end.saturating_mul(CHUNK).saturating_sub(self.shift());
        Extent::between(start, end.min(self.size_bytes))
    }

    /// The chunk that holds the byte at `offset_bytes`, which may lie past the end of the disk.
    pub fn chunk_at(&self, offset_bytes: u64) -> ChunkIndex {
        ChunkIndex(offset_bytes.saturating_add(self.shift()) / CHUNK)
    }

    /// The chunks that have at least one byte of `extent`.
    pub fn chunks_touching(&self, extent: Extent) -> ChunkRange {
        let end_bytes = extent.end().min(self.size_bytes);
        if extent.offset() >= end_bytes {
            return ChunkRange { start: 0, end: 0 };
        }
        ChunkRange { start: self.chunk_at(extent.offset()).0, end: self.chunk_at(end_bytes - 1).0 + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks tile the disk whatever its size and grid, and every byte is found in the chunk that holds it.
    #[test]
    fn chunks_tile_the_disk() {
        for size in [0, 1, 511, 4096, 32_256, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 512, 10 * CHUNK + 7] {
            for offset in [0, 512, 3584] {
                let grid = Grid::new(size, offset).expect("a legal grid");
                let mut end = 0;
                for index in 0..grid.chunk_count() {
                    let extent = grid.chunk_extent(ChunkIndex(index));
                    assert_eq!(extent.offset(), end, "size {size} offset {offset} chunk {index}");
                    assert!(!extent.is_empty() && extent.length() <= CHUNK, "size {size} offset {offset} chunk {index}");
                    assert_eq!(grid.chunk_at(extent.offset()), ChunkIndex(index));
                    assert_eq!(grid.chunk_at(extent.end() - 1), ChunkIndex(index));
                    end = extent.end();
                }
                assert_eq!(end, size, "size {size} offset {offset}");
            }
        }
    }

    #[test]
    fn a_shifted_grid_falls_on_the_partition() {
        let grid = Grid::new(1 << 30, 63 * 512 % 4096).expect("a legal grid");
        assert_eq!(grid.offset_bytes(), 3584);
        assert_eq!(grid.chunk_extent(ChunkIndex(0)).length(), 3584);
        assert_eq!((63 * 512 - grid.chunk_extent(ChunkIndex(1)).offset()) % 4096, 0);
    }

    #[test]
    fn touching_chunks_are_cut_to_the_disk() {
        let grid = Grid::new(4 * CHUNK, 0).expect("a legal grid");
        assert_eq!(grid.chunks_touching(Extent::between(CHUNK - 1, CHUNK + 1)), ChunkRange { start: 0, end: 2 });
        assert_eq!(grid.chunks_touching(Extent::between(3 * CHUNK, u64::MAX)), ChunkRange { start: 3, end: 4 });
        assert_eq!(grid.chunks_touching(Extent::between(9 * CHUNK, 10 * CHUNK)), ChunkRange { start: 0, end: 0 });
    }

    #[test]
    fn grids_out_of_range_are_refused() {
        assert_eq!(Grid::new(1, 4096), Err(GridError::Offset(4096)));
        assert_eq!(Grid::new(1, 100), Err(GridError::Offset(100)));
        assert_eq!(Grid::new(u64::MAX, 0), Err(GridError::Size(u64::MAX)));
    }
}
