//! A cache bounded in bytes, for values that are costly to make: decompressed blocks. Two generations: when the young one has filled
//! half of the room it becomes the old one, and what nobody asked for since then is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Values by key. Locks are held for a lookup only, never while a value is made.
pub(super) struct Recent<K, V> {
    parts: Vec<Mutex<Part<K, V>>>,
    hasher: RandomState,
}

struct Part<K, V> {
    young: HashMap<K, (Arc<V>, usize)>,
    old: HashMap<K, (Arc<V>, usize)>,
    young_bytes: usize,
    most_young_bytes: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// A cache of about `most_bytes` in `parts` that are locked apart from each other.
    pub(super) fn new(most_bytes: usize, parts: usize) -> Self {
        let most_young_bytes = most_bytes / (2 * parts.max(1));
        let part = || Mutex::new(Part { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, most_young_bytes });
        Self { parts: (0..parts.max(1)).map(|_| part()).collect(), hasher: RandomState::new() }
    }

    fn with<T>(&self, key: &K, call: impl FnOnce(&mut Part<K, V>) -> T) -> Option<T> {
        let index = self.hasher.hash_one(key).checked_rem(self.parts.len() as u64)?;
        let part = self.parts.get(usize::try_from(index).ok()?)?;
        Some(call(&mut part.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The value of a key, if it is still there.
    pub(super) fn get(&self, key: K) -> Option<Arc<V>> {
        self.with(&key, |part| {
            if let Some((value, _)) = part.young.get(&key) {
                return Some(Arc::clone(value));
            }
            let (key, (value, bytes)) = part.old.remove_entry(&key)?;
            part.add(key, Arc::clone(&value), bytes);
            Some(value)
        })?
    }

    /// Keeps a value that takes `bytes`.
    pub(super) fn put(&self, key: K, value: Arc<V>, bytes: usize)
    where
        K: Copy,
    {
        self.with(&key, |part| part.add(key, value, bytes));
    }
}

impl<K: Hash + Eq, V> Part<K, V> {
    fn add(&mut self, key: K, value: Arc<V>, bytes: usize) {
        if self.young_bytes.saturating_add(bytes) > self.most_young_bytes && !self.young.is_empty() {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if let Some((_, replaced)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes = self.young_bytes.saturating_sub(replaced);
        }
        self.young_bytes = self.young_bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_bytes_are_bounded() {
        let cache = Recent::new(1600, 4);
        cache.put((7, 1 << 40), Arc::new(7), 10);
        for number in 0..5_000_u64 {
            cache.put((0, number), Arc::new(number), 10);
            assert_eq!(cache.get((7, 1 << 40)).as_deref(), Some(&7));
        }
        let kept = (0..5_000).filter(|&number| cache.get((0, number)).is_some()).count();
        assert!((50..=160).contains(&kept), "{kept}");
        assert_eq!(cache.get((0, 4_999)).as_deref(), Some(&4_999));
    }
}
