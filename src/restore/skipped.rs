//! Ranges of a disk that could not be restored because the vault has lost them, for a restore that goes on without them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::RestoreError;
use crate::units::Extent;

/// A range that was left as the target had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRange {
    /// The bytes of the disk.
    pub range: Extent,
    /// What is wrong with its first part.
    pub reason: String,
}

/// Takes what is skipped, from many threads. Ranges that touch become one, so that memory follows the damage's shape, not its size.
#[derive(Debug, Default)]
pub struct Skipped(Mutex<BTreeMap<u64, (u64, String)>>);

impl Skipped {
    /// Takes a failure as skipped if it is damage of a known range; gives every other back.
    ///
    /// # Errors
    /// The failure itself: the target's, a cancellation.
    pub(super) fn take(&self, error: RestoreError) -> Result<Extent, RestoreError> {
        let range = match &error {
            RestoreError::Map { range, .. } | RestoreError::Chunk { range, .. } | RestoreError::Content { range, .. } => *range,
            _ => return Err(error),
        };
        if !error.is_damage() {
            return Err(error);
        }
        self.add(range, error.to_string());
        Ok(range)
    }

    fn add(&self, range: Extent, reason: String) {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut end, mut reason) = (range.offset(), range.end(), reason);
        if let Some((&before, (before_end, first))) = ranges.range(..start).next_back()
            && *before_end >= start
        {
            (start, end, reason) = (before, end.max(*before_end), first.clone());
        }
        if let Some((after_end, _)) = ranges.remove(&end) {
            end = after_end;
        }
        ranges.insert(start, (end, reason));
    }

    /// What was skipped, ascending.
    pub fn into_ranges(self) -> Vec<SkippedRange> {
        let ranges = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let range = |(start, (end, reason))| SkippedRange { range: Extent::between(start, end), reason };
        ranges.into_iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendError;
    use crate::store::StoreError;

    #[test]
    fn ranges_that_touch_become_one_in_whatever_order_they_come() {
        let skipped = Skipped::default();
        for (start, end) in [(20, 30), (0, 10), (50, 60), (30, 40), (10, 20), (60, 70)] {
            skipped.add(Extent::between(start, end), format!("at {start}"));
        }
        let found: Vec<_> = skipped.into_ranges().into_iter().map(|one| (one.range.offset(), one.range.end(), one.reason)).collect();
        assert_eq!(found, [(0, 40, "at 0".to_owned()), (50, 70, "at 50".to_owned())]);
    }

    #[test]
    fn what_is_no_damage_ends_the_restore() {
        let skipped = Skipped::default();
        assert!(matches!(skipped.take(RestoreError::Cancelled), Err(RestoreError::Cancelled)));
        let (location, name, reason) = (String::new(), String::new(), String::new());
        let source = StoreError::Backend(BackendError::Denied { location, name, reason });
        let unreachable = RestoreError::Chunk { range: Extent::between(0, 1), source };
        assert!(matches!(skipped.take(unreachable), Err(RestoreError::Chunk { .. })));
        assert!(skipped.into_ranges().is_empty());
    }
}
