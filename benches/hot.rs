//! Rates of the hot parts, one by one: what a scan does to a chunk, index look-ups, frames in and out, comparing maps, listing points.
//!
//! Each runs on one thread unless its name says otherwise, on data made up here: a fixed seed, so that runs compare. They show
//! whether a change made a part faster or slower; how fast whole jobs are, `cairn bench` and `tools/compare` tell.

#[path = "kit/mod.rs"]
mod kit;

use std::path::Path;

use cairn::catalogue::map::diff;
use cairn::crypt::slot::Unlock;
use cairn::format::segment::SegmentEntry;
use cairn::scan::{BlockState, is_zero};
use cairn::store::Index;
use cairn::units::{BLOCK_BYTES, CHUNK_BYTES, Fingerprint};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use kit::{Vaulted, fingerprint, half_text, keys, map_pair, noise, pack_id, points};

fn main() {
    divan::main();
}

/// What a worker does to a chunk of 256 KiB.
mod chunk {
    use super::*;

    #[divan::bench]
    fn zero_check_of_zeros(bencher: Bencher<'_, '_>) {
        let chunk = vec![0; CHUNK_BYTES];
        bencher.counter(BytesCount::new(CHUNK_BYTES)).bench_local(|| is_zero(black_box(&chunk)));
    }

    #[divan::bench]
    fn hash(bencher: Bencher<'_, '_>) {
        let chunk = noise(1, CHUNK_BYTES);
        bencher.counter(BytesCount::new(CHUNK_BYTES)).bench_local(|| blake3::hash(black_box(&chunk)));
    }

    #[divan::bench]
    fn fingerprints(bencher: Bencher<'_, '_>) {
        let chunk = noise(1, CHUNK_BYTES);
        let fingerprinter = keys(&Unlock::Nothing).fingerprinter(None);
        let all = || chunk.chunks(BLOCK_BYTES).map(|block| fingerprinter.fingerprint(black_box(block))).fold(0, |sum, one| sum ^ one.0[0]);
        bencher.counter(BytesCount::new(CHUNK_BYTES)).bench_local(all);
    }
}

/// Look-ups in an index of four million blocks (16 GiB of unique data), 1,000 at a time.
mod index {
    use super::*;

    const BLOCKS: u32 = 1 << 22;
    const LOOKUPS: u64 = 1000;

    fn index(directory: &Path) -> Index {
        let entries =
            (0..BLOCKS).map(|number| SegmentEntry { fingerprint: fingerprint(number.into()), pack: number >> 16, slot: number & 0xffff });
        let packs: Vec<_> = (0..BLOCKS >> 16).map(pack_id).collect();
        Index::add(directory, &packs, entries.collect()).expect("an index");
        Index::open(directory, |_| true).expect("an index")
    }

    fn look_up(bencher: Bencher<'_, '_>, wanted: impl Fn(u64) -> u64) {
        let directory = tempfile::tempdir().expect("a directory");
        let index = index(directory.path());
        let wanted: Vec<Fingerprint> = (0..LOOKUPS).map(|number| fingerprint(wanted(number))).collect();
        bencher
            .counter(ItemsCount::new(LOOKUPS))
            .bench_local(|| wanted.iter().filter(|one| index.find(black_box(one)).next().is_some()).count());
    }

    #[divan::bench]
    fn hits(bencher: Bencher<'_, '_>) {
        look_up(bencher, |number| number * 4001);
    }

    #[divan::bench]
    fn misses(bencher: Bencher<'_, '_>) {
        look_up(bencher, |number| (1 << 40) + number);
    }
}

/// Frames of 1 MiB, half of it text: 32 MiB through a write session into packs in memory and back, on all cores.
mod frames {
    use super::*;

    const BYTES: usize = 32 << 20;

    fn store(bencher: Bencher<'_, '_>, unlock: &Unlock, level: i32) {
        let chunks: Vec<Vec<u8>> = half_text(BYTES).chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        let fingerprinter = keys(unlock).fingerprinter(None);
        let state = |block| BlockState::New(fingerprinter.fingerprint(block));
        let states: Vec<Vec<BlockState>> = chunks.iter().map(|chunk| chunk.chunks(BLOCK_BYTES).map(state).collect()).collect();
        bencher
            .counter(BytesCount::new(BYTES))
            .with_inputs(|| Vaulted::new(unlock))
            .bench_local_values(|vaulted| vaulted.store(&chunks, &states, level));
    }

    #[divan::bench(args = [1, 2, 3], sample_count = 10)]
    fn store_open(bencher: Bencher<'_, '_>, level: i32) {
        store(bencher, &Unlock::Nothing, level);
    }

    #[divan::bench(args = [1, 2, 3], sample_count = 10)]
    fn store_sealed(bencher: Bencher<'_, '_>, level: i32) {
        store(bencher, &kit::key_file(), level);
    }

    fn load(bencher: Bencher<'_, '_>, unlock: &Unlock) {
        let chunks: Vec<Vec<u8>> = half_text(BYTES).chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        let fingerprinter = keys(unlock).fingerprinter(None);
        let state = |block| BlockState::New(fingerprinter.fingerprint(block));
        let states: Vec<Vec<BlockState>> = chunks.iter().map(|chunk| chunk.chunks(BLOCK_BYTES).map(state).collect()).collect();
        let vaulted = Vaulted::new(unlock);
        let recipes = vaulted.store(&chunks, &states, 2);
        let mut chunk = vec![0; CHUNK_BYTES];
        bencher.counter(BytesCount::new(BYTES)).with_inputs(|| vaulted.reader()).bench_local_values(|reader| {
            for runs in &recipes {
                reader.read_runs(runs, &mut chunk).expect("what was stored");
            }
        });
    }

    #[divan::bench(sample_count = 20)]
    fn load_open(bencher: Bencher<'_, '_>) {
        load(bencher, &Unlock::Nothing);
    }

    #[divan::bench(sample_count = 20)]
    fn load_sealed(bencher: Bencher<'_, '_>) {
        load(bencher, &kit::key_file());
    }
}

/// Two maps of 1 TiB of data, all nodes in memory, that differ in so many scattered chunks.
#[divan::bench(args = [1, 100, 10_000], sample_count = 20)]
fn map_diff(bencher: Bencher<'_, '_>, changed: u64) {
    let (one, other) = map_pair(1 << 22, changed);
    bencher.counter(ItemsCount::new(changed)).bench_local(|| {
        let ranges = diff(&one, &other).expect("one grid").map(|range| range.expect("whole maps"));
        assert_eq!(ranges.count() as u64, changed);
    });
}

/// All points of a vault in memory, 10,000 of them.
mod listing {
    use super::*;

    const POINTS: u64 = 10_000;

    #[divan::bench(sample_count = 5)]
    fn read_anew(bencher: Bencher<'_, '_>) {
        let (backend, keys) = points(POINTS);
        let points = cairn::catalogue::points::Points::new(backend.as_ref(), &keys);
        bencher.counter(ItemsCount::new(POINTS)).bench_local(|| points.list().expect("memory"));
    }

    #[divan::bench(sample_count = 20)]
    fn remembered(bencher: Bencher<'_, '_>) {
        let (backend, keys) = points(POINTS);
        let points = cairn::catalogue::points::Points::new(backend.as_ref(), &keys);
        let directory = tempfile::tempdir().expect("a directory");
        let known = directory.path().join("points");
        points.list_known(&known).expect("memory");
        bencher.counter(ItemsCount::new(POINTS)).bench_local(|| points.list_known(&known).expect("memory"));
    }
}
