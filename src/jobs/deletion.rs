//! Who may delete a point, and when a deleted one goes for good: soft delete, immutability, and the rule about clocks.
//!
//! Whatever deletes asks here. `docs/decisions/0009-policies-and-deletion.md` has the rules together.

use jiff::{SignedDuration, Timestamp};

use super::policies::SettingsError;
use super::{JobError, policies};
use crate::catalogue::CatalogueError;
use crate::catalogue::points::{Listing, PointSummary, Points};
use crate::format::point::PointState;
use crate::format::settings::{Immutability, ImmutabilityState, Settings};
use crate::store::Vault;
use crate::units::PointId;

/// How far a clock may be behind the vault's latest time: hosts' clocks are never quite the same.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
const DAY_HOURS: i64 = 24;

/// The rules of a vault about deleting, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletions {
    soft_delete_days: u16,
    immutability: Immutability,
    now: Timestamp,
    /// The latest time that the vault has seen, unless the clock is trusted without it.
    seen: Option<Timestamp>,
}

impl Deletions {
    /// The rules of a vault with these settings and points. With `trust_clock` it does not matter that the clock is behind what the vault
    /// has seen: somebody says that it is right.
    pub fn new(settings: &Settings, listing: &Listing, now: Timestamp, trust_clock: bool) -> Self {
        let seen = listing.latest_time.max(Some(settings.time)).filter(|_| !trust_clock);
        Self { soft_delete_days: settings.soft_delete_days, immutability: settings.immutability, now, seen }
    }

    /// The same, with the settings read from the vault: one listing and one object.
    ///
    /// # Errors
    /// [`JobError`] where they cannot be read.
    pub fn read(vault: &Vault, listing: &Listing, now: Timestamp) -> Result<Self, JobError> {
        Ok(Self::new(&policies::load(vault)?.settings, listing, now, false))
    }

    /// The same with another number of days in soft delete.
    #[must_use]
    pub fn with_soft_delete_days(self, soft_delete_days: u16) -> Self {
        Self { soft_delete_days, ..self }
    }

    /// Refuses where the clock is behind what the vault has seen, by more than [`CLOCK_TOLERANCE`].
    ///
    /// # Errors
    /// [`SettingsError::ClockBehind`].
    pub fn check_clock(&self) -> Result<(), SettingsError> {
        match self.seen {
            Some(seen) if seen.duration_since(self.now) > CLOCK_TOLERANCE => Err(SettingsError::ClockBehind { now: self.now, seen }),
            _ => Ok(()),
        }
    }

    /// Until when immutability keeps a point of this time; `None` where it does not, or no longer.
    pub fn immutable_until(&self, time: Timestamp) -> Option<Timestamp> {
        let on = self.immutability.state != ImmutabilityState::Disabled;
        on.then(|| after_days(time, self.immutability.days)).filter(|until| *until > self.now)
    }

    /// When a point of this time that was deleted goes for good at the earliest: after the soft-delete days, immutability and its own date.
    /// `None` for one that is not deleted, and for a pinned one, which stays.
    pub fn ends(&self, time: Timestamp, state: Option<&PointState>) -> Option<Timestamp> {
        let state = state.filter(|state| !state.pinned)?;
        let end = after_days(state.deleted?, self.soft_delete_days);
        Some(end.max(state.retain_until.unwrap_or(end)).max(self.immutable_until(time).unwrap_or(end)))
    }

    /// Whether a deleted point's time is over, so that it may be removed for good. Never where the clock is behind what the vault has
    /// seen. `time` is the point's, `state` its last state as it was read.
    pub fn is_over(&self, time: Timestamp, state: Option<&PointState>) -> bool {
        self.check_clock().is_ok() && self.ends(time, state).is_some_and(|end| end <= self.now)
    }

    /// Puts a point into soft delete; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`SettingsError::ClockBehind`]; [`CatalogueError::Kept`] for a point that is pinned, immutable, or whose own date has not come;
    /// [`JobError`] of the vault.
    pub fn delete(&self, vault: &Vault, point: &PointSummary) -> Result<PointState, JobError> {
        self.check_clock()?;
        if let Some(until) = self.immutable_until(point.manifest.time) {
            return Err(
                CatalogueError::Kept { point: point.point(), why: format!("the vault is immutable, and keeps it until {until}") }.into()
            );
        }
        Ok(points(vault).delete_point(point.point(), self.now)?)
    }
}

fn after_days(time: Timestamp, days: u16) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(i64::from(days) * DAY_HOURS)).unwrap_or(Timestamp::MAX)
}

fn points(vault: &Vault) -> Points<'_> {
    Points::new(vault.backend().as_ref(), vault.keys())
}

/// Takes a point out of soft delete.
///
/// # Errors
/// [`CatalogueError::Removed`] where a collection was faster; [`JobError`] of the vault.
pub fn undelete(vault: &Vault, point: PointId, now: Timestamp) -> Result<PointState, JobError> {
    change(vault, point, now, |state| state.deleted = None)
}

/// Pins a point, or unpins it.
///
/// # Errors
/// [`JobError`] of the vault.
pub fn pin(vault: &Vault, point: PointId, pinned: bool, now: Timestamp) -> Result<PointState, JobError> {
    change(vault, point, now, |state| state.pinned = pinned)
}

/// Removes tags of a point, then adds others that it does not have.
///
/// # Errors
/// [`JobError`] of the vault.
pub fn tag(vault: &Vault, point: PointId, add: &[String], remove: &[String], now: Timestamp) -> Result<PointState, JobError> {
    change(vault, point, now, |state| {
        state.tags.retain(|tag| !remove.contains(tag));
        for tag in add {
            if !state.tags.contains(tag) {
                state.tags.push(tag.clone());
            }
        }
    })
}

fn change(vault: &Vault, point: PointId, now: Timestamp, mut change: impl FnMut(&mut PointState)) -> Result<PointState, JobError> {
    let changed = points(vault).change_state(point, now, |state| {
        change(state);
        Ok(())
    });
    Ok(changed?)
}
