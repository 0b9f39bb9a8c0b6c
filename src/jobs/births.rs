//! Which packs the maps of disks refer to, by birth: what a mirror keeps, and what a repair looks for.
//!
//! Every node is read once, however many points share it: ids of nodes seen are remembered, 32 bytes for each 64 MiB of different disk.

use std::collections::HashSet;

use super::JobError;
use crate::catalogue::CatalogueError;
use crate::catalogue::map::NodeStore;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef};
use crate::monitor::Monitor;
use crate::units::{NodeId, PackId};

/// Levels of inner nodes are 1 to 7, so no honest map is deeper.
const MOST_LEVELS: usize = 8;

/// A walk over many maps.
#[derive(Default)]
pub(super) struct Births {
    seen: HashSet<NodeId>,
    /// Packs of blocks and of nodes.
    pub(super) packs: HashSet<PackId>,
    /// Nodes that cannot be read; what lies below them is not known.
    pub(super) lost: Vec<CatalogueError>,
}

impl Births {
    /// Adds what a map refers to.
    pub(super) fn walk(&mut self, nodes: &dyn NodeStore, root: Child, monitor: &dyn Monitor) -> Result<(), JobError> {
        let mut levels: Vec<Vec<NodeRef>> = vec![self.unseen(&[root])];
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.pop() else {
                levels.pop();
                continue;
            };
            if monitor.cancelled() {
                return Err(JobError::Cancelled);
            }
            match nodes.read_node(&node) {
                Err(error) => self.lost.push(error),
                Ok(node) => match &*node {
                    Node::Leaf(entries) => self.packs.extend(entries.iter().flat_map(ChunkEntry::packs)),
                    Node::Inner { children, .. } if levels.len() < MOST_LEVELS => {
                        let below = self.unseen(children);
                        nodes.prefetch(&below);
                        levels.push(below);
                    }
                    Node::Inner { .. } => {}
                },
            }
        }
        Ok(())
    }

    /// The nodes among children that were not walked yet.
    fn unseen(&mut self, children: &[Child]) -> Vec<NodeRef> {
        let mut unseen = Vec::new();
        for child in children {
            if let Child::Node(node) = child
                && self.seen.insert(node.id)
            {
                self.packs.insert(node.address.pack);
                unseen.push(*node);
            }
        }
        unseen
    }
}
