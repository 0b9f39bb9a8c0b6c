//! A cache of bounded size in which each value is loaded once, however many threads want it at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Values by key, the least recently used dropped first.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    state: Mutex<State<K, V>>,
    capacity_bytes: usize,
}

#[derive(Debug)]
struct State<K, V> {
    slots: HashMap<K, Slot<V>>,
    clock: u64,
    held_bytes: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: Arc<Mutex<Option<V>>>,
    used: u64,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// A cache of values that take `capacity_bytes` together. What is being loaded comes on top.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let state = State { slots: HashMap::new(), clock: 0, held_bytes: 0 };
        Self { state: Mutex::new(state), capacity_bytes }
    }

    /// The value of a key, loaded by the first that asks; others wait for it. `weigh` tells a value's bytes. A failed load leaves nothing.
    pub(crate) fn get<E>(&self, key: &K, load: impl FnOnce() -> Result<V, E>, weigh: impl FnOnce(&V) -> usize) -> Result<V, E> {
        let slot = {
            let mut state = lock(&self.state);
            state.clock += 1;
            let clock = state.clock;
            let fresh = || Slot { value: Arc::default(), used: clock, bytes: 0 };
            let slot = state.slots.entry(key.clone()).or_insert_with(fresh);
            slot.used = clock;
            Arc::clone(&slot.value)
        };
        let mut value = lock(&slot);
        if let Some(value) = value.as_ref() {
            return Ok(value.clone());
        }
        match load() {
            Ok(loaded) => {
                *value = Some(loaded.clone());
                drop(value);
                self.account(key, weigh(&loaded));
                Ok(loaded)
            }
            Err(error) => {
                self.forget(key);
                Err(error)
            }
        }
    }

    /// Drops the value of a key: the next who asks loads it anew.
    pub(crate) fn forget(&self, key: &K) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.remove(key) {
            state.held_bytes -= slot.bytes;
        }
    }

    /// Adds a loaded value's bytes, and drops the least recently used until all fit.
    fn account(&self, key: &K, bytes: usize) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.get_mut(key) {
            let before = std::mem::replace(&mut slot.bytes, bytes);
            state.held_bytes = state.held_bytes - before + bytes;
        }
        while state.held_bytes > self.capacity_bytes {
            let loaded = state.slots.iter().filter(|(other, slot)| slot.bytes > 0 && *other != key);
            let Some(oldest) = loaded.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone()) else { break };
            if let Some(slot) = state.slots.remove(&oldest) {
                state.held_bytes -= slot.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_value_is_loaded_once_by_many_threads() {
        let cache = Cache::<u32, u32>::new(1 << 20);
        let loads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let load = || Ok::<u32, ()>(loads.fetch_add(1, Ordering::Relaxed) as u32 + 7);
                    assert_eq!(cache.get(&1, load, |_| 4), Ok(7));
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::<u32, u32>::new(2);
        let get = |key: u32, loaded: &mut Vec<u32>| {
            let load = || {
                loaded.push(key);
                Ok::<u32, ()>(key)
            };
            assert_eq!(cache.get(&key, load, |_| 1), Ok(key));
        };
        let mut loaded = Vec::new();
        for key in [1, 2, 1, 3, 1, 2] {
            get(key, &mut loaded);
        }
        assert_eq!(loaded, [1, 2, 3, 2]);
    }

    #[test]
    fn a_failed_load_is_tried_again() {
        let cache = Cache::<u32, u32>::new(10);
        assert_eq!(cache.get(&1, || Err("damaged"), |_| 1), Err("damaged"));
        assert_eq!(cache.get(&1, || Ok::<_, &str>(5), |_| 1), Ok(5));
    }
}
