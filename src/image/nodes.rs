//! Map nodes kept decoded: random reads of a large disk come back to the same few leaves.

use std::sync::Arc;

use crate::catalogue::CatalogueError;
use crate::catalogue::map::NodeStore;
use crate::format::map::{ChunkEntry, Node, NodeRef, Run};
use crate::store::Cache;
use crate::units::NodeId;

/// Another store's nodes, the last used of them kept decoded.
pub struct CachedNodes<S> {
    store: S,
    nodes: Cache<NodeId, Arc<Node>>,
}

impl<S: NodeStore> CachedNodes<S> {
    /// Keeps at most `capacity_bytes` of nodes.
    pub fn new(store: S, capacity_bytes: usize) -> Self {
        Self { store, nodes: Cache::new(capacity_bytes) }
    }
}

impl<S: NodeStore> NodeStore for CachedNodes<S> {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        self.nodes.get(&node.id, || self.store.read_node(node), |node| weight(node))
    }

    fn prefetch(&self, nodes: &[NodeRef]) {
        self.store.prefetch(nodes);
    }
}

/// Bytes of memory that a decoded node takes, about.
fn weight(node: &Node) -> usize {
    match node {
        Node::Leaf(entries) => entries.iter().map(entry_weight).sum(),
        Node::Inner { children, .. } => children.len() * size_of_val(children.first().unwrap_or(&crate::format::map::Child::Hole)),
    }
}

fn entry_weight(entry: &ChunkEntry) -> usize {
    let runs = match entry {
        ChunkEntry::Data { runs, .. } => runs.capacity() * size_of::<Run>(),
        ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => 0,
    };
    size_of::<ChunkEntry>() + runs
}
