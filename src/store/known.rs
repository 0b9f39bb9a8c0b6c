//! What the vault has, as workers ask it during a scan: index, then the pack's own fingerprints.
//!
//! A hit counts only if its pack was listed under this writer's lease, is not condemned, its slot is not known to be damaged, and the
//! pack's own fingerprint table agrees. So a damaged index can miss a duplicate, which is legal, but never name a wrong block.
//! Moved files are found by comparing memory: after a hit, the next block is first compared with the next slot.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::index::Index;
use super::pack::PackReader;
use crate::format::map::Run;
use crate::scan::{BlockState, Dedup};
use crate::units::{Address, Fingerprint, PackId};

/// Slots that may not be referred to: first slot and count, by pack.
pub(crate) type DamagedSlots = HashMap<PackId, Vec<(u32, u32)>>;

/// The vault's blocks as one job may refer to them.
pub struct Known {
    packs: Arc<PackReader>,
    index: RwLock<Index>,
    damaged: DamagedSlots,
    /// Packs that were listed, without those that a collection is about to delete.
    usable: HashSet<PackId>,
    /// Packs whose fingerprints could not be read: their blocks are stored again.
    unreadable: RwLock<HashSet<PackId>>,
}

/// Where the last hit was: its pack's table and the slot after it.
struct Cursor {
    pack: PackId,
    table: Arc<Vec<Fingerprint>>,
    next: usize,
}

impl Cursor {
    /// The address of the slot that it points to.
    fn address(&self) -> Address {
        Address { pack: self.pack, slot: self.next as u32 }
    }
}

impl Known {
    pub(crate) fn new(
        packs: Arc<PackReader>,
        index: Index,
        damaged: DamagedSlots,
        usable: HashSet<PackId>,
        unreadable: HashSet<PackId>,
    ) -> Self {
        Self { packs, index: RwLock::new(index), damaged, usable, unreadable: RwLock::new(unreadable) }
    }

    /// Whether verification has found damage that a new point must not refer to.
    pub fn lists_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Whether a new point may go on referring to all blocks of an earlier point's chunk: none is listed as damaged, and their packs are
    /// there, or tell where the blocks were moved. A store that does not answer is no loss.
    pub fn has_all(&self, runs: &[Run]) -> bool {
        runs.iter().all(|run| match *run {
            Run::Zero { .. } => true,
            Run::Blocks { address, blocks } => self.has_run(address, blocks.into()),
        })
    }

    fn has_run(&self, address: Address, count: u32) -> bool {
        if self.is_damaged(address, count) {
            return false;
        }
        self.usable.contains(&address.pack) || !self.packs.locate(address, count).is_err_and(|error| error.is_damage())
    }

    /// Looks into another index from now on: segments were added.
    pub(crate) fn replace_index(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// Packs whose fingerprint tables could not be read; `cairn verify` says what is wrong with them.
    pub fn unreadable(&self) -> Vec<PackId> {
        let mut packs: Vec<PackId> = self.unreadable.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        packs.sort_unstable();
        packs
    }

    /// Whether any of `count` consecutive slots is listed as damaged.
    fn is_damaged(&self, address: Address, count: u32) -> bool {
        let ranges = self.damaged.get(&address.pack).map(Vec::as_slice).unwrap_or_default();
        let end = address.slot.saturating_add(count);
        ranges.iter().any(|&(first, held)| first < end && address.slot < first.saturating_add(held))
    }

    fn table(&self, pack: PackId) -> Option<Arc<Vec<Fingerprint>>> {
        if self.unreadable.read().unwrap_or_else(PoisonError::into_inner).contains(&pack) {
            return None;
        }
        match self.packs.fingerprints(pack) {
            Ok(table) => Some(table),
            Err(_) => {
                self.unreadable.write().unwrap_or_else(PoisonError::into_inner).insert(pack);
                None
            }
        }
    }

    /// Confirms a candidate with the pack's own table. A damaged slot is none: another segment may know a sound copy.
    fn confirm(&self, candidate: Address, fingerprint: &Fingerprint) -> Option<Cursor> {
        if self.is_damaged(candidate, 1) {
            return None;
        }
        let table = self.table(candidate.pack)?;
        let slot = candidate.slot as usize;
        (table.get(slot) == Some(fingerprint)).then_some(Cursor { pack: candidate.pack, table, next: slot + 1 })
    }
}

impl Dedup for Known {
    fn find(&self, blocks: &mut [BlockState]) {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut cursor: Option<Cursor> = None;
        for state in blocks {
            let BlockState::New(fingerprint) = state else { continue };
            let follows = |at: &Cursor| at.table.get(at.next) == Some(fingerprint) && !self.is_damaged(at.address(), 1);
            let hit = match cursor.take_if(|at| follows(at)) {
                Some(at) => Some((at.address(), Cursor { next: at.next + 1, ..at })),
                None => index.find(fingerprint).find_map(|candidate| Some((candidate, self.confirm(candidate, fingerprint)?))),
            };
            // A new block in the middle of a known file: the file may go on after it where it was left.
            let Some((address, at)) = hit else { continue };
            *state = BlockState::Stored(address);
            cursor = Some(at);
        }
    }
}
