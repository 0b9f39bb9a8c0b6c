//! One block of a tree: checked once, when it is read.

use std::ops::Range;

use super::super::fields::{array, byte, le32, le64};
use super::super::{GuestError, GuestResult};
use super::checksum::Checksum;
use super::layout::Key;

const HEADER_BYTES: usize = 101;
const ITEM_BYTES: usize = 25;
const POINTER_BYTES: usize = 33;

/// Trees have at most this many levels.
pub(super) const MOST_LEVELS: u8 = 8;

/// A block of a tree with items (level 0) or pointers to blocks below.
pub(super) struct Node {
    bytes: Box<[u8]>,
    level: u8,
    generation: u64,
    count: usize,
}

impl Node {
    /// Checks a block that was read from address `logical`.
    pub(super) fn parse(bytes: Box<[u8]>, logical: u64, uuid: &[u8; 16], checksum: Checksum) -> Result<Self, String> {
        if !checksum.matches_block(&bytes) {
            return Err("its checksum does not match".to_owned());
        }
        if le64(&bytes, 0x30) != logical {
            return Err(format!("it says that its address is {}", le64(&bytes, 0x30)));
        }
        if array::<16>(&bytes, 0x20) != *uuid {
            return Err("it belongs to another filesystem".to_owned());
        }
        let level = byte(&bytes, 100);
        let count = usize::try_from(le32(&bytes, 96)).unwrap_or(usize::MAX);
        if level >= MOST_LEVELS {
            return Err(format!("level {level}, where trees have {MOST_LEVELS} levels at most"));
        }
        let node = Self { level, count, generation: le64(&bytes, 0x50), bytes };
        let entry_bytes = if level == 0 { ITEM_BYTES } else { POINTER_BYTES };
        if count.checked_mul(entry_bytes).is_none_or(|bytes| bytes > node.bytes.len().saturating_sub(HEADER_BYTES)) {
            return Err(format!("{count} entries, which it has no room for"));
        }
        if (1..count).any(|slot| node.key(slot.saturating_sub(1)) >= node.key(slot)) {
            return Err("its keys are not in order".to_owned());
        }
        if level == 0 && (0..count).any(|slot| node.bytes.get(node.item(slot)).is_none()) {
            return Err("an item of it ends behind the block".to_owned());
        }
        Ok(node)
    }

    /// Whether it is the block that a pointer promised.
    pub(super) fn check(&self, logical: u64, level: u8, generation: u64) -> GuestResult<()> {
        if self.level == level && self.generation == generation {
            return Ok(());
        }
        let found = format!("level {level} of transaction {generation} expected, level {} of {} found", self.level, self.generation);
        Err(GuestError::damaged(format!("tree block {logical}"), found))
    }

    /// 0 for a leaf.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// Items or pointers.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn entry_at(&self, slot: usize) -> usize {
        let bytes = if self.level == 0 { ITEM_BYTES } else { POINTER_BYTES };
        slot.saturating_mul(bytes).saturating_add(HEADER_BYTES)
    }

    /// The key of an item or pointer.
    pub(super) fn key(&self, slot: usize) -> Key {
        Key::at(&self.bytes, self.entry_at(slot))
    }

    /// Where in the block an item's data lies.
    pub(super) fn item(&self, slot: usize) -> Range<usize> {
        let head = self.entry_at(slot).saturating_add(Key::SIZE);
        let number = |at| usize::try_from(le32(&self.bytes, at)).unwrap_or(usize::MAX);
        let start = number(head).saturating_add(HEADER_BYTES);
        start..start.saturating_add(number(head.saturating_add(4)))
    }

    /// The bytes of a range given by [`Node::item`].
    pub(super) fn data(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Address and transaction of the block below.
    pub(super) fn pointer(&self, slot: usize) -> (u64, u64) {
        let at = self.entry_at(slot).saturating_add(Key::SIZE);
        (le64(&self.bytes, at), le64(&self.bytes, at.saturating_add(8)))
    }

    /// How many entries have a key for which `is_before` holds, which must be those in front.
    pub(super) fn partition(&self, is_before: impl Fn(&Key) -> bool) -> usize {
        let (mut low, mut high) = (0_usize, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(&self.key(middle)) { low = middle.saturating_add(1) } else { high = middle }
        }
        low
    }
}
