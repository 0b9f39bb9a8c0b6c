//! A mirror: the same objects, byte for byte, in a second place. No key is needed, so whoever keeps the mirror need not be trusted with one.
//!
//! What is copied when, why the mirror is a valid vault after a crash at any moment, and what happens beside a collection, is decided in
//! `docs/decisions/0013-second-place.md`. In short: key slots and header first; verdicts and manifests are listed, then everything that
//! they may refer to is copied, then manifests, states, and last the verdicts that were listed at the start. Every object is checked
//! as far as that goes without a key, so that damage does not spread. Nothing is deleted unless somebody asks for it (`delete.rs`).

mod delete;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::JobError;
use super::copy::source_lease;
use super::vault::{FoundVault, Limits, open_place};
use crate::backend::{Backend, Listed, Location};
use crate::format::names::{COLLECTIONS, INDEX, KEYS, MOVED, ObjectName, PACKS, POINTS, SETTINGS, STATES, VERDICTS};
use crate::monitor::{Monitor, Problem};
use crate::store::Vault;
use crate::units::PointId;
use objects::{Copier, Outcome};

/// How often copying begins again because a collection took objects away meanwhile.
const ROUNDS: u32 = 16;

/// How to mirror.
#[derive(Clone, Copy)]
pub struct MirrorRequest<'a> {
    /// The vault opened with its key, where there is one: a lease then makes collections wait.
    pub opened: Option<&'a Arc<Vault>>,
    /// Remove from the mirror what the vault no longer has and nothing in the mirror needs. Takes the key: without it nobody can tell what
    /// was collected from what was lost.
    pub delete: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorReport {
    /// Objects that were copied.
    pub copied_objects: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Recovery points among them.
    pub copied_points: u64,
    /// Objects that the mirror had already.
    pub present_objects: u64,
    /// Objects that were removed from the mirror.
    pub deleted_objects: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Points that only the mirror has and that it keeps, because their time has not come.
    pub kept_points: Vec<PointId>,
    /// Objects that could not be mirrored because one side is damaged, each with what is wrong; ascending.
    pub damaged: Vec<(String, String)>,
}

/// Opens the place of a mirror: one that is there, or a new one.
///
/// # Errors
/// [`JobError`] of the place.
pub fn open_or_make_place(location: &str, limits: &Limits) -> Result<Arc<dyn Backend>, JobError> {
    let place: Location = location.parse()?;
    if place.directory().is_some_and(|path| !path.exists()) {
        place.create()?;
    }
    open_place(location, limits)
}

/// Brings a mirror up to date.
///
/// # Errors
/// [`JobError::AnotherVault`], [`JobError::NotAMirror`] for a place that is no mirror of this vault; [`JobError::NeedsKey`]; [`JobError`]
/// of either place: what was copied stays, and the next run goes on from there. Damage to single objects is no error: it is reported.
pub fn mirror(
    from: &FoundVault,
    to: &Arc<dyn Backend>,
    request: MirrorRequest<'_>,
    monitor: &dyn Monitor,
) -> Result<MirrorReport, JobError> {
    if request.delete && request.opened.is_none() {
        return Err(JobError::NeedsKey { location: from.location() });
    }
    let _lease = match request.opened {
        Some(vault) => source_lease(vault, &[], "mirror", monitor)?,
        None => None,
    };
    let there = to.list("")?;
    let copier = Copier::new(from.backend().as_ref(), to.as_ref(), &there, monitor);
    let mirror = Mirror { from: from.backend().as_ref(), to: to.as_ref(), copier, monitor };
    mirror.begin(&there)?;
    // What may not be deleted holds in the mirror before it has anything that could be.
    mirror.copier.copy(&mirror.from.list(SETTINGS)?)?;
    let points = mirror.listed_points()?;
    mirror.packs()?;
    monitor.step("mirroring recovery points");
    mirror.copier.copy(&mirror.from.list(INDEX)?)?;
    mirror.points(&points)?;
    let mut report = mirror.copier.into_report();
    if let Some(vault) = request.opened.filter(|_| request.delete) {
        delete::delete(vault, to, &mut report, monitor)?;
    }
    Ok(report)
}

struct Mirror<'a> {
    from: &'a dyn Backend,
    to: &'a dyn Backend,
    copier: Copier<'a>,
    monitor: &'a dyn Monitor,
}

/// The points that have a verdict, as they were listed before anything that they refer to was.
struct ListedPoints {
    verdicts: BTreeMap<PointId, Listed>,
    manifests: BTreeMap<PointId, Listed>,
}

impl Mirror<'_> {
    /// Makes the place a vault, or sees that it is a mirror of this one.
    fn begin(&self, there: &[Listed]) -> Result<(), JobError> {
        let header = ObjectName::Vault.to_string();
        let own = self.from.get(&header)?;
        match there.iter().find(|object| object.name == header) {
            Some(_) => check_same_vault(self.from, self.to)?,
            None => self.check_unfinished(there)?,
        }
        let slots = self.from.list(KEYS)?;
        self.copier.copy(&slots)?;
        let names: HashSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        for slot in there.iter().filter(|object| object.name.starts_with(KEYS) && !names.contains(object.name.as_str())) {
            let message =
                "the vault no longer has this key slot, but whoever has its secret can still open the mirror; --delete removes it";
            self.monitor.problem(Problem { subject: slot.name.clone(), message: message.to_owned() });
        }
        self.copier.copy(&[Listed { name: header, size_bytes: own.len() as u64 }]).map(drop)
    }

    /// A place without a header may only hold what an interrupted first run has put there.
    fn check_unfinished(&self, there: &[Listed]) -> Result<(), JobError> {
        for object in there {
            let same = object.name.starts_with(KEYS)
                && self.from.get(&object.name).is_ok_and(|own| self.to.get(&object.name).is_ok_and(|other| own == other));
            if !same {
                return Err(JobError::NotAMirror { location: self.to.location(), object: object.name.clone() });
            }
        }
        Ok(())
    }

    fn listed_points(&self) -> Result<ListedPoints, JobError> {
        // Verdicts first: a point that has one has had its manifest for longer.
        let by_point = |listed: Vec<Listed>| {
            let point = |object: Listed| match ObjectName::parse(&object.name)? {
                ObjectName::Verdict(point) | ObjectName::Point(point) => Some((point, object)),
                _ => None,
            };
            listed.into_iter().filter_map(point).collect()
        };
        let verdicts = by_point(self.from.list(VERDICTS)?);
        Ok(ListedPoints { verdicts, manifests: by_point(self.from.list(POINTS)?) })
    }

    /// Copies all that points may refer to. Returns when no collection can have moved a block past this walk: none has begun
    /// meanwhile, and no object was gone when it was to be copied.
    fn packs(&self) -> Result<(), JobError> {
        self.monitor.step("mirroring packs");
        for _ in 0..ROUNDS {
            let before = self.newest_collection()?;
            let mut outcome = self.copier.copy(&self.from.list(PACKS)?)?;
            // Once more: what a collection made while the names were being listed may have been missed, and what it then removed too.
            outcome = outcome.and(self.copier.copy(&self.from.list(PACKS)?)?);
            outcome = outcome.and(self.copier.copy(&self.from.list(MOVED)?)?);
            if outcome == Outcome::AllThere && self.newest_collection()? == before {
                return Ok(());
            }
        }
        Err(JobError::CollectedMeanwhile { location: self.from.location() })
    }

    /// The newest collection's name: names sort as their numbers do.
    fn newest_collection(&self) -> Result<Option<String>, JobError> {
        Ok(self.from.list(COLLECTIONS)?.pop().map(|newest| newest.name))
    }

    /// Manifests, then states, then verdicts: until its verdict is there, nobody sees a point.
    fn points(&self, points: &ListedPoints) -> Result<(), JobError> {
        let manifests: Vec<Listed> = points.verdicts.keys().filter_map(|point| points.manifests.get(point)).cloned().collect();
        // One that is gone by now was deleted and collected; its state says so.
        self.copier.copy(&manifests)?;
        let mut states = self.states(points)?;
        for _ in 0..ROUNDS {
            // One that is gone has a successor.
            if self.copier.copy(&states)? == Outcome::AllThere {
                break;
            }
            states = self.states(points)?;
        }
        let is_complete = |point: &PointId| match points.manifests.get(point) {
            Some(manifest) => self.copier.has(&manifest.name),
            None => true,
        };
        let verdicts: Vec<Listed> =
            points.verdicts.iter().filter(|(point, _)| is_complete(point)).map(|(_, verdict)| verdict.clone()).collect();
        self.copier.copy(&verdicts).map(drop)
    }

    fn states(&self, points: &ListedPoints) -> Result<Vec<Listed>, JobError> {
        let mut states = self.from.list(STATES)?;
        let of_listed = |object: &Listed| match ObjectName::parse(&object.name) {
            Some(ObjectName::State(point, _)) => points.verdicts.contains_key(&point),
            _ => false,
        };
        states.retain(of_listed);
        Ok(states)
    }
}

/// Sees that two places have the same vault's header.
///
/// # Errors
/// [`JobError::AnotherVault`]; [`JobError`] where one cannot be read.
pub(super) fn check_same_vault(one: &dyn Backend, other: &dyn Backend) -> Result<(), JobError> {
    let (expected, found) = (crate::store::read_header(one)?.vault, crate::store::read_header(other)?.vault);
    if expected == found {
        return Ok(());
    }
    Err(JobError::AnotherVault { location: other.location(), expected, found })
}
