//! Scans one disk against its base and builds its map, following hints as far as they prove right.

use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{DiskSink, Steps};
use super::{BackupRequest, DiskRequest, lost};
use crate::catalogue::CatalogueError;
use crate::catalogue::map::{MapBuilder, MapReader, equal_chunks};
use crate::crypt::random;
use crate::format::map::Child;
use crate::format::point::{ChangeSource, DiskRecord, DiskStatistics, Manifest};
use crate::format::vault::DedupScope;
use crate::io::ReadAt;
use crate::jobs::JobError;
use crate::jobs::nodes::{SessionNodes, VaultNodes};
use crate::monitor::{Counter, Monitor, Problem};
use crate::scan::{self, Dedup, Examiner, HintPlan, PlanKind, PlanStep, ScanError};
use crate::source::{HintBase, Hints, detect_grid_offset};
use crate::store::{DiskAccount, Known, Vault, WriteSession};
use crate::units::{ContentId, ExtentSet, Grid};

/// A disk about to be scanned.
pub(super) struct DiskScan<'a> {
    pub(super) vault: &'a Vault,
    pub(super) request: &'a BackupRequest,
    pub(super) disk: &'a DiskRequest,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) grid: Grid,
    pub(super) base: Option<MapReader<'static>>,
    /// Why hints are not followed, where there are some.
    refused: Option<String>,
}

/// A disk that was scanned, before its blocks are durable.
pub(super) struct ScannedDisk {
    record: DiskRecord,
    account: DiskAccount,
}

impl ScannedDisk {
    /// The disk's record; complete once the session was flushed.
    pub(super) fn into_record(self) -> DiskRecord {
        let mut record = self.record;
        record.statistics.stored_bytes = self.account.stored_bytes();
        record
    }
}

impl<'a> DiskScan<'a> {
    /// Looks for the disk in the base, and takes the base's grid where there is one.
    pub(super) fn new(
        vault: &'a Vault,
        request: &'a BackupRequest,
        disk: &'a DiskRequest,
        base: Option<&Manifest>,
        nodes: Arc<VaultNodes>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, JobError> {
        let size_bytes = disk.source.size_bytes();
        let before = base.and_then(|base| base.disks.iter().find(|record| record.name == disk.name));
        let offset_bytes = match before {
            Some(record) => record.grid.offset_bytes(),
            None => {
                detect_grid_offset(disk.source.as_ref()).map_err(|source| ScanError::Read { offset_bytes: 0, length_bytes: 512, source })?
            }
        };
        let grid = Grid::new(size_bytes, offset_bytes)?;
        let refused = disk.hints.as_ref().and_then(|hints| refusal(hints, base, before.is_some()));
        if let Some(reason) = &refused {
            let message = format!("the hints are not followed: {reason}; the whole disk is read");
            monitor.problem(Problem { subject: disk.name.to_string(), message });
        }
        let base = before.map(|record| MapReader::new(nodes, record.root, record.grid));
        Ok(Self { vault, request, disk, monitor, grid, base, refused })
    }

    /// Scans into a session.
    pub(super) fn run(mut self, session: &Mutex<WriteSession>, known: &Known) -> Result<ScannedDisk, JobError> {
        self.monitor.step(&format!("scanning {}", self.disk.name));
        let data = self.disk.source.data_extents()?;
        self.following_hints(|scan, hints| scan.pass(session, known, &data, hints))
    }

    /// Runs a pass with the hints, if there are some to be followed; where they prove wrong, another one without.
    pub(super) fn following_hints<T>(&mut self, pass: impl Fn(&Self, Option<&Hints>) -> Result<T, JobError>) -> Result<T, JobError> {
        if let Some(hints) = self.disk.hints.as_ref().filter(|_| self.refused.is_none()) {
            match pass(self, Some(hints)) {
                Err(JobError::Scan(ScanError::HintsWrong { chunk })) => {
                    let extent = self.grid.chunk_extent(chunk);
                    self.refuse(format!("bytes {} to {} changed, but they say not", extent.offset(), extent.end()));
                }
                Err(JobError::Catalogue(error @ (CatalogueError::NodeDamaged { .. } | CatalogueError::NodeUnreadable { .. }))) => {
                    self.refuse(format!("the base's map is damaged ({error})"));
                }
                result => return result,
            }
        }
        pass(self, None)
    }

    fn refuse(&mut self, reason: String) {
        let message = format!("the hints are wrong: {reason}; the whole disk is read");
        self.monitor.problem(Problem { subject: self.disk.name.to_string(), message });
        self.refused = Some(reason);
    }

    /// The plan with or without hints, and how many chunks it samples.
    pub(super) fn plan(&self, data: &ExtentSet, hints: Option<&Hints>, blocks: &Known) -> Result<(Vec<PlanStep>, u64), JobError> {
        let Some((hints, base)) = hints.zip(self.base.as_ref()) else { return Ok((scan::plan(&self.grid, data, None), 0)) };
        let extents = hints.changed.iter().chain(hints.zeroed.iter()).collect();
        let changed = ExtentSet::from_unsorted(extents);
        let percent = self.request.verify_hints_percent;
        let plan = HintPlan {
            changed: &changed,
            base_bytes: base.grid().size_bytes(),
            sample_every: if percent > 0.0 { (100.0 / percent).round().max(1.0) as u64 } else { 0 },
            sample_seed: u64::from_le_bytes(random()?),
        };
        let mut steps = scan::plan(&self.grid, data, Some(&plan));
        if blocks.lists_damage() {
            steps = lost::read_lost(steps, base, blocks);
        }
        let sampled = steps.iter().filter(|step| step.kind == PlanKind::Sample);
        let sampled = sampled.map(|step| step.chunks.end - step.chunks.start).sum();
        Ok((steps, sampled))
    }

    fn pass(&self, session: &Mutex<WriteSession>, known: &Known, data: &ExtentSet, hints: Option<&Hints>) -> Result<ScannedDisk, JobError> {
        let (plan, sampled_chunks) = self.plan(data, hints, known)?;
        self.monitor.count(Counter::PlannedBytes, scan::planned_read_bytes(&self.grid, &plan));
        let mut nodes = SessionNodes { session, keys: self.vault.keys() };
        let builder = MapBuilder::new(self.grid, self.base.as_ref(), &mut nodes)?;
        let steps = self.steps(plan, known);
        let mut sink = DiskSink {
            session,
            builder,
            base: self.base.as_ref(),
            grid: self.grid,
            account: DiskAccount::default(),
            read_bytes: 0,
            changed_bytes: 0,
            told_stored_bytes: 0,
            monitor: self.monitor,
        };
        self.scan(steps, &mut sink, known)?;
        let DiskSink { builder, account, read_bytes, changed_bytes, .. } = sink;
        let (root, content_id) = builder.finish();
        session.lock().unwrap_or_else(PoisonError::into_inner).end_disk()?;
        let statistics = DiskStatistics { read_bytes, changed_bytes, new_bytes: account.new_bytes, stored_bytes: 0 };
        let record = self.record(root, content_id, self.changes(hints, sampled_chunks), statistics);
        Ok(ScannedDisk { record, account })
    }

    /// The steps of a plan, with what the base knows of each chunk.
    pub(super) fn steps<'s>(&'s self, plan: Vec<PlanStep>, blocks: &'s Known) -> Steps<'s> {
        let comparable_end = self.base.as_ref().map_or(0, |base| equal_chunks(base.grid(), &self.grid));
        Steps {
            disk: &self.disk.name,
            grid: self.grid,
            plan: plan.into_iter(),
            base: self.base.as_ref(),
            comparable_end,
            blocks,
            told_of_loss: false,
            reading: None,
            monitor: self.monitor,
        }
    }

    /// Runs steps into any sink.
    pub(super) fn scan<S: scan::Sink<Error = JobError>>(&self, steps: Steps<'_>, sink: &mut S, dedup: &dyn Dedup) -> Result<(), JobError> {
        let machine = (self.vault.header().dedup_scope == DedupScope::Machine).then_some(&self.request.machine);
        let fingerprinter = self.vault.keys().fingerprinter(machine);
        let source: &dyn ReadAt = self.disk.source.as_ref();
        scan::run(Examiner { source, fingerprinter: &fingerprinter, dedup }, steps, sink, self.monitor)
    }

    pub(super) fn record(&self, root: Child, content_id: ContentId, changes: ChangeSource, statistics: DiskStatistics) -> DiskRecord {
        let (name, source) = (self.disk.name.clone(), self.disk.source.description());
        DiskRecord { name, grid: self.grid, root, content_id, source, changes, statistics }
    }

    /// How it was found out what changed.
    pub(super) fn changes(&self, followed: Option<&Hints>, sampled_chunks: u64) -> ChangeSource {
        match (followed, &self.disk.hints, &self.refused) {
            (Some(hints), ..) => ChangeSource::Hints { origin: hints.origin.clone(), sampled_chunks },
            (None, Some(hints), Some(reason)) => ChangeSource::HintsRefused { origin: hints.origin.clone(), reason: reason.clone() },
            _ if self.base.is_some() => ChangeSource::Scan,
            _ => ChangeSource::First,
        }
    }
}

/// Why hints cannot be followed, if so: they must compare with the base that this backup has.
fn refusal(hints: &Hints, base: Option<&Manifest>, disk_in_base: bool) -> Option<String> {
    let Some(base) = base.filter(|_| disk_in_base) else { return Some("there is no earlier point of this disk".to_owned()) };
    let HintBase::Point(named) = &hints.base else { return None };
    let (name, id) = (format!("{}@{}", base.machine, base.time), base.point.to_string());
    let same = *named == name || (named.len() >= 8 && id.starts_with(named.as_str()));
    (!same).then(|| format!("they compare with {named}, but the machine's latest point is {name} ({id})"))
}
