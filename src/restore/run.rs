//! Restores one disk: the plan is made ahead, in the order of the disk, and workers take their batches from it.
//!
//! Because the plan is ahead, it is known which frames will be used again, and which will not. Memory: what a worker holds
//! (`worker.rs`), the frames kept, and the plan itself, of 2 GiB of the disk at most.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::RestoreError;
use super::plan::{Plan, Step};
use super::skipped::Skipped;
use super::target::Target;
use super::touched::Touched;
use super::worker::Worker;
use crate::catalogue::map::MapReader;
use crate::format::map::ChunkEntry;
use crate::monitor::{Counter, Monitor};
use crate::store::{ForeseenFrames, PackReader};
use crate::units::{ChunkRange, Extent};

/// Steps that are planned before they are taken: batches of 4 MiB.
const STEPS_AHEAD: usize = 512;
/// Memory for frames that will be used again.
const FRAMES_BYTES: usize = 256 << 20;

/// How a disk is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Compare only, and say what would be written.
    pub dry_run: bool,
    /// Return only when everything written survives a loss of power.
    pub sync: bool,
    /// Read what was written again, from the medium, and compare it with the map's hashes. Syncs whatever `sync` says: the medium
    /// has it only then.
    pub read_back: bool,
    /// Requests to the vault worth having in flight at once.
    pub parallel_requests: usize,
}

/// What a restore of one disk did; in a dry run, what it would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// Bytes of the disk.
    pub size_bytes: u64,
    /// Bytes of its chunks that hold data.
    pub data_bytes: u64,
    /// Bytes read from the target to compare them.
    pub compared_bytes: u64,
    /// Bytes of chunks with data that the target had already.
    pub equal_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of the target that were not zero and are now.
    pub zeroed_bytes: u64,
    /// Bytes written or zeroed that were read back and compared.
    pub read_back_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) data: AtomicU64,
    pub(super) compared: AtomicU64,
    pub(super) equal: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) zeroed: AtomicU64,
    pub(super) read_back: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

/// Restores a disk to a target that is at least as large. What the target has already is left alone, so a restore that was interrupted
/// is completed by another one. Where `skipped` is given, what the vault has lost is left as the target has it and told there.
///
/// # Errors
/// [`RestoreError`]: the first failure; chunks in flight are still finished. Every chunk written had its hash checked before.
pub fn restore_disk(
    map: &MapReader<'_>,
    packs: &PackReader,
    target: &dyn Target,
    options: RestoreOptions,
    skipped: Option<&Skipped>,
    monitor: &dyn Monitor,
) -> Result<RestoreReport, RestoreError> {
    let frames = ForeseenFrames::new(packs, FRAMES_BYTES);
    let touched = options.read_back.then(Touched::default);
    let job = Job { frames, target, options, skipped, monitor, counts: Counts::default(), touched };
    let whole = ChunkRange { start: 0, end: map.grid().chunk_count() };
    monitor.count(Counter::PlannedBytes, map.grid().size_bytes());
    job.run(map, std::iter::once(whole), |number, step| job.announce(number, step), |worker, step| worker.restore(step))?;
    if !options.dry_run && (options.sync || options.read_back) {
        monitor.step("making the target durable");
        let range = Extent::between(0, map.grid().size_bytes());
        target.sync().map_err(|source| RestoreError::target("making durable", range, source))?;
    }
    if let Some(touched) = &job.touched {
        job.read_back(map, touched)?;
    }
    Ok(job.report(map.grid().size_bytes()))
}

/// What all threads share.
pub(super) struct Job<'a> {
    pub(super) frames: ForeseenFrames<'a>,
    pub(super) target: &'a dyn Target,
    pub(super) options: RestoreOptions,
    /// Where damage is skipped: what was.
    pub(super) skipped: Option<&'a Skipped>,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) counts: Counts,
    /// Chunks written or zeroed, where they are to be read back.
    pub(super) touched: Option<Touched>,
}

impl Job<'_> {
    /// Plans ascending ranges on this thread, and lets workers take the steps.
    fn run(
        &self,
        map: &MapReader<'_>,
        ranges: impl Iterator<Item = ChunkRange>,
        announce: impl Fn(u64, &Step),
        work: impl Fn(&mut Worker<'_>, Step) -> Result<(), RestoreError> + Sync,
    ) -> Result<(), RestoreError> {
        let failed = AtomicBool::new(false);
        let (sender, receiver) = bounded(STEPS_AHEAD);
        let take_steps = |receiver: Receiver<(u64, Step)>| {
            let mut worker = Worker::new(self, *map.grid());
            let taken = receiver.iter().take_while(|_| !failed.load(Ordering::Relaxed)).try_for_each(|(number, step)| {
                let done = work(&mut worker, step);
                self.frames.done(number);
                done
            });
            failed.fetch_or(taken.is_err(), Ordering::Relaxed);
            taken
        };
        std::thread::scope(|scope| {
            let threads = rayon::current_num_threads().max(self.options.parallel_requests);
            let start = |number| {
                let receiver = receiver.clone();
                let thread = std::thread::Builder::new().name(format!("restore-{number}"));
                thread.spawn_scoped(scope, || take_steps(receiver)).map_err(|error| RestoreError::Threads(error.to_string()))
            };
            let workers: Vec<_> = (0..threads).map(start).collect::<Result<_, _>>()?;
            drop(receiver);
            let planned = (0..).zip(Plan::new(map, self.target, ranges)).try_for_each(|(number, step)| {
                if let Some(step) = self.unless_damaged(step)? {
                    announce(number, &step);
                    // Nobody takes it when all workers have failed: they say why.
                    let _ = sender.send((number, step));
                }
                if failed.load(Ordering::Relaxed) { Err(RestoreError::Cancelled) } else { Ok(()) }
            });
            drop(sender);
            let ended = workers.into_iter().map(|worker| worker.join().map_err(|_| RestoreError::Threads("it panicked".to_owned()))?);
            ended.collect::<Result<(), _>>().and(planned)
        })
    }

    /// What was asked for; `None` where the vault has lost it and damage is to be skipped.
    pub(super) fn unless_damaged<T>(&self, result: Result<T, RestoreError>) -> Result<Option<T>, RestoreError> {
        match (result, self.skipped) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(error), None) => Err(error),
            (Err(error), Some(skipped)) => {
                let range = skipped.take(error)?;
                self.monitor.count(Counter::DoneBytes, range.length());
                Ok(None)
            }
        }
    }

    /// Announces the frames that a step will read.
    fn announce(&self, number: u64, step: &Step) {
        let Step::Chunks(batch) = step else { return };
        if self.options.dry_run {
            return;
        }
        for (_, entry) in batch.entries() {
            if let ChunkEntry::Data { runs, .. } = entry {
                self.frames.announce(number, runs);
            }
        }
    }

    /// Compares what was written with the map, from the medium.
    fn read_back(&self, map: &MapReader<'_>, touched: &Touched) -> Result<(), RestoreError> {
        self.monitor.step("reading back what was written");
        let range = Extent::between(0, map.grid().size_bytes());
        self.target.forget_cached().map_err(|source| RestoreError::target("reading back", range, source))?;
        self.run(map, touched.take_ranges(), |_, _| (), |worker, step| worker.read_back(step))
    }

    fn report(&self, size_bytes: u64) -> RestoreReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RestoreReport {
            size_bytes,
            data_bytes: read(&self.counts.data),
            compared_bytes: read(&self.counts.compared),
            equal_bytes: read(&self.counts.equal),
            written_bytes: read(&self.counts.written),
            zeroed_bytes: read(&self.counts.zeroed),
            read_back_bytes: read(&self.counts.read_back),
        }
    }
}
