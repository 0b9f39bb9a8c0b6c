//! Recovery points: their manifests, verdicts and states, as objects of the vault.
//!
//! Nouns: a point is *pending* from its manifest to its *verdict*; published or revoked from then on, whoever decided first. What changes
//! later is in numbered *states*, of which the highest counts. A *deleted* point is a published one whose state says so (soft delete):
//! hidden, its data still whole. A *removed* point is one whose manifest a collection has taken away after that; verdict and last
//! state, under the highest number there is, stay behind as its tombstone. A published point without manifest and without such a state is damage.
//!
//! Nothing here reads a map or a pack, and no clock: times come from the caller.

mod known;
mod listing;
mod object;
mod parallel;
#[cfg(test)]
mod tests;

pub use listing::{Listing, PointProblem, PointSummary};

use std::path::Path;

use jiff::Timestamp;

use super::CatalogueError;
use crate::backend::Backend;
use crate::crypt::VaultKeys;
use crate::format::names::{ObjectName, STATES};
use crate::format::point::{Decision, Manifest, PointState, Verdict};
use crate::units::{LeaseId, PointId};
use object::Objects;

/// How often a state is tried again when others change the same point at the same time.
const STATE_ATTEMPTS: u32 = 64;

/// The number of a state after which nothing comes: the point is removed, or about to be.
const TOMBSTONE: u64 = u64::MAX;

/// BLAKE3 of a manifest object as stored: what the machine's next manifest names as its predecessor.
pub type ManifestHash = [u8; 32];

/// A manifest as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// The hash of its object.
    pub hash: ManifestHash,
}

/// The recovery points of a vault.
#[derive(Clone, Copy)]
pub struct Points<'a> {
    objects: Objects<'a>,
}

impl<'a> Points<'a> {
    /// The points of the vault whose objects are in `backend` and sealed with `keys`.
    pub fn new(backend: &'a dyn Backend, keys: &'a VaultKeys) -> Self {
        Self { objects: Objects { backend, keys } }
    }

    /// Puts a manifest: the point is pending, durable when this returns. All that it names must be durable before.
    ///
    /// # Errors
    /// [`CatalogueError::Conflict`] where another manifest has its name; [`CatalogueError::Backend`]; [`CatalogueError::Damaged`] for a
    /// manifest that breaks a rule of the format.
    pub fn put(&self, manifest: &Manifest) -> Result<ManifestHash, CatalogueError> {
        self.objects.put_manifest(manifest)
    }

    /// A point's manifest, whatever its verdict.
    ///
    /// # Errors
    /// [`CatalogueError::NoPoint`], [`CatalogueError::Damaged`], [`CatalogueError::Sealed`], [`CatalogueError::Backend`].
    pub fn read(&self, point: PointId) -> Result<StoredManifest, CatalogueError> {
        self.objects.manifest(point)?.ok_or(CatalogueError::NoPoint { point })
    }

    /// What was decided about a point; `None` while it is pending.
    ///
    /// # Errors
    /// [`CatalogueError::Damaged`], [`CatalogueError::Sealed`], [`CatalogueError::Backend`].
    pub fn verdict(&self, point: PointId) -> Result<Option<Verdict>, CatalogueError> {
        self.objects.verdict(point)
    }

    /// Publishes a pending point, unless it was revoked before. Says what is decided: anything but
    /// [`Decision::Published`] means that the point does not exist.
    ///
    /// # Errors
    /// As [`Points::verdict`]. After an error the point may be published or not; the next listing tells.
    pub fn publish(&self, point: PointId, lease: LeaseId, now: Timestamp) -> Result<Decision, CatalogueError> {
        self.decide(Verdict { point, decision: Decision::Published, lease, time: now })
    }

    /// Revokes a pending point, unless it was published before. Says what is decided.
    ///
    /// # Errors
    /// As [`Points::publish`].
    pub fn revoke(&self, point: PointId, lease: LeaseId, now: Timestamp) -> Result<Decision, CatalogueError> {
        self.decide(Verdict { point, decision: Decision::Revoked, lease, time: now })
    }

    fn decide(&self, verdict: Verdict) -> Result<Decision, CatalogueError> {
        if self.objects.put_verdict(&verdict)? {
            return Ok(verdict.decision);
        }
        let first = self.verdict(verdict.point)?;
        first.map(|first| first.decision).ok_or_else(|| CatalogueError::Conflict { object: ObjectName::Verdict(verdict.point).to_string() })
    }

    /// What changed about a point since its creation: the highest number and its record; `None` where nothing did.
    ///
    /// # Errors
    /// As [`Points::verdict`].
    pub fn state(&self, point: PointId) -> Result<Option<(u64, PointState)>, CatalogueError> {
        let newest = self.state_numbers(point)?.last().copied();
        newest.map(|number| Ok((number, self.objects.state(point, number)?))).transpose()
    }

    /// The numbers of a point's states, ascending.
    fn state_numbers(&self, point: PointId) -> Result<Vec<u64>, CatalogueError> {
        let listed = self.objects.backend.list(&format!("{STATES}{point}/"))?;
        let numbers = listed.iter().filter_map(|object| match ObjectName::parse(&object.name) {
            Some(ObjectName::State(_, number)) => Some(number),
            _ => None,
        });
        Ok(numbers.collect())
    }

    /// Changes what can change about a published point: reads its state, changes it, and appends it under the next number; again from the
    /// start where somebody else took that number, or has gone on meanwhile. `change` may refuse.
    ///
    /// # Errors
    /// [`CatalogueError::NoPoint`] where the point is not published; [`CatalogueError::Removed`] where a collection has removed it or is
    /// about to; what `change` says; [`CatalogueError::Conflict`] after 64 attempts; else as [`Points::verdict`].
    pub fn change_state(
        &self,
        point: PointId,
        now: Timestamp,
        mut change: impl FnMut(&mut PointState) -> Result<(), CatalogueError>,
    ) -> Result<PointState, CatalogueError> {
        if self.verdict(point)?.map(|verdict| verdict.decision) != Some(Decision::Published) {
            return Err(CatalogueError::NoPoint { point });
        }
        for _ in 0..STATE_ATTEMPTS {
            let (number, mut state) = match self.state(point)? {
                Some((TOMBSTONE, _)) => return Err(CatalogueError::Removed { point }),
                Some((number, state)) => (number.saturating_add(1), state),
                None => (1, first_state(self.read(point)?.manifest, now)),
            };
            change(&mut state)?;
            state.time = now;
            // A record that is not the last one says nothing: a number may have been free because it was superseded long ago.
            if self.objects.put_state(number, &state)? && self.state_numbers(point)?.last() == Some(&number) {
                return Ok(state);
            }
        }
        Err(CatalogueError::Conflict { object: format!("{STATES}{point}/") })
    }

    /// Puts a point into soft delete: listings keep it apart, its data stays until a collection removes it. A second time changes
    /// nothing.
    ///
    /// # Errors
    /// [`CatalogueError::Kept`] for a pinned point and for one whose time has not come; else as [`Points::change_state`].
    pub fn delete_point(&self, point: PointId, now: Timestamp) -> Result<PointState, CatalogueError> {
        if let Some((_, state)) = self.state(point)?
            && state.deleted.is_some()
        {
            return Ok(state);
        }
        self.change_state(point, now, |state| {
            if state.pinned {
                return Err(CatalogueError::Kept { point, why: "it is pinned".to_owned() });
            }
            if let Some(until) = state.retain_until.filter(|&until| until > now) {
                return Err(CatalogueError::Kept { point, why: format!("it is to be kept until {until}") });
            }
            state.deleted.get_or_insert(now);
            Ok(())
        })
    }

    /// Takes a point's manifest away for good, if its last state `may` go. Its verdict and that state stay as a tombstone. Says whether it
    /// is gone.
    ///
    /// A change at the same time and the tombstone cannot both be missed: both put theirs first, and list the states again.
    ///
    /// # Errors
    /// As [`Points::verdict`].
    pub fn remove(&self, point: PointId, now: Timestamp, may: impl Fn(&PointState) -> bool) -> Result<bool, CatalogueError> {
        let Some((number, mut state)) = self.state(point)? else { return Ok(false) };
        if number != TOMBSTONE {
            if !may(&state) {
                return Ok(false);
            }
            state.time = now;
            self.objects.put_state(TOMBSTONE, &state)?;
        }
        // What came between, also when an earlier collection put the tombstone and was killed.
        if let Some(last) = self.state_numbers(point)?.into_iter().rfind(|number| *number != TOMBSTONE)
            && last != number
            && !may(&self.objects.state(point, last)?)
        {
            self.objects.backend.delete(&ObjectName::State(point, TOMBSTONE).to_string())?;
            return Ok(false);
        }
        self.objects.backend.delete(&ObjectName::Point(point).to_string())?;
        Ok(true)
    }

    /// All points of the vault. Reads every manifest, verdict and last state, as many at once as the store can take, but no map. Damage to one
    /// point does not hide the others.
    ///
    /// # Errors
    /// [`CatalogueError::Backend`] where the store cannot be listed or does not answer; damage is in [`Listing::problems`].
    pub fn list(&self) -> Result<Listing, CatalogueError> {
        listing::list(&self.objects, None)
    }

    /// The same, but reads only what this computer has not read before: manifests, verdicts and states never change, so they are
    /// remembered in the file `known`, sealed with the vault's keys. What is there is still told by the vault's names alone. The file
    /// is never needed: one that is missing, damaged or of another vault is made anew, one that cannot be written is done without.
    ///
    /// An object that was damaged after it was read looks whole here; [`Points::list`] reads it again.
    ///
    /// # Errors
    /// As [`Points::list`].
    pub fn list_known(&self, known: &Path) -> Result<Listing, CatalogueError> {
        listing::list(&self.objects, Some(known))
    }
}

/// The state of a point that nobody changed yet.
fn first_state(manifest: Manifest, now: Timestamp) -> PointState {
    let Manifest { point, tags, retain_until, .. } = manifest;
    PointState { point, pinned: false, tags, retain_until, deleted: None, time: now }
}
