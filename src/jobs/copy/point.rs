//! One point: from the choice of its base in the target to its verdict there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{CopiedDisk, DiskCopy};
use super::{CopiedPoint, CopyRequest};
use crate::catalogue::points::{Listing, PointSummary};
use crate::crypt::random;
use crate::format::names::ObjectName;
use crate::format::point::{DiskRecord, Manifest};
use crate::jobs::JobError;
use crate::jobs::backup::host;
use crate::jobs::publish::{lease_on, publish};
use crate::monitor::{Monitor, Problem};
use crate::store::{PackReader, SessionOptions, Vault, WriteSession};
use crate::units::{PackId, PointId};

/// How often a copy begins again when a collection of the target takes away what it referred to.
const ATTEMPTS: u32 = 4;

/// Two vaults, and what is the same for all points.
pub(super) struct Copier<'a> {
    pub(super) from: &'a Arc<Vault>,
    pub(super) to: &'a Arc<Vault>,
    pub(super) request: &'a CopyRequest,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) from_packs: Arc<PackReader>,
    pub(super) to_packs: Arc<PackReader>,
}

impl Copier<'_> {
    /// Copies a point.
    pub(super) fn copy(&self, summary: &PointSummary) -> Result<CopiedPoint, JobError> {
        // Listings leave configuration files out.
        let manifest = crate::jobs::points::read(self.from, summary.point())?;
        let mut avoid = HashSet::new();
        for _ in 0..ATTEMPTS {
            if let Some(copied) = self.attempt(summary, &manifest, &mut avoid)? {
                return Ok(copied);
            }
            let message = "a collection took away data of the target that this copy referred to; it begins again".to_owned();
            self.monitor.problem(Problem { subject: summary.name(), message });
        }
        Err(JobError::Overtaken { machine: manifest.machine, attempts: ATTEMPTS })
    }

    /// `None`: what was referred to is gone; `avoid` says which packs.
    fn attempt(&self, summary: &PointSummary, source: &Manifest, avoid: &mut HashSet<PackId>) -> Result<Option<CopiedPoint>, JobError> {
        let listing = crate::jobs::points::look(self.to)?;
        let base = base_for(&listing, source);
        let base_points: Vec<PointId> = base.map(|base| base.point).into_iter().collect();
        let holder = format!("copy of {} by process {} on {}", summary.name(), std::process::id(), host());
        let Some(lease) = lease_on(self.to, &base_points, &holder)? else { return Ok(None) };
        let compression_level = self.request.compression_level.unwrap_or(self.to.header().compression_level);
        let options = SessionOptions { compression_level, avoid: avoid.clone() };
        let session = Mutex::new(WriteSession::begin(self.to, &lease, &self.to_packs, options)?);
        let known = session.lock().unwrap_or_else(PoisonError::into_inner).known();
        let mut disks = Vec::new();
        for disk in &source.disks {
            self.monitor.step(&format!("copying {} of {}", disk.name, summary.name()));
            let base = base.and_then(|base| base.disks.iter().find(|other| other.name == disk.name));
            disks.push(DiskCopy::new(self, source, disk, base).run(&session, &known)?);
        }
        let mut session = session.into_inner().unwrap_or_else(PoisonError::into_inner);
        session.flush()?;
        let read_bytes = disks.iter().map(|disk| disk.read_bytes).sum();
        let manifest = self.manifest(summary, source, base, &listing, disks)?;
        if !publish(self.to, &manifest, &lease, &session, avoid, self.monitor)? {
            return Ok(None);
        }
        if let Err(error) = session.finish() {
            let message = format!("{error}; the next job makes up for it");
            self.monitor.problem(Problem { subject: "index".to_owned(), message });
        }
        let sum = |of: fn(&DiskRecord) -> u64| manifest.disks.iter().map(of).sum();
        Ok(Some(CopiedPoint {
            source: source.point,
            point: manifest.point,
            name: summary.name(),
            read_bytes,
            new_bytes: sum(|disk| disk.statistics.new_bytes),
            stored_bytes: sum(|disk| disk.statistics.stored_bytes),
        }))
    }

    /// The point as the target has it: what was said of the machine and of the point until now is the same, its place among the machine's
    /// points is the target's own.
    fn manifest(
        &self,
        summary: &PointSummary,
        source: &Manifest,
        base: Option<&Manifest>,
        listing: &Listing,
        disks: Vec<CopiedDisk>,
    ) -> Result<Manifest, JobError> {
        let last = listing.last_of(&source.machine);
        Ok(Manifest {
            point: self.free_id(source.point)?,
            sequence: last.map_or(1, |last| last.manifest.sequence.saturating_add(1)),
            predecessor: last.map(|last| last.hash),
            base: base.map(|base| base.point),
            disks: disks.into_iter().map(CopiedDisk::into_record).collect(),
            tags: summary.tags().to_vec(),
            retain_until: summary.retain_until(),
            ..source.clone()
        })
    }

    /// The point's own id; another one where an earlier try, or whoever deleted the point, left something under it in the target.
    fn free_id(&self, own: PointId) -> Result<PointId, JobError> {
        let has = |name: ObjectName| Ok::<bool, JobError>(self.to.backend().size_bytes(&name.to_string())?.is_some());
        if has(ObjectName::Point(own))? || has(ObjectName::Verdict(own))? {
            return Ok(PointId(random()?));
        }
        Ok(own)
    }
}

/// The machine's point in the target that is nearest before this one, or else its oldest.
fn base_for<'l>(listing: &'l Listing, source: &Manifest) -> Option<&'l Manifest> {
    // The listing is ascending by time.
    let of_machine = || listing.points.iter().map(|point| &point.manifest).filter(|manifest| manifest.machine == source.machine);
    of_machine().rfind(|manifest| manifest.time <= source.time).or_else(|| of_machine().next())
}
