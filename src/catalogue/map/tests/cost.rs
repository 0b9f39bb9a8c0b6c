//! What maps read and write is counted in nodes: it follows what changed, not the disk.

use std::sync::Arc;

use super::kit::{Nodes, Sink, build, change, data, entries, whole_chunks};
use crate::catalogue::map::{Absent, MapBuilder, MapReader, Span, diff};
use crate::format::map::{Child, ChunkEntry, Node};
use crate::units::{ChunkIndex, ChunkRange, Grid};

const TIB_CHUNKS: u64 = (1 << 40) / (256 * 1024);

/// The map of a sparse disk with one chunk of data every `distance` chunks.
fn sparse(nodes: &Nodes, pack: u8, count: u64, distance: u64) -> (Child, Grid) {
    let grid = whole_chunks(count);
    let mut sink = Sink::new(nodes, pack);
    let mut builder = MapBuilder::new(grid, None, &mut sink).expect("no base");
    for chunk in (0..count).step_by(usize::try_from(distance).expect("a small number")) {
        builder.absent_to(ChunkIndex(chunk), Absent::Hole).expect("memory");
        builder.push(data(u32::try_from(chunk / distance).expect("few"))).expect("memory");
    }
    builder.absent_to(ChunkIndex(count), Absent::Hole).expect("memory");
    (builder.finish().0, grid)
}

#[test]
fn sixteen_tebibytes_of_hole_are_no_node() {
    let nodes = Nodes::default();
    let grid = whole_chunks(16 * TIB_CHUNKS);
    let mut sink = Sink::new(&nodes, 1);
    let mut builder = MapBuilder::new(grid, None, &mut sink).expect("no base");
    builder.absent_to(ChunkIndex(3), Absent::Hole).expect("memory");
    builder.absent_to(ChunkIndex(grid.chunk_count()), Absent::Hole).expect("memory");
    let (root, _) = builder.finish();
    assert_eq!((root, nodes.count()), (Child::Hole, 0));
    let spans: Vec<Span> = MapReader::new(Arc::new(&nodes), root, grid).all_spans().collect::<Result<_, _>>().expect("no node");
    let [Span::Absent { kind: Absent::Hole, chunks }] = spans[..] else { panic!("not one span: {spans:?}") };
    assert_eq!(chunks, ChunkRange { start: 0, end: grid.chunk_count() });
}

#[test]
fn neighbouring_holes_of_different_levels_are_one_span() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, TIB_CHUNKS, TIB_CHUNKS / 2);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    let lengths: Vec<u64> = map.all_spans().map(|span| span.expect("undamaged").chunks()).map(|c| c.end - c.start).collect();
    assert_eq!(lengths, [256, TIB_CHUNKS / 2 - 256, 256, TIB_CHUNKS / 2 - 256]);
}

/// A thousand chunks change on a sparse disk of 8 TiB with data in 4,096 leaves: the paths are read and written, nothing else.
#[test]
fn an_increment_touches_only_its_paths() {
    let nodes = Nodes::default();
    let count = 8 * TIB_CHUNKS;
    let (root, grid) = sparse(&nodes, 1, count, count / 4096);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    // One new chunk in each of 1,000 leaves: 500 with data already, and 500 that were holes; two leaves to an inner node of 64 GiB / 4.
    let distance = count / 500;
    let mut changed: Vec<(u64, ChunkEntry)> = Vec::new();
    let mut paths = [const { std::collections::BTreeSet::new() }; 4];
    for nth in 0..500 {
        for chunk in [nth * distance, nth * distance + 5 * 256] {
            changed.push((chunk, data(1_000_000)));
            for (level, path) in paths.iter_mut().enumerate() {
                path.insert(chunk >> (8 * (level + 1)));
            }
        }
    }
    let touched: usize = paths.iter().map(std::collections::BTreeSet::len).sum();
    nodes.take_reads();
    let (new_root, _, written) = change(&nodes, 2, &base, &changed);
    let reads = nodes.take_reads();
    assert_eq!(written.len(), touched, "nodes written besides the changed paths");
    assert!(touched < 1_700 && reads.len() <= touched, "{} reads for {touched} nodes on the paths", reads.len());

    let new = MapReader::new(Arc::new(&nodes), new_root, grid);
    let ranges: Vec<ChunkRange> = diff(&base, &new).expect("one grid").collect::<Result<_, _>>().expect("undamaged");
    assert_eq!(ranges.iter().map(|range| range.start).collect::<Vec<_>>(), changed.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>());
    let reads = nodes.take_reads();
    assert!(reads.len() <= 2 * touched, "a comparison read {} nodes for {touched} on the paths of each map", reads.len());
}

#[test]
fn the_same_disk_again_reads_and_writes_nothing() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, TIB_CHUNKS, 100);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    nodes.take_reads();
    let (again, _, written) = change(&nodes, 2, &base, &[]);
    assert_eq!((again, written.len(), nodes.take_reads().len()), (root, 0, 0));
    assert_eq!(diff(&base, &base).expect("one grid").count(), 0);
    assert_eq!(nodes.take_reads().len(), 0, "equal roots were looked into");
}

/// Entries told one by one that turn out to be the base's end in the base's nodes.
#[test]
fn nodes_that_come_out_the_same_are_not_written_again() {
    let nodes = Nodes::default();
    let grid = whole_chunks(1000);
    let plain: Vec<ChunkEntry> = (0..1000).map(data).collect();
    let (root, _) = build(&nodes, 1, grid, &plain);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    let all: Vec<(u64, ChunkEntry)> = (0..).zip(plain.clone()).collect();
    let (again, _, written) = change(&nodes, 2, &base, &all);
    assert_eq!((again, written.len()), (root, 0));
    let mut one_changed = all;
    one_changed[700].1 = data(5000);
    let (_, _, written) = change(&nodes, 3, &base, &one_changed);
    assert_eq!(written.len(), 2, "one leaf and the root");
}

#[test]
fn a_grown_disk_keeps_its_whole_leaves() {
    let nodes = Nodes::default();
    let plain: Vec<ChunkEntry> = (0..1000).map(data).collect();
    let (root, _) = build(&nodes, 1, whole_chunks(1000), &plain);
    let base = MapReader::new(Arc::new(&nodes), root, whole_chunks(1000));
    nodes.take_reads();
    let grid = whole_chunks(100_000);
    let mut sink = Sink::new(&nodes, 2);
    let mut builder = MapBuilder::new(grid, Some(&base), &mut sink).expect("one grid");
    builder.keep_to(builder.keepable_end()).expect("memory");
    builder.absent_to(ChunkIndex(100_000), Absent::Hole).expect("memory");
    let (new_root, _) = builder.finish();
    assert_eq!(sink.written.len(), 3, "the leaf that the old end cut, its parent, the new root");
    assert_eq!(nodes.take_reads().len(), 2, "the old root and its last leaf");
    let new = MapReader::new(Arc::new(&nodes), new_root, grid);
    assert_eq!(entries(&new)[..1000], plain);
    assert_eq!(diff(&base, &new).expect("one grid").count(), 0, "a disk that only grew by a hole has no changed chunk");
}

#[test]
fn a_walk_announces_leaves_ahead() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, 600 * 256, 256);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    nodes.take_reads();
    assert_eq!(map.spans(ChunkRange { start: 256, end: 300 * 256 }).count(), 299);
    let announced = nodes.take_announced();
    assert!(announced.iter().all(|nodes| nodes.len() <= 64));
    let announced: Vec<_> = announced.concat().iter().map(|node| node.id).collect();
    let read: Vec<_> = nodes.take_reads();
    let leaves = read.iter().filter(|node| announced.contains(&node.id)).count();
    // Of what was read, only the root was not announced; nothing outside the range was.
    assert_eq!((leaves, read.len(), announced.len()), (read.len() - 1, 299 + 3, 299 + 2));
}

#[test]
fn a_comparison_announces_only_what_differs() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, 600 * 256, 256);
    let base = MapReader::new(Arc::new(&nodes), root, grid);
    let (new_root, _, _) = change(&nodes, 2, &base, &[(3 * 256 + 1, data(7)), (9 * 256, data(8))]);
    let new = MapReader::new(Arc::new(&nodes), new_root, grid);
    nodes.take_reads();
    nodes.take_announced();
    assert_eq!(diff(&base, &new).expect("one grid").count(), 2);
    // Two leaves of each map below one inner node; the inner node itself is alone, so it is not announced.
    assert_eq!(nodes.take_announced().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(nodes.take_reads().len(), 8);
}

#[test]
fn random_access_reads_a_path_once() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, 600 * 256, 256);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    nodes.take_reads();
    for chunk in [256 * 5, 256 * 5 + 1, 256 * 5 + 255, 256 * 6] {
        assert_eq!(map.entry(ChunkIndex(chunk)).expect("undamaged").data_hash().is_some(), chunk % 256 == 0);
    }
    let kinds: Vec<bool> = nodes.take_reads().iter().map(|node| is_leaf(&nodes, node)).collect();
    assert_eq!(kinds, [false, false, true, true]);
}

fn is_leaf(nodes: &Nodes, node: &crate::format::map::NodeRef) -> bool {
    use crate::catalogue::map::NodeStore;
    matches!(*nodes.read_node(node).expect("undamaged"), Node::Leaf(_))
}

/// What restores to zeros is equal, whatever kinds it is made of: nothing below is looked at.
#[test]
fn zeros_of_mixed_kinds_are_not_looked_into() {
    let nodes = Nodes::default();
    let grid = whole_chunks(256 * 256 * 3);
    let mut sink = Sink::new(&nodes, 1);
    let mut builder = MapBuilder::new(grid, None, &mut sink).expect("no base");
    for (end, kind) in [(5, Absent::Free), (70_000, Absent::Zero), (grid.chunk_count(), Absent::Hole)] {
        builder.absent_to(ChunkIndex(end), kind).expect("memory");
    }
    let (root, _) = builder.finish();
    let mixed = MapReader::new(Arc::new(&nodes), root, grid);
    let kinds: Vec<Absent> = mixed
        .spans(ChunkRange { start: 256, end: grid.chunk_count() })
        .filter_map(|span| if let Ok(Span::Absent { kind, .. }) = span { Some(kind) } else { None })
        .collect();
    assert_eq!(kinds, [Absent::Zero, Absent::Hole]);
    nodes.take_reads();
    for kind in [Child::Hole, Child::Free] {
        let plain = MapReader::new(Arc::new(&nodes), kind, grid);
        assert_eq!(diff(&mixed, &plain).expect("one grid").count() + diff(&plain, &mixed).expect("one grid").count(), 0);
    }
    assert_eq!(nodes.take_reads().len(), 0);
}

/// A walk in many parts, as a scan asks leaf by leaf, reads and announces each node once.
#[test]
fn a_walk_in_parts_reads_its_path_once() {
    let nodes = Nodes::default();
    let (root, grid) = sparse(&nodes, 1, 600 * 256, 256);
    let map = MapReader::new(Arc::new(&nodes), root, grid);
    for _ in 0..2 {
        nodes.take_reads();
        nodes.take_announced();
        for leaf in 0..600 {
            let first = map.spans(ChunkRange { start: leaf * 256, end: grid.chunk_count() }).next();
            assert!(matches!(first, Some(Ok(Span::Leaf(_)))), "{first:?}");
        }
        // 600 leaves, 3 inner nodes, and at the second time the root is still held.
        assert!((603..=604).contains(&nodes.take_reads().len()));
        assert_eq!(nodes.take_announced().iter().map(Vec::len).sum::<usize>(), 603);
    }
}
