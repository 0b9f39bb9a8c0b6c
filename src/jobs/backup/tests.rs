//! Backups of small disks against plain copies of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::backend::{Backend, LocalDirectory, MemoryBackend};
use crate::catalogue::map::{MapReader, Span};
use crate::crypt::SecretBytes;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::map::ChunkEntry;
use crate::format::point::ChangeSource;
use crate::format::vault::{DedupScope, Writers};
use crate::monitor::Silent;
use crate::source::{Format, HintBase};
use crate::store::NewVault;
use crate::units::{CHUNK_BYTES, ChunkIndex, Extent, ExtentSet};

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };

pub(in crate::jobs) fn vault(backend: Arc<dyn Backend>, unlock: &Unlock, cache: &Path) -> Arc<Vault> {
    let new = NewVault { compression_level: 1, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
    Arc::new(Vault::create(backend, new, unlock, CHEAP, cache).unwrap())
}

/// Bytes that look like a disk: compressible, with repetition, zeros and noise; the same for the same seed.
pub(in crate::jobs) fn disk(chunks: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; chunks * CHUNK_BYTES + 1000];
    for (number, block) in bytes.chunks_mut(4096).enumerate() {
        match (number / 16) % 4 {
            0 => blake3::Hasher::new().update(&[seed]).update(&(number as u64).to_le_bytes()).finalize_xof().fill(block),
            1 => block.fill((number % 7) as u8),
            2 => {}
            _ => block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 64 * number) as u8),
        }
    }
    bytes
}

pub(in crate::jobs) fn request(machine: &str, disks: &[(&str, &Path)], hints: Option<Hints>) -> BackupRequest {
    let disk = |&(name, path): &(&str, &Path)| DiskRequest {
        name: name.parse().unwrap(),
        source: crate::source::open(path, Format::Raw).unwrap(),
        hints: hints.clone(),
        keep_clone: None,
        spec: None,
    };
    BackupRequest {
        machine: machine.parse().unwrap(),
        disks: disks.iter().map(disk).collect(),
        tags: vec!["test".to_owned()],
        consistency: Consistency::Crash,
        quiesce: None,
        time: None,
        retain_until: None,
        configs: Vec::new(),
        verify_hints_percent: 100.0,
        compression_level: None,
        dry_run: false,
    }
}

/// All bytes of a disk of a point, read through its map.
fn read_back(vault: &Arc<Vault>, record: &DiskRecord) -> Vec<u8> {
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), 1 << 20));
    let nodes = Arc::new(VaultNodes::new(vault, Arc::clone(&packs)));
    let map = MapReader::new(nodes, record.root, record.grid);
    let mut bytes = vec![0; record.grid.size_bytes() as usize];
    for span in map.all_spans() {
        let Span::Leaf(leaf) = span.unwrap() else { continue };
        for (index, entry) in (leaf.chunks().start..).zip(leaf.entries()) {
            let ChunkEntry::Data { hash, runs } = entry else { continue };
            let extent = record.grid.chunk_extent(ChunkIndex(index));
            let chunk = &mut bytes[extent.offset() as usize..extent.end() as usize];
            packs.read_runs(runs, chunk).unwrap();
            assert_eq!(hash.as_bytes(), blake3::hash(chunk).as_bytes());
        }
    }
    bytes
}

fn unlocks() -> [fn() -> Unlock; 2] {
    [|| Unlock::Nothing, || Unlock::Passphrase(SecretBytes::new(b"secret".to_vec()))]
}

#[test]
fn two_points_give_back_both_states() {
    for unlock in unlocks() {
        let directory = tempfile::tempdir().unwrap();
        let (root, image) = (directory.path().join("vault"), directory.path().join("disk.raw"));
        let vault = vault(Arc::new(LocalDirectory::create(&root).unwrap()), &unlock(), directory.path());
        let first_state = disk(20, 1);
        std::fs::write(&image, &first_state).unwrap();
        let first = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap().manifest;
        assert_eq!(first.disks[0].changes, ChangeSource::First);

        let mut second_state = first_state.clone();
        second_state[5 * CHUNK_BYTES + 4096..5 * CHUNK_BYTES + 8192].fill(0xee);
        second_state.truncate(18 * CHUNK_BYTES + 77);
        std::fs::write(&image, &second_state).unwrap();
        // Opened anew, as another run of the program does.
        let vault = Arc::new(Vault::open(Arc::new(LocalDirectory::open(&root).unwrap()), &unlock(), directory.path()).unwrap());
        let second = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap().manifest;
        assert_eq!((second.sequence, second.base), (2, Some(first.point)));
        assert_eq!(second.disks[0].changes, ChangeSource::Scan);
        assert_eq!(second.disks[0].statistics.changed_bytes, CHUNK_BYTES as u64 + 77);
        assert!(second.disks[0].statistics.new_bytes <= 2 * 4096, "{:?}", second.disks[0].statistics);

        assert!(read_back(&vault, &first.disks[0]) == first_state);
        assert!(read_back(&vault, &second.disks[0]) == second_state);
    }
}

#[test]
fn an_unchanged_disk_adds_no_pack_and_has_the_same_content_id() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let vault = vault(Arc::new(MemoryBackend::new()), &Unlock::Nothing, directory.path());
    std::fs::write(&image, disk(9, 2)).unwrap();
    let first = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap().manifest;
    let packs = vault.backend().list("packs/").unwrap();
    let second = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap().manifest;
    assert_eq!(vault.backend().list("packs/").unwrap(), packs);
    assert_eq!(first.disks[0].root, second.disks[0].root);
    // Another machine with the same disk stores nothing either, but for its map.
    let other = backup(&vault, &request("n", &[("sda", &image)], None), &Silent).unwrap().manifest;
    assert_eq!(other.disks[0].statistics.new_bytes, 0);
    assert_eq!(other.disks[0].content_id, first.disks[0].content_id);
    assert!(vault.backend().list("leases/").unwrap().is_empty(), "a lease was not given back");
}

fn hints(changed: &[(u64, u64)], base: HintBase) -> Hints {
    let changed = changed.iter().map(|&(start, end)| Extent::between(start, end)).collect();
    Hints { origin: "test".to_owned(), base, changed: ExtentSet::from_unsorted(changed), zeroed: ExtentSet::new() }
}

#[test]
fn hints_are_followed_when_right_and_found_out_when_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let vault = vault(Arc::new(MemoryBackend::new()), &Unlock::Nothing, directory.path());
    let mut state = disk(12, 3);
    std::fs::write(&image, &state).unwrap();
    let first = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap().manifest;
    let changed = 3 * CHUNK_BYTES + 100;
    state[changed] ^= 1;
    File::options().write(true).open(&image).unwrap().write_all_at(&state[changed..=changed], changed as u64).unwrap();

    let right = hints(&[(changed as u64, changed as u64 + 1)], HintBase::Point(first.point.to_string()));
    let mut wanted = request("m", &[("vda", &image)], Some(right));
    wanted.verify_hints_percent = 0.0;
    let second = backup(&vault, &wanted, &Silent).unwrap().manifest;
    assert_eq!(second.disks[0].changes, ChangeSource::Hints { origin: "test".to_owned(), sampled_chunks: 0 });
    assert_eq!(second.disks[0].statistics.read_bytes, CHUNK_BYTES as u64);
    assert!(read_back(&vault, &second.disks[0]) == state);

    // These hints miss the change; reading what they call unchanged finds it out.
    state[8 * CHUNK_BYTES] ^= 1;
    std::fs::write(&image, &state).unwrap();
    let wrong = hints(&[(0, 1)], HintBase::Unknown);
    let third = backup(&vault, &request("m", &[("vda", &image)], Some(wrong)), &Silent).unwrap().manifest;
    assert!(matches!(&third.disks[0].changes, ChangeSource::HintsRefused { .. }), "{:?}", third.disks[0].changes);
    assert!(read_back(&vault, &third.disks[0]) == state);

    let foreign = hints(&[(0, 1)], HintBase::Point(first.point.to_string()));
    let fourth = backup(&vault, &request("m", &[("vda", &image)], Some(foreign)), &Silent).unwrap().manifest;
    assert!(matches!(&fourth.disks[0].changes, ChangeSource::HintsRefused { .. }), "{:?}", fourth.disks[0].changes);
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_would_be_stored() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let vault = vault(Arc::new(MemoryBackend::new()), &Unlock::Nothing, directory.path());
    std::fs::write(&image, disk(9, 4)).unwrap();
    let before = vault.backend().list("").unwrap();
    let mut dry = request("m", &[("vda", &image)], None);
    dry.dry_run = true;
    let would = backup(&vault, &dry, &Silent).unwrap();
    assert!(!would.published);
    assert_eq!(vault.backend().list("").unwrap(), before);
    let did = backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap();
    let (would, did) = (would.manifest.disks[0].statistics, did.manifest.disks[0].statistics);
    assert_eq!((would.read_bytes, would.changed_bytes, would.new_bytes), (did.read_bytes, did.changed_bytes, did.new_bytes));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let vault = vault(Arc::new(MemoryBackend::new()), &Unlock::Nothing, directory.path());
    std::fs::write(&image, disk(1, 5)).unwrap();
    let refused = |request: &BackupRequest| backup(&vault, request, &Silent).unwrap_err().to_string();
    assert_eq!(refused(&request("m", &[], None)), "there is nothing to back up of m: name its disks with --disk NAME=SOURCE");
    assert_eq!(refused(&request("m", &[("a", &image), ("a", &image)], None)), "two disks are called a; give each its own name");
    let mut at = request("m", &[("a", &image)], None);
    at.time = Some("2026-11-22T20:30:00Z".parse().unwrap());
    backup(&vault, &at, &Silent).unwrap();
    assert!(refused(&at).starts_with("m has a recovery point of 2026-11-22T20:30:00Z already"));
}

#[test]
fn a_rebuilt_index_knows_every_block_again() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    for backend in
        [Arc::new(MemoryBackend::new()) as Arc<dyn Backend>, Arc::new(LocalDirectory::create(&directory.path().join("v")).unwrap())]
    {
        let vault = vault(backend, &Unlock::Nothing, directory.path());
        std::fs::write(&image, disk(9, 6)).unwrap();
        backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap();
        std::fs::remove_dir_all(vault.index_directory()).unwrap();
        let first = crate::jobs::index::rebuild(&vault, &Silent).unwrap();
        assert!(first.blocks > 0 && first.packs == 2, "{first:?}");
        assert_eq!(crate::jobs::index::rebuild(&vault, &Silent).unwrap(), first);
        let again = backup(&vault, &request("n", &[("vda", &image)], None), &Silent).unwrap().manifest;
        assert_eq!(again.disks[0].statistics.new_bytes, 0);
    }
}

/// Does something to the image when the scan of it begins.
struct Meddling<F>(F);

impl<F: Fn() + Sync> Monitor for Meddling<F> {
    fn count(&self, _: crate::monitor::Counter, _: u64) {}
    fn step(&self, name: &str) {
        if name.starts_with("scanning") {
            (self.0)();
        }
    }
    fn problem(&self, _: Problem) {}
    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_disk_that_grows_or_shrinks_under_the_scan_makes_no_point() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let vault = vault(Arc::new(MemoryBackend::new()), &Unlock::Nothing, directory.path());
    let state = disk(12, 8);
    for size in [state.len() + 1, state.len() - 1, 3 * CHUNK_BYTES, 0] {
        std::fs::write(&image, &state).unwrap();
        let meddle = || File::options().write(true).open(&image).unwrap().set_len(size as u64).unwrap();
        let error = backup(&vault, &request("m", &[("vda", &image)], None), &Meddling(meddle)).unwrap_err().to_string();
        let sizes = format!("disk.raw: had {} bytes when it was opened and has {size} now", state.len());
        assert!(error.contains(&sizes) && error.contains("back up a snapshot of it"), "{error}");
    }
    let points = Points::new(vault.backend().as_ref(), vault.keys()).list().unwrap();
    assert!(points.points.is_empty() && points.pending.is_empty());
    assert!(vault.backend().list("leases/").unwrap().is_empty(), "a lease was not given back");
}
