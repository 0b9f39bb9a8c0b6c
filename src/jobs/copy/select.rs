//! Which points are to be copied, and which of them the target has already: pure, from the two listings.

use std::collections::BTreeMap;

use super::{CopiedPoint, CopyRequest};
use crate::catalogue::CatalogueError;
use crate::catalogue::points::{Listing, PointSummary};
use crate::format::point::Manifest;
use crate::jobs::JobError;
use crate::monitor::{Monitor, Problem};
use crate::units::{MachineName, PointId};

/// What is to be done.
pub(super) struct Selected<'l> {
    /// To be copied: by machine, each one's oldest first.
    pub(super) points: Vec<&'l PointSummary>,
    /// Asked for and there already.
    pub(super) present: u64,
}

/// Chooses points. One whose machine and time another point of the target has is left out with a problem: its name would mean both.
pub(super) fn select<'l>(
    listing: &'l Listing,
    there: &Listing,
    request: &CopyRequest,
    monitor: &dyn Monitor,
) -> Result<Selected<'l>, JobError> {
    check_named(listing, request)?;
    let mut selected = Selected { points: Vec::new(), present: 0 };
    // The listing is ascending by machine and time.
    for point in asked(listing, request) {
        let named = request.points.contains(&point.point());
        if is_there(there, point, named) {
            selected.present += 1;
        } else if let Some(other) = of_same_name(there, point) {
            let message = format!("it was not copied: the target has another point of this machine and time, {}", other.point());
            monitor.problem(Problem { subject: format!("recovery point {}", point.name()), message });
        } else {
            selected.points.push(point);
        }
    }
    Ok(selected)
}

fn check_named(listing: &Listing, request: &CopyRequest) -> Result<(), JobError> {
    let is_listed = |point: &&PointId| listing.points.iter().any(|listed| listed.point() == **point);
    match request.points.iter().find(|point| !is_listed(point)) {
        Some(point) => Err(CatalogueError::NoPoint { point: *point }.into()),
        None => Ok(()),
    }
}

/// The points that were asked for, whether the target has them or not.
fn asked<'l>(listing: &'l Listing, request: &CopyRequest) -> Vec<&'l PointSummary> {
    let all = request.machines.is_empty() && request.points.is_empty();
    let wanted = |point: &&PointSummary| {
        let named = all || request.machines.contains(&point.manifest.machine) || request.points.contains(&point.point());
        named && request.since.is_none_or(|since| point.manifest.time >= since)
    };
    let points = listing.points.iter().filter(wanted);
    if !request.latest {
        return points.collect();
    }
    let newest: BTreeMap<&MachineName, &PointSummary> = points.map(|point| (&point.manifest.machine, point)).collect();
    newest.into_values().collect()
}

/// Whether the target has the point, or had it and somebody deleted it there: then it comes back only if it is asked for by name.
fn is_there(there: &Listing, point: &PointSummary, named: bool) -> bool {
    let kept = there.points.iter().chain(&there.deleted);
    let same = |other: &PointSummary| other.point() == point.point() || is_same(&other.manifest, &point.manifest);
    kept.into_iter().any(same) || (!named && there.removed.contains(&point.point()))
}

/// Whether two points of different vaults are of the same machine, time and contents.
fn is_same(one: &Manifest, other: &Manifest) -> bool {
    let disks = |manifest: &Manifest| manifest.disks.iter().map(|disk| (disk.name.clone(), disk.content_id)).collect::<Vec<_>>();
    one.machine == other.machine && one.time == other.time && disks(one) == disks(other)
}

fn of_same_name<'t>(there: &'t Listing, point: &PointSummary) -> Option<&'t PointSummary> {
    let same = |other: &&PointSummary| other.manifest.machine == point.manifest.machine && other.manifest.time == point.manifest.time;
    there.points.iter().chain(&there.deleted).find(same)
}

impl CopiedPoint {
    /// A point that would be copied.
    pub(super) fn planned(point: &PointSummary) -> Self {
        Self { source: point.point(), point: point.point(), name: point.name(), read_bytes: 0, new_bytes: 0, stored_bytes: 0 }
    }
}
