//! Pruning: what the machines' policies no longer keep goes into soft delete. First the plan, with all reasons; then, if wanted, the deed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::deletion::Deletions;
use super::policies::Policies;
use super::{ErrorKind, JobError};
use crate::catalogue::CatalogueError;
use crate::catalogue::points::{Listing, PointSummary};
use crate::monitor::{Monitor, Problem};
use crate::policy::{Candidate, Decision, decide};
use crate::store::Vault;
use crate::units::{MachineName, PointId};

/// What is decided about the points of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinePlan {
    /// The machine.
    pub machine: MachineName,
    /// The name of its policy.
    pub policy: MachineName,
    /// The decision about each point, newest first.
    pub decisions: Vec<Decision>,
}

/// Decides about the points of machines, of all that have any unless some are named. Nothing is read or written.
///
/// # Errors
/// [`super::policies::SettingsError`] where a machine's policy cannot be used.
pub fn plan(
    listing: &Listing,
    policies: &Policies,
    deletions: &Deletions,
    machines: &[MachineName],
    local: &TimeZone,
    now: Timestamp,
) -> Result<Vec<MachinePlan>, JobError> {
    let mut by_machine = BTreeMap::<&MachineName, Vec<Candidate>>::new();
    for point in listing.points.iter().filter(|point| machines.is_empty() || machines.contains(&point.manifest.machine)) {
        by_machine.entry(&point.manifest.machine).or_default().push(candidate(point, deletions));
    }
    let plan = by_machine.into_iter().map(|(machine, candidates)| {
        let (name, policy) = policies.of_machine(machine)?;
        let decisions = decide(&policy.retention, &candidates, &policy.zone(local), now);
        Ok(MachinePlan { machine: machine.clone(), policy: name.clone(), decisions })
    });
    plan.collect()
}

fn candidate(point: &PointSummary, deletions: &Deletions) -> Candidate {
    Candidate {
        point: point.point(),
        sequence: point.manifest.sequence,
        time: point.manifest.time,
        pinned: point.pinned(),
        retain_until: point.retain_until(),
        immutable_until: deletions.immutable_until(point.manifest.time),
    }
}

/// Puts into soft delete what a plan does not keep; gives those that are deleted now. Points that somebody pinned since the plan was made
/// stay, as does one whose last state cannot be read: each is a problem, and the others go.
///
/// # Errors
/// [`super::policies::SettingsError::ClockBehind`] before anything is deleted; [`JobError`] where the vault fails: what was deleted until
/// then is, and a new plan goes on with the rest.
pub fn execute<'l>(
    vault: &Vault,
    listing: &'l Listing,
    plan: &[MachinePlan],
    deletions: &Deletions,
    monitor: &dyn Monitor,
) -> Result<Vec<&'l PointSummary>, JobError> {
    let decisions = plan.iter().flat_map(|machine| &machine.decisions);
    let going: BTreeSet<PointId> = decisions.filter(|decision| !decision.is_kept()).map(|decision| decision.point).collect();
    if going.is_empty() {
        return Ok(Vec::new());
    }
    deletions.check_clock()?;
    let mut deleted = Vec::new();
    for point in listing.points.iter().filter(|point| going.contains(&point.point())) {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        match deletions.delete(vault, point) {
            Ok(_) => deleted.push(point),
            Err(error) if is_of_one_point(&error) => {
                monitor.problem(Problem { subject: point.name(), message: format!("it is kept: {error}") });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

fn is_of_one_point(error: &JobError) -> bool {
    matches!(error, JobError::Catalogue(CatalogueError::Kept { .. } | CatalogueError::NoPoint { .. } | CatalogueError::Removed { .. }))
        || error.kind() == ErrorKind::Damage
}

#[cfg(test)]
mod tests;
