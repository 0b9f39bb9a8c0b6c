//! Which chunks of a target were changed: one bit a chunk, where any was. What grows with a disk is only what is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::units::{ChunkRange, LEAF_CHUNKS};

/// Words that hold the bits of one leaf's chunks.
const WORDS: usize = LEAF_CHUNKS / 64;

/// A set of chunks, added to by many threads.
#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<BTreeMap<u64, [u64; WORDS]>>);

impl Touched {
    /// Adds chunks of one batch.
    pub(super) fn add(&self, chunks: ChunkRange) {
        let mut leaves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in chunks.start..chunks.end {
            let words = leaves.entry(chunk / LEAF_CHUNKS as u64).or_default();
            // Both below their bounds by the modulus, so the cast cannot cut.
            let nth = (chunk % LEAF_CHUNKS as u64) as usize;
            if let Some(word) = words.get_mut(nth / 64) {
                *word |= 1 << (nth % 64);
            }
        }
    }

    /// Takes the chunks out, ascending, neighbours as one range.
    pub(super) fn take_ranges(&self) -> impl Iterator<Item = ChunkRange> + use<> {
        let leaves = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let chunks = leaves.into_iter().flat_map(|(leaf, words)| {
            let has = move |nth: &usize| words.get(nth / 64).is_some_and(|word| word & (1 << (nth % 64)) != 0);
            (0..LEAF_CHUNKS).filter(has).map(move |nth| leaf * LEAF_CHUNKS as u64 + nth as u64)
        });
        let mut chunks = chunks.peekable();
        std::iter::from_fn(move || {
            let start = chunks.next()?;
            let mut end = start + 1;
            while chunks.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(ChunkRange { start, end })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range() {
        let touched = Touched::default();
        for (start, end) in [(300, 301), (5, 7), (7, 9), (255, 258), (1 << 40, (1 << 40) + 1), (6, 7)] {
            touched.add(ChunkRange { start, end });
        }
        let ranges: Vec<(u64, u64)> = touched.take_ranges().map(|range| (range.start, range.end)).collect();
        assert_eq!(ranges, [(5, 9), (255, 258), (300, 301), (1 << 40, (1 << 40) + 1)]);
    }
}
