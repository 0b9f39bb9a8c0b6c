//! Disk maps: leaves of chunk entries, inner nodes of child references.

use crate::units::{Address, ChunkHash, ContentId, NodeId, PackId};

/// Consecutive blocks of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Blocks of zeros, stored nowhere.
    Zero {
        /// 1 to 64.
        blocks: u16,
    },
    /// Blocks born one after the other.
    Blocks {
        /// Where the first was born.
        address: Address,
        /// 1 to 64.
        blocks: u16,
    },
}

impl Run {
    /// Blocks of the run.
    pub fn blocks(&self) -> u16 {
        match *self {
            Self::Zero { blocks } | Self::Blocks { blocks, .. } => blocks,
        }
    }
}

/// What a map knows of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkEntry {
    /// The source says unallocated; never read.
    Hole,
    /// Read, and all zero.
    Zero,
    /// The guest's filesystem says unused; never read.
    Free,
    /// Data.
    Data {
        /// BLAKE3 of the chunk's raw bytes, as long as the chunk is.
        hash: ChunkHash,
        /// Its blocks; a last block that the disk's end cuts short is stored padded with zeros.
        runs: Vec<Run>,
    },
}

impl ChunkEntry {
    /// The chunk's hash where it holds data; `None` where a restore gives zeros.
    pub fn data_hash(&self) -> Option<&ChunkHash> {
        match self {
            Self::Data { hash, .. } => Some(hash),
            Self::Hole | Self::Zero | Self::Free => None,
        }
    }
}

/// The packs that a subtree names, as a Bloom filter: 256 bits, two of them set for each pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackSummary(pub [u8; 32]);

impl PackSummary {
    fn bits(pack: &PackId) -> [u8; 2] {
        [pack.0[0], pack.0[1]]
    }

    /// Adds a pack.
    pub fn insert(&mut self, pack: &PackId) {
        for bit in Self::bits(pack) {
            if let Some(byte) = self.0.get_mut(usize::from(bit / 8)) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    /// Adds all packs of another summary.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// False: the pack is surely not below. True: it may be.
    pub fn may_contain(&self, pack: &PackId) -> bool {
        Self::bits(pack).iter().all(|bit| self.0.get(usize::from(bit / 8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
    }
}

/// A node of a map, as its parent or its recovery point names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRef {
    /// The vault-keyed BLAKE3 of the node's encoding.
    pub id: NodeId,
    /// Where it was born, in a metadata pack.
    pub address: Address,
    /// What the subtree's content is, in any vault. See FORMAT.md, "content hashes".
    pub content: ContentId,
    /// Packs named by the subtree: of its blocks and of the nodes below this one, and its own.
    pub packs: PackSummary,
}

/// A subtree of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// All its chunks are `Hole`.
    Hole,
    /// All its chunks are `Zero`.
    Zero,
    /// All its chunks are `Free`.
    Free,
    /// A node of its own.
    Node(NodeRef),
}

/// A node of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Up to [`crate::units::LEAF_CHUNKS`] chunks; only a disk's last leaf has fewer.
    Leaf(Vec<ChunkEntry>),
    /// Up to [`crate::units::NODE_CHILDREN`] subtrees; only the last of its level has fewer.
    Inner {
        /// 1 for parents of leaves, 2 for their parents, up to 7.
        level: u8,
        /// Ascending by disk offset.
        children: Vec<Child>,
    },
}
