//! Disks of many TiB: what is read and written is counted, not timed. Cost follows data and change, not size.

#![cfg(test)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cairn::backend::{Backend, MemoryBackend, Operation, Recording};
use cairn::crypt::slot::{PassphraseCost, Unlock};
use cairn::format::point::{ChangeSource, Consistency, DiskRecord};
use cairn::format::vault::{DedupScope, Writers};
use cairn::io::ReadAt;
use cairn::jobs::backup::{BackupRequest, DiskRequest, backup};
use cairn::jobs::verify::{VerifyRequest, verify};
use cairn::monitor::Silent;
use cairn::source::{Format, HintBase, Hints, Source, SourceError};
use cairn::store::{NewVault, Vault};
use cairn::units::{CHUNK_BYTES, Extent, ExtentSet};

const CHUNK: u64 = CHUNK_BYTES as u64;
const TIB: u64 = 1 << 40;

/// Bytes read from a disk, and the chunks that they lie in.
#[derive(Default)]
struct Reads {
    bytes: AtomicU64,
    chunks: Mutex<std::collections::BTreeSet<u64>>,
}

/// A disk that counts what is read from it.
struct Counted {
    inner: Box<dyn Source>,
    reads: Arc<Reads>,
}

impl ReadAt for Counted {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let last = (offset_bytes + buffer.len() as u64).div_ceil(CHUNK);
        self.reads.chunks.lock().unwrap().extend(offset_bytes / CHUNK..last);
        self.inner.read_at(offset_bytes, buffer)
    }
}

impl Source for Counted {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn data_extents(&self) -> Result<ExtentSet, SourceError> {
        self.inner.data_extents()
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        self.inner.check_unchanged()
    }

    fn raw_file(&self) -> Option<&File> {
        self.inner.raw_file()
    }
}

/// A vault that records, and a sparse disk of some TiB.
struct Scale {
    directory: tempfile::TempDir,
    disk: PathBuf,
    recording: Arc<Recording>,
    vault: Arc<Vault>,
}

impl Scale {
    /// A disk of this size, or the largest that the filesystem can have.
    fn new(size_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk.raw");
        let file = File::create(&disk).unwrap();
        // ext4 ends a block below 16 TiB.
        file.set_len(size_bytes).or_else(|_| file.set_len(size_bytes - 4096)).unwrap();
        let recording = Arc::new(Recording::new(Arc::new(MemoryBackend::new())));
        let new = NewVault { compression_level: 1, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let backend = Arc::<Recording>::clone(&recording) as Arc<dyn Backend>;
        let vault = Vault::create(backend, new, &Unlock::Nothing, PassphraseCost::default(), directory.path()).unwrap();
        Self { vault: Arc::new(vault), directory, disk, recording }
    }

    /// Writes one block into each of these chunks; a round gives other bytes than another.
    fn write(&self, chunks: impl Iterator<Item = u64>, round: u64) {
        let file = File::options().write(true).open(&self.disk).unwrap();
        for chunk in chunks {
            let mut block = [0; 4096];
            block[..16].copy_from_slice(&[chunk.to_le_bytes(), (round + 1).to_le_bytes()].concat());
            file.write_all_at(&block, chunk * CHUNK + 8192).unwrap();
        }
    }

    fn back_up(&self, hints: Option<Hints>) -> (DiskRecord, Arc<Reads>) {
        let reads = Arc::<Reads>::default();
        let source = Counted { inner: cairn::source::open(&self.disk, Format::Raw).unwrap(), reads: Arc::clone(&reads) };
        let request = BackupRequest {
            machine: "web01".parse().unwrap(),
            disks: vec![DiskRequest { name: "vda".parse().unwrap(), source: Box::new(source), hints, keep_clone: None, spec: None }],
            tags: Vec::new(),
            consistency: Consistency::Crash,
            quiesce: None,
            time: None,
            retain_until: None,
            configs: Vec::new(),
            verify_hints_percent: 1.0,
            compression_level: None,
            dry_run: false,
        };
        self.recording.forget();
        let manifest = backup(&self.vault, &request, &Silent).unwrap().manifest;
        (manifest.disks.into_iter().next().unwrap(), reads)
    }

    /// Parts of packs that were read: map nodes of the base, and tables of contents.
    fn parts_read(&self) -> usize {
        self.recording.count(Operation::GetRange)
    }
}

fn changed(chunks: impl Iterator<Item = u64>) -> Hints {
    let extents = chunks.map(|chunk| Extent::between(chunk * CHUNK + 8192, chunk * CHUNK + 12288)).collect();
    Hints {
        origin: "test".to_owned(),
        base: HintBase::Unknown,
        changed: ExtentSet::from_unsorted(extents),
        zeroed: ExtentSet::from_unsorted(Vec::new()),
    }
}

#[test]
fn of_a_sparse_disk_of_16_tib_only_the_data_is_read() {
    let scale = Scale::new(16 * TIB);
    let last = 16 * TIB / CHUNK - 1;
    let chunks = || (0..200).map(|number| number * (last / 200)).chain(last - 20..last);
    scale.write(chunks(), 0);
    let (first, reads) = scale.back_up(None);
    assert!(first.grid.size_bytes() >= 16 * TIB - 4096);
    let read = reads.bytes.load(Ordering::Relaxed);
    // The first sectors are looked at for a partition table besides.
    assert!(read <= 220 * CHUNK + 4096, "{read} bytes were read for 220 chunks of data");
    assert_eq!(first.statistics.read_bytes, 220 * CHUNK);
    let written = scale.recording.amount(Operation::Write) + scale.recording.amount(Operation::Create);
    assert!(written < 1 << 20, "{written} bytes were written for 220 blocks and their map");

    let (second, reads) = scale.back_up(None);
    assert!(reads.bytes.load(Ordering::Relaxed) <= 220 * CHUNK + 4096);
    assert_eq!((second.content_id, second.statistics.changed_bytes), (first.content_id, 0));
    let all = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: Some(1) };
    let report = verify(&scale.vault, &all, &Silent).unwrap();
    assert!(report.is_whole() && report.points.len() == 2, "{report:?}");
    drop(scale.directory);
}

#[test]
fn of_a_disk_of_8_tib_with_hints_only_changes_and_the_sample_are_read() {
    let scale = Scale::new(8 * TIB);
    let near = || (1_000_000..1_001_000).map(|chunk| chunk + 17);
    let far = || (0..1000).map(|number| number * (8 * TIB / CHUNK / 1000));
    scale.write(near().chain(far()), 0);
    let (first, _) = scale.back_up(None);
    assert_eq!(first.statistics.read_bytes, 2000 * CHUNK);

    for (round, (chunks, most_parts)) in [(near().collect::<Vec<_>>(), 100), (far().collect(), 2100)].into_iter().enumerate() {
        scale.write(chunks.iter().copied(), round as u64 + 1);
        let (disk, reads) = scale.back_up(Some(changed(chunks.iter().copied())));
        let ChangeSource::Hints { sampled_chunks, .. } = disk.changes else { panic!("not followed: {:?}", disk.changes) };
        assert!((1..=40).contains(&sampled_chunks), "{sampled_chunks} of 1000 chunks are no 1%");
        assert_eq!(disk.statistics.changed_bytes, 1000 * CHUNK);
        assert_eq!(disk.statistics.read_bytes, (1000 + sampled_chunks) * CHUNK);
        assert!(reads.bytes.load(Ordering::Relaxed) <= (1000 + sampled_chunks) * CHUNK + 4096);
        let read = reads.chunks.lock().unwrap().clone();
        assert!(chunks.iter().all(|chunk| read.contains(chunk)), "a changed chunk was not read");
        assert!(scale.parts_read() <= most_parts, "{} parts of packs were read in round {round}", scale.parts_read());
    }
}
