//! Restores that are interrupted, targets that fail, and vaults that are damaged.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::backend::{Operation, Recording};
use crate::io::{MemoryAt, ReadAt, WriteAt};
use crate::jobs::testing::{disk, readers};
use crate::monitor::{Counter, Problem};
use crate::restore::Target;
use crate::units::{CHUNK_BYTES, Extent};

/// Cancels after so many bytes were written.
struct CancelAfter {
    bytes: u64,
    written: AtomicU64,
}

impl Monitor for CancelAfter {
    fn count(&self, counter: Counter, amount: u64) {
        if counter == Counter::WrittenBytes {
            self.written.fetch_add(amount, Ordering::Relaxed);
        }
    }
    fn step(&self, _: &str) {}
    fn problem(&self, _: Problem) {}
    fn cancelled(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= self.bytes
    }
}

#[test]
fn an_interrupted_restore_goes_on_where_it_stopped() {
    let vault = TestVault::new();
    let bytes = disk(200, 1);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("out.raw");
    let monitor = CancelAfter { bytes: 10 << 20, written: AtomicU64::new(0) };
    let stopped = restore(&vault.vault, &request(point, Some("vda"), &to), &monitor).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{stopped}");
    assert!(partial(&to).exists() && !to.exists(), "a part of a disk has the name of the whole");
    let written = monitor.written.into_inner();
    assert!(written < data_blocks_bytes(&bytes));
    let report = to_file(&vault, point, &to, false).unwrap();
    assert!(fs::read(&to).unwrap() == bytes);
    assert_eq!(report.written_bytes, data_blocks_bytes(&bytes) - written, "what was there was written again");
    assert!(report.equal_bytes > 0 && !partial(&to).exists());
}

#[test]
fn what_a_crash_left_behind_is_not_believed() {
    let vault = TestVault::new();
    let bytes = disk(20, 1);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("out.raw");
    let mut left = disk(30, 9);
    left[..5 * CHUNK_BYTES].copy_from_slice(&bytes[..5 * CHUNK_BYTES]);
    fs::write(partial(&to), &left).unwrap();
    to_file(&vault, point, &to, false).unwrap();
    assert!(fs::read(&to).unwrap() == bytes);
}

/// A target in memory in which the operation of some number fails, and that forgets or lies.
struct Troubled {
    memory: MemoryAt,
    fails_at: Option<(u64, i32)>,
    operations: AtomicU64,
    /// Written ranges that are given back wrong after a sync.
    lies: bool,
    synced: Mutex<bool>,
}

impl Troubled {
    fn new(size_bytes: usize, fails_at: Option<(u64, i32)>, lies: bool) -> Self {
        Self { memory: MemoryAt::new(vec![0; size_bytes]), fails_at, operations: AtomicU64::new(0), lies, synced: Mutex::new(false) }
    }

    fn operate(&self) -> io::Result<()> {
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        match self.fails_at {
            Some((at, code)) if at == number => Err(io::Error::from_raw_os_error(code)),
            _ => Ok(()),
        }
    }
}

impl ReadAt for Troubled {
    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes()
    }
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.operate()?;
        self.memory.read_at(offset_bytes, buffer)?;
        if self.lies && *self.synced.lock().unwrap() && offset_bytes == 7 * CHUNK_BYTES as u64 {
            buffer[4096] ^= 1;
        }
        Ok(())
    }
}

impl WriteAt for Troubled {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.operate()?;
        self.memory.write_at(offset_bytes, bytes)
    }
    fn zero_at(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.operate()?;
        self.memory.zero_at(offset_bytes, length_bytes)
    }
    fn sync(&self) -> io::Result<()> {
        *self.synced.lock().unwrap() = true;
        self.operate()
    }
}

impl Target for Troubled {
    fn next_data(&self, range: Extent) -> io::Result<Option<Extent>> {
        Ok(Some(range))
    }
    fn written(&self, _: Extent) {}
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
}

fn to_target(vault: &TestVault, disk: &DiskRecord, target: &Troubled, read_back: bool) -> Result<RestoreReport, RestoreError> {
    let (packs, map) = readers(&vault.vault, disk);
    let options = RestoreOptions { dry_run: false, sync: true, read_back, parallel_requests: 1 };
    restore_disk(&map, &packs, target, options, None, &Silent)
}

#[test]
fn a_target_that_fails_at_any_operation_is_named_and_completed_by_another_run() {
    let vault = TestVault::new();
    let bytes = disk(22, 1);
    let manifest = vault.backup("m", &[("vda", &bytes)]);
    let disk = &manifest.disks[0];
    let whole = Troubled::new(bytes.len(), None, false);
    to_target(&vault, disk, &whole, false).unwrap();
    assert!(whole.memory.to_vec() == bytes);
    let operations = whole.operations.into_inner();
    for number in (0..operations).step_by(3).chain([operations - 1]) {
        let failing = Troubled::new(bytes.len(), Some((number, libc::EIO)), false);
        let error = to_target(&vault, disk, &failing, false).unwrap_err();
        assert!(matches!(error, RestoreError::Target { .. }) && !error.is_damage(), "{error}");
        let again = Troubled { fails_at: None, ..failing };
        to_target(&vault, disk, &again, false).unwrap();
        assert!(again.memory.to_vec() == bytes, "after a failure of operation {number}");
    }
    let full = Troubled::new(bytes.len(), Some((1, libc::ENOSPC)), false);
    let error = to_target(&vault, disk, &full, false).unwrap_err();
    assert!(matches!(error, RestoreError::NoSpace { .. }) && error.to_string().contains("run the same command again"), "{error}");
}

#[test]
fn reading_back_finds_a_target_that_lies() {
    let vault = TestVault::new();
    let bytes = disk(22, 1);
    let manifest = vault.backup("m", &[("vda", &bytes)]);
    let honest = Troubled::new(bytes.len(), None, false);
    let report = to_target(&vault, &manifest.disks[0], &honest, true).unwrap();
    assert_eq!(report.read_back_bytes, report.data_bytes);
    // What was there already is not read back.
    let report = to_target(&vault, &manifest.disks[0], &honest, true).unwrap();
    assert_eq!((report.equal_bytes, report.read_back_bytes), (report.data_bytes, 0));
    let lying = Troubled::new(bytes.len(), None, true);
    let error = to_target(&vault, &manifest.disks[0], &lying, true).unwrap_err();
    let chunk = Extent::between(7 * CHUNK_BYTES as u64, 8 * CHUNK_BYTES as u64);
    assert!(matches!(error, RestoreError::ReadBack { range } if range == chunk), "{error}");
}

#[test]
fn reading_back_a_file_reads_all_that_was_written_or_zeroed() {
    let vault = TestVault::new();
    let bytes = disk(30, 1);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("out.raw");
    let mut old = bytes.clone();
    old[CHUNK_BYTES] ^= 1;
    old[4 * CHUNK_BYTES] ^= 1;
    fs::write(&to, &old).unwrap();
    let request = RestoreRequest { overwrite: true, read_back: true, ..request(point, Some("vda"), &to) };
    let report = restore(&vault.vault, &request, &Silent).unwrap().disks[0].report;
    assert!(fs::read(&to).unwrap() == bytes);
    // The zeroed chunk may be a hole afterwards, of which nothing is left to read.
    assert!([CHUNK_BYTES as u64, 2 * CHUNK_BYTES as u64].contains(&report.read_back_bytes), "{report:?}");
}

#[test]
fn each_frame_is_read_once() {
    let vault = TestVault::new();
    let bytes = disk(300, 1);
    let manifest = vault.backup("m", &[("vda", &bytes)]);
    let mut recording = None;
    let reopened = vault.reopened(|backend| {
        let decorated = Arc::new(Recording::new(backend));
        recording = Some(Arc::clone(&decorated));
        decorated
    });
    let recording = recording.unwrap();
    let to = vault.path("out.raw");
    restore(&reopened, &request(manifest.point, Some("vda"), &to), &Silent).unwrap();
    assert!(fs::read(&to).unwrap() == bytes);
    let reads = recording.recorded().into_iter().filter(|one| one.operation == Operation::GetRange && one.name.starts_with("packs/"));
    let reads: Vec<u64> = reads.map(|one| one.amount).collect();
    let frames = data_blocks_bytes(&bytes).div_ceil(1 << 20);
    // Besides the frames of blocks: the ends of the data pack and of the metadata pack, the root and two leaves.
    assert!(reads.len() as u64 <= frames + 6, "{} reads for {frames} frames", reads.len());
}

/// The vault's packs, the largest first.
fn packs(vault: &TestVault) -> Vec<PathBuf> {
    let listed = vault.vault.backend().list("packs/").unwrap();
    let mut packs: Vec<_> = listed.iter().map(|pack| (pack.size_bytes, vault.root().join(&pack.name))).collect();
    packs.sort();
    packs.into_iter().rev().map(|(_, path)| path).collect()
}

#[test]
fn damage_is_named_with_disk_and_range_and_other_points_come_back() {
    let vault = TestVault::new();
    let (bad, good) = (disk(12, 1), disk(12, 2));
    let bad_point = vault.backup("bad", &[("vda", &bad)]).point;
    let bad_pack = packs(&vault)[0].clone();
    let good_point = vault.backup("good", &[("vda", &good)]).point;
    let file = fs::OpenOptions::new().write(true).open(&bad_pack).unwrap();
    file.write_all_at(&[0x55; 64], bad_pack.metadata().unwrap().len() / 2).unwrap();
    let to = vault.path("bad.raw");
    let error = to_file(&vault, bad_point, &to, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    let text = error.to_string();
    let pack = bad_pack.file_name().unwrap().to_str().unwrap();
    assert!(text.starts_with("disk vda of bad@") && text.contains("bytes ") && text.contains(pack), "{text}");
    assert!(!to.exists());
    to_file(&vault, good_point, &vault.path("good.raw"), false).unwrap();
    assert!(fs::read(vault.path("good.raw")).unwrap() == good);
}
