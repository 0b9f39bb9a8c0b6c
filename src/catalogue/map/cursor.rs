//! One walker of one map: finds the subtree at a place, holding the last node read of each level and nothing else.

use std::sync::Arc;

use super::shape::{FAN, Place, Shape};
use super::{Absent, NodeStore};
use crate::catalogue::CatalogueError;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef};
use crate::units::{ChunkRange, Grid};

/// Siblings that are announced to the store ahead of a sequential walk: leaves of 4 GiB of disk, about 1 MiB of nodes.
const READ_AHEAD_NODES: usize = 64;

/// Where a chunk was found.
pub(super) enum Found {
    /// In a subtree without data, which covers these chunks.
    Absent(Absent, ChunkRange),
    /// In this leaf, which covers these chunks.
    Leaf(Arc<Node>, ChunkRange),
}

/// An error, and the chunks that cannot be known because of it.
pub(super) struct Failed {
    pub(super) chunks: ChunkRange,
    pub(super) error: CatalogueError,
}

impl From<Failed> for CatalogueError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The last node read of one level.
struct Held {
    index: u64,
    node: Arc<Node>,
}

pub(super) struct Cursor<'a> {
    store: Arc<dyn NodeStore + 'a>,
    root: Child,
    shape: Shape,
    /// By level.
    path: Vec<Option<Held>>,
    /// The chunks that will be walked from start to end: nodes in them are announced ahead. Empty for random access.
    ahead: ChunkRange,
    /// By level: nodes before this index were announced.
    announced: Vec<u64>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(store: Arc<dyn NodeStore + 'a>, root: Child, grid: &Grid) -> Self {
        let shape = Shape::new(grid);
        let levels = usize::from(shape.root().level) + 1;
        Self {
            store,
            root,
            shape,
            path: std::iter::repeat_with(|| None).take(levels).collect(),
            ahead: ChunkRange { start: 0, end: 0 },
            announced: vec![0; levels],
        }
    }

    /// Announces nodes ahead while these chunks are walked in order. The rest of the walk before is not announced again.
    pub(super) fn walk_ahead(&mut self, chunks: ChunkRange) {
        let goes_on = chunks.end == self.ahead.end && chunks.start >= self.ahead.start;
        if !goes_on {
            self.announced.fill(0);
        }
        self.ahead = chunks;
    }

    /// Ends the walk: what is asked for now is asked for at random.
    pub(super) fn stay(&mut self) {
        self.walk_ahead(ChunkRange { start: 0, end: 0 });
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn store(&self) -> &dyn NodeStore {
        &*self.store
    }

    /// The subtree at a place of this map; reads the nodes above it that are not held.
    pub(super) fn child(&mut self, place: Place) -> Result<Child, Failed> {
        debug_assert!(place.level <= self.shape.root().level, "a place above the root");
        if place.level >= self.shape.root().level {
            return Ok(self.root);
        }
        let parent = place.parent();
        match self.child(parent)? {
            Child::Node(node) => {
                let parent_node = self.node(parent, &node)?;
                Ok(member(&parent_node, place.nth()))
            }
            absent => Ok(absent),
        }
    }

    /// The node at a place, given the reference that [`Cursor::child`] found there.
    pub(super) fn node(&mut self, place: Place, node: &NodeRef) -> Result<Arc<Node>, Failed> {
        if let Some(Some(held)) = self.path.get(usize::from(place.level))
            && held.index == place.index
        {
            return Ok(Arc::clone(&held.node));
        }
        self.announce(place, node);
        let read = self.store.read_node(node).and_then(|read| self.check(place, node, &read).map(|()| read));
        let read = read.map_err(|error| Failed { chunks: self.shape.range(place), error })?;
        if let Some(held) = self.path.get_mut(usize::from(place.level)) {
            *held = Some(Held { index: place.index, node: Arc::clone(&read) });
        }
        Ok(read)
    }

    /// The leaf or the absent subtree that holds a chunk of this map.
    pub(super) fn find(&mut self, chunk: u64) -> Result<Found, Failed> {
        let mut place = self.shape.root();
        loop {
            let child = self.child(place)?;
            match child {
                Child::Node(node) if place.level == 0 => {
                    return Ok(Found::Leaf(self.node(place, &node)?, self.shape.range(place)));
                }
                Child::Node(_) => place = Place::covering(place.level - 1, chunk),
                absent => {
                    // `of_child` gives `None` for nodes only, which were handled above.
                    let kind = Absent::of_child(&absent).unwrap_or(Absent::Hole);
                    return Ok(Found::Absent(kind, self.shape.range(place)));
                }
            }
        }
    }

    /// Whether a node has the kind, level and number of members that its place asks for.
    fn check(&self, place: Place, node: &NodeRef, read: &Node) -> Result<(), CatalogueError> {
        let expected_members = self.shape.member_count(place);
        let (level, members) = match read {
            Node::Leaf(entries) => (0, entries.len()),
            Node::Inner { level, children } => (*level, children.len()),
        };
        if level == place.level && members as u64 == expected_members {
            return Ok(());
        }
        let reason = format!(
            "expected level {} with {expected_members} members at this place of the map, found level {level} with {members}",
            place.level
        );
        Err(CatalogueError::NodeDamaged { node: node.id, address: node.address, reason })
    }

    /// Tells the store of a node that is about to be read and of its siblings after it, in a sequential walk.
    fn announce(&mut self, place: Place, node: &NodeRef) {
        if self.ahead.start >= self.ahead.end || place.level >= self.shape.root().level {
            return;
        }
        let parent = place.parent();
        let (Some(announced), Some(Some(above))) =
            (self.announced.get_mut(usize::from(place.level)), self.path.get(usize::from(parent.level)))
        else {
            return;
        };
        if place.index < *announced || above.index != parent.index {
            return;
        }
        let mut nodes = vec![*node];
        let mut next = place.index + 1;
        while next < parent.child(FAN).index && nodes.len() < READ_AHEAD_NODES {
            let sibling = Place { index: next, ..place };
            if self.shape.range(sibling).start >= self.ahead.end {
                break;
            }
            if let Child::Node(node) = member(&above.node, sibling.nth()) {
                nodes.push(node);
            }
            next += 1;
        }
        *announced = next;
        if nodes.len() > 1 {
            self.store.prefetch(&nodes);
        }
    }
}

/// A child of a node; a leaf, which has none, is never asked: [`Cursor::check`] saw the level.
fn member(node: &Node, nth: usize) -> Child {
    match node {
        Node::Inner { children, .. } => children.get(nth).copied().unwrap_or(Child::Hole),
        Node::Leaf(_) => Child::Hole,
    }
}

/// The entries of a leaf; an inner node, which has none, is never asked.
pub(super) fn leaf_entries(node: &Node) -> &[ChunkEntry] {
    match node {
        Node::Leaf(entries) => entries,
        Node::Inner { .. } => &[],
    }
}
