//! Map nodes between the catalogue, which knows what they say, and the store, which knows where they lie.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::catalogue::CatalogueError;
use crate::catalogue::map::{NodeSink, NodeStore};
use crate::crypt::VaultKeys;
use crate::format::map::{Node, NodeRef};
use crate::store::{PackReader, Vault, WriteSession};
use crate::units::{Address, NodeId};

/// Reads nodes from a vault's packs, and checks each against its keyed id.
pub struct VaultNodes {
    packs: Arc<PackReader>,
    keys: Arc<VaultKeys>,
    /// Requests worth having in flight: 1 where nothing is gained by fetching ahead.
    ahead: usize,
}

impl VaultNodes {
    /// The nodes of a vault.
    pub fn new(vault: &Vault, packs: Arc<PackReader>) -> Self {
        Self { packs, keys: Arc::clone(vault.keys()), ahead: vault.backend().parallel_requests() }
    }
}

impl NodeStore for VaultNodes {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        let NodeRef { id, address, .. } = *node;
        let unreadable = |source| CatalogueError::NodeUnreadable { node: id, address, source: Box::new(source) };
        let encoded = self.packs.read_node(address).map_err(unreadable)?;
        let damaged = |reason| CatalogueError::NodeDamaged { node: id, address, reason };
        if self.keys.node_id(&encoded) != id {
            return Err(damaged("its keyed hash is not its id".to_owned()));
        }
        Node::decode(&encoded).map(Arc::new).map_err(|error| damaged(error.to_string()))
    }

    fn prefetch(&self, nodes: &[NodeRef]) {
        // A local disk answers as fast as nodes are decoded; a distant store is asked for all of them at once.
        if self.ahead > 4 {
            nodes.par_iter().for_each(|node| drop(self.packs.read_node(node.address)));
        }
    }
}

/// Puts nodes into a write session that the disk's blocks go into as well.
pub(super) struct SessionNodes<'a> {
    pub(super) session: &'a Mutex<WriteSession>,
    pub(super) keys: &'a VaultKeys,
}

impl NodeSink for SessionNodes<'_> {
    fn node_id(&self, encoded: &[u8]) -> NodeId {
        self.keys.node_id(encoded)
    }

    fn write_node(&mut self, encoded: &[u8], _: NodeId) -> Result<Address, CatalogueError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.store_node(encoded).map_err(|source| CatalogueError::NodeUnwritable { source: Box::new(source) })
    }
}
