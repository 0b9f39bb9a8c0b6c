//! One thread of a restore: reads, checks and writes the chunks of a batch.
//!
//! A batch is put together in memory, every chunk's hash is checked, and then what differs is written in parts as large as possible.
//! Memory: a batch, and a chunk as the target has it.

use super::RestoreError;
use super::plan::{BATCH_BYTES, Batch, Step};
use super::run::{Job, add};
use crate::format::map::{ChunkEntry, Run};
use crate::io::AlignedBuffer;
use crate::monitor::Counter;
use crate::scan::is_zero;
use crate::units::{BLOCK_BYTES, CHUNK_BYTES, ChunkHash, Extent, Grid};

/// One thread's share of a job.
pub(super) struct Worker<'a> {
    job: &'a Job<'a>,
    grid: Grid,
    /// The batch under way as it must be, from this offset of the disk on.
    batch: AlignedBuffer,
    batch_at: u64,
    /// Its parts that are to be written, ascending; neighbours are one.
    dirty: Vec<Extent>,
    /// A chunk as the target has it.
    current: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(job: &'a Job<'a>, grid: Grid) -> Self {
        let batch = AlignedBuffer::new(BATCH_BYTES as usize);
        Self { job, grid, batch, batch_at: 0, dirty: Vec::new(), current: vec![0; CHUNK_BYTES] }
    }

    /// The bytes of a part of the batch under way.
    fn part(&mut self, range: Extent) -> &mut [u8] {
        // Within the batch, so the casts cannot cut.
        let start = (range.offset() - self.batch_at) as usize;
        &mut self.batch.bytes_mut()[start..start + range.length() as usize]
    }

    pub(super) fn restore(&mut self, step: Step) -> Result<(), RestoreError> {
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
        let whole = self.grid.range_extent(batch.chunks());
        self.batch_at = whole.offset();
        self.dirty.clear();
        for (index, entry) in batch.entries() {
            let range = self.grid.chunk_extent(index);
            match entry {
                ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => self.zeros(range)?,
                ChunkEntry::Data { hash, runs } => {
                    let restored = self.data(range, hash, runs);
                    if self.job.unless_damaged(restored)?.is_some() {
                        self.done(range)?;
                    }
                }
            }
        }
        let dirty = std::mem::take(&mut self.dirty);
        dirty.iter().try_for_each(|range| self.write(*range))?;
        if !dirty.is_empty() {
            self.job.target.written(whole);
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
        let job = self.job;
        add(&job.counts.data, range.length());
        let has_data = match self.current(range, "reading")? {
            Some(current) if blake3::hash(current).as_bytes() == hash.as_bytes() => {
                add(&job.counts.equal, range.length());
                return Ok(());
            }
            current => current.is_some(),
        };
        if !job.options.dry_run {
            let bytes = self.part(range);
            job.frames.read_runs(runs, bytes).map_err(|source| RestoreError::Chunk { range, source })?;
            let found = ChunkHash(*blake3::hash(bytes).as_bytes());
            if found != *hash {
                return Err(RestoreError::Content { range, expected: *hash, found });
            }
        }
        self.mark(range, runs, has_data)
    }

    /// Marks the blocks of a chunk to be written; zeroes zero blocks where the target has something else (`has_data`: what `current`
    /// holds).
    fn mark(&mut self, range: Extent, runs: &[Run], has_data: bool) -> Result<(), RestoreError> {
        if let Some(touched) = &self.job.touched {
            touched.add(self.grid.chunks_touching(range));
        }
        let mut start = 0;
        for run in runs {
            let end = (start + usize::from(run.blocks()) * BLOCK_BYTES).min(range.length() as usize);
            let part = Extent::between(range.offset() + start as u64, range.offset() + end as u64);
            if !matches!(run, Run::Zero { .. }) {
                // Parts of data that lie together are written together, wherever their blocks came from.
                match self.dirty.last_mut().filter(|last| last.end() == part.offset()) {
                    Some(last) => *last = Extent::between(last.offset(), part.end()),
                    None => self.dirty.push(part),
                }
            } else if has_data && !is_zero(&self.current[start..end]) {
                self.zero(part)?;
            }
            start = end;
        }
        Ok(())
    }

    fn write(&mut self, range: Extent) -> Result<(), RestoreError> {
        let job = self.job;
        if !job.options.dry_run {
            let written = job.target.write_at(range.offset(), self.part(range));
            written.map_err(|source| RestoreError::target("writing", range, source))?;
            job.monitor.count(Counter::WrittenBytes, range.length());
        }
        add(&job.counts.written, range.length());
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
    pub(super) fn read_back(&mut self, step: Step) -> Result<(), RestoreError> {
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
