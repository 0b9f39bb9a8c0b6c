//! The index: which fingerprint lies where. For deduplication only, never needed to read, always made anew from the packs.
//!
//! A directory of sorted immutable segments (`format/segment.rs`), mapped and searched in place, so that the memory that must be
//! resident is the filters: 9 bits a block. Nothing is believed blindly: a segment that does not parse is as if it were not
//! there, packs that no segment knows are read and indexed at the next backup, and a hit counts only after the pack's own
//! fingerprint table was compared (`store/known.rs`).

mod fresh;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use fresh::FreshBlocks;
use segment::Segment;

use super::StoreError;
use crate::format::segment::SegmentEntry;
use crate::units::{Address, Fingerprint, PackId, SegmentId};

/// Segments of about one size that are merged into one: keeps the number of look-ups logarithmic.
const MERGE_WIDTH: usize = 4;
/// Segments are written anew when one pack in so many is gone.
const REWRITTEN_SHARE: usize = 8;
/// Entries below which all segments are one tier.
const SMALLEST_TIER: u64 = 1 << 16;

/// The segments of a vault as one process sees them.
#[derive(Debug)]
pub struct Index {
    directory: PathBuf,
    segments: Vec<Segment>,
}

impl Index {
    /// Maps all segments in `directory`, which is made where it is missing. New points may refer to packs for which `usable`
    /// says so; entries of others are not found.
    ///
    /// # Errors
    /// [`StoreError::Index`] where the directory cannot be read; a file that is no segment is passed over.
    pub fn open(directory: &Path, usable: impl Fn(&PackId) -> bool) -> Result<Self, StoreError> {
        let fail = |source| StoreError::Index { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(fail)?;
        let mut segments = Vec::new();
        for path in segment_files(directory)? {
            segments.extend(Segment::open(&path, &usable)?);
        }
        // The largest first: most blocks are found there.
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.len()));
        Ok(Self { directory: directory.to_owned(), segments })
    }

    /// The packs whose blocks it knows, usable or not.
    pub fn covered(&self) -> HashSet<PackId> {
        self.segments.iter().flat_map(|segment| segment.packs().iter().copied()).collect()
    }

    /// Entries of all segments together; a block in two segments counts twice.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where segments say that a block is: candidates, to be compared with the pack's own table.
    pub fn find<'a>(&'a self, fingerprint: &'a Fingerprint) -> impl Iterator<Item = Address> + 'a {
        self.segments.iter().filter_map(move |segment| segment.find(fingerprint))
    }

    /// Writes entries, in any order, as a new segment: `entries` name packs by their number in `packs`.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn add(directory: &Path, packs: &[PackId], mut entries: Vec<SegmentEntry>) -> Result<(), StoreError> {
        if packs.is_empty() {
            return Ok(());
        }
        entries.sort_unstable();
        entries.dedup_by_key(|entry| entry.fingerprint);
        segment::write(directory, packs, entries.len() as u32, || entries.iter().copied())?;
        Ok(())
    }

    /// Merges segments where a tier has many, dropping packs for which `keep` says no. Takes the index, since its maps are old then.
    ///
    /// # Errors
    /// [`StoreError::Index`]; what was there before is then still there.
    pub fn merge_tiers(self, keep: impl Fn(&PackId) -> bool) -> Result<(), StoreError> {
        let tier = |segment: &Segment| (segment.len().max(SMALLEST_TIER) / SMALLEST_TIER).ilog2() / 2;
        let mut tiers: Vec<Vec<&Segment>> = Vec::new();
        for segment in &self.segments {
            let tier = tier(segment) as usize;
            tiers.resize_with(tiers.len().max(tier + 1), Vec::new);
            tiers[tier].push(segment);
        }
        for parts in tiers.iter().filter(|parts| parts.len() >= MERGE_WIDTH) {
            segment::merge(&self.directory, parts, &keep)?;
        }
        Ok(())
    }

    /// Writes segments anew of whose packs an eighth or more is gone by `keep`; the others' entries of such packs are never found. Takes the
    /// index, since its maps are old then.
    ///
    /// # Errors
    /// [`StoreError::Index`]; what was there before is then still there.
    pub fn drop_packs(self, keep: impl Fn(&PackId) -> bool) -> Result<(), StoreError> {
        for one in &self.segments {
            let gone = one.packs().iter().filter(|pack| !keep(pack)).count();
            if gone > 0 && gone * REWRITTEN_SHARE >= one.packs().len() {
                segment::merge(&self.directory, &[one], &keep)?;
            }
        }
        Ok(())
    }

    /// Removes all segments, also those that do not parse, for a rebuild from nothing.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn clear(self) -> Result<(), StoreError> {
        drop(self.segments);
        for path in segment_files(&self.directory)? {
            fs::remove_file(&path).map_err(|source| StoreError::Index { path, source })?;
        }
        Ok(())
    }
}

/// The files in an index's directory that are named as segments are.
fn segment_files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let fail = |source| StoreError::Index { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name().to_str().is_some_and(|name| name.parse::<SegmentId>().is_ok()) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}
