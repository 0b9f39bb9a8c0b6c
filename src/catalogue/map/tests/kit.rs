//! Nodes in memory that count what is read and written, and maps made of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::catalogue::CatalogueError;
use crate::catalogue::map::{MapBuilder, MapReader, NodeSink, NodeStore, Span};
use crate::format::map::{Child, ChunkEntry, Node, NodeRef, Run};
use crate::units::{Address, CHUNK_BYTES, ChunkHash, ChunkIndex, ChunkRange, ContentId, Grid, NodeId, PackId};

/// A disk of so many whole chunks.
pub(super) fn whole_chunks(count: u64) -> Grid {
    Grid::new(count * CHUNK_BYTES as u64, 0).expect("a legal grid")
}

/// A chunk with data: equal seeds are equal chunks.
pub(super) fn data(seed: u32) -> ChunkEntry {
    let mut hash = [0xda; 32];
    hash[..4].copy_from_slice(&seed.to_le_bytes());
    let pack = PackId([seed.to_le_bytes()[0] % 5; 16]);
    let runs = vec![Run::Zero { blocks: 3 }, Run::Blocks { address: Address { pack, slot: seed }, blocks: 61 }];
    ChunkEntry::Data { hash: ChunkHash(hash), runs }
}

/// The nodes of some maps.
#[derive(Default)]
pub(super) struct Nodes {
    nodes: Mutex<HashMap<Address, Vec<u8>>>,
    reads: Mutex<Vec<NodeRef>>,
    announced: Mutex<Vec<Vec<NodeRef>>>,
}

impl Nodes {
    pub(super) fn count(&self) -> usize {
        self.nodes.lock().expect("no panic").len()
    }

    /// Nodes read since the last call.
    pub(super) fn take_reads(&self) -> Vec<NodeRef> {
        std::mem::take(&mut self.reads.lock().expect("no panic"))
    }

    /// What was announced since the last call.
    pub(super) fn take_announced(&self) -> Vec<Vec<NodeRef>> {
        std::mem::take(&mut self.announced.lock().expect("no panic"))
    }

    pub(super) fn remove(&self, address: &Address) {
        self.nodes.lock().expect("no panic").remove(address);
    }

    /// Puts the bytes of one node in the place of another's.
    pub(super) fn swap(&self, from: &Address, to: &Address) {
        let mut nodes = self.nodes.lock().expect("no panic");
        let bytes = nodes[from].clone();
        nodes.insert(*to, bytes);
    }
}

impl NodeStore for Nodes {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        self.reads.lock().expect("no panic").push(*node);
        match self.nodes.lock().expect("no panic").get(&node.address) {
            Some(bytes) => Ok(Arc::new(Node::decode(bytes).expect("what was encoded"))),
            None => Err(CatalogueError::NodeUnreadable { node: node.id, address: node.address, source: "no such pack".into() }),
        }
    }

    fn prefetch(&self, nodes: &[NodeRef]) {
        self.announced.lock().expect("no panic").push(nodes.to_vec());
    }
}

/// Writes into [`Nodes`], as one backup does: into packs of its own.
pub(super) struct Sink<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) pack: PackId,
    pub(super) written: Vec<NodeId>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(nodes: &'a Nodes, pack: u8) -> Self {
        Self { nodes, pack: PackId([pack; 16]), written: Vec::new() }
    }
}

impl NodeSink for Sink<'_> {
    fn node_id(&self, encoded: &[u8]) -> NodeId {
        NodeId(*blake3::keyed_hash(&[7; 32], encoded).as_bytes())
    }

    fn write_node(&mut self, encoded: &[u8], id: NodeId) -> Result<Address, CatalogueError> {
        let slot = u32::try_from(self.written.len()).expect("few nodes");
        let address = Address { pack: self.pack, slot };
        self.written.push(id);
        let before = self.nodes.nodes.lock().expect("no panic").insert(address, encoded.to_vec());
        assert!(before.is_none(), "two sinks with one pack");
        Ok(address)
    }
}

/// A map made of its entries alone.
pub(super) fn build(nodes: &Nodes, pack: u8, grid: Grid, entries: &[ChunkEntry]) -> (Child, ContentId) {
    let mut sink = Sink::new(nodes, pack);
    let mut builder = MapBuilder::new(grid, None, &mut sink).expect("no base");
    for entry in entries {
        builder.push(entry.clone()).expect("memory");
    }
    builder.finish()
}

/// A map that keeps all of `base` except for these chunks.
pub(super) fn change(nodes: &Nodes, pack: u8, base: &MapReader<'_>, changed: &[(u64, ChunkEntry)]) -> (Child, ContentId, Vec<NodeId>) {
    let mut sink = Sink::new(nodes, pack);
    let mut builder = MapBuilder::new(*base.grid(), Some(base), &mut sink).expect("one grid");
    for (chunk, entry) in changed {
        builder.keep_to(ChunkIndex(*chunk)).expect("memory");
        builder.push(entry.clone()).expect("memory");
    }
    builder.keep_to(builder.keepable_end()).expect("memory");
    let (root, content) = builder.finish();
    (root, content, sink.written)
}

/// All entries of a map, one by one.
pub(super) fn entries(map: &MapReader<'_>) -> Vec<ChunkEntry> {
    part(map, ChunkRange { start: 0, end: map.grid().chunk_count() })
}

/// Entries of a part of a map, one by one; every span must touch the one before.
pub(super) fn part(map: &MapReader<'_>, range: ChunkRange) -> Vec<ChunkEntry> {
    let mut entries = Vec::new();
    for span in map.spans(range) {
        let span = span.expect("an undamaged map");
        assert_eq!(span.chunks().start, range.start + entries.len() as u64, "spans leave no gap");
        match span {
            Span::Absent { kind, chunks } => entries.extend((chunks.start..chunks.end).map(|_| kind.entry())),
            Span::Leaf(leaf) => {
                assert_eq!(leaf.entries().len() as u64, leaf.chunks().end - leaf.chunks().start);
                entries.extend_from_slice(leaf.entries());
            }
        }
    }
    entries
}
