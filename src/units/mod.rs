//! The words of Cairn as types: sizes of the grid, ids, addresses, extents.
//!
//! Nothing here does I/O, knows a byte layout or a key. A length in bytes, a chunk index, a block count and a slot are four
//! different things; where a plain integer crosses a function boundary its name carries the unit (`size_bytes`).

mod extent;
mod grid;
mod id;
mod slots;

pub use extent::{Extent, ExtentSet};
pub use grid::{ChunkIndex, ChunkRange, Grid, GridError};
pub use id::{
    Address, ChunkHash, ContentId, Fingerprint, IdParseError, KeySlotId, LeaseId, MachineName, NameError, NodeId, PackId, PointId,
    SegmentId, VaultId,
};
pub use slots::SlotSet;

/// Bytes of a block, the unit of deduplication: what filesystems allocate.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a whole chunk, the unit of scanning, change detection and verification.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Blocks of a whole chunk.
pub const BLOCKS_PER_CHUNK: usize = CHUNK_BYTES / BLOCK_BYTES;
/// Most blocks that are compressed and sealed together.
pub const MAX_FRAME_BLOCKS: usize = 256;
/// Chunk entries of one leaf of a disk map: 64 MiB of disk.
pub const LEAF_CHUNKS: usize = 256;
/// Children of one inner node of a disk map.
pub const NODE_CHILDREN: usize = 256;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(BLOCK_BYTES));
