//! Points of a vault as directories, listed anew from time to time: a long mount shows what was backed up since.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::super::{JobError, points};
use super::{Recovery, moment};
use crate::catalogue::points::{Listing, PointSummary};
use crate::guestfs::{GuestError, GuestResult};
use crate::tree::{PointName, PointTree, Points};
use crate::units::{MachineName, PointId};

/// How old a listing may be when somebody looks at it.
const FRESH: Duration = Duration::from_secs(10);

/// Which points are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of a machine.
    Machine(MachineName),
    /// One.
    Point(PointId),
}

/// The points of a vault for a tree of them.
pub struct VaultPoints {
    recovery: Recovery,
    scope: Scope,
    zone: TimeZone,
    listing: Mutex<(Instant, Arc<Shown>)>,
}

/// Machines and their points, the oldest first.
type Shown = Vec<(String, Vec<PointName>)>;

impl VaultPoints {
    /// Those of `listing` that `scope` admits. Days begin as in `zone`.
    #[must_use]
    pub fn new(recovery: Recovery, listing: &Listing, scope: Scope, zone: TimeZone) -> Self {
        let shown = shown(listing, &scope, &zone);
        Self { recovery, scope, zone, listing: Mutex::new((Instant::now(), Arc::new(shown))) }
    }

    /// The points that are shown now.
    #[must_use]
    pub fn ids(&self) -> Vec<PointId> {
        let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        listing.1.iter().flat_map(|(_, points)| points).map(|point| PointId(point.key.to_be_bytes())).collect()
    }

    fn shown(&self) -> GuestResult<Arc<Shown>> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if listing.0.elapsed() < FRESH || matches!(self.scope, Scope::Point(_)) {
            return Ok(Arc::clone(&listing.1));
        }
        let newest = points::look(&self.recovery.vault).map_err(outside)?;
        *listing = (Instant::now(), Arc::new(shown(&newest, &self.scope, &self.zone)));
        Ok(Arc::clone(&listing.1))
    }
}

/// What the vault says, to who looks at a tree.
fn outside(error: JobError) -> GuestError {
    GuestError::Device(io::Error::other(error))
}

fn shown(listing: &Listing, scope: &Scope, zone: &TimeZone) -> Shown {
    let admits = |point: &&PointSummary| match scope {
        Scope::All => true,
        Scope::Machine(machine) => point.manifest.machine == *machine,
        Scope::Point(id) => point.point() == *id,
    };
    let mut machines: Shown = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for point in listing.points.iter().filter(admits) {
        let machine = point.manifest.machine.to_string();
        let place = *places.entry(machine.clone()).or_insert_with(|| {
            machines.push((machine, Vec::new()));
            machines.len() - 1
        });
        if let Some((_, points)) = machines.get_mut(place) {
            points.push(name(point, zone));
        }
    }
    machines.sort_by(|one, other| one.0.cmp(&other.0));
    for (_, points) in &mut machines {
        points.sort_by_key(|point| point.time);
        tell_apart(points);
    }
    machines
}

fn name(point: &PointSummary, zone: &TimeZone) -> PointName {
    let time = point.manifest.time;
    let day = time.to_zoned(zone.clone()).date().to_string();
    PointName { key: u128::from_be_bytes(point.point().0), name: time.to_string(), day, time: moment(time) }
}

/// Points of one second get the start of their ids behind their names.
fn tell_apart(points: &mut [PointName]) {
    let mut times: HashMap<String, u32> = HashMap::new();
    for point in points.iter() {
        *times.entry(point.name.clone()).or_default() += 1;
    }
    for point in points {
        if times.get(&point.name).is_some_and(|count| *count > 1) {
            point.name = format!("{}-{:08x}", point.name, point.key >> 96);
        }
    }
}

impl Points for VaultPoints {
    fn machines(&self) -> GuestResult<Vec<String>> {
        Ok(self.shown()?.iter().map(|(name, _)| name.clone()).collect())
    }

    fn points(&self, machine: &str) -> GuestResult<Vec<PointName>> {
        Ok(self.shown()?.iter().find(|(name, _)| name == machine).map(|(_, points)| points.clone()).unwrap_or_default())
    }

    fn open(&self, key: u128) -> GuestResult<PointTree> {
        self.recovery.point(PointId(key.to_be_bytes())).map_err(outside)
    }
}
