//! Backing up a machine: one recovery point with all its disks, incremental against the machine's latest by itself.
//!
//! Order of writes (FORMAT.md, "order of writes"): lease; lists; data packs, durable; metadata packs, durable; manifest, durable and
//! pending; lists again; a look whether the lease is still there; verdict. A crash before the verdict leaves the old points as they are and at worst packs that nobody
//! refers to and a pending manifest, which collection removes. The index follows last: it can always be made anew.

mod clones;
mod disk;
mod dry;
mod lost;
mod rest;
mod scan;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{Timestamp, Unit};

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::points::{Listing, Points};
use crate::crypt::random;
use crate::format::names::ObjectName;
use crate::format::point::{ConfigFile, Consistency, Decision, DiskRecord, Manifest};
use crate::monitor::{Monitor, Problem};
use crate::quiesce::{self, ACCOUNT_NAME, Account, Setup};
use crate::source::{Hints, Source, SourceSpec};
use crate::store::{Lease, PackReader, SessionOptions, StoreError, Vault, WriteSession};
use crate::units::{MachineName, PackId, PointId};
use clones::Clones;
use scan::DiskScan;

/// How often a backup begins again when a collection takes away what it referred to.
const ATTEMPTS: u32 = 4;
/// Decompressed frames kept at hand while a backup reads its base's map.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// One disk to back up.
pub struct DiskRequest {
    /// Its name, unique in the machine.
    pub name: MachineName,
    /// What is read.
    pub source: Box<dyn Source>,
    /// Where `source` was opened, as far as a snapshot of it may be asked for.
    pub spec: Option<SourceSpec>,
    /// What somebody says has changed since the machine's latest point.
    pub hints: Option<Hints>,
    /// The raw image file that `source` is, where a reflink clone of it shall be read and kept beside it: the next backup then needs no
    /// hints. A disk that cannot have one is read itself, with a warning.
    pub keep_clone: Option<PathBuf>,
}

/// What to back up, and what to keep with it.
pub struct BackupRequest {
    /// The machine.
    pub machine: MachineName,
    /// Its disks, all that the point shall have.
    pub disks: Vec<DiskRequest>,
    /// Tags of the point.
    pub tags: Vec<String>,
    /// How far the machine was at rest, as its caller has seen to. Where scripts are run or filesystems frozen, the label is earned instead.
    pub consistency: Consistency,
    /// What is done around the moment of the backup; nothing in a dry run.
    pub quiesce: Option<Setup>,
    /// When the disks were as they are read; now, if nobody says.
    pub time: Option<Timestamp>,
    /// At least until when the point is kept.
    pub retain_until: Option<Timestamp>,
    /// Files kept with the point.
    pub configs: Vec<ConfigFile>,
    /// Share of the chunks that hints call unchanged that is read all the same, in percent, 0 to 100.
    pub verify_hints_percent: f64,
    /// Level of zstd, the vault's if nobody says.
    pub compression_level: Option<i32>,
    /// Find out what would be stored; write nothing.
    pub dry_run: bool,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The manifest as published; in a dry run as it would have been, with roots that lie nowhere.
    pub manifest: Manifest,
    /// Whether it is published: not in a dry run.
    pub published: bool,
}

/// Backs up a machine.
///
/// # Errors
/// [`JobError`]; the vault is then as it was, but for leftovers that collection removes.
pub fn backup(vault: &Arc<Vault>, request: &BackupRequest, monitor: &dyn Monitor) -> Result<BackupReport, JobError> {
    check(request)?;
    if let Some(setup) = request.quiesce.as_ref().filter(|_| !request.dry_run) {
        quiesce::recover(&setup.ledger, &setup.helper, monitor)?;
    }
    let mut avoid = HashSet::new();
    for _ in 0..ATTEMPTS {
        let mut attempt = Attempt::begin(vault, request, monitor)?;
        if request.dry_run {
            return attempt.dry_run();
        }
        match attempt.run(&mut avoid)? {
            Some(manifest) => return Ok(BackupReport { manifest, published: true }),
            None => monitor.problem(Problem {
                subject: request.machine.to_string(),
                message: "a collection overtook this backup; it begins again".to_owned(),
            }),
        }
    }
    Err(JobError::Overtaken { machine: request.machine.clone(), attempts: ATTEMPTS })
}

fn check(request: &BackupRequest) -> Result<(), JobError> {
    let mut names = HashSet::new();
    match request.disks.iter().find(|disk| !names.insert(&disk.name)) {
        Some(twice) => Err(JobError::DiskTwice { disk: twice.name.clone() }),
        None if request.disks.is_empty() => Err(JobError::NoDisk { machine: request.machine.clone() }),
        None => Ok(()),
    }
}

/// One try: from the listing of what is there to the verdict.
struct Attempt<'a> {
    vault: &'a Arc<Vault>,
    request: &'a BackupRequest,
    monitor: &'a dyn Monitor,
    packs: Arc<PackReader>,
    listing: Listing,
}

impl<'a> Attempt<'a> {
    fn begin(vault: &'a Arc<Vault>, request: &'a BackupRequest, monitor: &'a dyn Monitor) -> Result<Self, JobError> {
        let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES));
        let listing = super::points::look(vault)?;
        listing.problems.iter().for_each(|problem| monitor.problem(problem.into()));
        Ok(Self { vault, request, monitor, packs, listing })
    }

    /// The machine's latest point: what this backup is compared with.
    fn base(&self) -> Option<&Manifest> {
        self.listing.last_of(&self.request.machine).map(|summary| &summary.manifest)
    }

    fn dry_run(&self) -> Result<BackupReport, JobError> {
        let point = PointId(random()?);
        let mut clones = Clones::take(self.vault, self.request, point, None, self.monitor)?;
        clones.compare(self.base())?;
        let mut disks = Vec::new();
        for disk in clones.disks() {
            let scan = DiskScan::new(self.vault, self.request, disk, self.base(), self.nodes(), self.monitor)?;
            disks.push(dry::run(scan, self.vault, &self.packs)?);
            disk.source.check_unchanged()?;
        }
        Ok(BackupReport { manifest: self.manifest(point, clones.time, disks, None)?, published: false })
    }

    fn nodes(&self) -> Arc<VaultNodes> {
        Arc::new(VaultNodes::new(self.vault, Arc::clone(&self.packs)))
    }

    /// `None`: what was referred to is gone; `avoid` says which packs.
    fn run(&mut self, avoid: &mut HashSet<PackId>) -> Result<Option<Manifest>, JobError> {
        let base_points: Vec<PointId> = self.base().map(|base| base.point).into_iter().collect();
        let holder = format!("backup of {} by process {} on {}", self.request.machine, std::process::id(), host());
        let lease = Lease::take(self.vault, &base_points, &holder)?;
        // Only now does the lease keep the base, and only if no collection has taken it away since it was listed.
        for point in &base_points {
            if self.vault.backend().size_bytes(&ObjectName::Point(*point).to_string())?.is_none() {
                return Ok(None);
            }
        }
        let compression_level = self.request.compression_level.unwrap_or(self.vault.header().compression_level);
        let options = SessionOptions { compression_level, avoid: avoid.clone() };
        let session = Mutex::new(WriteSession::begin(self.vault, &lease, &self.packs, options)?);
        let point = PointId(random()?);
        let mut rest = rest::begin(self.vault, self.request, point, self.monitor)?;
        let mut clones = rest::take(&mut rest, self.vault, self.request, point, self.monitor)?;
        clones.compare(self.base())?;
        let scanned = self.scan_disks(&session, &clones)?;
        let (taken, kept) = (clones.time, clones.close());
        let account = rest::end(rest)?;
        let mut session = session.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.monitor.step("making data durable");
        session.flush()?;
        for pack in session.known().unreadable() {
            let message = "its fingerprints cannot be read, so its blocks were stored again; `cairn verify --all` tells more".to_owned();
            self.monitor.problem(Problem { subject: format!("pack {pack}"), message });
        }
        let disks = scanned.into_iter().map(scan::ScannedDisk::into_record).collect();
        let manifest = self.manifest(point, taken, disks, account)?;
        let published = self.publish(&manifest, &lease, &session, avoid)?;
        if published {
            kept.keep(point);
        }
        if published && let Err(error) = session.finish() {
            let message = format!("{error}; the next backup makes up for it");
            self.monitor.problem(Problem { subject: "index".to_owned(), message });
        }
        Ok(published.then_some(manifest))
    }

    fn scan_disks(&self, session: &Mutex<WriteSession>, clones: &Clones<'_>) -> Result<Vec<scan::ScannedDisk>, JobError> {
        let known = session.lock().unwrap_or_else(PoisonError::into_inner).known();
        let mut scanned = Vec::new();
        for disk in clones.disks() {
            let scan = DiskScan::new(self.vault, self.request, disk, self.base(), self.nodes(), self.monitor)?;
            scanned.push(scan.run(session, known.as_ref())?);
            disk.source.check_unchanged()?;
        }
        Ok(scanned)
    }

    fn publish(&self, manifest: &Manifest, lease: &Lease, session: &WriteSession, avoid: &mut HashSet<PackId>) -> Result<bool, JobError> {
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        self.monitor.step("publishing");
        let points = Points::new(self.vault.backend().as_ref(), self.vault.keys());
        points.put(manifest)?;
        let vanished = session.vanished()?;
        // Asked last: who took the lease for abandoned lists points after that, and sees this one.
        let lost = lease.confirm();
        if !vanished.is_empty() || matches!(lost, Err(StoreError::LeaseLost { .. })) {
            avoid.extend(vanished);
            // Whatever the answer, this point never becomes a user's: nobody else publishes it.
            points.revoke(manifest.point, lease.id(), Timestamp::now())?;
            return Ok(false);
        }
        Ok(points.publish(manifest.point, lease.id(), Timestamp::now())? == Decision::Published)
    }

    fn manifest(
        &self,
        point: PointId,
        clones_taken: Option<Timestamp>,
        disks: Vec<DiskRecord>,
        account: Option<Account>,
    ) -> Result<Manifest, JobError> {
        let earned = account.as_ref().filter(|_| self.request.quiesce.as_ref().is_some_and(|setup| setup.options.earns_label()));
        let consistency = earned.map_or(self.request.consistency, |account| account.consistency.into());
        let kept = account.map(|account| ConfigFile { name: ACCOUNT_NAME.to_owned(), bytes: account.encode() });
        let last = self.listing.last_of(&self.request.machine);
        Ok(Manifest {
            point,
            machine: self.request.machine.clone(),
            sequence: last.map_or(1, |last| last.manifest.sequence.saturating_add(1)),
            predecessor: last.map(|last| last.hash),
            time: self.time(clones_taken)?,
            retain_until: self.request.retain_until,
            consistency,
            base: last.map(|last| last.manifest.point),
            disks,
            tags: self.request.tags.clone(),
            configs: self.request.configs.iter().cloned().chain(kept).collect(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
        })
    }

    /// The point's time in whole seconds. A time that another point of the machine has would make its name ambiguous: then it is the
    /// next free second, or an error where somebody asked for just this time.
    fn time(&self, clones_taken: Option<Timestamp>) -> Result<Timestamp, JobError> {
        let points = self.listing.points.iter().chain(&self.listing.deleted);
        let taken: HashSet<Timestamp> =
            points.filter(|summary| summary.manifest.machine == self.request.machine).map(|summary| summary.manifest.time).collect();
        if let Some(asked) = self.request.time {
            let time = whole_seconds(asked);
            let free = !taken.contains(&time);
            return free.then_some(time).ok_or_else(|| JobError::TimeTaken { machine: self.request.machine.clone(), time });
        }
        let mut time = whole_seconds(clones_taken.unwrap_or_else(Timestamp::now));
        while taken.contains(&time) {
            time = time.checked_add(jiff::SignedDuration::from_secs(1)).unwrap_or(time);
        }
        Ok(time)
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(time)
}

/// This host's name, for a person.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown host".to_owned(), |name| name.trim_end().to_owned())
}
