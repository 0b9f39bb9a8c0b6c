//! The last few decoded units of a file, for readers that ask for less than a unit at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Units that are kept: two for each of two readers that go through a file side by side.
const UNITS: usize = 4;

/// Decoded units under the places where they begin.
#[derive(Default)]
pub(super) struct UnitCache(Mutex<VecDeque<(u64, Arc<[u8]>)>>);

impl UnitCache {
    /// The unit that begins at `start`, if it is kept.
    pub(super) fn get(&self, start: u64) -> Option<Arc<[u8]>> {
        let units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        units.iter().find(|(place, _)| *place == start).map(|(_, unit)| Arc::clone(unit))
    }

    /// Keeps a unit.
    pub(super) fn put(&self, start: u64, unit: &Arc<[u8]>) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if units.len() >= UNITS {
            units.pop_front();
        }
        units.push_back((start, Arc::clone(unit)));
    }
}
