//! Data of files: checked against its checksums, from another copy where one is damaged, decompressed and kept for a while.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::recent::Recent;
use super::super::{GuestError, GuestResult};
use super::compress::{MOST_BYTES, decompress};
use super::layout::{Key, kind, object};
use super::pool::{MOST_COPIES, Pool};
use super::tree::Tree;

/// What is read in one piece with its first and last sector, even where only parts of these are wanted.
const SMALL_BYTES: usize = 64 << 10;

/// Parts of the cache of decompressed extents.
const CACHE_PARTS: usize = 4;

/// A compressed extent on the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) logical: u64,
    pub(super) stored_bytes: u64,
    pub(super) plain_bytes: u64,
    pub(super) compression: u8,
}

impl Packed {
    /// Refuses lengths that no extent has.
    pub(super) fn check(&self) -> GuestResult<()> {
        if self.stored_bytes > MOST_BYTES || self.plain_bytes > MOST_BYTES || self.stored_bytes == 0 {
            let found = format!("{} bytes stored for {}", self.stored_bytes, self.plain_bytes);
            return Err(GuestError::damaged(format!("the compressed extent at address {}", self.logical), found));
        }
        Ok(())
    }
}

/// Data and its checksums.
pub(super) struct Data {
    pool: Arc<Pool>,
    checksums: Option<Tree>,
    /// Checksums that a log brought: by the address of the first sector.
    logged: BTreeMap<u64, Vec<u8>>,
    extents: Recent<u64, Vec<u8>>,
}

impl Data {
    pub(super) fn new(pool: &Arc<Pool>, checksums: Option<Tree>, logged: BTreeMap<u64, Vec<u8>>, cache_bytes: usize) -> Self {
        Self { pool: Arc::clone(pool), checksums, logged, extents: Recent::new(cache_bytes, CACHE_PARTS) }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    fn sector(&self) -> usize {
        usize::try_from(self.pool.sector_bytes).unwrap_or(4096)
    }

    /// Fills `buffer` from an address. `is_checked`: whether checksums were kept for it.
    pub(super) fn read(&self, logical: u64, buffer: &mut [u8], is_checked: bool) -> GuestResult<()> {
        if !is_checked {
            return self.pool.read_any(logical, buffer);
        }
        let sector = self.sector();
        let skip = usize::try_from(logical.checked_rem(sector as u64).unwrap_or(0)).unwrap_or(0);
        let end = skip.saturating_add(buffer.len());
        if skip == 0 && end.is_multiple_of(sector) {
            return self.read_sectors(logical, buffer);
        }
        if end <= SMALL_BYTES {
            let mut whole = vec![0; end.next_multiple_of(sector)];
            self.read_sectors(logical.saturating_sub(skip as u64), &mut whole)?;
            buffer.copy_from_slice(whole.get(skip..end).unwrap_or_default());
            return Ok(());
        }
        // The first and last sectors each for themselves, and what lies between as it is.
        let head_bytes = if skip == 0 { 0 } else { sector.saturating_sub(skip) };
        let tail_bytes = end.checked_rem(sector).unwrap_or(0);
        let (head, rest) = buffer.split_at_mut(head_bytes);
        let (middle, tail) = rest.split_at_mut(rest.len().saturating_sub(tail_bytes));
        let middle_at = logical.saturating_add(head_bytes as u64);
        if !head.is_empty() {
            self.read(logical, head, true)?;
        }
        self.read_sectors(middle_at, middle)?;
        if tail.is_empty() { Ok(()) } else { self.read(middle_at.saturating_add(middle.len() as u64), tail, true) }
    }

    fn read_sectors(&self, logical: u64, buffer: &mut [u8]) -> GuestResult<()> {
        self.pool.read_any(logical, buffer)?;
        let (sector, sum_bytes) = (self.sector(), self.pool.checksum.bytes());
        for (first, sums) in self.sums(logical, buffer.len() as u64) {
            let from = usize::try_from(first.saturating_sub(logical)).unwrap_or(usize::MAX);
            let sectors = buffer.get_mut(from..).unwrap_or_default().chunks_exact_mut(sector);
            for (number, (bytes, sum)) in sectors.zip(sums.chunks_exact(sum_bytes)).enumerate() {
                if !self.pool.checksum.matches(sum, bytes) {
                    let at = first.saturating_add((number as u64).saturating_mul(sector as u64));
                    self.read_other_copy(at, bytes, sum)?;
                }
            }
        }
        Ok(())
    }

    fn read_other_copy(&self, logical: u64, bytes: &mut [u8], sum: &[u8]) -> GuestResult<()> {
        for number in 0..MOST_COPIES {
            match self.pool.read_copy(logical, bytes, number) {
                Ok(()) if self.pool.checksum.matches(sum, bytes) => return Ok(()),
                Err(GuestError::NotFound { .. }) => break,
                _ => {}
            }
        }
        Err(GuestError::damaged(format!("the data at address {logical}"), "its checksum does not match in any copy"))
    }

    /// The checksums of a range of whole sectors: for each part that has some, its address and checksums. Where the tree of checksums
    /// cannot be read, data counts as having none: it may well be sound, and the reader of a damaged filesystem wants it.
    fn sums(&self, logical: u64, length_bytes: u64) -> Vec<(u64, Vec<u8>)> {
        let end = logical.saturating_add(length_bytes);
        let mut parts = Vec::new();
        let before = self.logged.range(..logical).next_back();
        for (&start, sums) in before.into_iter().chain(self.logged.range(logical..end)) {
            parts.extend(self.cut(start, sums, logical, end));
        }
        let covered: u64 = parts.iter().map(|(_, sums): &(u64, Vec<u8>)| self.covered_bytes(sums)).sum();
        if let Some(tree) = self.checksums.as_ref().filter(|_| covered < length_bytes) {
            let key = |offset| Key::new(object::EXTENT_CSUM, kind::EXTENT_CSUM, offset);
            let before = tree.last_up_to(key(0), key(logical)).ok().flatten();
            let from = before.as_ref().map_or(logical, |item| item.key.offset.saturating_add(1));
            let after = tree.range(key(from), key(end.saturating_sub(1))).map_while(Result::ok);
            for item in before.into_iter().chain(after) {
                // What a log brought is newer.
                parts.extend(self.cut(item.key.offset, &item.data, logical, end).filter(|(start, _)| !self.is_logged(*start)));
            }
        }
        parts
    }

    fn is_logged(&self, logical: u64) -> bool {
        let before = self.logged.range(..=logical).next_back();
        before.is_some_and(|(&start, sums)| logical.saturating_sub(start) < self.covered_bytes(sums))
    }

    fn covered_bytes(&self, sums: &[u8]) -> u64 {
        let count = sums.len().checked_div(self.pool.checksum.bytes()).unwrap_or(0);
        (count as u64).saturating_mul(self.pool.sector_bytes)
    }

    /// What checksums that begin with the sector at `start` have for the sectors from `from` to `end`.
    fn cut(&self, start: u64, sums: &[u8], from: u64, end: u64) -> Option<(u64, Vec<u8>)> {
        let first = start.max(from);
        let last = start.saturating_add(self.covered_bytes(sums)).min(end);
        let sum_bytes = self.pool.checksum.bytes();
        let at = |logical: u64| {
            let sectors = logical.saturating_sub(start).checked_div(self.pool.sector_bytes)?;
            usize::try_from(sectors).ok()?.checked_mul(sum_bytes)
        };
        let part = sums.get(at(first)?..at(last)?)?;
        (!part.is_empty()).then(|| (first, part.to_vec()))
    }

    /// Extents that follow each other on the devices, decompressed. They are read together.
    pub(super) fn unpack(&self, packed: &[Packed], is_checked: bool) -> GuestResult<Vec<Arc<Vec<u8>>>> {
        if let Some(all) = packed.iter().map(|extent| self.extents.get(extent.logical)).collect::<Option<Vec<_>>>() {
            return Ok(all);
        }
        let stored = packed.iter().map(|extent| extent.stored_bytes).fold(0, u64::saturating_add);
        let mut bytes = vec![0; usize::try_from(stored).unwrap_or(0)];
        let first = packed.first().map_or(0, |extent| extent.logical);
        self.read(first, &mut bytes, is_checked)?;
        let mut rest = bytes.as_slice();
        packed
            .iter()
            .map(|extent| {
                let (input, after) = rest.split_at_checked(usize::try_from(extent.stored_bytes).unwrap_or(0)).unwrap_or_default();
                rest = after;
                if let Some(kept) = self.extents.get(extent.logical) {
                    return Ok(kept);
                }
                let output = decompress(extent.compression, input, extent.plain_bytes, self.pool.sector_bytes)
                    .map_err(|problem| GuestError::damaged(format!("the compressed extent at address {}", extent.logical), problem))?;
                let bytes = output.len();
                let output = Arc::new(output);
                self.extents.put(extent.logical, Arc::clone(&output), bytes);
                Ok(output)
            })
            .collect()
    }
}
