//! All points of a vault at one look: fetched in parallel, sorted into what users see and what they do not, damage set aside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::object::Objects;
use super::{ManifestHash, StoredManifest, known};
use crate::backend::map_parallel;
use crate::catalogue::CatalogueError;
use crate::format::known::{KnownManifest, KnownPoint, KnownState, KnownVerdict};
use crate::format::names::{ObjectName, POINTS, STATES, VERDICTS};
use crate::format::point::{Decision, Manifest, PointState};
use crate::monitor::Problem;
use crate::units::{MachineName, PointId};

/// What follows from a manifest that cannot be read.
const LOST: &str = "it cannot be shown or restored";

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

impl PointProblem {
    /// Whether nobody can tell what the point needs.
    pub fn hides_what_is_needed(&self) -> bool {
        self.consequence == LOST
    }
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
    /// Revoked points whose manifests are still there, ascending.
    pub revoked: Vec<PointId>,
    /// The latest time in verdicts and states: when somebody last wrote one, by that writer's clock.
    pub latest_time: Option<Timestamp>,
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

    /// Takes damage among the problems.
    fn damage(&mut self, point: PointId, error: Option<CatalogueError>, consequence: &'static str) -> Result<(), CatalogueError> {
        match error {
            None => Ok(()),
            Some(error) if is_damage(&error) => {
                self.problems.push(PointProblem { point, error, consequence });
                Ok(())
            }
            Some(error) => Err(error),
        }
    }
}

/// What is stored of a point, by the names alone: sizes in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Present {
    manifest: Option<u64>,
    verdict: Option<u64>,
    /// Number and size of the highest.
    state: Option<(u64, u64)>,
}

/// What is known of a point after it was read.
struct Fetched {
    present: Present,
    known: KnownPoint,
    manifest: Option<CatalogueError>,
    verdict: Option<CatalogueError>,
    state: Option<CatalogueError>,
    /// Whether something of it was read just now.
    is_news: bool,
}

pub(super) fn list(objects: &Objects<'_>, file: Option<&Path>) -> Result<Listing, CatalogueError> {
    let present = look(objects)?;
    let mut remembered = file.map(|file| known::load(file, objects.keys)).unwrap_or_default();
    let (mut fetched, mut unknown) = (Vec::with_capacity(present.len()), Vec::new());
    for (point, present) in present {
        let known = remembered.remove(&point).unwrap_or_else(|| KnownPoint::new(point));
        let begun = Fetched::begin(present, known);
        if begun.is_complete() { fetched.push(begun) } else { unknown.push(Mutex::new(Some(begun))) }
    }
    let read = map_parallel(&unknown, objects.backend.parallel_requests(), |begun| {
        let begun = begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        begun.map(|begun| begun.complete(objects))
    });
    fetched.extend(read.into_iter().flatten());
    fetched.sort_by_key(|fetched| fetched.known.point);
    if let Some(file) = file {
        known::save(file, objects.keys, fetched.iter().map(|fetched| (&fetched.known, fetched.is_news)));
    }
    let mut listing = Listing::default();
    for fetched in fetched {
        sort_in(&mut listing, fetched)?;
    }
    for list in [&mut listing.points, &mut listing.deleted, &mut listing.pending] {
        list.sort_by(PointSummary::by_machine_and_time);
    }
    Ok(listing)
}

/// The names of all objects of points. Verdicts are listed before manifests, which are put before them: so a point that is published meanwhile
/// is not taken for one whose manifest is lost. States are listed last: a manifest that is removed meanwhile has left its tombstone before.
fn look(objects: &Objects<'_>) -> Result<BTreeMap<PointId, Present>, CatalogueError> {
    let mut found = BTreeMap::<PointId, Present>::new();
    for prefix in [VERDICTS, POINTS, STATES] {
        for object in objects.backend.list(prefix)? {
            match ObjectName::parse(&object.name) {
                Some(ObjectName::Point(point)) => found.entry(point).or_default().manifest = Some(object.size_bytes),
                Some(ObjectName::Verdict(point)) => found.entry(point).or_default().verdict = Some(object.size_bytes),
                Some(ObjectName::State(point, number)) => {
                    let state = &mut found.entry(point).or_default().state;
                    *state = (*state).max(Some((number, object.size_bytes)));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

impl Fetched {
    /// What is remembered, without what the vault does not have just so.
    fn begin(present: Present, remembered: KnownPoint) -> Self {
        let KnownPoint { point, manifest, verdict, state } = remembered;
        let known = KnownPoint {
            point,
            manifest: manifest.filter(|known| present.manifest == Some(known.size_bytes)),
            verdict: verdict.filter(|known| present.verdict == Some(known.size_bytes)),
            state: state.filter(|known| present.state == Some((known.number, known.size_bytes))),
        };
        Self { present, known, manifest: None, verdict: None, state: None, is_news: false }
    }

    /// Nobody asks for the manifest of a revoked point.
    fn is_revoked(&self) -> bool {
        self.known.verdict.is_some_and(|known| known.decision == Decision::Revoked)
    }

    fn is_complete(&self) -> bool {
        let Self { present, known, .. } = self;
        present.verdict.is_none_or(|_| known.verdict.is_some())
            && present.state.is_none_or(|_| known.state.is_some())
            && (self.is_revoked() || present.manifest.is_none_or(|_| known.manifest.is_some()))
    }

    /// Reads what is there and not known.
    fn complete(mut self, objects: &Objects<'_>) -> Self {
        let point = self.known.point;
        if let (Some(size_bytes), None) = (self.present.verdict, &self.known.verdict) {
            let read = objects
                .verdict(point)
                .map(|read| read.map(|verdict| KnownVerdict { size_bytes, decision: verdict.decision, time: verdict.time }));
            (self.known.verdict, self.verdict) = parted(read);
            self.is_news |= self.known.verdict.is_some();
        }
        if let (Some((number, size_bytes)), None) = (self.present.state, &self.known.state) {
            let read = objects.state(point, number).map(|state| Some(KnownState { number, size_bytes, state }));
            (self.known.state, self.state) = parted(read);
            self.is_news |= self.known.state.is_some();
        }
        if let (Some(size_bytes), None, false) = (self.present.manifest, &self.known.manifest, self.is_revoked()) {
            let read = objects.manifest(point).map(|read| read.map(|stored| known_manifest(size_bytes, stored)));
            (self.known.manifest, self.manifest) = parted(read);
            self.is_news |= self.known.manifest.is_some();
        }
        self
    }
}

fn parted<T>(read: Result<Option<T>, CatalogueError>) -> (Option<T>, Option<CatalogueError>) {
    read.map_or_else(|error| (None, Some(error)), |value| (value, None))
}

/// Without configuration files: up to 1 MiB for each point is not for a listing of thousands.
fn known_manifest(size_bytes: u64, stored: StoredManifest) -> KnownManifest {
    let StoredManifest { mut manifest, hash } = stored;
    for config in &mut manifest.configs {
        config.bytes = Vec::new();
    }
    KnownManifest { size_bytes, hash, manifest }
}

/// Puts what was read of a point where it belongs.
fn sort_in(listing: &mut Listing, fetched: Fetched) -> Result<(), CatalogueError> {
    let is_revoked = fetched.is_revoked();
    let decided = fetched.known.verdict.map(|known| known.time);
    let changed = fetched.known.state.as_ref().map(|known| known.state.time);
    listing.latest_time = listing.latest_time.max(decided).max(changed);
    let Fetched { present, known: KnownPoint { point, manifest, verdict, state }, .. } = fetched;
    listing.damage(point, fetched.verdict, "it is taken for unpublished; its whole id still names it")?;
    if is_revoked {
        listing.revoked.extend(present.manifest.map(|_| point));
        return Ok(());
    }
    listing.damage(point, fetched.state, "it is shown as it was made; pins and changed tags are not known")?;
    let is_unreadable = fetched.manifest.is_some();
    listing.damage(point, fetched.manifest, LOST)?;
    let state = state.map(|known| known.state);
    let deleted = state.as_ref().is_some_and(|state| state.deleted.is_some());
    let Some(KnownManifest { manifest, hash, .. }) = manifest else {
        if is_unreadable {
            // Told of above.
        } else if deleted {
            listing.removed.insert(point);
        } else if verdict.is_some() && present.manifest.is_none() {
            listing.damage(point, Some(CatalogueError::Missing { object: ObjectName::Point(point).to_string() }), LOST)?;
        }
        return Ok(());
    };
    let summary = PointSummary { manifest, hash, state };
    match verdict {
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
