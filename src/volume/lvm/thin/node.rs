//! The trees of device-mapper's metadata, read with a bounded cache of nodes.
//!
//! Layout: Linux `drivers/md/persistent-data/dm-btree-internal.h`, `struct node_header`: checksum, flags, the block's own number, the
//! count of entries and for how many there is room, the size of a value; then all keys, then all values. An inner node's values are
//! blocks, its keys the lowest below each. Checksums are CRC-32C with a constant laid over.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use super::METADATA_BYTES;
use crate::volume::bytes::{crc32c, le32, le64};
use crate::volume::{AnyLayer, VolumeError, VolumeResult};

const NODE_XOR: u32 = 121_107;
const HEADER_BYTES: usize = 32;
/// 250 entries a node: 9 levels lead to every block there could be.
const MOST_LEVELS: usize = 16;
/// Nodes that are kept, 4 KiB each: 8 MiB for a pool.
const CACHED_NODES: usize = 2048;

/// The checksum of a block whose own is in its first four bytes.
pub(super) fn checksum(block: &[u8], xor: u32) -> u32 {
    !crc32c(block.get(4..).unwrap_or_default()) ^ xor
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A value, and for how many keys on each next one is the value of the next block (by the 24 bits of time, whatever that is).
    Value { value: u64, keys: u64 },
    /// Nothing, for so many keys on, at least 1.
    Gap { keys: u64 },
}

/// All trees of one metadata volume.
pub(super) struct Tree {
    title: String,
    device: AnyLayer,
    /// Each block has one slot, by the rest of its number.
    cache: Vec<RwLock<Option<Arc<Node>>>>,
}

struct Node {
    block: u64,
    is_leaf: bool,
    keys: Vec<u64>,
    values: Vec<u64>,
}

impl Tree {
    /// Nothing is read yet.
    pub(super) fn new(title: String, device: AnyLayer) -> Self {
        Self { title, device, cache: std::iter::repeat_with(RwLock::default).take(CACHED_NODES).collect() }
    }

    /// What the tree of root `root` has under a key.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub(super) fn find(&self, root: u64, key: u64) -> VolumeResult<Found> {
        let mut block = root;
        // The first key that cannot be below this node.
        let mut end = u64::MAX;
        for _ in 0..MOST_LEVELS {
            let node = self.node(block)?;
            let next = node.keys.partition_point(|own| *own <= key);
            let until = node.keys.get(next).copied().unwrap_or(end).min(end);
            let Some(at) = next.checked_sub(1) else { return Ok(Found::gap(key, until)) };
            if !node.is_leaf {
                end = until;
                block = node.values.get(at).copied().unwrap_or(0);
                continue;
            }
            return Ok(match (node.keys.get(at), node.values.get(at)) {
                (Some(own), Some(value)) if *own == key => Found::Value { value: *value, keys: node.run(at) },
                _ => Found::gap(key, until),
            });
        }
        Err(self.damaged(block, "its tree is too deep"))
    }

    fn damaged(&self, block: u64, problem: &str) -> VolumeError {
        VolumeError::damaged(&self.title, format!("block {block}: {problem}"))
    }

    fn node(&self, block: u64) -> VolumeResult<Arc<Node>> {
        let slots = self.cache.len() as u64;
        let slot = block.checked_rem(slots).and_then(|slot| self.cache.get(usize::try_from(slot).ok()?));
        let slot = slot.ok_or(io::ErrorKind::OutOfMemory).map_err(io::Error::from)?;
        if let Some(node) = slot.read().unwrap_or_else(PoisonError::into_inner).as_ref().filter(|node| node.block == block) {
            return Ok(Arc::clone(node));
        }
        let node = Arc::new(self.read(block)?);
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&node));
        Ok(node)
    }

    fn read(&self, block: u64) -> VolumeResult<Node> {
        let mut raw = [0_u8; METADATA_BYTES];
        let at = block.checked_mul(METADATA_BYTES as u64).filter(|at| *at < self.device.size_bytes());
        self.device.read_at(at.ok_or_else(|| self.damaged(block, "it lies past the end"))?, &mut raw)?;
        if le32(&raw, 0) != Some(checksum(&raw, NODE_XOR)) {
            return Err(self.damaged(block, "it fails its checksum"));
        }
        if le64(&raw, 8) != Some(block) {
            return Err(self.damaged(block, "it is the copy of another"));
        }
        Node::parse(block, &raw).ok_or_else(|| self.damaged(block, "its counts or keys make no sense"))
    }
}

impl Node {
    /// `None` where a number makes no sense.
    fn parse(block: u64, raw: &[u8]) -> Option<Self> {
        let count = usize::try_from(le32(raw, 16)?).ok()?;
        let room = usize::try_from(le32(raw, 20)?).ok()?;
        let is_leaf = match le32(raw, 4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let values_at = room.checked_mul(8)?.checked_add(HEADER_BYTES)?;
        // All values that are looked at have 8 bytes.
        if count > room || le32(raw, 24)? != 8 || room.checked_mul(8)?.checked_add(values_at)? > METADATA_BYTES {
            return None;
        }
        let numbers = |from: usize| -> Option<Vec<u64>> {
            let raws = raw.get(from..)?.chunks_exact(8).take(count);
            raws.map(|raw| le64(raw, 0)).collect()
        };
        let (keys, values) = (numbers(HEADER_BYTES)?, numbers(values_at)?);
        keys.is_sorted_by(|one, other| one < other).then_some(Self { block, is_leaf, keys, values })
    }

    /// How many entries from `at` on continue each other.
    fn run(&self, at: usize) -> u64 {
        let (keys, values) = (self.keys.get(at..).unwrap_or_default(), self.values.get(at..).unwrap_or_default());
        let mut run = 1_u64;
        for (keys, values) in keys.windows(2).zip(values.windows(2)) {
            let ([key, next_key], [value, next_value]) = (keys, values) else { break };
            if key.checked_add(1) != Some(*next_key) || (value >> 24).checked_add(1) != Some(next_value >> 24) {
                break;
            }
            run = run.saturating_add(1);
        }
        run
    }
}

impl Found {
    fn gap(key: u64, until: u64) -> Self {
        Self::Gap { keys: until.saturating_sub(key).max(1) }
    }
}
