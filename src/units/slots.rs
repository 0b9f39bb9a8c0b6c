//! Sets of slots of one pack: one bit each.

/// Slots of a word.
const WORD: u32 = u64::BITS;

/// A set of slots. Takes one bit for each slot up to the highest that was added.
#[derive(Debug, Clone, Default)]
pub struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// The set whose words these are, lowest slots first.
    pub fn from_words(words: Vec<u64>) -> Self {
        Self { words }
    }

    /// Its words, lowest slots first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds consecutive slots.
    pub fn insert(&mut self, first: u32, count: u32) {
        let end = first.saturating_add(count);
        let words = end.div_ceil(WORD) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        for (index, mask) in masks(first, end) {
            if let Some(word) = self.words.get_mut(index) {
                *word |= mask;
            }
        }
    }

    /// Removes consecutive slots.
    pub fn remove(&mut self, first: u32, count: u32) {
        for (index, mask) in masks(first, first.saturating_add(count)) {
            if let Some(word) = self.words.get_mut(index) {
                *word &= !mask;
            }
        }
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: u32) -> bool {
        self.words.get((slot / WORD) as usize).is_some_and(|word| word >> (slot % WORD) & 1 == 1)
    }

    /// Adds all slots of another set.
    pub fn merge(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Slots in it.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Its slots as ranges, ascending: the first slot and how many.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, true)?;
            let end = self.next(first, false).unwrap_or(self.words.len() as u32 * WORD);
            at = end;
            Some((first, end - first))
        })
    }

    /// The parts of a range that are in it.
    pub fn within(&self, first: u32, count: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let limit = first.saturating_add(count);
        let mut at = first;
        std::iter::from_fn(move || {
            let first = self.next(at, true).filter(|&first| first < limit)?;
            let end = self.next(first, false).unwrap_or(limit).min(limit);
            at = end;
            Some((first, end - first))
        })
    }

    /// The first slot from `from` on that is in it, or is not.
    fn next(&self, from: u32, wanted: bool) -> Option<u32> {
        let mut index = (from / WORD) as usize;
        let mut keep = u64::MAX << (from % WORD);
        loop {
            let word = *self.words.get(index)?;
            let found = if wanted { word } else { !word } & keep;
            if found != 0 {
                return Some(index as u32 * WORD + found.trailing_zeros());
            }
            keep = u64::MAX;
            index += 1;
        }
    }
}

/// Sets are equal where their slots are, however much memory they have.
impl PartialEq for SlotSet {
    fn eq(&self, other: &Self) -> bool {
        self.ranges().eq(other.ranges())
    }
}

impl Eq for SlotSet {}

/// The words that hold the slots from `first` to before `end`, each with the bits of those slots.
fn masks(first: u32, end: u32) -> impl Iterator<Item = (usize, u64)> {
    let last = end.div_ceil(WORD);
    (first / WORD..last).map(move |index| {
        let low = first.saturating_sub(index * WORD);
        let high = (end - index * WORD).min(WORD);
        let bits = if high - low.min(high) == WORD { u64::MAX } else { (1 << (high - low.min(high))) - 1 };
        (index as usize, if low < WORD { bits << low } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_what_a_plain_set_would_be(steps in prop::collection::vec((any::<bool>(), 0..300_u32, 0..150_u32), 0..20), at in 0..300_u32) {
            let (mut set, mut plain) = (SlotSet::default(), BTreeSet::new());
            for (insert, first, count) in steps {
                if insert {
                    set.insert(first, count);
                    plain.extend(first..first + count);
                } else {
                    set.remove(first, count);
                    plain.retain(|slot| !(first..first + count).contains(slot));
                }
            }
            let slots = |(first, count): (u32, u32)| first..first + count;
            prop_assert_eq!(set.ranges().flat_map(slots).collect::<BTreeSet<_>>(), plain.clone());
            prop_assert_eq!(set.len(), plain.len() as u64);
            prop_assert_eq!(set.is_empty(), plain.is_empty());
            prop_assert_eq!(set.contains(at), plain.contains(&at));
            let within: Vec<u32> = set.within(at, 70).flat_map(slots).collect();
            prop_assert_eq!(within, plain.range(at..at + 70).copied().collect::<Vec<_>>());
            prop_assert_eq!(&SlotSet::from_words(set.words().to_vec()), &set);
        }
    }
}
