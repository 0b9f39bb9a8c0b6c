//! Writing a map from its first chunk to its last, against a base map whose unchanged subtrees are taken over by reference.
//!
//! Held are the unfinished node of each level and the base's last node of each level: memory does not depend on the disk. A subtree
//! without data of one kind is never a node. A finished node that is byte for byte the base's at the same place is not written again,
//! provided that the base's can be read: a damaged node must not live on in new points.

use super::cursor::{Cursor, Found, leaf_entries};
use super::shape::{Place, Shape, equal_chunks};
use super::{Absent, MapReader, NodeSink};
use crate::catalogue::CatalogueError;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef, disk_content_id};
use crate::units::{ChunkIndex, ContentId, Grid, NodeId};

/// The base of a map under construction.
struct Base<'a> {
    cursor: Cursor<'a>,
    /// Chunks before this one have the same bytes of the disk in base and new map.
    keepable_end: u64,
}

/// Builds one map: [`MapBuilder::keep_to`], [`MapBuilder::absent_to`] and [`MapBuilder::push`] move forward over all chunks of the disk.
pub struct MapBuilder<'base, 'sink> {
    grid: Grid,
    shape: Shape,
    base: Option<Base<'base>>,
    sink: &'sink mut dyn NodeSink,
    /// The next chunk.
    position: u64,
    /// Entries of the leaf that holds the position.
    leaf: Vec<ChunkEntry>,
    /// Children of the inner nodes that hold the position, from level 1 up.
    inner: Vec<Vec<Child>>,
    root: Option<Child>,
}

impl<'base, 'sink> MapBuilder<'base, 'sink> {
    /// A builder for a disk, with the map of an earlier point as its base where there is one. The base's disk may have another size.
    ///
    /// # Errors
    /// [`CatalogueError::DifferentGrids`] where the base's grid has another offset: none of its chunks are the new map's.
    pub fn new(grid: Grid, base: Option<&MapReader<'base>>, sink: &'sink mut dyn NodeSink) -> Result<Self, CatalogueError> {
        let base = base.map(|base| {
            let (a_bytes, b_bytes) = (base.grid().offset_bytes(), grid.offset_bytes());
            if a_bytes != b_bytes {
                return Err(CatalogueError::DifferentGrids { a_bytes, b_bytes });
            }
            Ok(Base { cursor: base.cursor(), keepable_end: equal_chunks(base.grid(), &grid) })
        });
        let shape = Shape::new(&grid);
        let levels = usize::from(shape.root().level);
        Ok(Self { grid, shape, base: base.transpose()?, sink, position: 0, leaf: Vec::new(), inner: vec![Vec::new(); levels], root: None })
    }

    /// The next chunk that the builder wants to be told of.
    pub fn position(&self) -> ChunkIndex {
        ChunkIndex(self.position)
    }

    /// The first chunk that cannot be kept: the base does not have it, or the end of either disk cuts it. 0 without a base.
    pub fn keepable_end(&self) -> ChunkIndex {
        ChunkIndex(self.base.as_ref().map_or(0, |base| base.keepable_end))
    }

    /// Takes the base's entries up to `end`. Whole subtrees are taken without reading them.
    ///
    /// # Panics
    /// Where `end` lies before the position or past [`MapBuilder::keepable_end`]: a mistake of the caller.
    ///
    /// # Errors
    /// [`CatalogueError::NodeUnreadable`] or [`CatalogueError::NodeDamaged`] for the base's nodes, [`CatalogueError::NodeUnwritable`] for
    /// new ones. The builder is of no use afterwards.
    pub fn keep_to(&mut self, end: ChunkIndex) -> Result<(), CatalogueError> {
        assert!(end.0 >= self.position, "a map is written forward: at chunk {}, asked to keep up to {}", self.position, end.0);
        assert!(end.0 <= self.keepable_end().0 || end.0 == self.position, "chunk {} has no equal in the base", end.0 - 1);
        while self.position < end.0 {
            if let Some((place, child)) = self.keepable_subtree(end.0)? {
                self.put_child(place, child)?;
            } else {
                self.keep_in_leaf(end.0)?;
            }
        }
        Ok(())
    }

    /// Makes the chunks up to `end` absent; whole subtrees take no work.
    ///
    /// # Panics
    /// Where `end` lies before the position or past the disk: a mistake of the caller.
    ///
    /// # Errors
    /// As [`MapBuilder::push`].
    pub fn absent_to(&mut self, end: ChunkIndex, kind: Absent) -> Result<(), CatalogueError> {
        assert!(
            self.position <= end.0 && end.0 <= self.shape.chunk_count(),
            "a map is written forward to the end of its disk: at chunk {} of {}, asked for {}",
            self.position,
            self.shape.chunk_count(),
            end.0
        );
        while self.position < end.0 {
            match self.shape.largest_whole(self.position, end.0) {
                Some(place) => self.put_child(place, kind.child())?,
                None => self.push(kind.entry())?,
            }
        }
        Ok(())
    }

    /// Adds the next chunk.
    ///
    /// # Panics
    /// Past the end of the disk: a mistake of the caller.
    ///
    /// # Errors
    /// [`CatalogueError::NodeUnwritable`]. The builder is of no use afterwards.
    pub fn push(&mut self, entry: ChunkEntry) -> Result<(), CatalogueError> {
        assert!(self.position < self.shape.chunk_count(), "a disk of {} chunks has no more", self.shape.chunk_count());
        let place = Place::covering(0, self.position);
        self.leaf.push(entry);
        self.position += 1;
        if self.position == self.shape.range(place).end {
            let entries = std::mem::take(&mut self.leaf);
            let child = self.finish_leaf(place, entries)?;
            self.put_child(place, child)?;
        }
        Ok(())
    }

    /// The root and the disk's content id, when all chunks were told.
    ///
    /// # Panics
    /// Before that: a mistake of the caller.
    pub fn finish(self) -> (Child, ContentId) {
        assert!(self.position == self.shape.chunk_count(), "the map ends at chunk {} of {}", self.position, self.shape.chunk_count());
        // Only a disk of no bytes has no root yet.
        let root = self.root.unwrap_or(Child::Hole);
        (root, disk_content_id(&self.grid, root.content()))
    }

    /// The largest subtree at the position that ends by `end` and that the base has at the same place, cut alike.
    fn keepable_subtree(&mut self, end: u64) -> Result<Option<(Place, Child)>, CatalogueError> {
        let Some(base) = &mut self.base else { return Ok(None) };
        let Some(mut place) = self.shape.largest_whole(self.position, end) else { return Ok(None) };
        loop {
            if place.level <= base.cursor.shape().root().level && base.cursor.shape().range(place) == self.shape.range(place) {
                return Ok(Some((place, base.cursor.child(place)?)));
            }
            if place.level == 0 {
                return Ok(None);
            }
            place = place.child(0);
        }
    }

    /// Takes entries of the base up to `end` or the end of the leaf at the position.
    fn keep_in_leaf(&mut self, end: u64) -> Result<(), CatalogueError> {
        let Some(base) = &mut self.base else { return Ok(()) };
        let start = self.position;
        let leaf_end = self.shape.range(Place::covering(0, start)).end.min(end);
        match base.cursor.find(start)? {
            Found::Absent(kind, chunks) => {
                for _ in start..leaf_end.min(chunks.end) {
                    self.push(kind.entry())?;
                }
            }
            Found::Leaf(leaf, chunks) => {
                // Below 256, so the cast cannot cut.
                let skip = (start - chunks.start) as usize;
                for entry in leaf_entries(&leaf).iter().skip(skip).take((leaf_end - start) as usize) {
                    self.push(entry.clone())?;
                }
            }
        }
        Ok(())
    }

    /// Puts a finished subtree that ends at or after the position under its parent, and finishes the parent where it was the last.
    fn put_child(&mut self, mut place: Place, mut child: Child) -> Result<(), CatalogueError> {
        self.position = self.shape.range(place).end;
        while place != self.shape.root() {
            let parent = place.parent();
            // Levels above 0 and up to the root's have a list; `place` is below the root.
            let Some(siblings) = self.inner.get_mut(usize::from(place.level)) else { break };
            debug_assert_eq!(siblings.len(), place.nth(), "children come in order");
            siblings.push(child);
            if self.position < self.shape.range(parent).end {
                return Ok(());
            }
            let children = std::mem::take(siblings);
            child = self.finish_inner(parent, children)?;
            place = parent;
        }
        self.root = Some(child);
        Ok(())
    }

    fn finish_leaf(&mut self, place: Place, entries: Vec<ChunkEntry>) -> Result<Child, CatalogueError> {
        match same_kind(entries.iter().map(Absent::of)) {
            Some(kind) => Ok(kind.child()),
            None => self.write(place, &Node::Leaf(entries)),
        }
    }

    fn finish_inner(&mut self, place: Place, children: Vec<Child>) -> Result<Child, CatalogueError> {
        match same_kind(children.iter().map(Absent::of_child)) {
            Some(kind) => Ok(kind.child()),
            None => self.write(place, &Node::Inner { level: place.level, children }),
        }
    }

    /// The reference to a finished node: the base's where that is the same, else a new one.
    fn write(&mut self, place: Place, node: &Node) -> Result<Child, CatalogueError> {
        let encoded = node.encode();
        let id = self.sink.node_id(&encoded);
        if let Some(base) = &mut self.base
            && let Some(same) = base.node_with_id(place, id)
        {
            return Ok(Child::Node(same));
        }
        let address = self.sink.write_node(&encoded, id)?;
        let mut packs = node.packs();
        packs.insert(&address.pack);
        Ok(Child::Node(NodeRef { id, address, content: node.content(), packs }))
    }
}

impl Base<'_> {
    /// The base's node at a place if it has this id and can be read. A base that cannot be read is no error here: the new node is
    /// written instead.
    fn node_with_id(&mut self, place: Place, id: NodeId) -> Option<NodeRef> {
        let shape = self.cursor.shape();
        let range = shape.range(place);
        if place.level > shape.root().level || range.start >= range.end {
            return None;
        }
        let Ok(Child::Node(node)) = self.cursor.child(place) else { return None };
        (node.id == id && self.cursor.node(place, &node).is_ok()).then_some(node)
    }
}

/// The kind that all have; `None` where they differ or one has data.
fn same_kind(mut kinds: impl Iterator<Item = Option<Absent>>) -> Option<Absent> {
    let first = kinds.next()??;
    kinds.all(|kind| kind == Some(first)).then_some(first)
}
