//! One disk of a backup: what to read, what is known of it, and where the results go.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lost::is_lost;
use crate::catalogue::CatalogueError;
use crate::catalogue::map::{Absent, MapBuilder, MapReader, Span};
use crate::format::map::ChunkEntry;
use crate::jobs::JobError;
use crate::monitor::{Counter, Monitor, Problem};
use crate::scan::{Found, Known, PlanKind, PlanStep, ScanChunk, Sink, Step};
use crate::store::{DiskAccount, Known as Blocks, WriteSession};
use crate::units::{ChunkIndex, ChunkRange, Grid, MachineName};

/// Turns a plan into the steps of a scan: for each chunk that is read, what the base knows of it. Reads the base's leaves in order,
/// one ahead of the workers.
pub(super) struct Steps<'a> {
    pub(super) disk: &'a MachineName,
    pub(super) grid: Grid,
    pub(super) plan: std::vec::IntoIter<PlanStep>,
    pub(super) base: Option<&'a MapReader<'static>>,
    /// The first chunk that the base does not have with the same bytes of the disk.
    pub(super) comparable_end: u64,
    /// What the vault has: chunks of which it has lost blocks are as good as unknown.
    pub(super) blocks: &'a Blocks,
    pub(super) told_of_loss: bool,
    pub(super) reading: Option<Reading>,
    pub(super) monitor: &'a dyn Monitor,
}

/// A range of chunks that is being read.
pub(super) struct Reading {
    next: u64,
    end: u64,
    sampled: bool,
    /// The base's span that holds the next chunk, once it was looked up.
    span: Option<Span>,
    /// Chunks before this one are unknown, because the base's map is damaged there.
    unknown_until: u64,
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mut reading) = self.reading.take_if(|reading| reading.next < reading.end) {
                let step = self.read_step(&mut reading);
                self.reading = Some(reading);
                return Some(Ok(Step::Read(step)));
            }
            let step = self.plan.next()?;
            match step.kind {
                PlanKind::Hole => return Some(Ok(Step::Hole(step.chunks))),
                PlanKind::Keep => return Some(Ok(Step::Keep(step.chunks))),
                PlanKind::Read | PlanKind::Sample => {
                    let ChunkRange { start: next, end } = step.chunks;
                    self.reading = Some(Reading { next, end, sampled: step.kind == PlanKind::Sample, span: None, unknown_until: 0 });
                }
            }
        }
    }
}

impl Steps<'_> {
    fn read_step(&mut self, reading: &mut Reading) -> ScanChunk {
        let chunk = ChunkIndex(reading.next);
        let known = self.known(reading);
        reading.next += 1;
        // What the base does not know proves no hint wrong.
        let sampled = reading.sampled && known != Known::Nothing;
        ScanChunk { chunk, extent: self.grid.chunk_extent(chunk), known, sampled }
    }

    /// Says once that blocks are lost: there may be many.
    fn tell_of_loss(&mut self, chunk: u64) {
        if !std::mem::replace(&mut self.told_of_loss, true) {
            let offset = self.grid.chunk_extent(ChunkIndex(chunk)).offset();
            let message = format!(
                "blocks of the machine's latest point are damaged or gone from the vault, first those at offset {offset}; they are stored anew; \
                 `cairn verify --all` names the points that have lost them"
            );
            self.monitor.problem(Problem { subject: self.disk.to_string(), message });
        }
    }

    /// What the base knows of the next chunk. Where its map is damaged it knows nothing: the chunk is stored anew, and that heals it.
    fn known(&mut self, reading: &mut Reading) -> Known {
        let chunk = reading.next;
        let Some(base) = self.base.filter(|_| chunk < self.comparable_end && chunk >= reading.unknown_until) else { return Known::Nothing };
        if reading.span.as_ref().is_none_or(|span| !(span.chunks().start..span.chunks().end).contains(&chunk)) {
            let range = ChunkRange { start: chunk, end: reading.end.min(self.comparable_end) };
            reading.span = match base.spans(range).next() {
                None => None,
                Some(Ok(span)) => Some(span),
                Some(Err(damaged)) => {
                    let message = format!("the base's map is damaged ({}); chunks {chunk} and on are stored anew", damaged.error);
                    self.monitor.problem(Problem { subject: "base recovery point".to_owned(), message });
                    reading.unknown_until = damaged.chunks.end;
                    return Known::Nothing;
                }
            };
        }
        match &reading.span {
            None => Known::Nothing,
            Some(Span::Absent { .. }) => Known::Zeros,
            Some(Span::Leaf(leaf)) => match leaf.entries().get((chunk - leaf.chunks().start) as usize) {
                None => Known::Nothing,
                Some(entry) if is_lost(entry, self.blocks) => {
                    self.tell_of_loss(chunk);
                    Known::Nothing
                }
                Some(ChunkEntry::Data { hash, .. }) => Known::Data(*hash),
                Some(ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free) => Known::Zeros,
            },
        }
    }
}

/// Takes what the scan finds: blocks into the session, entries into the map.
pub(in crate::jobs) struct DiskSink<'a, 'sink> {
    pub(in crate::jobs) session: &'a Mutex<WriteSession>,
    pub(in crate::jobs) builder: MapBuilder<'static, 'sink>,
    pub(in crate::jobs) base: Option<&'a MapReader<'static>>,
    pub(in crate::jobs) grid: Grid,
    pub(in crate::jobs) account: DiskAccount,
    pub(in crate::jobs) read_bytes: u64,
    pub(in crate::jobs) changed_bytes: u64,
    /// Stored bytes that the monitor knows of: they are written some time after their chunk was scanned.
    pub(in crate::jobs) told_stored_bytes: u64,
    pub(in crate::jobs) monitor: &'a dyn Monitor,
}

impl DiskSink<'_, '_> {
    fn session(&self) -> MutexGuard<'_, WriteSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the monitor what a chunk added.
    fn tell(&mut self, new_before: u64, account: &DiskAccount) {
        let stored = account.stored_bytes();
        self.monitor.count(Counter::NewBytes, account.new_bytes - new_before);
        self.monitor.count(Counter::WrittenBytes, stored.saturating_sub(self.told_stored_bytes));
        self.told_stored_bytes = stored;
    }
}

impl Sink for DiskSink<'_, '_> {
    type Error = JobError;

    fn hole(&mut self, chunks: ChunkRange) -> Result<(), JobError> {
        self.changed_bytes += data_bytes(self.base, &self.grid, chunks)?;
        Ok(self.builder.absent_to(ChunkIndex(chunks.end), Absent::Hole)?)
    }

    fn keep(&mut self, chunks: ChunkRange) -> Result<(), JobError> {
        Ok(self.builder.keep_to(ChunkIndex(chunks.end))?)
    }

    fn chunk(&mut self, chunk: &ScanChunk, found: Found, bytes: &[u8]) -> Result<(), JobError> {
        self.read_bytes += chunk.extent.length();
        let entry = match found {
            Found::Unchanged => return Ok(self.builder.keep_to(ChunkIndex(chunk.chunk.0 + 1))?),
            Found::Zero => ChunkEntry::Zero,
            Found::Data { hash, blocks } => {
                let mut account = std::mem::take(&mut self.account);
                let new_before = account.new_bytes;
                let runs = self.session().store_chunk(bytes, &blocks, &mut account);
                self.tell(new_before, &account);
                self.account = account;
                ChunkEntry::Data { hash, runs: runs? }
            }
        };
        if chunk.known != Known::Nothing || entry != ChunkEntry::Zero {
            self.changed_bytes += chunk.extent.length();
        }
        Ok(self.builder.push(entry)?)
    }
}

/// Bytes of a range that are data in a map.
fn data_bytes(map: Option<&MapReader<'_>>, grid: &Grid, chunks: ChunkRange) -> Result<u64, CatalogueError> {
    let Some(map) = map else { return Ok(0) };
    let mut bytes = 0;
    for span in map.spans(chunks) {
        // A damaged part of the base is no reason to fail: the disk has holes there now.
        let Ok(Span::Leaf(leaf)) = span else { continue };
        for (index, entry) in (leaf.chunks().start..).zip(leaf.entries()) {
            if entry.data_hash().is_some() {
                bytes += grid.chunk_extent(ChunkIndex(index)).length();
            }
        }
    }
    Ok(bytes)
}
