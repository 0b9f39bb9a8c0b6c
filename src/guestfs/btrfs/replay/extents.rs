//! Extents in a log take the place of what the file had there.

use super::super::super::GuestResult;
use super::super::super::fields::le64;
use super::super::items::{FileExtent, Stored, inode_at};
use super::super::layout::{Key, kind};
use super::super::tree::Item;
use super::{Replay, set_u64};

/// Extents that are looked at together.
const BATCH: usize = 1024;

impl Replay<'_> {
    pub(super) fn replay_extent(&mut self, item: &Item) -> GuestResult<()> {
        let Key { objectid: number, offset: start, .. } = item.key;
        let extent = FileExtent::parse(|| format!("inode {number}"), &item.data)?;
        if self.inode_item(number)?.is_none() {
            return Ok(());
        }
        let is_inline = matches!(extent.stored, Stored::Inline(_));
        // Extents that were allocated in advance read as holes and are stored nevertheless.
        let is_stored = is_inline || le64(&item.data, 21) != 0;
        if !is_inline && self.tree.get(item.key)?.is_some_and(|old| old.get(..FileExtent::BYTES) == item.data.get(..FileExtent::BYTES)) {
            return Ok(());
        }
        let mut end = start.saturating_add(extent.length_bytes);
        if is_inline {
            end = end.checked_next_multiple_of(self.sector_bytes).unwrap_or(u64::MAX);
        }
        let dropped = self.drop_extents(number, start, end)?;
        if is_stored {
            self.put(item.key, &item.data)?;
        }
        let added = if is_stored { extent.length_bytes } else { 0 };
        self.edit_inode(number, inode_at::STORED, |bytes| bytes.saturating_add(added).saturating_sub(dropped))
    }

    /// Makes a hole in a file; gives the stored bytes that were in it.
    pub(super) fn drop_extents(&mut self, number: u64, start: u64, end: u64) -> GuestResult<u64> {
        let key = |offset| Key::new(number, kind::EXTENT_DATA, offset);
        if start >= end {
            return Ok(0);
        }
        let mut dropped = 0_u64;
        if let Some(item) = self.tree.last_up_to(key(0), key(start))? {
            dropped = dropped.saturating_add(self.cut_extent(&item, start, end)?);
        }
        let mut from = start;
        while let Some(after) = from.checked_add(1).filter(|&after| after < end) {
            let items: Vec<Item> = self.tree.range(key(after), key(end.saturating_sub(1))).take(BATCH).collect::<GuestResult<_>>()?;
            for item in &items {
                dropped = dropped.saturating_add(self.cut_extent(item, start, end)?);
            }
            match items.last() {
                Some(last) => from = last.key.offset,
                None => break,
            }
        }
        Ok(dropped)
    }

    /// Cuts what lies from `start` to `end` out of an extent; gives the stored bytes of that part.
    fn cut_extent(&mut self, item: &Item, start: u64, end: u64) -> GuestResult<u64> {
        let Key { objectid: number, offset: from, .. } = item.key;
        let extent = FileExtent::parse(|| format!("inode {number}"), &item.data)?;
        let to = from.saturating_add(extent.length_bytes);
        if to <= start || from >= end {
            return Ok(0);
        }
        if matches!(extent.stored, Stored::Inline(_)) {
            // It lies in one sector, and what is cut begins and ends between sectors.
            if start > from {
                return Ok(0);
            }
            self.remove(item.key)?;
            return Ok(extent.length_bytes);
        }
        if start > from {
            let mut front = item.data.to_vec();
            set_u64(&mut front, FileExtent::LENGTH_AT, start.saturating_sub(from));
            self.put(item.key, &front)?;
        } else {
            self.remove(item.key)?;
        }
        let is_stored = le64(&item.data, 21) != 0;
        if end < to {
            let mut back = item.data.to_vec();
            set_u64(&mut back, FileExtent::LENGTH_AT, to.saturating_sub(end));
            if is_stored {
                let offset = le64(&back, FileExtent::OFFSET_AT).saturating_add(end.saturating_sub(from));
                set_u64(&mut back, FileExtent::OFFSET_AT, offset);
            }
            self.put(Key::new(number, kind::EXTENT_DATA, end), &back)?;
        }
        Ok(if is_stored { to.min(end).saturating_sub(from.max(start)) } else { 0 })
    }
}
