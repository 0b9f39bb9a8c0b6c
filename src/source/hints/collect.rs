//! Takes the entries of any hints in their order and makes the two sets of them, refusing what cannot be.

use super::EntryFault;
use crate::units::{Extent, ExtentSet};

/// What an entry says of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it was at the base.
    Same,
    /// To be read.
    Changed,
    /// Reads as zeros now; need not be read.
    Zeroed,
}

/// Whether a format's entries cover the disk without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Every byte of the disk is in an entry.
    Whole,
    /// What is in no entry is as it was.
    Sparse,
}

/// The two sets under construction.
#[derive(Debug)]
pub(super) struct Collector {
    disk_bytes: u64,
    /// Entries may end here: producers that count in sectors or blocks round the end up.
    rounded_bytes: u64,
    coverage: Coverage,
    entries: u64,
    end: u64,
    changed: ExtentSet,
    zeroed: ExtentSet,
}

impl Collector {
    /// For a disk of `disk_bytes` whose hints count in `unit_bytes`.
    pub(super) fn new(disk_bytes: u64, unit_bytes: u64, coverage: Coverage) -> Self {
        let rounded_bytes = disk_bytes.checked_next_multiple_of(unit_bytes).unwrap_or(disk_bytes);
        Self { disk_bytes, rounded_bytes, coverage, entries: 0, end: 0, changed: ExtentSet::new(), zeroed: ExtentSet::new() }
    }

    /// Number of the entry that [`Collector::add`] takes next or has just refused, from 1.
    pub(super) fn entry_number(&self) -> u64 {
        self.entries.saturating_add(1)
    }

    /// The byte after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether the entries reach the end of the disk.
    pub(super) fn is_whole(&self) -> bool {
        self.end == self.disk_bytes || self.end == self.rounded_bytes
    }

    /// Takes the next entry, which must not start before the end of the last one.
    pub(super) fn add(&mut self, offset_bytes: u64, length_bytes: u64, state: State) -> Result<(), EntryFault> {
        let end_bytes = self.end;
        let end = offset_bytes.checked_add(length_bytes).filter(|&end| end <= self.rounded_bytes);
        let Some(end) = end else {
            return Err(EntryFault::BeyondEnd { offset_bytes, length_bytes, disk_bytes: self.disk_bytes });
        };
        if offset_bytes < end_bytes {
            return Err(EntryFault::Overlap { offset_bytes, end_bytes });
        }
        if offset_bytes > end_bytes && self.coverage == Coverage::Whole {
            return Err(EntryFault::Gap { offset_bytes, end_bytes });
        }
        let extent = Extent::between(offset_bytes, end.min(self.disk_bytes));
        match state {
            State::Same => {}
            State::Changed => self.changed.push(extent),
            State::Zeroed => self.zeroed.push(extent),
        }
        self.end = end;
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }

    /// The changed and the zeroed ranges.
    pub(super) fn into_sets(self) -> (ExtentSet, ExtentSet) {
        (self.changed, self.zeroed)
    }
}
