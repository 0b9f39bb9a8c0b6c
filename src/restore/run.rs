//! Restores one disk: workers take batches from the plan, compare, and write what differs.
//!
//! A worker goes through its chunks one after the other, so that the frame that it has just decompressed is still in the
//! processor's cache when its chunks are hashed and written. Memory: a chunk and the target's chunk for each worker, and the
//! pack reader's cache of frames.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::RestoreError;
use super::plan::{Batch, Plan, Step};
use super::target::Target;
use super::touched::Touched;
use crate::catalogue::map::MapReader;
use crate::format::map::{ChunkEntry, Run};
use crate::monitor::{Counter, Monitor};
use crate::scan::is_zero;
use crate::store::{ChunkBuffer, PackReader};
use crate::units::{BLOCK_BYTES, CHUNK_BYTES, ChunkHash, ChunkRange, Extent, Grid};

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
struct Counts {
    data: AtomicU64,
    compared: AtomicU64,
    equal: AtomicU64,
    written: AtomicU64,
    zeroed: AtomicU64,
    read_back: AtomicU64,
}

fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

/// Restores a disk to a target that is at least as large. What the target has already is left alone, so a restore that was interrupted
/// is completed by another one.
///
/// # Errors
/// [`RestoreError`]: the first failure; chunks in flight are still finished. Every chunk written had its hash checked before.
pub fn restore_disk(
    map: &MapReader<'_>,
    packs: &PackReader,
    target: &dyn Target,
    options: RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreReport, RestoreError> {
    let job = Job { packs, target, options, monitor, counts: Counts::default(), touched: options.read_back.then(Touched::default) };
    let whole = ChunkRange { start: 0, end: map.grid().chunk_count() };
    monitor.count(Counter::PlannedBytes, map.grid().size_bytes());
    job.run(map, std::iter::once(whole), |worker, step| worker.restore(step))?;
    if !options.dry_run && (options.sync || options.read_back) {
        monitor.step("making the target durable");
        let range = Extent::between(0, map.grid().size_bytes());
        target.sync().map_err(|source| RestoreError::target("making durable", range, source))?;
    }
    let Job { counts, touched, .. } = job;
    let job = Job { packs, target, options, monitor, counts, touched: None };
    if let Some(touched) = touched {
        job.read_back(map, touched)?;
    }
    Ok(job.report(map.grid().size_bytes()))
}

struct Job<'a> {
    packs: &'a PackReader,
    target: &'a dyn Target,
    options: RestoreOptions,
    monitor: &'a dyn Monitor,
    counts: Counts,
    /// Chunks written or zeroed, where they are to be read back.
    touched: Option<Touched>,
}

impl Job<'_> {
    /// Lets workers take the steps of some ranges.
    fn run(
        &self,
        map: &MapReader<'_>,
        ranges: impl Iterator<Item = ChunkRange> + Send,
        work: impl Fn(&mut Worker<'_>, Step) -> Result<(), RestoreError> + Sync,
    ) -> Result<(), RestoreError> {
        let threads = rayon::current_num_threads().max(self.options.parallel_requests);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("restore-{number}")).build();
        let pool = pool.map_err(|error| RestoreError::Threads(error.to_string()))?;
        let worker = || Worker { job: self, grid: *map.grid(), chunk: ChunkBuffer::default(), current: vec![0; CHUNK_BYTES] };
        let steps = Plan::new(map, self.target, ranges);
        pool.install(|| steps.par_bridge().try_for_each_init(worker, |worker, step| work(worker, step?)))
    }

    /// Compares what was written with the map, from the medium.
    fn read_back(&self, map: &MapReader<'_>, touched: Touched) -> Result<(), RestoreError> {
        self.monitor.step("reading back what was written");
        let range = Extent::between(0, map.grid().size_bytes());
        self.target.forget_cached().map_err(|source| RestoreError::target("reading back", range, source))?;
        self.run(map, touched.into_ranges(), |worker, step| worker.read_back(step))
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

/// One thread's share of a job.
struct Worker<'a> {
    job: &'a Job<'a>,
    grid: Grid,
    chunk: ChunkBuffer,
    /// A chunk as the target has it.
    current: Vec<u8>,
}

impl Worker<'_> {
    fn restore(&mut self, step: Step) -> Result<(), RestoreError> {
        match step {
            Step::Nothing(range) => self.done(range),
            Step::Zeros(range) => self.zeros(range),
            Step::Chunks(batch) => self.chunks(&batch),
        }
    }

    fn done(&self, range: Extent) -> Result<(), RestoreError> {
        self.job.monitor.count(Counter::DoneBytes, range.length());
        if self.job.monitor.cancelled() { Err(RestoreError::Cancelled) } else { Ok(()) }
    }

    fn chunks(&mut self, batch: &Batch) -> Result<(), RestoreError> {
        let before = self.job.counts.written.load(Ordering::Relaxed);
        for (index, entry) in batch.entries() {
            let range = self.grid.chunk_extent(index);
            match entry {
                ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => self.zeros(range)?,
                ChunkEntry::Data { hash, runs } => {
                    self.data(range, hash, runs)?;
                    self.done(range)?;
                }
            }
        }
        if self.job.counts.written.load(Ordering::Relaxed) > before {
            self.job.target.written(self.grid.range_extent(batch.chunks()));
        }
        Ok(())
    }

    /// Reads a part of the target, up to a chunk; `None` where it surely has nothing but zeros.
    fn current(&mut self, range: Extent, doing: &'static str) -> Result<Option<&[u8]>, RestoreError> {
        let fail = |source| RestoreError::target(doing, range, source);
        if self.job.target.next_data(range).map_err(fail)?.is_none() {
            return Ok(None);
        }
        // A chunk at most, so the cast cannot cut.
        let current = &mut self.current[..range.length() as usize];
        self.job.target.read_at(range.offset(), current).map_err(fail)?;
        add(&self.job.counts.compared, range.length());
        self.job.monitor.count(Counter::ReadBytes, range.length());
        Ok(Some(current))
    }

    /// Sees to it that a chunk holds data.
    fn data(&mut self, range: Extent, hash: &ChunkHash, runs: &[Run]) -> Result<(), RestoreError> {
        let Job { packs, options, counts, .. } = self.job;
        add(&counts.data, range.length());
        let has_data = match self.current(range, "reading")? {
            Some(current) if blake3::hash(current).as_bytes() == hash.as_bytes() => {
                add(&counts.equal, range.length());
                return Ok(());
            }
            current => current.is_some(),
        };
        let mut chunk = std::mem::take(&mut self.chunk);
        let bytes = match options.dry_run {
            true => None,
            false => {
                let bytes = packs.read_chunk(runs, range.length() as usize, &mut chunk);
                let bytes = bytes.map_err(|source| RestoreError::Chunk { range, source })?;
                let found = ChunkHash(*blake3::hash(bytes).as_bytes());
                if found != *hash {
                    return Err(RestoreError::Content { range, expected: *hash, found });
                }
                Some(bytes)
            }
        };
        self.write_runs(range, runs, bytes, has_data)?;
        self.chunk = chunk;
        Ok(())
    }

    /// Writes the blocks of a chunk; zero blocks only where the target has something else (`has_data`: what `current` holds).
    fn write_runs(&self, range: Extent, runs: &[Run], bytes: Option<&[u8]>, has_data: bool) -> Result<(), RestoreError> {
        if let Some(touched) = &self.job.touched {
            touched.add(self.grid.chunks_touching(range));
        }
        let mut start = 0;
        let mut runs = runs.iter().peekable();
        while let Some(run) = runs.next() {
            let zero = matches!(run, Run::Zero { .. });
            let mut blocks = usize::from(run.blocks());
            // Runs of data that lie together are written together, wherever their blocks came from.
            while let Some(next) = runs.next_if(|next| matches!(next, Run::Zero { .. }) == zero) {
                blocks += usize::from(next.blocks());
            }
            let end = (start + blocks * BLOCK_BYTES).min(range.length() as usize);
            let part = Extent::between(range.offset() + start as u64, range.offset() + end as u64);
            if zero {
                if has_data && !is_zero(&self.current[start..end]) {
                    self.zero(part)?;
                }
            } else {
                self.write(part, bytes.map(|bytes| &bytes[start..end]))?;
            }
            start = end;
        }
        Ok(())
    }

    fn write(&self, range: Extent, bytes: Option<&[u8]>) -> Result<(), RestoreError> {
        if let Some(bytes) = bytes {
            let written = self.job.target.write_at(range.offset(), bytes);
            written.map_err(|source| RestoreError::target("writing", range, source))?;
            self.job.monitor.count(Counter::WrittenBytes, range.length());
        }
        add(&self.job.counts.written, range.length());
        Ok(())
    }

    fn zero(&self, range: Extent) -> Result<(), RestoreError> {
        if !self.job.options.dry_run {
            let zeroed = self.job.target.zero_at(range.offset(), range.length());
            zeroed.map_err(|source| RestoreError::target("zeroing", range, source))?;
            if let Some(touched) = &self.job.touched {
                touched.add(self.grid.chunks_touching(range));
            }
        }
        add(&self.job.counts.zeroed, range.length());
        Ok(())
    }

    /// Sees to it that a range reads as zeros.
    fn zeros(&mut self, range: Extent) -> Result<(), RestoreError> {
        // What is to be zeroed of the chunks before, not yet done: neighbours are zeroed by one call.
        let mut pending = Extent::between(range.offset(), range.offset());
        for part in chunks_of(range) {
            if self.current(part, "reading")?.is_some_and(|current| !is_zero(current)) {
                pending = Extent::between(if pending.is_empty() { part.offset() } else { pending.offset() }, part.end());
            } else if !pending.is_empty() {
                self.zero(pending)?;
                pending = Extent::between(part.end(), part.end());
            }
            self.done(part)?;
        }
        if pending.is_empty() { Ok(()) } else { self.zero(pending) }
    }

    /// Compares what the target has with what the map says.
    fn read_back(&mut self, step: Step) -> Result<(), RestoreError> {
        if self.job.monitor.cancelled() {
            return Err(RestoreError::Cancelled);
        }
        match step {
            Step::Nothing(_) => Ok(()),
            Step::Zeros(range) => chunks_of(range).try_for_each(|part| self.check(part, None)),
            Step::Chunks(batch) => {
                batch.entries().try_for_each(|(index, entry)| self.check(self.grid.chunk_extent(index), entry.data_hash()))
            }
        }
    }

    fn check(&mut self, range: Extent, hash: Option<&ChunkHash>) -> Result<(), RestoreError> {
        let job = self.job;
        let current = &mut self.current[..range.length() as usize];
        job.target.read_at(range.offset(), current).map_err(|source| RestoreError::target("reading back", range, source))?;
        let right = match hash {
            Some(hash) => blake3::hash(current).as_bytes() == hash.as_bytes(),
            None => is_zero(current),
        };
        add(&job.counts.read_back, range.length());
        job.monitor.count(Counter::ReadBytes, range.length());
        if right { Ok(()) } else { Err(RestoreError::ReadBack { range }) }
    }
}

/// A range in parts as long as a chunk.
fn chunks_of(range: Extent) -> impl Iterator<Item = Extent> {
    let starts = (range.offset()..range.end()).step_by(CHUNK_BYTES);
    starts.map(move |start| Extent::between(start, range.end().min(start + CHUNK_BYTES as u64)))
}
