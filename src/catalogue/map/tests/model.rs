//! Maps against plain vectors: whatever their history, they hold what was put into them, and their comparison finds what differs.

use proptest::prelude::*;

use super::kit::{Nodes, Sink, build, data, entries, part};
use crate::catalogue::map::{Absent, MapBuilder, MapReader, diff};
use crate::format::map::{Child, ChunkEntry, Run};
use crate::units::{CHUNK_BYTES, ChunkIndex, ChunkRange, ContentId, Grid};

use std::sync::Arc;

/// What happens to the next chunks of a disk.
#[derive(Debug, Clone)]
enum Step {
    Keep(u64),
    Absent(u64, Absent),
    Push(u32, u32),
}

#[derive(Debug, Clone)]
struct Generation {
    size_bytes: u64,
    steps: Vec<Step>,
}

/// A disk of one generation: the vector, and the map that should equal it.
struct Built {
    grid: Grid,
    plain: Vec<ChunkEntry>,
    root: Child,
    content: ContentId,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 1_u64..8, 3 => 1_u64..300, 2 => 200_u64..5_000, 1 => Just(u64::MAX)];
    prop_oneof![
        5 => length.clone().prop_map(Step::Keep),
        2 => (length.clone(), prop_oneof![Just(Absent::Hole), Just(Absent::Zero), Just(Absent::Free)])
            .prop_map(|(length, kind)| Step::Absent(length, kind)),
        // Few seeds, so that equal chunks and equal leaves happen.
        4 => (0_u32..4, prop_oneof![4 => 1_u32..5, 1 => 1_u32..600]).prop_map(|(seed, count)| Step::Push(seed, count)),
    ]
}

fn generations() -> impl Strategy<Value = (u32, Vec<Generation>)> {
    let chunks = prop_oneof![4 => 0_u64..20, 4 => 250_u64..1_100, 2 => 65_300_u64..66_200];
    let tail = prop_oneof![Just(0_u64), Just(512), Just(CHUNK_BYTES as u64 - 512)];
    let size = (chunks, tail).prop_map(|(chunks, tail)| chunks * CHUNK_BYTES as u64 + tail);
    // Half of the generations keep the size of the one before.
    let generation = (prop::option::of(size.clone()), prop::collection::vec(step(), 0..12));
    (prop_oneof![Just(0_u32), Just(3584)], size, prop::collection::vec(generation, 1..4)).prop_map(|(offset, first, generations)| {
        let mut size_bytes = first;
        let generations = generations.into_iter().map(|(size, steps)| {
            size_bytes = size.unwrap_or(size_bytes);
            Generation { size_bytes, steps }
        });
        (offset, generations.collect())
    })
}

/// Runs the steps on the vector and on a builder.
fn run(nodes: &Nodes, pack: u8, offset: u32, generation: &Generation, base: Option<&Built>) -> Built {
    let grid = Grid::new(generation.size_bytes, offset).expect("a legal grid");
    let base_map = base.map(|base| MapReader::new(Arc::new(nodes), base.root, base.grid));
    let base_plain = base.map_or(&[][..], |base| &base.plain);
    let count = grid.chunk_count();
    let mut sink = Sink::new(nodes, pack);
    let mut builder = MapBuilder::new(grid, base_map.as_ref(), &mut sink).expect("one grid");
    let mut plain = Vec::new();
    // What no step speaks of is kept as far as it can be, then new.
    for step in generation.steps.iter().chain([&Step::Keep(u64::MAX), &Step::Absent(u64::MAX, Absent::Hole)]) {
        let start = plain.len() as u64;
        match *step {
            Step::Keep(length) => {
                let end = start.saturating_add(length).min(builder.keepable_end().0).max(start);
                builder.keep_to(ChunkIndex(end)).expect("memory");
                if end > start {
                    plain.extend_from_slice(&base_plain[start as usize..end as usize]);
                }
            }
            Step::Absent(length, kind) => {
                let end = start.saturating_add(length).min(count);
                builder.absent_to(ChunkIndex(end), kind).expect("memory");
                plain.extend((start..end).map(|_| kind.entry()));
            }
            Step::Push(seed, length) => {
                for chunk in start..(start + u64::from(length)).min(count) {
                    // A chunk's hash is of all its bytes: a short chunk is no other's equal.
                    let cut = CHUNK_BYTES as u64 - grid.chunk_extent(ChunkIndex(chunk)).length();
                    let entry = data(seed + 16 * u32::try_from(cut).expect("less than a chunk"));
                    builder.push(entry.clone()).expect("memory");
                    plain.push(entry);
                }
            }
        }
        assert_eq!(builder.position().0, plain.len() as u64);
    }
    let (root, content) = builder.finish();
    Built { grid, plain, root, content }
}

/// The chunks that differ, one by one.
fn naive_diff(a: &Built, b: &Built) -> Vec<u64> {
    let (larger, smaller) = if a.plain.len() >= b.plain.len() { (a, b) } else { (b, a) };
    let hash = |side: &Built, chunk: usize| side.plain.get(chunk).and_then(|entry| entry.data_hash().copied());
    (0..larger.plain.len()).filter(|&chunk| hash(larger, chunk) != hash(smaller, chunk)).map(|chunk| chunk as u64).collect()
}

fn check_packs(built: &Built) {
    let Child::Node(root) = built.root else {
        assert!(built.plain.iter().all(|entry| entry.data_hash().is_none()));
        return;
    };
    for entry in &built.plain {
        let ChunkEntry::Data { runs, .. } = entry else { continue };
        for run in runs {
            if let Run::Blocks { address, .. } = run {
                assert!(root.packs.may_contain(&address.pack), "a data pack is missing from the summary");
            }
        }
    }
    assert!(root.packs.may_contain(&root.address.pack), "the root's own pack is missing from its summary");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_map_equals_its_vector((offset, generations) in generations()) {
        let nodes = Nodes::default();
        let mut history: Vec<Built> = Vec::new();
        for (number, generation) in generations.iter().enumerate() {
            let pack = u8::try_from(number).expect("few generations") + 100;
            let built = run(&nodes, pack, offset, generation, history.last());
            let map = MapReader::new(Arc::new(&nodes), built.root, built.grid);
            prop_assert_eq!(&entries(&map), &built.plain);
            for chunk in [0, 1, 255, 256, 257, 65_535, 65_536, built.plain.len().saturating_sub(1), built.plain.len()] {
                let expected = built.plain.get(chunk).cloned().unwrap_or(ChunkEntry::Hole);
                prop_assert_eq!(map.entry(ChunkIndex(chunk as u64)).expect("an undamaged map"), expected);
            }
            let fresh = build(&Nodes::default(), 200, built.grid, &built.plain);
            prop_assert_eq!(fresh.1, built.content, "the content id depends on the history");
            prop_assert_eq!(matches!(fresh.0, Child::Node(_)), matches!(built.root, Child::Node(_)));
            check_packs(&built);
            history.push(built);
        }
        for a in &history {
            for b in &history {
                let of = |built: &Built| MapReader::new(Arc::new(&nodes), built.root, built.grid);
                let ranges: Vec<ChunkRange> = diff(&of(a), &of(b)).expect("one grid").collect::<Result<_, _>>().expect("undamaged maps");
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "ranges touch: {:?}", ranges);
                let changed: Vec<u64> = ranges.iter().flat_map(|range| range.start..range.end).collect();
                prop_assert_eq!(changed, naive_diff(a, b));
                let same_bytes = a.grid == b.grid && naive_diff(a, b).is_empty();
                prop_assert_eq!(same_bytes, a.content == b.content, "content ids and bytes disagree");
            }
        }
    }

    /// Any part of a map is the same part of its vector.
    #[test]
    fn spans_are_cut_to_the_range(start in 0_u64..700, length in 0_u64..700, count in 0_u64..700) {
        let nodes = Nodes::default();
        let plain: Vec<ChunkEntry> = (0..count).map(|chunk| if chunk % 300 < 40 { data(chunk as u32) } else { ChunkEntry::Free }).collect();
        let grid = super::kit::whole_chunks(count);
        let (root, _) = build(&nodes, 9, grid, &plain);
        let map = MapReader::new(Arc::new(&nodes), root, grid);
        let end = (start + length).min(count).max(start);
        let expected = plain.get(start as usize..end as usize).unwrap_or_default();
        prop_assert_eq!(part(&map, ChunkRange { start, end: start + length }), expected);
    }
}
