//! All points of a vault at one look: fetched in parallel, sorted into what users see and what they do not, damage set aside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::object::Objects;
use super::parallel::map_parallel;
use super::{ManifestHash, StoredManifest};
use crate::catalogue::CatalogueError;
use crate::format::names::{ObjectName, POINTS, STATES, VERDICTS};
use crate::format::point::{Decision, Manifest, PointState};
use crate::monitor::Problem;
use crate::units::{MachineName, PointId};

/// What a listing knows of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointSummary {
    /// Its manifest; the bytes of configuration files are left out.
    pub manifest: Manifest,
    /// The hash of its manifest object.
    pub hash: ManifestHash,
    /// Its last state, where something changed since it was made. A state that cannot be read is among the problems, and `None` here.
    pub state: Option<PointState>,
}

impl PointSummary {
    /// Its id.
    pub fn point(&self) -> PointId {
        self.manifest.point
    }

    /// Its name for users: `web01@2026-11-22T20:30:00Z`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.manifest.machine, self.manifest.time)
    }

    /// Its tags as they are now.
    pub fn tags(&self) -> &[String] {
        self.state.as_ref().map_or(&self.manifest.tags, |state| &state.tags)
    }

    /// At least until when it is kept, as it is now.
    pub fn retain_until(&self) -> Option<Timestamp> {
        self.state.as_ref().map_or(self.manifest.retain_until, |state| state.retain_until)
    }

    /// Whether it is kept whatever the policy says.
    pub fn pinned(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.pinned)
    }

    /// By machine, then time; what was made later comes later where the times are the same.
    fn by_machine_and_time(&self, other: &Self) -> Ordering {
        let key = |summary: &Self| (summary.manifest.time, summary.manifest.sequence, summary.manifest.point);
        self.manifest.machine.cmp(&other.manifest.machine).then_with(|| key(self).cmp(&key(other)))
    }
}

/// Damage that a listing came upon.
#[derive(Debug)]
pub struct PointProblem {
    /// The point.
    pub point: PointId,
    /// What is wrong, with the object's name.
    pub error: CatalogueError,
    /// What follows from it.
    pub consequence: &'static str,
}

impl From<&PointProblem> for Problem {
    fn from(problem: &PointProblem) -> Self {
        Self { subject: format!("recovery point {}", problem.point), message: format!("{}; {}", problem.error, problem.consequence) }
    }
}

/// The points of a vault, each list ascending by machine and time.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that exist for users: published and not deleted.
    pub points: Vec<PointSummary>,
    /// Published ones in soft delete.
    pub deleted: Vec<PointSummary>,
    /// Those without a verdict that can be read: backups under way, or given up. Their data is kept.
    pub pending: Vec<PointSummary>,
    /// Deleted points of which only the tombstone is left.
    pub removed: BTreeSet<PointId>,
    /// Damage, ascending by point.
    pub problems: Vec<PointProblem>,
}

impl Listing {
    /// The newest point of a machine by its sequence numbers, in soft delete or not: the predecessor of its next one. Pending points do not
    /// count. Of two writers that made the same number at the same time the later by the points' time counts.
    pub fn last_of(&self, machine: &MachineName) -> Option<&PointSummary> {
        let published = self.points.iter().chain(&self.deleted).filter(|summary| summary.manifest.machine == *machine);
        published.max_by_key(|summary| (summary.manifest.sequence, summary.manifest.time, summary.manifest.point))
    }

    /// The machines that have points, deleted ones included.
    pub fn machines(&self) -> BTreeSet<&MachineName> {
        self.points.iter().chain(&self.deleted).map(|summary| &summary.manifest.machine).collect()
    }

    /// What was read, or `None` and a problem where it is damaged.
    fn readable<T>(
        &mut self,
        point: PointId,
        read: Result<T, CatalogueError>,
        consequence: &'static str,
    ) -> Result<Option<T>, CatalogueError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_damage(&error) => {
                self.problem(point, error, consequence);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn problem(&mut self, point: PointId, error: CatalogueError, consequence: &'static str) {
        self.problems.push(PointProblem { point, error, consequence });
    }
}

/// What is stored of a point, by the names alone.
#[derive(Debug, Default)]
struct Present {
    manifest: bool,
    verdict: bool,
    /// The highest.
    state: Option<u64>,
}

/// What was read of a point.
struct Fetched {
    point: PointId,
    present: Present,
    manifest: Result<Option<StoredManifest>, CatalogueError>,
    decision: Result<Option<Decision>, CatalogueError>,
    state: Result<Option<PointState>, CatalogueError>,
}

pub(super) fn list(objects: &Objects<'_>) -> Result<Listing, CatalogueError> {
    let present: Vec<(PointId, Present)> = look(objects)?.into_iter().collect();
    let at_once = objects.backend.parallel_requests();
    let mut listing = Listing::default();
    for fetched in map_parallel(&present, at_once, |(point, present)| fetch(objects, *point, present)) {
        sort_in(&mut listing, fetched)?;
    }
    for list in [&mut listing.points, &mut listing.deleted, &mut listing.pending] {
        list.sort_by(PointSummary::by_machine_and_time);
    }
    Ok(listing)
}

/// The names of all objects of points. Manifests are listed first, so that a point put meanwhile is not seen in part.
fn look(objects: &Objects<'_>) -> Result<BTreeMap<PointId, Present>, CatalogueError> {
    let mut found = BTreeMap::<PointId, Present>::new();
    for prefix in [POINTS, VERDICTS, STATES] {
        for object in objects.backend.list(prefix)? {
            match ObjectName::parse(&object.name) {
                Some(ObjectName::Point(point)) => found.entry(point).or_default().manifest = true,
                Some(ObjectName::Verdict(point)) => found.entry(point).or_default().verdict = true,
                Some(ObjectName::State(point, number)) => {
                    let state = &mut found.entry(point).or_default().state;
                    *state = (*state).max(Some(number));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn fetch(objects: &Objects<'_>, point: PointId, present: &Present) -> Fetched {
    let decision = match present.verdict {
        true => objects.verdict(point).map(|verdict| verdict.map(|verdict| verdict.decision)),
        false => Ok(None),
    };
    let manifest = match present.manifest && !matches!(decision, Ok(Some(Decision::Revoked))) {
        true => objects.manifest(point),
        false => Ok(None),
    };
    let state = present.state.map(|number| objects.state(point, number)).transpose();
    let manifest = manifest.map(|stored| stored.map(without_config_bytes));
    Fetched { point, manifest, decision, state, present: Present { ..*present } }
}

/// Files of up to 1 MiB for each point are not for a listing of thousands.
fn without_config_bytes(mut stored: StoredManifest) -> StoredManifest {
    for config in &mut stored.manifest.configs {
        config.bytes = Vec::new();
    }
    stored
}

/// Puts what was read of a point where it belongs.
fn sort_in(listing: &mut Listing, fetched: Fetched) -> Result<(), CatalogueError> {
    let Fetched { point, present, manifest, decision, state } = fetched;
    let unpublished = "it is taken for unpublished; its whole id still names it";
    let decision = listing.readable(point, decision, unpublished)?.flatten();
    if decision == Some(Decision::Revoked) {
        return Ok(());
    }
    let unchanged = "it is shown as it was made; pins and changed tags are not known";
    let state = listing.readable(point, state, unchanged)?.flatten();
    let lost = "it cannot be shown or restored";
    let Some(stored) = listing.readable(point, manifest, lost)? else { return Ok(()) };
    let deleted = state.as_ref().is_some_and(|state| state.deleted.is_some());
    let Some(StoredManifest { manifest, hash }) = stored else {
        if deleted {
            listing.removed.insert(point);
        } else if decision.is_some() && !present.manifest {
            listing.problem(point, CatalogueError::Missing { object: ObjectName::Point(point).to_string() }, lost);
        }
        return Ok(());
    };
    let summary = PointSummary { manifest, hash, state };
    match decision {
        None => listing.pending.push(summary),
        Some(_) if deleted => listing.deleted.push(summary),
        Some(_) => listing.points.push(summary),
    }
    Ok(())
}

/// Whether an error is damage to one object. Where the store itself failed, no listing can be trusted: an older point could pass for
/// the latest.
fn is_damage(error: &CatalogueError) -> bool {
    match error {
        CatalogueError::Backend(error) => error.is_damage(),
        _ => true,
    }
}
