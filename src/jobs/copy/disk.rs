//! One disk of a point: what its map and that of the target's base have in common is kept, the rest is read, checked and stored.

use std::sync::{Arc, Mutex, PoisonError};

use super::point::Copier;
use super::source::{MapSource, Steps};
use crate::catalogue::CatalogueError;
use crate::catalogue::map::{self, Absent, MapBuilder, MapReader, Span, equal_chunks};
use crate::format::point::{DiskRecord, Manifest};
use crate::format::vault::DedupScope;
use crate::jobs::JobError;
use crate::jobs::backup::disk::DiskSink;
use crate::jobs::backup::lost;
use crate::jobs::nodes::{SessionNodes, VaultNodes};
use crate::monitor::Problem;
use crate::scan::{self, Examiner, Found, PlanKind, PlanStep, ScanChunk, Sink};
use crate::store::{DiskAccount, Known, WriteSession};
use crate::units::{ChunkIndex, ChunkRange};

/// A disk about to be copied.
pub(super) struct DiskCopy<'a> {
    copier: &'a Copier<'a>,
    point: &'a Manifest,
    disk: &'a DiskRecord,
    map: MapReader<'static>,
    base: Option<MapReader<'static>>,
}

/// A disk whose blocks and nodes are in the session.
pub(super) struct CopiedDisk {
    record: DiskRecord,
    account: DiskAccount,
    /// Bytes of chunks read from the source.
    pub(super) read_bytes: u64,
}

impl CopiedDisk {
    /// The disk's record; complete once the session was flushed.
    pub(super) fn into_record(self) -> DiskRecord {
        let mut record = self.record;
        record.statistics.new_bytes = self.account.new_bytes;
        record.statistics.stored_bytes = self.account.stored_bytes();
        record
    }
}

impl<'a> DiskCopy<'a> {
    /// `base` is the disk as an earlier point of the target has it.
    pub(super) fn new(copier: &'a Copier<'a>, point: &'a Manifest, disk: &'a DiskRecord, base: Option<&DiskRecord>) -> Self {
        let nodes = Arc::new(VaultNodes::new(copier.from, Arc::clone(&copier.from_packs)));
        let map = MapReader::new(nodes, disk.root, disk.grid);
        // On another grid no chunk has an equal.
        let base = base.filter(|base| base.grid.offset_bytes() == disk.grid.offset_bytes());
        let base = base.map(|base| {
            let nodes = Arc::new(VaultNodes::new(copier.to, Arc::clone(&copier.to_packs)));
            MapReader::new(nodes, base.root, base.grid)
        });
        Self { copier, point, disk, map, base }
    }

    pub(super) fn run(mut self, session: &Mutex<WriteSession>, known: &Known) -> Result<CopiedDisk, JobError> {
        let plan = self.plan(known);
        let mut nodes = SessionNodes { session, keys: self.copier.to.keys() };
        let sink = DiskSink {
            session,
            builder: MapBuilder::new(self.disk.grid, self.base.as_ref(), &mut nodes)?,
            base: self.base.as_ref(),
            grid: self.disk.grid,
            account: DiskAccount::default(),
            read_bytes: 0,
            changed_bytes: 0,
            told_stored_bytes: 0,
            monitor: self.copier.monitor,
        };
        let mut sink = CopySink { inner: sink, map: &self.map };
        self.scan(plan, &mut sink, known)?;
        let DiskSink { builder, account, read_bytes, .. } = sink.inner;
        let (root, content_id) = builder.finish();
        session.lock().unwrap_or_else(PoisonError::into_inner).end_disk()?;
        if content_id != self.disk.content_id {
            let point = format!("{}@{}", self.point.machine, self.point.time);
            let (expected, disk) = (self.disk.content_id, self.disk.name.clone());
            return Err(JobError::CopyDiffers { disk, point, expected, found: content_id });
        }
        Ok(CopiedDisk { record: DiskRecord { root, ..self.disk.clone() }, account, read_bytes })
    }

    /// What to keep and what to read. A base whose map is damaged is done without.
    fn plan(&mut self, known: &Known) -> Vec<PlanStep> {
        if let Some(base) = &self.base {
            match keep_equal(base, &self.map) {
                Ok(steps) if known.lists_damage() => return lost::read_lost(steps, base, known),
                Ok(steps) => return steps,
                Err(error) => {
                    let message = format!("the target's point before it cannot be compared with ({error}); the whole disk is read");
                    self.copier.monitor.problem(Problem { subject: self.disk.name.to_string(), message });
                    self.base = None;
                }
            }
        }
        vec![PlanStep { kind: PlanKind::Read, chunks: ChunkRange { start: 0, end: self.disk.grid.chunk_count() } }]
    }

    fn scan(&self, plan: Vec<PlanStep>, sink: &mut CopySink<'_, '_>, known: &Known) -> Result<(), JobError> {
        let Copier { from, to, monitor, from_packs, .. } = self.copier;
        let machine = (to.header().dedup_scope == DedupScope::Machine).then_some(&self.point.machine);
        let fingerprinter = to.keys().fingerprinter(machine);
        let source = MapSource::new(&self.map, Arc::clone(from_packs));
        let examiner = Examiner { source: &source, fingerprinter: &fingerprinter, dedup: known };
        let copied = std::thread::scope(|scope| {
            let steps = Steps::new(&self.map, plan, from_packs, from.backend().parallel_requests(), scope, *monitor);
            scan::run(examiner, steps, sink, *monitor)
        });
        // A scan knows of a failed read only what a disk can say of it.
        source.failure().map_or(copied, Err)
    }
}

/// The chunks that both maps have alike are kept, all others read.
fn keep_equal(base: &MapReader<'static>, map: &MapReader<'static>) -> Result<Vec<PlanStep>, CatalogueError> {
    let (count, comparable) = (map.grid().chunk_count(), equal_chunks(base.grid(), map.grid()));
    let mut steps = Vec::new();
    let mut add = |kind, start: u64, end: u64| {
        if start < end {
            steps.push(PlanStep { kind, chunks: ChunkRange { start, end } });
        }
    };
    let mut at = 0;
    let end = ChunkRange { start: count, end: count };
    for range in map::diff(base, map)?.chain(std::iter::once(Ok(end))) {
        let ChunkRange { start, end } = range?;
        let (start, end) = (start.min(count), end.min(count));
        // What the end of either disk cuts has no chunk in the base that could be taken over.
        add(PlanKind::Keep, at, start.min(comparable));
        add(PlanKind::Read, at.max(comparable), start);
        add(PlanKind::Read, start, end);
        at = end;
    }
    Ok(steps)
}

/// A backup's sink, but for chunks without data: why they are not there is known from the map.
struct CopySink<'a, 'sink> {
    inner: DiskSink<'a, 'sink>,
    map: &'a MapReader<'static>,
}

impl Sink for CopySink<'_, '_> {
    type Error = JobError;

    fn hole(&mut self, chunks: ChunkRange) -> Result<(), JobError> {
        for span in self.map.spans(chunks) {
            match span.map_err(CatalogueError::from)? {
                Span::Absent { kind, chunks } => self.inner.builder.absent_to(ChunkIndex(chunks.end), kind)?,
                Span::Leaf(leaf) => {
                    for entry in leaf.entries().iter().filter(|entry| Absent::of(entry).is_some()) {
                        self.inner.builder.push(entry.clone())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, chunks: ChunkRange) -> Result<(), JobError> {
        self.inner.keep(chunks)
    }

    fn chunk(&mut self, chunk: &ScanChunk, found: Found, bytes: &[u8]) -> Result<(), JobError> {
        self.inner.chunk(chunk, found, bytes)
    }
}
