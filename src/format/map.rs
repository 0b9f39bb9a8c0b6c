//! Disk maps: leaves of chunk entries, inner nodes of child references; their shape, and the hashes of what a restore gives.
//!
//! The bytes of nodes are in `node.rs`.

use crate::units::{Address, ChunkHash, ContentId, Grid, LEAF_CHUNKS, NODE_CHILDREN, NodeId, PackId};

/// The content of a subtree that restores to zeros, of whatever size: nothing is there.
pub const ABSENT: ContentId = ContentId([0; ContentId::LEN]);
/// Highest level of an inner node.
pub const MAX_LEVEL: u8 = 7;

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

    /// The packs that its runs name, each as often as it is named.
    pub fn packs(&self) -> impl Iterator<Item = &PackId> {
        let runs = match self {
            Self::Data { runs, .. } => runs.as_slice(),
            Self::Hole | Self::Zero | Self::Free => &[],
        };
        runs.iter().filter_map(|run| match run {
            Run::Zero { .. } => None,
            Run::Blocks { address, .. } => Some(&address.pack),
        })
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

impl Child {
    /// What the subtree's content is, in any vault.
    pub fn content(&self) -> ContentId {
        match self {
            Self::Hole | Self::Zero | Self::Free => ABSENT,
            Self::Node(node) => node.content,
        }
    }

    /// Packs that it may name, its own among them.
    pub fn packs(&self) -> PackSummary {
        match self {
            Self::Hole | Self::Zero | Self::Free => PackSummary::default(),
            Self::Node(node) => node.packs,
        }
    }
}

impl Node {
    /// What the content of the subtree below is, in any vault.
    pub fn content(&self) -> ContentId {
        match self {
            Self::Leaf(entries) => leaf_content(entries),
            Self::Inner { level, children } => {
                let contents: Vec<_> = children.iter().map(Child::content).collect();
                inner_content(*level, &contents)
            }
        }
    }

    /// Packs named by the node and below it; who refers to the node adds the pack that it is born in.
    pub fn packs(&self) -> PackSummary {
        let mut summary = PackSummary::default();
        match self {
            Self::Leaf(entries) => entries.iter().flat_map(ChunkEntry::packs).for_each(|pack| summary.insert(pack)),
            Self::Inner { children, .. } => children.iter().for_each(|child| summary.merge(&child.packs())),
        }
        summary
    }
}

/// Chunks that a subtree with a root of this level covers: 256 for a leaf, level 0. Past the numbers' end, all.
pub fn subtree_chunks(level: u8) -> u64 {
    let children = u64::try_from(NODE_CHILDREN).unwrap_or(u64::MAX);
    let leaf = u64::try_from(LEAF_CHUNKS).unwrap_or(u64::MAX);
    leaf.saturating_mul(children.saturating_pow(u32::from(level)))
}

/// The level of the root of a disk's map: the lowest of which one node covers the disk.
pub fn root_level(chunk_count: u64) -> u8 {
    (0..MAX_LEVEL).find(|&level| chunk_count <= subtree_chunks(level)).unwrap_or(MAX_LEVEL)
}

/// What the content of a leaf's chunks is: [`ABSENT`] where all restore to zeros.
pub fn leaf_content(entries: &[ChunkEntry]) -> ContentId {
    let hashes = entries.iter().map(|entry| entry.data_hash().map_or([0; 32], |hash| hash.0));
    content("cairn v1 leaf content", &[], hashes)
}

/// What the content of an inner node's children is: [`ABSENT`] where all of theirs is.
pub fn inner_content(level: u8, children: &[ContentId]) -> ContentId {
    content("cairn v1 inner content", &[level], children.iter().map(|child| child.0))
}

/// What a disk's content is, from the content of its map's root.
pub fn disk_content_id(grid: &Grid, root: ContentId) -> ContentId {
    let mut hasher = blake3::Hasher::new_derive_key("cairn v1 disk content");
    hasher.update(&grid.size_bytes().to_le_bytes()).update(&grid.offset_bytes().to_le_bytes()).update(root.as_bytes());
    ContentId(*hasher.finalize().as_bytes())
}

fn content(context: &str, prefix: &[u8], parts: impl Iterator<Item = [u8; 32]>) -> ContentId {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(prefix);
    let mut absent = true;
    for part in parts {
        absent &= part == ABSENT.0;
        hasher.update(&part);
    }
    if absent { ABSENT } else { ContentId(*hasher.finalize().as_bytes()) }
}
