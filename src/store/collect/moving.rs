//! Copies live slots into new packs, in the order in which it is told of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::format::control::MovedRange;
use crate::format::pack::PackKind;
use crate::store::pack::{DataPipeline, FinishedPack, NodePacks};
use crate::store::{PackReader, StoreError, Vault, shared_index};
use crate::units::{Address, BLOCK_BYTES, PackId};

/// What was copied.
#[derive(Debug, Default)]
pub struct Moved {
    /// For each pack that slots came from, where they are now, ascending.
    pub ranges: HashMap<PackId, Vec<MovedRange>>,
    /// Packs with slots that cannot be read, and why.
    pub damaged: HashMap<PackId, String>,
    /// New packs, with their sizes.
    pub packs: Vec<(PackId, u64)>,
}

/// Copies slots.
pub struct Mover {
    vault: Arc<Vault>,
    reader: Arc<PackReader>,
    data: DataPipeline,
    nodes: NodePacks,
    stored: Arc<AtomicU64>,
    finished: Vec<FinishedPack>,
    moved: Moved,
}

impl Mover {
    /// Copies with the level of compression that the vault asks for.
    pub fn new(vault: &Arc<Vault>, reader: &Arc<PackReader>) -> Self {
        Self {
            vault: Arc::clone(vault),
            reader: Arc::clone(reader),
            data: DataPipeline::new(vault, vault.header().compression_level),
            nodes: NodePacks::new(vault),
            stored: Arc::default(),
            finished: Vec::new(),
            moved: Moved::default(),
        }
    }

    /// Copies one slot of a pack of a kind, which is known as `birth`. A slot that cannot be read is noted, and stays where it is.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place: nothing can be said of what was copied since the last pack.
    pub fn copy(&mut self, from: Address, kind: PackKind, birth: Address) -> Result<(), StoreError> {
        let copied = match kind {
            PackKind::Data => self.copy_block(from, birth),
            PackKind::Map => self.copy_node(from, birth),
        };
        match copied {
            Ok(to) => {
                self.note(from, to);
                Ok(())
            }
            Err(Failed::Reading(error)) if error.is_damage() => {
                self.moved.damaged.entry(from.pack).or_insert_with(|| error.to_string());
                Ok(())
            }
            Err(Failed::Reading(error) | Failed::Writing(error)) => Err(error),
        }
    }

    fn copy_block(&mut self, from: Address, birth: Address) -> Result<Address, Failed> {
        let pieces = self.reader.locate(from, 1).map_err(Failed::Reading)?;
        let piece = pieces.first().ok_or(Failed::Reading(StoreError::Unresolved { address: from }))?;
        let frame = self.reader.frame(piece.place).map_err(Failed::Reading)?;
        let prints = self.reader.fingerprints(from.pack).map_err(Failed::Reading)?;
        let start = piece.first as usize * BLOCK_BYTES;
        let block = frame.get(start..start + BLOCK_BYTES).and_then(|bytes| bytes.first_chunk::<BLOCK_BYTES>());
        let (block, print) = block.zip(prints.get(from.slot as usize)).ok_or(Failed::Reading(StoreError::Unresolved { address: from }))?;
        self.data.push_moved(block, *print, birth, &self.stored).map_err(Failed::Writing)
    }

    fn copy_node(&mut self, from: Address, birth: Address) -> Result<Address, Failed> {
        let encoded = self.reader.read_node(from).map_err(Failed::Reading)?;
        let to = self.nodes.push(&encoded, Some(birth)).map_err(Failed::Writing)?;
        if self.nodes.is_full() {
            self.finished.extend(self.nodes.flush().map_err(Failed::Writing)?);
        }
        Ok(to)
    }

    fn note(&mut self, from: Address, to: Address) {
        let ranges = self.moved.ranges.entry(from.pack).or_default();
        match ranges.last_mut() {
            Some(last) if last.pack == to.pack && last.birth_slot + last.count == from.slot && last.slot + last.count == to.slot => {
                last.count += 1;
            }
            _ => ranges.push(MovedRange { birth_slot: from.slot, count: 1, pack: to.pack, slot: to.slot }),
        }
    }

    /// Returns when all copies are durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(mut self) -> Result<Moved, StoreError> {
        self.finished.extend(self.data.flush(&self.stored)?);
        self.finished.extend(self.nodes.flush()?);
        let mut indexed = Vec::new();
        for FinishedPack { pack, indexed: told } in self.finished {
            self.moved.packs.push((pack.id, pack.size_bytes));
            indexed.extend(told);
        }
        shared_index::leave(&self.vault, indexed)?;
        self.moved.ranges.values_mut().for_each(|ranges| ranges.sort_unstable_by_key(|range| range.birth_slot));
        Ok(self.moved)
    }
}

/// Why a slot was not copied.
enum Failed {
    Reading(StoreError),
    Writing(StoreError),
}
