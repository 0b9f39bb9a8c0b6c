//! Which recovery points a vault has, which of them somebody wants to see, and which one a name means.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::JobError;
use crate::catalogue::name::PointName;
use crate::catalogue::points::{Listing, PointSummary, Points};
use crate::catalogue::remembered::Remembered;
use crate::format::point::{Consistency, Manifest};
use crate::monitor::{Monitor, Problem};
use crate::store::Vault;
use crate::units::{MachineName, PointId};

/// Which points to show. What is not said does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this machine.
    pub machine: Option<MachineName>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Of this consistency.
    pub consistency: Option<Consistency>,
    /// With all of these tags.
    pub tags: Vec<String>,
}

impl Filter {
    /// Whether a point is one of those.
    pub fn admits(&self, point: &PointSummary) -> bool {
        let manifest = &point.manifest;
        self.machine.as_ref().is_none_or(|machine| *machine == manifest.machine)
            && self.since.is_none_or(|since| manifest.time >= since)
            && self.until.is_none_or(|until| manifest.time <= until)
            && self.consistency.is_none_or(|consistency| consistency == manifest.consistency)
            && self.tags.iter().all(|tag| point.tags().contains(tag))
    }
}

/// All points of a vault. Damage to some of them becomes problems; the others are there. `memory` is the directory in which this
/// computer remembers each machine's last point: one that has vanished since, without having been deleted, is a problem too.
///
/// # Errors
/// [`JobError`] where the vault cannot be listed.
pub fn list(vault: &Vault, memory: &Path, monitor: &dyn Monitor) -> Result<Listing, JobError> {
    let listing = look(vault)?;
    listing.problems.iter().for_each(|problem| monitor.problem(problem.into()));
    remember(&listing, vault, memory, monitor);
    Ok(listing)
}

/// All points; reads only what this computer has not read before.
pub(super) fn look(vault: &Vault) -> Result<Listing, JobError> {
    Ok(Points::new(vault.backend().as_ref(), vault.keys()).list_known(&vault.known_points())?)
}

/// Compares a listing with what this computer remembers of the vault. A memory that fails is worth a problem, not the listing.
fn remember(listing: &Listing, vault: &Vault, memory: &Path, monitor: &dyn Monitor) {
    let failed = |error: &dyn std::fmt::Display| monitor.problem(Problem { subject: "memory".to_owned(), message: error.to_string() });
    let mut remembered = match Remembered::load(memory, vault.header().vault) {
        Ok(remembered) => remembered,
        // It is not written over: somebody may want to see what became of it.
        Err(error) => return failed(&error),
    };
    let (problems, learned) = remembered.compare_and_learn(listing);
    problems.into_iter().for_each(|problem| monitor.problem(problem));
    if learned && let Err(error) = remembered.save() {
        failed(&error);
    }
}

/// The point that a name means: `web01@latest`, `web01@2026-11-22T20:30:00Z`, the start of an id. Days begin as in `zone`.
///
/// # Errors
/// [`JobError::Catalogue`] for what is no name, means no point, or several.
pub fn find<'l>(listing: &'l Listing, name: &str, zone: &TimeZone) -> Result<&'l PointSummary, JobError> {
    Ok(name.parse::<PointName>()?.resolve(listing, zone)?)
}

/// A point's manifest with its configuration files, which listings leave out.
///
/// # Errors
/// [`JobError`] where it cannot be read.
pub fn read(vault: &Vault, point: PointId) -> Result<Manifest, JobError> {
    Ok(Points::new(vault.backend().as_ref(), vault.keys()).read(point)?.manifest)
}

#[cfg(test)]
mod tests;
