//! Copying recovery points into another vault, which may have other keys, frames and machines, and lie anywhere.
//!
//! A point is copied as a backup is made: under a lease of the target, through a write session that finds what the target has already by the
//! target's own fingerprints, blocks before nodes before manifest before verdict. Map subtrees that the machine's point before it in the
//! target has with the same content are taken over without being read on either side, so an incremental point costs what changed in it.
//! An interrupted copy is completed by another run: what became durable is found by its fingerprints.
//!
//! A copied point keeps the id that it has in its own vault, if that is free, so that it is known again. Its content ids are compared before
//! it is published. Pins are not copied: what is kept in the second place is decided there.

mod disk;
mod point;
mod select;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use super::backup::host;
use super::{ErrorKind, JobError};
use crate::backend::BackendError;
use crate::monitor::{Monitor, Problem};
use crate::store::{Lease, PackReader, StoreError, Vault};
use crate::units::{MachineName, PointId};
use point::Copier;

/// Decompressed frames of the source kept at hand: neighbouring chunks lie in the same ones.
const SOURCE_CACHE_BYTES: usize = 96 << 20;
/// Decompressed frames of the target kept at hand: nodes of its maps.
const TARGET_CACHE_BYTES: usize = 32 << 20;

/// Which points to copy.
#[derive(Debug, Clone, Default)]
pub struct CopyRequest {
    /// All points of these machines; of all machines where neither machines nor points are named.
    pub machines: Vec<MachineName>,
    /// These points.
    pub points: Vec<PointId>,
    /// Of these only such as are not older.
    pub since: Option<Timestamp>,
    /// Of these only each machine's newest.
    pub latest: bool,
    /// Level of zstd, the target's if nobody says.
    pub compression_level: Option<i32>,
    /// Find out which points would be copied; write nothing.
    pub dry_run: bool,
}

/// A point that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedPoint {
    /// The point in its own vault.
    pub source: PointId,
    /// The point in the target; in a dry run as the source's.
    pub point: PointId,
    /// Its name, the same in both.
    pub name: String,
    /// Bytes of chunks that were read from the source.
    pub read_bytes: u64,
    /// Bytes of blocks that the target did not have.
    pub new_bytes: u64,
    /// Bytes added to the target for them, compressed and sealed.
    pub stored_bytes: u64,
}

/// A point that was not copied.
#[derive(Debug)]
pub struct FailedPoint {
    /// The point.
    pub point: PointId,
    /// Its name.
    pub name: String,
    /// Why not.
    pub error: JobError,
}

/// What was copied.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// The points, in the order in which they were copied; in a dry run those that would be.
    pub copied: Vec<CopiedPoint>,
    /// Points that were asked for and that the target had already.
    pub present: u64,
    /// Points that the vault has damaged; the others are copied all the same.
    pub damaged: Vec<FailedPoint>,
}

/// Copies points from one vault to another: each machine's oldest first.
///
/// # Errors
/// [`JobError::SameVault`]; [`JobError`] of either vault: points that were copied before stay. Damage to a point in the source is no error:
/// it is reported.
pub fn copy(from: &Arc<Vault>, to: &Arc<Vault>, request: &CopyRequest, monitor: &dyn Monitor) -> Result<CopyReport, JobError> {
    if from.header().vault == to.header().vault {
        return Err(JobError::SameVault { to: to.backend().location() });
    }
    let listing = super::points::look(from)?;
    let there = super::points::look(to)?;
    listing.problems.iter().chain(&there.problems).for_each(|problem| monitor.problem(problem.into()));
    let selected = select::select(&listing, &there, request, monitor)?;
    let mut report = CopyReport { present: selected.present, ..CopyReport::default() };
    if request.dry_run {
        report.copied = selected.points.iter().map(|point| CopiedPoint::planned(point)).collect();
        return Ok(report);
    }
    let ids: Vec<PointId> = selected.points.iter().map(|point| point.point()).collect();
    let _lease = source_lease(from, &ids, "copy", monitor)?;
    let copier = Copier {
        from,
        to,
        request,
        monitor,
        from_packs: Arc::new(PackReader::new(Arc::clone(from.backend()), Arc::clone(from.keys()), SOURCE_CACHE_BYTES)),
        to_packs: Arc::new(PackReader::new(Arc::clone(to.backend()), Arc::clone(to.keys()), TARGET_CACHE_BYTES)),
    };
    for point in selected.points {
        match copier.copy(point) {
            Ok(copied) => report.copied.push(copied),
            Err(error) if error.kind() == ErrorKind::Damage => {
                let message = format!("it was not copied: {error}");
                monitor.problem(Problem { subject: format!("recovery point {}", point.name()), message });
                report.damaged.push(FailedPoint { point: point.point(), name: point.name(), error });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// A lease of a vault that is only read, so that no collection takes away these points while they are. A vault that may not be written to
/// has none: then a collection ends the job with an error at worst.
pub(super) fn source_lease(vault: &Vault, points: &[PointId], purpose: &str, monitor: &dyn Monitor) -> Result<Option<Lease>, JobError> {
    let holder = format!("{purpose} by process {} on {}", std::process::id(), host());
    match Lease::take(vault, points, &holder) {
        Ok(lease) => Ok(Some(lease)),
        Err(StoreError::Backend(BackendError::Denied { .. })) => {
            let message = "it may not be written to, so it is read without a lease; do not run a collection meanwhile".to_owned();
            monitor.problem(Problem { subject: vault.backend().location(), message });
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
