//! What missing and swapped nodes, and callers' mistakes, lead to.

use std::sync::Arc;

use super::kit::{Nodes, Sink, build, change, data, whole_chunks};
use crate::catalogue::CatalogueError;
use crate::catalogue::map::{Absent, MapBuilder, MapReader, NodeStore, diff};
use crate::format::map::{Child, ChunkEntry, Node, NodeRef};
use crate::units::{Address, CHUNK_BYTES, ChunkIndex, ChunkRange, Grid, PackId};

/// A map of 1,000 chunks of data and its leaves.
fn four_leaves(nodes: &Nodes) -> (Child, Grid, Vec<NodeRef>) {
    let grid = whole_chunks(1000);
    let plain: Vec<ChunkEntry> = (0..1000).map(data).collect();
    let (root, _) = build(nodes, 1, grid, &plain);
    let Child::Node(root_node) = root else { panic!("data, but no root") };
    let Node::Inner { children, .. } = &*nodes.read_node(&root_node).expect("undamaged") else { panic!("a root with one leaf") };
    let leaves = children.iter().map(|child| if let Child::Node(node) = child { *node } else { panic!("data, but no leaf") }).collect();
    (root, grid, leaves)
}

#[test]
fn a_walk_goes_on_after_a_missing_leaf() {
    let nodes = Nodes::default();
    let (root, grid, leaves) = four_leaves(&nodes);
    nodes.remove(&leaves[1].address);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    let found: Vec<(bool, ChunkRange)> = map
        .spans(ChunkRange { start: 100, end: 900 })
        .map(|span| match span {
            Ok(span) => (true, span.chunks()),
            Err(damaged) => (false, damaged.chunks),
        })
        .collect();
    let expected = [(true, 100, 256), (false, 256, 512), (true, 512, 768), (true, 768, 900)];
    assert_eq!(found, expected.map(|(good, start, end)| (good, ChunkRange { start, end })));
    assert!(map.entry(ChunkIndex(300)).is_err());
    assert_eq!(map.entry(ChunkIndex(600)).expect("another leaf"), data(600));
}

#[test]
fn a_missing_root_is_one_damaged_span() {
    let nodes = Nodes::default();
    let (root, grid, _) = four_leaves(&nodes);
    let Child::Node(node) = root else { panic!("data, but no root") };
    nodes.remove(&node.address);
    let spans: Vec<_> = MapReader::new(Arc::new(&nodes), root, grid).all_spans().collect();
    let [Err(damaged)] = &spans[..] else { panic!("not one damaged span: {spans:?}") };
    assert_eq!(damaged.chunks, ChunkRange { start: 0, end: 1000 });
}

/// The last leaf has 232 entries: in the place of a whole one it does not fit.
#[test]
fn a_node_in_a_place_that_it_does_not_fit_is_damage() {
    let nodes = Nodes::default();
    let (root, grid, leaves) = four_leaves(&nodes);
    nodes.swap(&leaves[3].address, &leaves[0].address);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    let error = map.entry(ChunkIndex(0)).expect_err("a short leaf");
    assert!(matches!(&error, CatalogueError::NodeDamaged { address, .. } if *address == leaves[0].address), "{error}");
    let Child::Node(root_node) = root else { panic!("data, but no root") };
    nodes.swap(&root_node.address, &leaves[1].address);
    let error = map.entry(ChunkIndex(256)).expect_err("an inner node where a leaf should be");
    assert!(matches!(&error, CatalogueError::NodeDamaged { address, .. } if *address == leaves[1].address), "{error}");
}

/// A leaf of the base is lost; its chunks are read from the disk again and come out the same: a new leaf, not the lost one's reference.
#[test]
fn a_damaged_base_node_does_not_live_on() {
    let nodes = Nodes::default();
    let (root, grid, leaves) = four_leaves(&nodes);
    nodes.remove(&leaves[1].address);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    let again: Vec<(u64, ChunkEntry)> = (256..512_u32).map(|chunk| (u64::from(chunk), data(chunk))).collect();
    let (new_root, _, written) = change(&nodes, 2, &base, &again);
    assert_eq!(written.len(), 2, "the lost leaf and the root");
    let new = MapReader::new(Arc::new(&nodes), new_root, grid);
    assert_eq!(new.entry(ChunkIndex(300)).expect("a new leaf"), data(300));
}

#[test]
fn a_damaged_base_ends_a_comparison_once() {
    let nodes = Nodes::default();
    let (root, grid, leaves) = four_leaves(&nodes);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    let (new_root, _, _) = change(&nodes, 2, &base, &[(300, data(7000)), (600, data(7001))]);
    nodes.remove(&leaves[1].address);
    let new = MapReader::new(Arc::new(&nodes), new_root, grid);
    let found: Vec<_> = diff(&base, &new).expect("one grid").take(3).collect();
    assert!(matches!(&found[..], [Err(CatalogueError::NodeUnreadable { .. })]), "{found:?}");
}

#[test]
fn grids_of_different_offsets_are_refused() {
    let nodes = Nodes::default();
    let shifted = Grid::new(1000 * CHUNK_BYTES as u64, 3584).expect("a legal grid");
    let straight = MapReader::new(Arc::new(&nodes), Child::Hole, whole_chunks(1000));
    let error = diff(&straight, &MapReader::new(Arc::new(&nodes), Child::Hole, shifted)).err().expect("different grids");
    insta::assert_snapshot!(error, @"the maps cannot be compared: one disk is cut on a grid shifted by 0 bytes, the other by 3584; the partition table moved between them. Compare restored images instead");
    let mut sink = Sink::new(&nodes, 1);
    assert!(matches!(MapBuilder::new(shifted, Some(&straight), &mut sink).err(), Some(CatalogueError::DifferentGrids { .. })));
}

/// The base ends in the middle of a chunk; that chunk's bytes are others on the grown disk.
#[test]
#[should_panic(expected = "chunk 10 has no equal in the base")]
fn a_chunk_that_the_old_end_cut_cannot_be_kept() {
    let nodes = Nodes::default();
    let small = Grid::new(10 * CHUNK_BYTES as u64 + 512, 0).expect("a legal grid");
    let base = MapReader::new(Arc::new(&nodes), Child::Hole, small);
    let mut sink = Sink::new(&nodes, 1);
    let mut builder = MapBuilder::new(whole_chunks(20), Some(&base), &mut sink).expect("one grid");
    assert_eq!(builder.keepable_end(), ChunkIndex(10));
    let _ = builder.keep_to(ChunkIndex(11));
}

#[test]
#[should_panic(expected = "the map ends at chunk 3 of 20")]
fn an_unfinished_map_has_no_root() {
    let nodes = Nodes::default();
    let mut sink = Sink::new(&nodes, 1);
    let mut builder = MapBuilder::new(whole_chunks(20), None, &mut sink).expect("no base");
    builder.absent_to(ChunkIndex(3), Absent::Free).expect("memory");
    builder.finish();
}

#[test]
fn errors_name_the_node_and_the_cure() {
    let node = NodeRef {
        id: crate::units::NodeId([0xab; 32]),
        address: Address { pack: PackId([0x12; 16]), slot: 34 },
        content: crate::units::ContentId([0; 32]),
        packs: crate::format::map::PackSummary::default(),
    };
    let nodes = Nodes::default();
    let map = MapReader::new(Arc::new(&nodes), Child::Node(node), whole_chunks(3));
    insta::assert_snapshot!(map.entry(ChunkIndex(1)).expect_err("no such node"), @"map node abababababababababababababababababababababababababababababababab at 12121212121212121212121212121212:34 cannot be read: no such pack");
    let damaged = CatalogueError::NodeDamaged { node: node.id, address: node.address, reason: "expected this, found that".into() };
    insta::assert_snapshot!(damaged, @"map node abababababababababababababababababababababababababababababababab at 12121212121212121212121212121212:34 is damaged: expected this, found that");
}
