//! Removing from a mirror what its vault no longer has.
//!
//! Points go first: those whose tombstone the vault has and the mirror has taken over. A point whose time has not come stays, whatever the
//! vault says, and one that the vault has lost rather than deleted stays as well: the mirror is what it is repaired from. Then packs
//! go that neither the vault has nor any map in the mirror refers to; if a single map cannot be read, no pack goes.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::MirrorReport;
use crate::backend::{Backend, Listed, map_parallel};
use crate::catalogue::points::{PointSummary, Points};
use crate::format::names::{COLLECTIONS, INDEX, KEYS, MOVED, ObjectName, PACKS, POINTS, STATES};
use crate::jobs::JobError;
use crate::jobs::births::Births;
use crate::jobs::deletion::Deletions;
use crate::jobs::nodes::VaultNodes;
use crate::monitor::{Monitor, Problem};
use crate::store::{PackReader, Vault, moved_to};
use crate::units::{PackId, PointId};

/// Decompressed map nodes kept at hand.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// Removes what is not needed any more.
pub(super) fn delete(vault: &Arc<Vault>, to: &Arc<dyn Backend>, report: &mut MirrorReport, monitor: &dyn Monitor) -> Result<(), JobError> {
    if !to.list(COLLECTIONS)?.is_empty() {
        return Err(JobError::NotOnlyAMirror { location: to.location() });
    }
    monitor.step("removing what the vault no longer has");
    let mirror = vault.elsewhere(Arc::clone(to), Path::new(""));
    let deletion = Deletion { from: vault.backend().as_ref(), mirror: &mirror, monitor };
    let points = deletion.points(vault, report)?;
    deletion.remove(&points, report)?;
    // Listed after the points are gone: the maps of those that are left say what is needed.
    let packs = deletion.packs()?;
    deletion.remove(&packs, report)?;
    let rest = [deletion.gone(INDEX)?, deletion.gone(KEYS)?].concat();
    deletion.remove(&rest, report)
}

struct Deletion<'a> {
    from: &'a dyn Backend,
    mirror: &'a Vault,
    monitor: &'a dyn Monitor,
}

impl Deletion<'_> {
    fn to(&self) -> &dyn Backend {
        self.mirror.backend().as_ref()
    }

    /// Objects of the mirror that the vault does not have.
    fn gone(&self, prefix: &str) -> Result<Vec<Listed>, JobError> {
        // The mirror first: what is put into the vault meanwhile must not look as if it were gone from there.
        let there = self.to().list(prefix)?;
        let own: HashSet<String> = self.from.list(prefix)?.into_iter().map(|object| object.name).collect();
        Ok(there.into_iter().filter(|object| !own.contains(&object.name)).collect())
    }

    /// Objects of points that go: manifests of those that were deleted and collected in the vault, and states that have a successor.
    /// Points that stay although the vault has them no more become part of the report.
    fn points(&self, vault: &Vault, report: &mut MirrorReport) -> Result<Vec<Listed>, JobError> {
        let (manifests, states) = (self.gone(POINTS)?, self.gone(STATES)?);
        let listing = Points::new(self.to(), self.mirror.keys()).list()?;
        let own = Points::new(self.from, vault.keys()).list()?;
        let gone: HashSet<PointId> = manifests.iter().filter_map(point_of).collect();
        let now = Timestamp::now();
        // The mirror's own: what it was told to keep, it keeps.
        let deletions = Deletions::read(self.mirror, &listing, now)?;
        let mut going = HashSet::new();
        for summary in listing.points.iter().chain(&listing.deleted).chain(&listing.pending) {
            let point = summary.point();
            if !gone.contains(&point) {
                continue;
            }
            if is_kept(summary, now) || deletions.immutable_until(summary.manifest.time).is_some() {
                report.kept_points.push(point);
            } else if own.removed.contains(&point) {
                going.insert(point);
            } else {
                let message = "the vault has it no more, but no tombstone of it either: it was lost there, not deleted, so the mirror keeps it; \
                               `cairn repair` brings it back";
                self.monitor.problem(Problem { subject: format!("recovery point {}", summary.name()), message: message.to_owned() });
            }
        }
        let newest = newest_states(&self.from.list(STATES)?);
        let has_successor = |object: &Listed| matches!(ObjectName::parse(&object.name), Some(ObjectName::State(point, number)) if newest.get(&point) > Some(&number));
        let manifests = manifests.into_iter().filter(|object| point_of(object).is_some_and(|point| going.contains(&point)));
        Ok(manifests.chain(states.into_iter().filter(has_successor)).collect())
    }

    /// Packs that the vault does not have and that no point of the mirror needs, and lists of moved ranges that say nothing any more.
    fn packs(&self) -> Result<Vec<Listed>, JobError> {
        let (gone, gone_lists) = (self.gone(PACKS)?, self.gone(MOVED)?);
        if gone.is_empty() && gone_lists.is_empty() {
            return Ok(Vec::new());
        }
        let there: HashSet<PackId> = self.to().list(PACKS)?.iter().filter_map(pack_of).collect();
        let Some(births) = self.births()? else { return Ok(Vec::new()) };
        let mut needed = HashSet::new();
        for birth in &births {
            match moved_to(self.mirror, *birth)? {
                // Where its blocks were moved to is needed; it itself only if they are not all there.
                Some(places) if places.iter().all(|pack| there.contains(pack)) => needed.extend(places),
                _ => drop(needed.insert(*birth)),
            }
        }
        let packs = gone.into_iter().filter(|object| pack_of(object).is_some_and(|pack| !needed.contains(&pack)));
        let lists = gone_lists.into_iter().filter(|object| pack_of(object).is_some_and(|pack| !births.contains(&pack)));
        Ok(lists.chain(packs).collect())
    }

    /// The packs that the mirror's points name; `None`, with a problem, where that cannot be known.
    fn births(&self) -> Result<Option<HashSet<PackId>>, JobError> {
        let packs = Arc::new(PackReader::new(Arc::clone(self.mirror.backend()), Arc::clone(self.mirror.keys()), FRAME_CACHE_BYTES));
        let nodes = VaultNodes::new(self.mirror, packs);
        let listing = Points::new(self.to(), self.mirror.keys()).list()?;
        let mut births = Births::default();
        for point in listing.points.iter().chain(&listing.deleted).chain(&listing.pending) {
            for disk in &point.manifest.disks {
                births.walk(&nodes, disk.root, self.monitor)?;
            }
        }
        let problem = listing.problems.first().map(|problem| problem.error.to_string());
        let problem = problem.or_else(|| births.lost.first().map(ToString::to_string));
        let Some(problem) = problem else { return Ok(Some(births.packs)) };
        let message = format!("{problem}; what it needs is not known, so no pack is removed; repair the mirror first");
        self.monitor.problem(Problem { subject: self.to().location(), message });
        Ok(None)
    }

    /// Removes objects, kind after kind in the order given.
    fn remove(&self, objects: &[Listed], report: &mut MirrorReport) -> Result<(), JobError> {
        for kind in objects.chunk_by(|one, next| kind_of(one) == kind_of(next)) {
            let removed = map_parallel(kind, self.to().parallel_requests(), |object| self.to().delete(&object.name));
            removed.into_iter().collect::<Result<(), _>>()?;
            report.deleted_objects += kind.len() as u64;
            report.deleted_bytes += kind.iter().map(|object| object.size_bytes).sum::<u64>();
        }
        Ok(())
    }
}

fn kind_of(object: &Listed) -> &str {
    object.name.split('/').next().unwrap_or_default()
}

/// Whether the mirror keeps a point whatever the vault says.
fn is_kept(point: &PointSummary, now: Timestamp) -> bool {
    let until = [point.manifest.retain_until, point.retain_until()].into_iter().flatten().max();
    point.pinned() || until.is_some_and(|until| until > now)
}

/// The highest number of each point's states.
fn newest_states(states: &[Listed]) -> HashMap<PointId, u64> {
    let mut newest = HashMap::new();
    for state in states {
        if let Some(ObjectName::State(point, number)) = ObjectName::parse(&state.name) {
            let highest = newest.entry(point).or_insert(number);
            *highest = number.max(*highest);
        }
    }
    newest
}

fn point_of(object: &Listed) -> Option<PointId> {
    match ObjectName::parse(&object.name)? {
        ObjectName::Point(point) => Some(point),
        _ => None,
    }
}

fn pack_of(object: &Listed) -> Option<PackId> {
    match ObjectName::parse(&object.name)? {
        ObjectName::Pack(pack) | ObjectName::Moved(pack, _) => Some(pack),
        _ => None,
    }
}
