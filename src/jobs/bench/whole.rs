//! Whole runs of the program on the sample, against what the processors alone would do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use super::kernels::{compress, keys};
use super::sample::{FRAME_BYTES, Sample};
use super::{BenchRequest, Share, fastest, timed};
use crate::backend::LocalDirectory;
use crate::crypt::random;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::point::Consistency;
use crate::format::vault::{Cipher, DedupScope, Writers};
use crate::io::{AlignedBuffer, FileAt, ReadAt, WriteAt};
use crate::jobs::JobError;
use crate::jobs::backup::{BackupRequest, DiskRequest, backup};
use crate::jobs::restore::{RestoreRequest, restore};
use crate::monitor::{Monitor, Silent};
use crate::restore::FileTarget;
use crate::source::Format;
use crate::store::{NewVault, Vault};
use crate::units::{BLOCK_BYTES, CHUNK_BYTES, MAX_FRAME_BLOCKS, MachineName, PointId};

/// A directory of the trial, removed with all that is in it.
struct Trial(PathBuf);

impl Trial {
    fn new(parent: &Path) -> Result<Self, JobError> {
        let path = parent.join(format!("cairn-bench-{:016x}", u64::from_le_bytes(random()?)));
        fs::create_dir_all(&path).map_err(|source| trial_failed(&path, source))?;
        Ok(Self(path))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // What cannot be removed is left to the person: its name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn trial_failed(path: &Path, source: std::io::Error) -> JobError {
    JobError::File { what: "the trial's file", path: path.to_owned(), doing: "cannot be made", source }
}

/// First backup, rescan and restore.
pub(super) fn run(request: &BenchRequest, sample: &Sample, monitor: &dyn Monitor) -> Result<Vec<Share>, JobError> {
    let trial = Trial::new(&request.directory)?;
    let image = trial.0.join("sample.raw");
    fs::write(&image, sample.bytes()).map_err(|source| trial_failed(&image, source))?;
    let mut shares = Vec::new();
    let mut share = |name, whole: Duration, limit: Duration| {
        let rate = |time: Duration| sample.data_bytes() as f64 / time.as_secs_f64();
        shares.push(Share { name, bytes_per_second: rate(whole), limit_bytes_per_second: rate(limit) });
    };
    monitor.step("first backup");
    let (mut whole, mut limit) = (Duration::MAX, Duration::MAX);
    for run in 0..request.runs.max(1) {
        limit = limit.min(timed(|| first_backup_limit(sample, request.compression_level)));
        let vault = vault(&trial.0.join(format!("first-{run}")), request.compression_level)?;
        whole = whole.min(backed_up(&vault, &image)?.0);
    }
    share("first_backup", whole, limit);
    monitor.step("rescan");
    let vault = vault(&trial.0.join("vault"), request.compression_level)?;
    let (_, point) = backed_up(&vault, &image)?;
    let limit = fastest(request.runs, || rescan_limit(&image))?;
    let whole = fastest(request.runs, || Ok(backed_up(&vault, &image)?.0))?;
    share("rescan", whole, limit);
    monitor.step("restore");
    let target = trial.0.join("restored.raw");
    let threads = rayon::current_num_threads().max(vault.backend().parallel_requests());
    let limit = fastest(request.runs, || restore_limit(sample, request.compression_level, &target, threads))?;
    let whole = fastest(request.runs, || restored(&vault, point, &target))?;
    share("restore", whole, limit);
    Ok(shares)
}

/// Restores a point to a new file.
fn restored(vault: &Vault, point: PointId, target: &Path) -> Result<Duration, JobError> {
    let request = RestoreRequest {
        point,
        disk: Some(name("disk")?),
        to: target.to_owned(),
        overwrite: false,
        dry_run: false,
        read_back: false,
        sync: true,
    };
    let mut result = None;
    let time = timed(|| result = Some(restore(vault, &request, &Silent)));
    fs::remove_file(target).map_err(|source| trial_failed(target, source))?;
    result.transpose().map(|_| time)
}

/// Decompresses frames and writes them to a new file, durably, with as many threads as a restore has; nothing is looked up or hashed.
fn restore_limit(sample: &Sample, level: i32, target: &Path, threads: usize) -> Result<Duration, JobError> {
    let frames: Vec<Vec<u8>> = sample.frames().map(|frame| compress(frame, level)).collect();
    let fail = |source| trial_failed(target, source);
    let file = File::create_new(target).map_err(fail)?;
    file.set_len(sample.new_bytes()).map_err(fail)?;
    let file = FileTarget::new(file, true, true).map_err(fail)?;
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        let mut raw = AlignedBuffer::new(FRAME_BYTES);
        while let Some((number, frame)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|number| Some((number, frames.get(number)?)))
        {
            let length = zstd::bulk::decompress_to_buffer(frame, raw.bytes_mut())?;
            file.write_at((number * FRAME_BYTES) as u64, &raw.bytes()[..length])?;
        }
        Ok(())
    };
    let mut result = Ok(());
    let time = timed(|| {
        result = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())))?;
            file.sync()
        });
    });
    fs::remove_file(target).map_err(fail)?;
    result.map_err(fail).map(|()| time)
}

fn vault(root: &Path, compression_level: i32) -> Result<Arc<Vault>, JobError> {
    let new = NewVault { compression_level, frame_blocks: MAX_FRAME_BLOCKS as u16, dedup_scope: DedupScope::Vault, writers: Writers::Many };
    Ok(Arc::new(Vault::create(Arc::new(LocalDirectory::create(root)?), new, &Unlock::Nothing, PassphraseCost::default(), root)?))
}

fn name(text: &str) -> Result<MachineName, JobError> {
    text.parse().map_err(JobError::Name)
}

fn backed_up(vault: &Arc<Vault>, image: &Path) -> Result<(Duration, PointId), JobError> {
    let request = BackupRequest {
        machine: name("bench")?,
        disks: vec![DiskRequest {
            name: name("disk")?,
            source: crate::source::open(image, Format::Raw)?,
            hints: None,
            keep_clone: None,
            spec: None,
        }],
        tags: Vec::new(),
        consistency: Consistency::Crash,
        quiesce: None,
        time: None,
        retain_until: None,
        configs: Vec::new(),
        verify_hints_percent: 0.0,
        compression_level: None,
        dry_run: false,
    };
    let mut result = None;
    let time = timed(|| result = Some(backup(vault, &request, &Silent)));
    let report = result.transpose()?.ok_or(JobError::Cancelled)?;
    Ok((time, report.manifest.point))
}

fn first_backup_limit(sample: &Sample, level: i32) {
    let Ok(keys) = keys(Cipher::None) else { return };
    let fingerprinter = keys.fingerprinter(None);
    let hash = || {
        sample.chunks().for_each(|chunk| {
            std::hint::black_box(blake3::hash(chunk));
            for block in chunk.chunks_exact(BLOCK_BYTES) {
                std::hint::black_box(fingerprinter.fingerprint(block));
            }
        });
    };
    hash();
    sample.frames().for_each(|frame| drop(std::hint::black_box(compress(frame, level))));
}

fn rescan_limit(image: &Path) -> Result<Duration, JobError> {
    let file = File::open(image).and_then(FileAt::new).map_err(|source| trial_failed(image, source))?;
    let chunks = file.size_bytes() / CHUNK_BYTES as u64;
    Ok(timed(|| {
        (0..chunks).into_par_iter().for_each_init(
            || vec![0; CHUNK_BYTES],
            |buffer, chunk| {
                let read = file.read_at(chunk * CHUNK_BYTES as u64, buffer);
                std::hint::black_box((read.is_ok(), blake3::hash(buffer)));
            },
        );
    }))
}
