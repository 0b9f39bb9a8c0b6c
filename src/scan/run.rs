//! Runs a plan: workers read, hash and look up; the caller's thread takes the results in the order of the disk.
//!
//! A worker's job is a batch of a few neighbouring chunks, read and examined chunk by chunk so that the bytes are hashed while they are
//! in the processor's cache. The number of batches under way is bounded, and with it the memory.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, bounded};

use super::chunk::{Dedup, Found, Known, examine};
use super::error::ScanError;
use crate::crypt::Fingerprinter;
use crate::io::ReadAt;
use crate::monitor::{Counter, Monitor};
use crate::units::{CHUNK_BYTES, ChunkIndex, ChunkRange, Extent};

/// Chunks of one batch: 1 MiB, one frame's worth.
const BATCH_CHUNKS: usize = 4;

/// Batches under way for each worker thread: one being examined, one ready for the caller, one waiting.
const BATCHES_PER_WORKER: usize = 3;

/// A chunk to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanChunk {
    /// The chunk.
    pub chunk: ChunkIndex,
    /// Its bytes on the disk.
    pub extent: Extent,
    /// What the base knows of it.
    pub known: Known,
    /// Hints call it unchanged: if it is not, the scan ends with [`ScanError::HintsWrong`].
    pub sampled: bool,
}

/// One step of a scan, in the order of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Unallocated chunks.
    Hole(ChunkRange),
    /// Chunks to take over from the base.
    Keep(ChunkRange),
    /// A chunk to read.
    Read(ScanChunk),
}

/// Takes what a scan finds, in the order of the disk, on the thread that runs the scan.
pub trait Sink {
    /// Its errors; scan errors must fit in.
    type Error: From<ScanError>;

    /// Chunks that the source says are unallocated.
    ///
    /// # Errors
    /// The sink's own; they end the scan.
    fn hole(&mut self, chunks: ChunkRange) -> Result<(), Self::Error>;

    /// Chunks that are as in the base.
    ///
    /// # Errors
    /// The sink's own; they end the scan.
    fn keep(&mut self, chunks: ChunkRange) -> Result<(), Self::Error>;

    /// A chunk that was read; with its bytes where the base does not have them.
    ///
    /// # Errors
    /// The sink's own; they end the scan.
    fn chunk(&mut self, chunk: &ScanChunk, found: Found, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What workers need.
#[derive(Clone, Copy)]
pub struct Examiner<'a> {
    /// The disk.
    pub source: &'a dyn ReadAt,
    /// Fingerprints of blocks.
    pub fingerprinter: &'a Fingerprinter,
    /// What the vault has.
    pub dedup: &'a dyn Dedup,
}

/// A batch's chunks, what was found, and the buffer with the bytes of those that are [`Found::Data`], one after the other.
struct Batch {
    chunks: Vec<ScanChunk>,
    found: Vec<Found>,
    buffer: Vec<u8>,
}

/// What the caller's thread waits for, in the order of the disk.
enum Pending {
    Hole(ChunkRange),
    Keep(ChunkRange),
    Batch(Receiver<Result<Batch, ScanError>>),
}

/// Runs the steps. Must not be called from a rayon worker: the caller's thread waits for workers.
///
/// # Errors
/// The first error of the steps, of a read or of the sink, in the order of the disk; cancellation.
pub fn run<S: Sink>(
    examiner: Examiner<'_>,
    steps: impl Iterator<Item = Result<Step, S::Error>>,
    sink: &mut S,
    monitor: &dyn Monitor,
) -> Result<(), S::Error> {
    let limit = rayon::current_num_threads().saturating_mul(BATCHES_PER_WORKER).saturating_add(1);
    let mut steps = steps.peekable();
    let mut pending = VecDeque::with_capacity(limit);
    let mut spare = Vec::new();
    rayon::in_place_scope_fifo(|scope| {
        loop {
            while pending.len() < limit {
                let Some(next) = next_work(&mut steps)? else { break };
                pending.push_back(match next {
                    Work::Hole(chunks) => Pending::Hole(chunks),
                    Work::Keep(chunks) => Pending::Keep(chunks),
                    Work::Batch(chunks) => {
                        let buffer = spare.pop().unwrap_or_default();
                        let (sender, receiver) = bounded(1);
                        scope.spawn_fifo(move |_| {
                            // The receiver is gone when the scan has ended early; then nobody wants the result.
                            let _ = sender.send(examine_batch(examiner, chunks, buffer));
                        });
                        Pending::Batch(receiver)
                    }
                });
            }
            if monitor.cancelled() {
                return Err(ScanError::Cancelled.into());
            }
            match pending.pop_front() {
                None => return Ok(()),
                Some(Pending::Hole(chunks)) => sink.hole(chunks)?,
                Some(Pending::Keep(chunks)) => sink.keep(chunks)?,
                Some(Pending::Batch(receiver)) => {
                    let batch = receiver.recv().map_err(|_| ScanError::Worker)??;
                    spare.push(deliver(batch, sink, monitor)?);
                }
            }
        }
    })
}

/// Steps grouped into what one worker does at a time.
enum Work {
    Hole(ChunkRange),
    Keep(ChunkRange),
    Batch(Vec<ScanChunk>),
}

fn next_work<E>(steps: &mut std::iter::Peekable<impl Iterator<Item = Result<Step, E>>>) -> Result<Option<Work>, E> {
    let first = match steps.next().transpose()? {
        None => return Ok(None),
        Some(Step::Hole(chunks)) => return Ok(Some(Work::Hole(chunks))),
        Some(Step::Keep(chunks)) => return Ok(Some(Work::Keep(chunks))),
        Some(Step::Read(chunk)) => chunk,
    };
    let mut chunks = Vec::with_capacity(BATCH_CHUNKS);
    chunks.push(first);
    while chunks.len() < BATCH_CHUNKS {
        match steps.next_if(|step| matches!(step, Ok(Step::Read(_)))) {
            Some(Ok(Step::Read(chunk))) => chunks.push(chunk),
            _ => break,
        }
    }
    Ok(Some(Work::Batch(chunks)))
}

fn examine_batch(examiner: Examiner<'_>, chunks: Vec<ScanChunk>, mut buffer: Vec<u8>) -> Result<Batch, ScanError> {
    buffer.resize(BATCH_CHUNKS * CHUNK_BYTES, 0);
    let mut found = Vec::with_capacity(chunks.len());
    let mut slots = buffer.chunks_mut(CHUNK_BYTES);
    let mut slot = slots.next().unwrap_or_default();
    for chunk in &chunks {
        let bytes = &mut slot[..chunk_length(chunk)];
        examiner.source.read_at(chunk.extent.offset(), bytes).map_err(|source| ScanError::Read {
            offset_bytes: chunk.extent.offset(),
            length_bytes: chunk.extent.length(),
            source,
        })?;
        let state = examine(bytes, chunk.known, examiner.fingerprinter, examiner.dedup);
        if matches!(state, Found::Data { .. }) {
            // What need not be kept is overwritten by the next chunk, while the memory is in the processor's cache.
            slot = slots.next().unwrap_or_default();
        }
        found.push(state);
    }
    Ok(Batch { chunks, found, buffer })
}

/// Bytes of a chunk. A chunk is never longer than 256 KiB: the grid cuts it so.
fn chunk_length(chunk: &ScanChunk) -> usize {
    assert!(chunk.extent.length() <= CHUNK_BYTES as u64, "a chunk is at most 256 KiB");
    chunk.extent.length() as usize
}

/// Hands a batch to the sink and gives its buffer back.
fn deliver<S: Sink>(batch: Batch, sink: &mut S, monitor: &dyn Monitor) -> Result<Vec<u8>, S::Error> {
    let mut slots = batch.buffer.chunks(CHUNK_BYTES);
    for (chunk, found) in batch.chunks.iter().zip(batch.found) {
        if chunk.sampled && found != Found::Unchanged {
            return Err(ScanError::HintsWrong { chunk: chunk.chunk }.into());
        }
        let slot = if matches!(found, Found::Data { .. }) { slots.next() } else { None };
        let bytes = slot.map(|slot| &slot[..chunk_length(chunk)]).unwrap_or_default();
        monitor.count(Counter::ReadBytes, chunk.extent.length());
        if found != Found::Unchanged {
            monitor.count(Counter::ChangedBytes, chunk.extent.length());
        }
        sink.chunk(chunk, found, bytes)?;
        monitor.count(Counter::DoneBytes, chunk.extent.length());
    }
    Ok(batch.buffer)
}
