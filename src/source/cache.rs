//! A small cache of bytes with a limit, used by many threads at once.
//!
//! Two generations: what is asked for again moves to the young one; when that is full the old one is dropped and the young one grows
//! old. That is close to least recently used, and costs one look-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 128;

/// Bytes by number.
#[derive(Debug)]
pub(super) struct Cache {
    limit_bytes: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Arc<Vec<u8>>>,
    old: HashMap<u64, Arc<Vec<u8>>>,
    young_bytes: usize,
}

impl Cache {
    /// A cache that holds about `limit_bytes`, and at least the last entry.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, generations: Mutex::default() }
    }

    /// The bytes of `key`, loaded where they are not there. Two threads that miss at once both load.
    pub(super) fn get_or_load<E>(&self, key: u64, load: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Arc<Vec<u8>>, E> {
        if let Some(found) = self.get(key) {
            return Ok(found);
        }
        let bytes = Arc::new(load()?);
        self.lock().insert(key, Arc::clone(&bytes), self.limit_bytes);
        Ok(bytes)
    }

    fn get(&self, key: u64) -> Option<Arc<Vec<u8>>> {
        let mut generations = self.lock();
        if let Some(found) = generations.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = generations.old.remove(&key)?;
        generations.insert(key, Arc::clone(&found), self.limit_bytes);
        Some(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Nothing in here can be half done: a panic elsewhere leaves it whole.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, key: u64, bytes: Arc<Vec<u8>>, limit_bytes: usize) {
        let cost = bytes.len().saturating_add(ENTRY_BYTES);
        if self.young_bytes.saturating_add(cost) > limit_bytes.checked_div(2).unwrap_or(0) {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, bytes).is_none() {
            self.young_bytes = self.young_bytes.saturating_add(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cache: &Cache, key: u64, loads: &mut u32) -> Arc<Vec<u8>> {
        let loaded = cache.get_or_load(key, || {
            *loads = u32::saturating_add(*loads, 1);
            Ok::<_, ()>(key.to_le_bytes().repeat(100))
        });
        loaded.expect("loading cannot fail")
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = Cache::new(20 * (800 + ENTRY_BYTES));
        let mut loads = 0;
        for key in 0..1000 {
            assert_eq!(load(&cache, 7, &mut loads)[..8], 7_u64.to_le_bytes());
            assert_eq!(load(&cache, key, &mut loads)[..8], key.to_le_bytes());
        }
        // Key 7 was loaded once, before its turn came.
        assert_eq!(loads, 1000);
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 20, "{} + {}", generations.young.len(), generations.old.len());
    }

    #[test]
    fn a_failed_load_is_not_kept() {
        let cache = Cache::new(1 << 20);
        assert_eq!(cache.get_or_load(1, || Err("no")), Err("no"));
        assert_eq!(cache.get_or_load(1, || Ok::<_, &str>(vec![1])).map(|bytes| bytes.len()), Ok(1));
    }
}
