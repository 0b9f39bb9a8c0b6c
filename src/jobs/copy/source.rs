//! A point's disk as the source of a scan: steps from its map, bytes from its packs, each chunk checked against its hash.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::catalogue::CatalogueError;
use crate::catalogue::map::{MapReader, Span, Spans};
use crate::format::map::{ChunkEntry, Run};
use crate::io::ReadAt;
use crate::jobs::JobError;
use crate::monitor::{Counter, Monitor};
use crate::scan::{Known, PlanKind, PlanStep, ScanChunk, Step};
use crate::store::PackReader;
use crate::units::{ChunkIndex, ChunkRange, Extent};

/// Steps known ahead of the workers: chunks of 16 MiB, so that a distant vault is asked for many frames at once.
const STEPS_AHEAD: usize = 64;
/// Requests in flight from which a store is worth asking ahead: a local disk answers as fast as frames are decoded.
const DISTANT_REQUESTS: usize = 5;

/// The bytes of a disk's chunks. Only whole chunks are asked for.
pub(super) struct MapSource<'a> {
    map: &'a MapReader<'static>,
    packs: Arc<PackReader>,
    failure: Mutex<Option<JobError>>,
}

impl<'a> MapSource<'a> {
    pub(super) fn new(map: &'a MapReader<'static>, packs: Arc<PackReader>) -> Self {
        Self { map, packs, failure: Mutex::new(None) }
    }

    /// What was wrong with the first chunk that could not be read.
    pub(super) fn failure(self) -> Option<JobError> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_chunk(&self, range: Extent, bytes: &mut [u8]) -> Result<(), JobError> {
        match self.map.entry(self.map.grid().chunk_at(range.offset()))? {
            ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => bytes.fill(0),
            ChunkEntry::Data { hash, runs } => {
                self.packs.read_runs(&runs, bytes).map_err(|source| JobError::Unreadable { range, source })?;
                if blake3::hash(bytes).as_bytes() != hash.as_bytes() {
                    return Err(JobError::WrongBytes { range });
                }
            }
        }
        Ok(())
    }
}

impl ReadAt for MapSource<'_> {
    fn size_bytes(&self) -> u64 {
        self.map.grid().size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = Extent::between(offset_bytes, offset_bytes.saturating_add(buffer.len() as u64));
        self.read_chunk(range, buffer).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            told
        })
    }
}

/// The steps of a plan, and what is read ahead for them.
pub(super) struct Steps<'a> {
    map: &'a MapReader<'static>,
    plan: std::vec::IntoIter<PlanStep>,
    spans: Option<Spans<'static>>,
    ready: VecDeque<Step>,
    ahead: Option<Sender<Vec<Run>>>,
}

impl<'a> Steps<'a> {
    /// `parallel_requests` threads of `scope` read ahead where the vault is distant; they end when the steps are dropped.
    pub(super) fn new<'scope, 'env>(
        map: &'a MapReader<'static>,
        plan: Vec<PlanStep>,
        packs: &Arc<PackReader>,
        parallel_requests: usize,
        scope: &'scope Scope<'scope, 'env>,
        monitor: &dyn Monitor,
    ) -> Self {
        let planned = plan.iter().map(|step| map.grid().range_extent(step.chunks).length()).sum();
        monitor.count(Counter::PlannedBytes, planned);
        let ahead = (parallel_requests >= DISTANT_REQUESTS).then(|| {
            let (sender, receiver) = bounded(2 * STEPS_AHEAD);
            for _ in 0..parallel_requests {
                let (packs, receiver) = (Arc::clone(packs), receiver.clone());
                scope.spawn(move || read_ahead(&packs, &receiver));
            }
            sender
        });
        Self { map, plan: plan.into_iter(), spans: None, ready: VecDeque::new(), ahead }
    }

    /// Adds the steps of the next span; `false` at the end.
    fn advance(&mut self) -> Result<bool, JobError> {
        if let Some(span) = self.spans.as_mut().and_then(Iterator::next) {
            match span.map_err(CatalogueError::from)? {
                Span::Absent { chunks, .. } => self.ready.push_back(Step::Hole(chunks)),
                Span::Leaf(leaf) => {
                    for (index, entry) in (leaf.chunks().start..).zip(leaf.entries()) {
                        self.add(index, entry);
                    }
                }
            }
            return Ok(true);
        }
        self.spans = None;
        let Some(step) = self.plan.next() else { return Ok(false) };
        match step.kind {
            PlanKind::Keep => self.ready.push_back(Step::Keep(step.chunks)),
            PlanKind::Hole | PlanKind::Read | PlanKind::Sample => self.spans = Some(self.map.spans(step.chunks)),
        }
        Ok(true)
    }

    fn add(&mut self, index: u64, entry: &ChunkEntry) {
        let ChunkEntry::Data { runs, .. } = entry else {
            self.ready.push_back(Step::Hole(ChunkRange { start: index, end: index + 1 }));
            return;
        };
        let chunk = ChunkIndex(index);
        let extent = self.map.grid().chunk_extent(chunk);
        self.ready.push_back(Step::Read(ScanChunk { chunk, extent, known: Known::Nothing, sampled: false }));
        if let Some(ahead) = &self.ahead {
            // Only a help: where the readers cannot keep up, the workers read for themselves.
            let _ = ahead.try_send(runs.clone());
        }
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.len() < if self.ahead.is_some() { STEPS_AHEAD } else { 1 } {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// Brings frames into the reader's cache. Whatever fails here, fails again for the worker that needs it.
fn read_ahead(packs: &PackReader, chunks: &Receiver<Vec<Run>>) {
    for run in chunks.iter().flatten() {
        let Run::Blocks { address, blocks } = run else { continue };
        for piece in packs.locate(address, blocks.into()).into_iter().flatten() {
            let _ = packs.frame(piece.place);
        }
    }
}
