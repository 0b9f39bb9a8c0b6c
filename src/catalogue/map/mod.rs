//! Disk maps: the Merkle trees that say what every chunk of a disk is and where its blocks were born.
//!
//! Nouns: a *place* is a node's level and index; a *span* is a range of chunks that one leaf, or one absent subtree, covers; the *base*
//! of a map under construction is the map of an earlier recovery point, whose subtrees are taken over by reference.
//!
//! A map is read along paths: whoever walks it holds one node of each level and asks a [`NodeStore`] for the rest. Nothing here
//! knows packs, keys or files, and nothing holds more of a map than one path.

mod builder;
mod cursor;
mod diff;
mod reader;
mod shape;
#[cfg(test)]
mod tests;

pub use builder::MapBuilder;
pub use diff::{Diff, diff};
pub use reader::{DamagedSpan, LeafSpan, MapReader, Span, Spans};
pub use shape::equal_chunks;

use std::sync::Arc;

use super::CatalogueError;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef};
use crate::units::{Address, NodeId};

/// Where nodes are read from, by many threads at once.
pub trait NodeStore: Send + Sync {
    /// The node, after its bytes were checked against its keyed id.
    ///
    /// # Errors
    /// [`CatalogueError::NodeUnreadable`] or [`CatalogueError::NodeDamaged`].
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError>;

    /// Says that these nodes, 256 at most, are probably read soon. A store that fetches ahead does so here; others do nothing.
    fn prefetch(&self, _nodes: &[NodeRef]) {}
}

impl<T: NodeStore + ?Sized> NodeStore for &T {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        (**self).read_node(node)
    }

    fn prefetch(&self, nodes: &[NodeRef]) {
        (**self).prefetch(nodes);
    }
}

/// Where new nodes go: children always before their parents.
pub trait NodeSink: Send {
    /// The vault-keyed BLAKE3 of an encoded node.
    fn node_id(&self, encoded: &[u8]) -> NodeId;

    /// Stores an encoded node and says where it was born.
    ///
    /// # Errors
    /// [`CatalogueError::NodeUnwritable`].
    fn write_node(&mut self, encoded: &[u8], id: NodeId) -> Result<Address, CatalogueError>;
}

/// Why chunks are not there: a restore gives zeros for all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Absent {
    /// The source says unallocated; never read.
    Hole,
    /// Read, and all zero.
    Zero,
    /// The guest's filesystem says unused; never read.
    Free,
}

impl Absent {
    /// Why a chunk is not there; `None` where it is data.
    pub fn of(entry: &ChunkEntry) -> Option<Self> {
        match entry {
            ChunkEntry::Hole => Some(Self::Hole),
            ChunkEntry::Zero => Some(Self::Zero),
            ChunkEntry::Free => Some(Self::Free),
            ChunkEntry::Data { .. } => None,
        }
    }

    /// One chunk of this kind.
    pub fn entry(self) -> ChunkEntry {
        match self {
            Self::Hole => ChunkEntry::Hole,
            Self::Zero => ChunkEntry::Zero,
            Self::Free => ChunkEntry::Free,
        }
    }

    fn of_child(child: &Child) -> Option<Self> {
        match child {
            Child::Hole => Some(Self::Hole),
            Child::Zero => Some(Self::Zero),
            Child::Free => Some(Self::Free),
            Child::Node(_) => None,
        }
    }

    fn child(self) -> Child {
        match self {
            Self::Hole => Child::Hole,
            Self::Zero => Child::Zero,
            Self::Free => Child::Free,
        }
    }
}
