//! Blocks that this job has stored itself: not yet in any segment.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::format::segment::SegmentEntry;
use crate::units::{Address, Fingerprint, PackId};

/// Takes a fingerprint's own bytes for its hash: they are a keyed hash already.
#[derive(Debug, Default)]
pub(crate) struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length that a slice's hash begins with says nothing here.
    fn write_usize(&mut self, _: usize) {}
}

/// New blocks of a job by fingerprint, until they are spilled into a segment.
#[derive(Debug, Default)]
pub(crate) struct FreshBlocks {
    packs: Vec<PackId>,
    blocks: HashMap<Fingerprint, (u32, u32), BuildHasherDefault<FingerprintHasher>>,
}

impl FreshBlocks {
    /// Where a block is, if this job stored it.
    pub(crate) fn find(&self, fingerprint: &Fingerprint) -> Option<Address> {
        let &(pack, slot) = self.blocks.get(fingerprint)?;
        Some(Address { pack: *self.packs.get(pack as usize)?, slot })
    }

    /// Takes note of a block. Blocks of one pack come one after the other.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, address: Address) {
        if self.packs.last() != Some(&address.pack) {
            self.packs.push(address.pack);
        }
        self.blocks.insert(fingerprint, (self.packs.len() as u32 - 1, address.slot));
    }

    /// Blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Takes everything out, as entries and the packs that they name by number.
    pub(crate) fn take(&mut self) -> (Vec<PackId>, Vec<SegmentEntry>) {
        let packs = std::mem::take(&mut self.packs);
        let entries = self.blocks.drain().map(|(fingerprint, (pack, slot))| SegmentEntry { fingerprint, pack, slot }).collect();
        (packs, entries)
    }
}
