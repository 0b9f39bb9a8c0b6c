//! The plan against a naive one, chunk by chunk; runs against a plain walk over the disk.

use proptest::prelude::*;

use super::*;
use crate::crypt::{MasterKey, VaultKeys};
use crate::format::vault::Cipher;
use crate::io::MemoryAt;
use crate::monitor::Silent;
use crate::units::{Address, BLOCK_BYTES, CHUNK_BYTES, ChunkHash, ChunkIndex, ChunkRange, Extent, ExtentSet, Grid, PackId, VaultId};

const CHUNK: u64 = CHUNK_BYTES as u64;

fn extents(max_chunks: u64) -> impl Strategy<Value = ExtentSet> {
    let extent = (0..max_chunks * CHUNK, 1..CHUNK * 3).prop_map(|(start, length)| Extent::between(start, start + length));
    proptest::collection::vec(extent, 0..12).prop_map(ExtentSet::from_unsorted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the extents, steps tile the disk; what hints or holes say is followed chunk by chunk.
    #[test]
    fn a_plan_is_what_a_naive_one_is(
        size in 1..40 * CHUNK,
        base_bytes in 1..40 * CHUNK,
        shifted: bool,
        data in extents(40),
        changed in proptest::option::of(extents(40)),
        sample_every in 0..5_u64,
        sample_seed: u64,
    ) {
        let grid = Grid::new(size, if shifted { 3584 } else { 0 }).unwrap();
        let hints = changed.as_ref().map(|changed| HintPlan { changed, base_bytes, sample_every, sample_seed });
        let steps = plan(&grid, &data, hints.as_ref());
        let (mut position, mut kept, mut sampled) = (0, 0, 0);
        for step in &steps {
            prop_assert_eq!(step.chunks.start, position);
            prop_assert!(step.chunks.end > position);
            position = step.chunks.end;
            for index in step.chunks.start..step.chunks.end {
                let extent = grid.chunk_extent(ChunkIndex(index));
                let resized = base_bytes != size && index >= grid.chunk_at(base_bytes.min(size)).0;
                let keeps = hints.as_ref().is_some_and(|hints| !hints.changed.overlaps(extent)) && !resized;
                let expected = match (keeps, data.overlaps(extent)) {
                    (true, true) => [PlanKind::Keep, PlanKind::Sample],
                    (true, false) => [PlanKind::Keep; 2],
                    (false, true) => [PlanKind::Read; 2],
                    (false, false) => [PlanKind::Hole; 2],
                };
                kept += u64::from(keeps && data.overlaps(extent));
                sampled += u64::from(step.kind == PlanKind::Sample);
                prop_assert!(expected.contains(&step.kind), "chunk {} is {:?}, expected {:?}", index, step.kind, expected);
            }
        }
        prop_assert_eq!(position, grid.chunk_count());
        // One of each stretch of chunks that are kept; of the last one, which may be short, perhaps none, but one of all.
        match kept.checked_div(sample_every) {
            Some(whole) if kept > 0 => prop_assert!((whole.max(1)..=whole + 1).contains(&sampled), "{} of {}", sampled, kept),
            _ => prop_assert_eq!(sampled, 0),
        }
    }
}

#[test]
fn one_chunk_in_each_stretch_is_sampled() {
    let grid = Grid::new(1000 * CHUNK, 0).unwrap();
    let nothing = ExtentSet::new();
    let hints = HintPlan { changed: &nothing, base_bytes: grid.size_bytes(), sample_every: 100, sample_seed: 7 };
    let steps = plan(&grid, &ExtentSet::whole(grid.size_bytes()), Some(&hints));
    assert_eq!(steps.iter().filter(|step| step.kind == PlanKind::Sample).count(), 10);
    assert_eq!(planned_read_bytes(&grid, &steps), 10 * CHUNK);
}

#[test]
fn a_plan_of_a_huge_sparse_disk_is_short() {
    let grid = Grid::new(1 << 44, 0).unwrap();
    let data = ExtentSet::from_unsorted(vec![Extent::between(1 << 40, (1 << 40) + 1)]);
    assert_eq!(plan(&grid, &data, None).len(), 3);
}

/// What a run told its sink, chunk by chunk.
#[derive(Default)]
struct Log {
    holes: Vec<ChunkRange>,
    found: Vec<(ChunkIndex, Found, Vec<u8>)>,
}

impl Sink for Log {
    type Error = ScanError;

    fn hole(&mut self, chunks: ChunkRange) -> Result<(), ScanError> {
        self.holes.push(chunks);
        Ok(())
    }

    fn keep(&mut self, _: ChunkRange) -> Result<(), ScanError> {
        Ok(())
    }

    fn chunk(&mut self, chunk: &ScanChunk, found: Found, bytes: &[u8]) -> Result<(), ScanError> {
        self.found.push((chunk.chunk, found, bytes.to_vec()));
        Ok(())
    }
}

/// A vault that has the blocks whose first byte is even.
struct EvenBlocks<'a>(&'a [u8], &'a crate::crypt::Fingerprinter);

impl Dedup for EvenBlocks<'_> {
    fn find(&self, blocks: &mut [BlockState]) {
        for state in blocks {
            let known = |block: &[u8]| block[0].is_multiple_of(2) && *state == BlockState::New(self.1.fingerprint(&padded(block)));
            if self.0.chunks(BLOCK_BYTES).any(known) {
                *state = BlockState::Stored(Address { pack: PackId([1; 16]), slot: 0 });
            }
        }
    }
}

fn scan(disk: &[u8], known: impl Fn(usize) -> Known, sampled: bool) -> Result<Log, ScanError> {
    let keys = VaultKeys::new(VaultId([1; 16]), Cipher::None, &MasterKey::from_bytes([3; 32]));
    let fingerprinter = keys.fingerprinter(None);
    let source = MemoryAt::new(disk.to_vec());
    let grid = Grid::new(disk.len() as u64, 0).unwrap();
    let steps = (0..grid.chunk_count()).map(|index| {
        let chunk = ChunkIndex(index);
        Ok(Step::Read(ScanChunk { chunk, extent: grid.chunk_extent(chunk), known: known(index as usize), sampled }))
    });
    let dedup = EvenBlocks(disk, &fingerprinter);
    let mut log = Log::default();
    run(Examiner { source: &source, fingerprinter: &fingerprinter, dedup: &dedup }, steps, &mut log, &Silent)?;
    Ok(log)
}

/// Ten chunks and a bit: chunk 3 is zero, every block else starts with its own number.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 10 * CHUNK_BYTES + 5000];
    for (number, block) in disk.chunks_mut(BLOCK_BYTES).enumerate().filter(|(number, _)| number / 64 != 3) {
        block.fill(number as u8 | 1);
        block[0] = number as u8;
    }
    disk
}

#[test]
fn chunks_arrive_in_order_with_their_bytes_and_blocks() {
    let disk = disk();
    let log = scan(&disk, |_| Known::Nothing, false).unwrap();
    assert_eq!(log.found.len(), 11);
    for (index, (chunk, found, bytes)) in log.found.iter().enumerate() {
        assert_eq!(chunk.0, index as u64);
        let expected = &disk[index * CHUNK_BYTES..disk.len().min((index + 1) * CHUNK_BYTES)];
        assert!(bytes == if matches!(found, Found::Data { .. }) { expected } else { &[] }, "chunk {index} has other bytes");
        match found {
            Found::Zero => assert_eq!(index, 3),
            Found::Unchanged => panic!("chunk {index} cannot be unchanged: there is no base"),
            Found::Data { hash, blocks } => {
                assert_eq!(hash, &ChunkHash(*blake3::hash(expected).as_bytes()));
                assert_eq!(blocks.len(), expected.len().div_ceil(BLOCK_BYTES));
                for (block, state) in expected.chunks(BLOCK_BYTES).zip(blocks) {
                    assert_eq!(matches!(state, BlockState::Stored(_)), block[0].is_multiple_of(2), "{state:?}");
                }
            }
        }
    }
}

#[test]
fn what_the_base_has_is_unchanged() {
    let disk = disk();
    let hash = |index: usize| ChunkHash(*blake3::hash(&disk[index * CHUNK_BYTES..disk.len().min((index + 1) * CHUNK_BYTES)]).as_bytes());
    let known = |index: usize| match index {
        3 => Known::Zeros,
        5 => Known::Data(ChunkHash([9; 32])),
        index => Known::Data(hash(index)),
    };
    let log = scan(&disk, known, false).unwrap();
    let changed: Vec<u64> = log.found.iter().filter(|(_, found, _)| *found != Found::Unchanged).map(|(chunk, ..)| chunk.0).collect();
    assert_eq!(changed, [5]);
    assert!(matches!(scan(&disk, known, true), Err(ScanError::HintsWrong { chunk: ChunkIndex(5) })));
}

#[test]
fn a_failing_read_names_its_place() {
    struct Failing;
    impl crate::io::ReadAt for Failing {
        fn size_bytes(&self) -> u64 {
            8 * CHUNK
        }
        fn read_at(&self, offset_bytes: u64, _: &mut [u8]) -> std::io::Result<()> {
            if offset_bytes == 2 * CHUNK { Err(std::io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }
    }
    let keys = VaultKeys::new(VaultId([1; 16]), Cipher::None, &MasterKey::from_bytes([3; 32]));
    let fingerprinter = keys.fingerprinter(None);
    let grid = Grid::new(8 * CHUNK, 0).unwrap();
    let step =
        |index| ScanChunk { chunk: ChunkIndex(index), extent: grid.chunk_extent(ChunkIndex(index)), known: Known::Nothing, sampled: false };
    let dedup = EvenBlocks(&[], &fingerprinter);
    let examiner = Examiner { source: &Failing, fingerprinter: &fingerprinter, dedup: &dedup };
    let result = run(examiner, (0..8).map(|index| Ok(Step::Read(step(index)))), &mut Log::default(), &Silent);
    assert!(matches!(result, Err(ScanError::Read { offset_bytes, .. }) if offset_bytes == 2 * CHUNK), "{result:?}");
}
