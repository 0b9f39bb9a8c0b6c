//! A writer's session under a lease: what the vault has, what is new, and the order in which it becomes durable.
//!
//! Order: the lease first ([`Lease::take`]); then the lists of packs, condemned packs and damaged slots; data packs durable before the
//! metadata packs that name them; both before the caller puts a manifest. Then [`WriteSession::vanished`] looks at the lists
//! again; only when it finds nothing may the caller publish.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::index::{FreshBlocks, Index};
use super::known::{DamagedSlots, Known};
use super::pack::{DataPipeline, NodePacks, PackReader, WrittenPack};
use super::{Lease, StoreError, Vault, catch_up, lists, shared_index};
use crate::format::map::Run;
use crate::format::names::PACKS;
use crate::scan::{BlockState, padded};
use crate::units::{Address, BLOCK_BYTES, PackId};

/// New blocks kept in memory before they are spilled into a segment of the index: about 50 MiB.
const FRESH_BLOCKS: usize = 1 << 20;

/// How a session works.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Level of zstd for blocks.
    pub compression_level: i32,
    /// Packs that must not be referred to, because a try before this one found them vanishing.
    pub avoid: HashSet<PackId>,
}

/// What one disk adds to the vault.
#[derive(Debug, Default)]
pub struct DiskAccount {
    /// Bytes of blocks that the vault did not have.
    pub new_bytes: u64,
    stored: Arc<AtomicU64>,
}

impl DiskAccount {
    /// Bytes stored for them, compressed and sealed. Complete only after [`WriteSession::flush`].
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }
}

/// A writer at work. Dropped before [`WriteSession::flush`] it leaves at worst packs that nobody refers to.
pub struct WriteSession {
    vault: Arc<Vault>,
    known: Arc<Known>,
    fresh: FreshBlocks,
    data: DataPipeline,
    nodes: NodePacks,
    usable: HashSet<PackId>,
    hits: HashSet<PackId>,
    last_hit: Option<PackId>,
    /// Where the stored bytes of the disk under way are counted.
    stored: Arc<AtomicU64>,
    written: Vec<WrittenPack>,
    /// Packs of this session that no segment of the index knows yet, besides those in `fresh`.
    unindexed: Vec<PackId>,
    /// New blocks at which they are spilled.
    spill_at: usize,
}

impl WriteSession {
    /// Begins under a lease: lists what the vault has, and indexes packs that the index does not know.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn begin(vault: &Arc<Vault>, lease: &Lease, packs: &Arc<PackReader>, options: SessionOptions) -> Result<Self, StoreError> {
        lease.check()?;
        let (usable, known) = open_known(vault, packs, &options.avoid)?;
        Ok(Self {
            vault: Arc::clone(vault),
            known: Arc::new(known),
            fresh: FreshBlocks::default(),
            data: DataPipeline::new(vault, options.compression_level),
            nodes: NodePacks::new(vault),
            usable,
            hits: HashSet::new(),
            last_hit: None,
            stored: Arc::default(),
            written: Vec::new(),
            unindexed: Vec::new(),
            spill_at: FRESH_BLOCKS,
        })
    }

    /// Spills new blocks into the index after so many.
    #[cfg(test)]
    pub(crate) fn spill_at(&mut self, blocks: usize) {
        self.spill_at = blocks;
    }

    /// What the vault has, for the workers of a scan.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// Takes a chunk's blocks; gives the runs of its recipe. `bytes` is the chunk as read.
    ///
    /// # Errors
    /// [`StoreError`]: the first failure of writing latches, and the session is then of no more use.
    pub fn store_chunk(&mut self, bytes: &[u8], blocks: &[BlockState], account: &mut DiskAccount) -> Result<Vec<Run>, StoreError> {
        if !Arc::ptr_eq(&self.stored, &account.stored) {
            self.stored = Arc::clone(&account.stored);
        }
        let mut runs = Vec::with_capacity(2);
        for (state, block) in blocks.iter().zip(bytes.chunks(BLOCK_BYTES)) {
            let address = match state {
                BlockState::Zero => None,
                BlockState::Stored(address) => {
                    if self.last_hit != Some(address.pack) {
                        self.hits.insert(address.pack);
                        self.last_hit = Some(address.pack);
                    }
                    Some(*address)
                }
                BlockState::New(fingerprint) => Some(match self.fresh.find(fingerprint) {
                    Some(address) => address,
                    None => {
                        let address = match <&[u8; BLOCK_BYTES]>::try_from(block) {
                            Ok(whole) => self.data.push(whole, *fingerprint, &self.stored)?,
                            Err(_) => self.data.push(&padded(block), *fingerprint, &self.stored)?,
                        };
                        account.new_bytes += BLOCK_BYTES as u64;
                        self.fresh.insert(*fingerprint, address);
                        address
                    }
                }),
            };
            append(&mut runs, address);
        }
        if self.fresh.len() >= self.spill_at {
            self.spill()?;
        }
        Ok(runs)
    }

    /// Appends a map node; gives its address. May make all data so far durable, when the metadata pack is full.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store_node(&mut self, encoded: &[u8]) -> Result<Address, StoreError> {
        let address = self.nodes.push(encoded, None)?;
        if self.nodes.is_full() {
            self.flush()?;
        }
        Ok(address)
    }

    /// Makes all blocks durable, then all nodes that name them, then the names of other writers' packs that were referred to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let data = self.data.flush(&self.stored)?;
        let nodes = self.nodes.flush()?;
        self.unindexed.extend(nodes.iter().map(|finished| finished.pack.id));
        let mut indexed = Vec::new();
        for finished in data.into_iter().chain(nodes) {
            self.usable.insert(finished.pack.id);
            self.written.push(finished.pack);
            indexed.extend(finished.indexed);
        }
        shared_index::leave(&self.vault, indexed)?;
        // Visible is not durable: another process may have made these names just now.
        let directories: HashSet<String> = self.hits.iter().map(|pack| format!("{PACKS}{:02x}/", pack.0[0])).collect();
        directories.iter().try_for_each(|directory| self.vault.backend().sync_names(directory))?;
        Ok(())
    }

    /// Ends a disk: its last blocks become a frame of their own, so that its account is complete after the next flush.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_disk(&mut self) -> Result<(), StoreError> {
        self.data.end_frame(&self.stored)
    }

    /// Packs that were referred to and that are condemned or gone by now. Empty: what was written may be published.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn vanished(&self) -> Result<Vec<PackId>, StoreError> {
        let present = lists::usable_packs(&self.vault)?;
        let own = self.written.iter().map(|pack| &pack.id);
        Ok(self.hits.iter().chain(own).filter(|pack| !present.contains(pack)).copied().collect())
    }

    /// Packs that this session has made durable.
    pub fn written(&self) -> &[WrittenPack] {
        &self.written
    }

    /// Adds what was written to the index and merges its segments. To be called after publishing: the index is a help only.
    ///
    /// # Errors
    /// [`StoreError::Index`]; the index is then made up for at the next session.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.index_fresh()?;
        let usable = std::mem::take(&mut self.usable);
        Index::open(self.vault.index_directory(), |_| true)?.merge_tiers(|pack| usable.contains(pack))
    }

    fn index_fresh(&mut self) -> Result<(), StoreError> {
        let (mut packs, entries) = self.fresh.take();
        packs.append(&mut self.unindexed);
        Index::add(self.vault.index_directory(), &packs, entries)
    }

    /// Moves the new blocks from memory into a segment of the index.
    fn spill(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.index_fresh()?;
        let usable = &self.usable;
        self.known.replace_index(Index::open(self.vault.index_directory(), |pack| usable.contains(pack))?);
        Ok(())
    }
}

/// Appends one block to runs: zeros to zeros, the next slot to the run before it.
fn append(runs: &mut Vec<Run>, address: Option<Address>) {
    match (runs.last_mut(), address) {
        (Some(Run::Zero { blocks }), None) => *blocks += 1,
        (Some(Run::Blocks { address: first, blocks }), Some(next))
            if first.pack == next.pack && first.slot.checked_add(u32::from(*blocks)) == Some(next.slot) =>
        {
            *blocks += 1;
        }
        (_, None) => runs.push(Run::Zero { blocks: 1 }),
        (_, Some(address)) => runs.push(Run::Blocks { address, blocks: 1 }),
    }
}

/// Opens what the vault has for deduplication: the packs that may be referred to, and their blocks.
fn open_known(vault: &Arc<Vault>, packs: &Arc<PackReader>, avoid: &HashSet<PackId>) -> Result<(HashSet<PackId>, Known), StoreError> {
    let mut usable = lists::usable_packs(vault)?;
    usable.retain(|pack| !avoid.contains(pack));
    let unreadable = catch_up::index_missing(vault, packs, &usable)?;
    let index = Index::open(vault.index_directory(), |pack| usable.contains(pack))?;
    let damaged: DamagedSlots = lists::damaged_slots(vault)?;
    let known = Known::new(Arc::clone(packs), index, damaged, usable.clone(), unreadable);
    Ok((usable, known))
}

impl Known {
    /// What the vault has, without a lease: for a dry run, which writes nothing that could refer to it.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn for_dry_run(vault: &Arc<Vault>, packs: &Arc<PackReader>) -> Result<Self, StoreError> {
        open_known(vault, packs, &HashSet::new()).map(|(_, known)| known)
    }
}
