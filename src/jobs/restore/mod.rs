//! Restoring a recovery point: one disk to a target, or all of it into a directory.
//!
//! In a directory each disk becomes `<disk>.raw`, and each file kept with the point gets its name again. New files get their names
//! when all disks are whole: until then the same command goes on where an earlier one stopped.

mod configs;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::nodes::VaultNodes;
use super::{ErrorKind, JobError};
use crate::catalogue::map::MapReader;
use crate::catalogue::points::Points;
use crate::format::names::ObjectName;
use crate::format::point::{DiskRecord, Manifest};
use crate::io::sync_directory;
use crate::monitor::Monitor;
use crate::restore::{
    Place, PlaceKind, PlaceOptions, RestoreError, RestoreOptions, RestoreReport, Skipped, SkippedRange, refuse_vault, restore_disk,
};
use crate::store::{Lease, PackReader, Vault};
use crate::units::{ContentId, MachineName, PointId};

/// Decompressed map nodes kept at hand; frames of data have their own place.
const FRAME_CACHE_BYTES: usize = 8 << 20;

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The recovery point.
    pub point: PointId,
    /// The disk; all of them, and the files kept with the point, if none is named.
    pub disk: Option<MachineName>,
    /// A new or existing file, a block device, or a directory. A directory it must be, or become, for a whole point.
    pub to: PathBuf,
    /// What is there may be replaced.
    pub overwrite: bool,
    /// Find out what would be written; write nothing.
    pub dry_run: bool,
    /// Read what was written again from the medium and compare it.
    pub read_back: bool,
    /// Return only when everything survives a loss of power.
    pub sync: bool,
    /// Leave out what the vault has lost, and tell of it, instead of ending there.
    pub skip_damaged: bool,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct RestoredPoint {
    /// The point.
    pub point: PointId,
    /// Its machine.
    pub machine: MachineName,
    /// Its time.
    pub time: Timestamp,
    /// Its disks that were restored.
    pub disks: Vec<RestoredDisk>,
    /// The files kept with the point, where they were put.
    pub configs: Vec<PathBuf>,
}

/// One restored disk.
#[derive(Debug, Clone)]
pub struct RestoredDisk {
    /// Its name.
    pub name: MachineName,
    /// Where it was restored to.
    pub path: PathBuf,
    /// What that is.
    pub kind: PlaceKind,
    /// What its content is.
    pub content_id: ContentId,
    /// What was done.
    pub report: RestoreReport,
    /// What the vault has lost, ascending: left as the target had it, a hole in a new file. Only where that was asked for.
    pub damaged: Vec<SkippedRange>,
}

/// Restores a point or one of its disks. In a dry run nothing is changed, and the report says what would have been done.
///
/// # Errors
/// [`JobError::Catalogue`] for the point; [`JobError::NoSuchDisk`], [`JobError::NoDirectory`]; [`JobError::Restore`] with the disk and, where it
/// has one, the range: new files are then left under their `.cairn-partial` names, and the same request goes on with them. Where damage is
/// skipped it is no error: it is told, and new files get their names with holes in those places.
pub fn restore(vault: &Vault, request: &RestoreRequest, monitor: &dyn Monitor) -> Result<RestoredPoint, JobError> {
    // Collections keep what a lease names, if it is still there once the lease is.
    let lease = match request.dry_run {
        true => None,
        false => Lease::take_to_read(vault, &[request.point], &format!("restore by process {}", std::process::id()))?,
    };
    let restored = Points::new(vault.backend().as_ref(), vault.keys())
        .read(request.point)
        .map_err(JobError::from)
        .and_then(|stored| Restore::new(vault, request, &stored.manifest, monitor).run());
    restored.map_err(|error| match lease {
        None if !request.dry_run && error.kind() == ErrorKind::Damage => JobError::Unprotected { source: Box::new(error) },
        _ => error,
    })
}

struct Restore<'a> {
    vault: &'a Vault,
    request: &'a RestoreRequest,
    manifest: &'a Manifest,
    monitor: &'a dyn Monitor,
    /// The vault's directory, where it is a local one.
    vault_directory: Option<PathBuf>,
}

impl<'a> Restore<'a> {
    fn new(vault: &'a Vault, request: &'a RestoreRequest, manifest: &'a Manifest, monitor: &'a dyn Monitor) -> Self {
        let header = vault.backend().local_path(&ObjectName::Vault.to_string());
        let vault_directory = header.and_then(|header| header.parent().map(Path::to_owned));
        Self { vault, request, manifest, monitor, vault_directory }
    }

    fn run(&self) -> Result<RestoredPoint, JobError> {
        let targets = self.targets()?;
        let whole = self.request.disk.is_none();
        if whole {
            configs::check(self.manifest, &self.request.to, self.request.overwrite)?;
        }
        // Everything is looked at before anything is changed.
        let places = self.open(&targets, true)?;
        let places = if self.request.dry_run {
            places
        } else {
            drop(places);
            self.make_directory(whole)?;
            self.open(&targets, false)?
        };
        let mut disks = Vec::new();
        for ((disk, _), place) in targets.iter().zip(&places) {
            self.monitor.step(&format!("restoring {} to {}", disk.name, place.path().display()));
            disks.push(self.restore_disk(disk, place)?);
        }
        let mut kept = Vec::new();
        if !self.request.dry_run {
            for ((disk, _), place) in targets.iter().zip(places) {
                place.finish().map_err(|source| self.failed(disk, source))?;
            }
            if whole {
                kept = configs::write(self.manifest, &self.request.to)?;
            }
        }
        let Manifest { point, ref machine, time, .. } = *self.manifest;
        Ok(RestoredPoint { point, machine: machine.clone(), time, disks, configs: kept })
    }

    /// The disks to restore, and where to.
    fn targets(&self) -> Result<Vec<(&'a DiskRecord, PathBuf)>, JobError> {
        let to = &self.request.to;
        let in_directory = |disk: &DiskRecord| to.join(format!("{}.raw", disk.name));
        let has = || self.manifest.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(name) = &self.request.disk else {
            if to.exists() && !to.is_dir() {
                return Err(JobError::NoDirectory { path: to.clone(), has: has() });
            }
            return Ok(self.manifest.disks.iter().map(|disk| (disk, in_directory(disk))).collect());
        };
        let disk = self.manifest.disks.iter().find(|disk| disk.name == *name);
        let disk = disk.ok_or_else(|| JobError::NoSuchDisk { point: self.point_name(), disk: name.clone(), has: has() })?;
        Ok(vec![(disk, if to.is_dir() { in_directory(disk) } else { to.clone() })])
    }

    fn open(&self, targets: &[(&DiskRecord, PathBuf)], dry_run: bool) -> Result<Vec<Place>, JobError> {
        let open = |(disk, path): &(&DiskRecord, PathBuf)| {
            let disk_bytes = disk.grid.size_bytes();
            let vault = self.vault_directory.as_deref();
            let options = PlaceOptions {
                disk_bytes,
                overwrite: self.request.overwrite,
                dry_run,
                sync: self.request.sync || self.request.read_back,
                vault,
            };
            if dry_run && self.request.disk.is_none() && !self.request.to.exists() {
                refuse_vault(path, vault)?;
                return Ok(Place::nowhere(path.clone(), disk_bytes));
            }
            Place::open(path, options)
        };
        targets.iter().map(|target| open(target).map_err(|source| self.failed(target.0, source))).collect()
    }

    /// Makes the directory for a whole point.
    fn make_directory(&self, whole: bool) -> Result<(), JobError> {
        let to = &self.request.to;
        if !whole || to.is_dir() {
            return Ok(());
        }
        let fail = |source| JobError::File { what: "the directory", path: to.clone(), doing: "cannot be made", source };
        fs::create_dir_all(to).map_err(fail)?;
        let above = to.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
        if self.request.sync { sync_directory(above).map_err(fail) } else { Ok(()) }
    }

    fn restore_disk(&self, disk: &DiskRecord, place: &Place) -> Result<RestoredDisk, JobError> {
        let backend = self.vault.backend();
        let packs = Arc::new(PackReader::new(Arc::clone(backend), Arc::clone(self.vault.keys()), FRAME_CACHE_BYTES));
        let nodes = Arc::new(VaultNodes::new(self.vault, Arc::clone(&packs)));
        let map = MapReader::new(nodes, disk.root, disk.grid);
        let RestoreRequest { dry_run, read_back, sync, .. } = *self.request;
        let options = RestoreOptions { dry_run, sync, read_back, parallel_requests: backend.parallel_requests() };
        let skipped = Skipped::default();
        let skip = self.request.skip_damaged.then_some(&skipped);
        let report = restore_disk(&map, &packs, place.target(), options, skip, self.monitor).map_err(|source| self.failed(disk, source))?;
        let (name, path, kind, content_id) = (disk.name.clone(), place.path().to_owned(), place.kind(), disk.content_id);
        Ok(RestoredDisk { name, path, kind, content_id, report, damaged: skipped.into_ranges() })
    }

    fn point_name(&self) -> String {
        format!("{}@{}", self.manifest.machine, self.manifest.time)
    }

    fn failed(&self, disk: &DiskRecord, source: RestoreError) -> JobError {
        JobError::Restore { disk: disk.name.clone(), point: self.point_name(), source }
    }
}
