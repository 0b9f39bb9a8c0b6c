//! Numbers for objects of a tree, as the kernel wants them: given out when it first hears of an object, taken back when it forgets it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of the topmost directory.
pub(super) const TOP: u64 = 1;

/// Which object has which number. A number is never used twice.
pub(super) struct Inodes<S> {
    state: Mutex<State<S>>,
}

struct State<S> {
    numbers: HashMap<S, u64>,
    objects: HashMap<u64, Known<S>>,
    next: u64,
}

struct Known<S> {
    spot: S,
    /// How often the kernel was told of it.
    told: u64,
}

impl<S: Clone + Eq + Hash> Inodes<S> {
    pub(super) fn new(top: S) -> Self {
        let numbers = HashMap::from([(top.clone(), TOP)]);
        // The kernel never forgets the top.
        let objects = HashMap::from([(TOP, Known { spot: top, told: 1 })]);
        Self { state: Mutex::new(State { numbers, objects, next: TOP + 1 }) }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of a number.
    pub(super) fn spot(&self, number: u64) -> Option<S> {
        self.state().objects.get(&number).map(|known| known.spot.clone())
    }

    /// The number that an object has, or will get: for entries of which the kernel is not told more than the number.
    pub(super) fn peek(&self, spot: &S) -> u64 {
        let state = self.state();
        state.numbers.get(spot).copied().unwrap_or(state.next)
    }

    /// The number of an object of which the kernel is told now.
    pub(super) fn tell(&self, spot: &S) -> u64 {
        let mut state = self.state();
        if let Some(&number) = state.numbers.get(spot) {
            if let Some(known) = state.objects.get_mut(&number) {
                known.told += 1;
            }
            return number;
        }
        let number = state.next;
        state.next += 1;
        state.numbers.insert(spot.clone(), number);
        state.objects.insert(number, Known { spot: spot.clone(), told: 1 });
        number
    }

    /// The kernel forgets what it was told `times` times.
    pub(super) fn forget(&self, number: u64, times: u64) {
        let mut state = self.state();
        let Some(known) = state.objects.get_mut(&number) else { return };
        known.told = known.told.saturating_sub(times);
        if known.told == 0 && number != TOP {
            let spot = known.spot.clone();
            state.objects.remove(&number);
            state.numbers.remove(&spot);
        }
    }

    /// How many objects have numbers.
    #[cfg(test)]
    fn len(&self) -> usize {
        let state = self.state();
        assert_eq!(state.objects.len(), state.numbers.len());
        state.objects.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_number_until_it_is_forgotten_as_often_as_it_was_told() {
        let inodes = Inodes::new("top");
        let first = inodes.tell(&"a");
        assert_eq!(inodes.tell(&"a"), first);
        assert_ne!(inodes.tell(&"b"), first);
        inodes.forget(first, 1);
        assert_eq!(inodes.spot(first), Some("a"));
        inodes.forget(first, 1);
        assert_eq!(inodes.spot(first), None);
        assert_ne!(inodes.tell(&"a"), first, "a number is never used twice");
        assert_eq!(inodes.len(), 3);
    }

    #[test]
    fn the_top_stays_and_strange_numbers_do_no_harm() {
        let inodes = Inodes::new("top");
        inodes.forget(TOP, 1000);
        inodes.forget(77, 1);
        assert_eq!(inodes.spot(TOP), Some("top"));
        assert_eq!(inodes.spot(77), None);
    }
}
