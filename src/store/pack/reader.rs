//! Finds blocks and nodes by address and reads them: tables of contents, frames and fingerprints, each loaded once and cached.

use std::sync::Arc;

use super::frame;
use crate::backend::{Backend, BackendError};
use crate::crypt::{PackOpener, VaultKeys};
use crate::format::map::Run;
use crate::format::names::ObjectName;
use crate::format::pack::{FrameEntry, PackKind, TAIL_READ_BYTES, Toc, Trailer};
use crate::store::cache::Cache;
use crate::store::{StoreError, moved};
use crate::units::{Address, BLOCK_BYTES, Fingerprint, PackId};

/// Tables of contents kept at hand: those of about 100 GiB of packs.
const TABLES_BYTES: usize = 16 << 20;
/// Fingerprint tables kept at hand: about a hundred packs.
const FINGERPRINTS_BYTES: usize = 48 << 20;

/// A pack's table of contents with what is needed to open its frames.
pub(crate) struct PackInfo {
    pub(crate) toc: Toc,
    trailer: Trailer,
    opener: PackOpener,
}

impl PackInfo {
    /// Slots of a frame.
    pub(crate) fn frame_slots(&self, number: u32) -> std::ops::Range<u32> {
        let first = self.toc.frames.get(number as usize).map_or(self.toc.slot_count, |frame| frame.first_slot);
        let end = self.toc.frames.get(number as usize + 1).map_or(self.toc.slot_count, |frame| frame.first_slot);
        first..end
    }
}

/// Where consecutive slots lie now: in one frame of one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FramePlace {
    /// The pack.
    pub pack: PackId,
    /// The frame's number in it.
    pub frame: u32,
}

/// A part of a run that lies in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The frame.
    pub place: FramePlace,
    /// The first block's number in the frame.
    pub first: u32,
    /// Blocks.
    pub blocks: u32,
}

/// Reads from packs; shared by any number of threads.
pub struct PackReader {
    backend: Arc<dyn Backend>,
    keys: Arc<VaultKeys>,
    tables: Cache<PackId, Arc<PackInfo>>,
    frames: Cache<FramePlace, Arc<Vec<u8>>>,
    fingerprints: Cache<PackId, Arc<Vec<Fingerprint>>>,
    moved: moved::MovedPacks,
}

impl PackReader {
    /// A reader whose decompressed frames take at most `frame_cache_bytes` when nothing is being loaded.
    pub fn new(backend: Arc<dyn Backend>, keys: Arc<VaultKeys>, frame_cache_bytes: usize) -> Self {
        let moved = moved::MovedPacks::new(Arc::clone(&backend), Arc::clone(&keys));
        let (tables, fingerprints) = (Cache::new(TABLES_BYTES), Cache::new(FINGERPRINTS_BYTES));
        Self { backend, keys, tables, frames: Cache::new(frame_cache_bytes), fingerprints, moved }
    }

    /// A pack's table of contents.
    pub(crate) fn info(&self, pack: PackId) -> Result<Arc<PackInfo>, StoreError> {
        let weigh = |info: &Arc<PackInfo>| 256 + info.toc.frames.len() * size_of::<FrameEntry>();
        self.tables.get(&pack, || self.load_info(pack).map(Arc::new), weigh)
    }

    /// A pack's table of contents, read anew.
    fn load_info(&self, pack: PackId) -> Result<PackInfo, StoreError> {
        let name = ObjectName::Pack(pack).to_string();
        let size_bytes = self.backend.size_bytes(&name)?.ok_or_else(|| self.missing(&name))?;
        let tail_at = size_bytes.saturating_sub(TAIL_READ_BYTES);
        let tail = self.backend.get_range(&name, tail_at..size_bytes)?;
        let trailer = Trailer::decode(&tail, size_bytes).map_err(|source| StoreError::Damaged { name: name.clone(), source })?;
        let range = trailer.toc_range();
        let read_with_the_tail =
            range.start.checked_sub(tail_at).and_then(|start| tail.get(start as usize..(range.end - tail_at) as usize));
        let toc = match read_with_the_tail {
            Some(toc) => toc.to_vec(),
            None => self.backend.get_range(&name, range)?,
        };
        let (toc, opener) = self.keys.open_pack(pack, &trailer, &toc).map_err(|source| StoreError::Sealed { name, source })?;
        Ok(PackInfo { toc, trailer, opener })
    }

    fn missing(&self, name: &str) -> BackendError {
        BackendError::NotFound { location: self.backend.location(), name: name.to_owned() }
    }

    /// A pack's fingerprints, one for each slot.
    pub(crate) fn fingerprints(&self, pack: PackId) -> Result<Arc<Vec<Fingerprint>>, StoreError> {
        let load = || {
            let info = self.info(pack)?;
            let name = ObjectName::Pack(pack).to_string();
            let bytes = self.backend.get_range(&name, info.trailer.fingerprints_range())?;
            let prints = info.opener.open_fingerprints(&info.trailer, bytes);
            prints.map(Arc::new).map_err(|source| StoreError::Sealed { name, source })
        };
        self.fingerprints.get(&pack, load, |prints| prints.len() * Fingerprint::LEN)
    }

    /// A frame's raw bytes.
    ///
    /// # Errors
    /// [`StoreError::Frame`] for a damaged one; [`StoreError::Backend`] where the pack is missing or cannot be read.
    pub fn frame(&self, place: FramePlace) -> Result<Arc<Vec<u8>>, StoreError> {
        self.frames.get(&place, || self.load_frame(place).map(Arc::new), |raw| raw.len())
    }

    /// A frame's raw bytes, read from the store whatever the cache holds.
    pub(crate) fn load_frame(&self, place: FramePlace) -> Result<Vec<u8>, StoreError> {
        let info = self.info(place.pack)?;
        let entry = info.toc.frames.get(place.frame as usize).ok_or_else(|| StoreError::Frame {
            pack: place.pack,
            frame: place.frame,
            reason: format!("the pack has only {} frames", info.toc.frames.len()),
        })?;
        let range = entry.offset_bytes..entry.offset_bytes + u64::from(entry.stored_bytes);
        let bytes = self.backend.get_range(&ObjectName::Pack(place.pack).to_string(), range)?;
        frame::load(place.pack, place.frame, entry, bytes, &info.opener)
    }

    /// The pieces of `blocks` consecutive blocks from `address`, wherever they are now.
    ///
    /// # Errors
    /// [`StoreError::Unresolved`] where no pack has them.
    pub fn locate(&self, address: Address, blocks: u32) -> Result<Vec<Piece>, StoreError> {
        let mut pieces = Vec::with_capacity(2);
        let (mut at, mut left) = (address, blocks);
        while left > 0 {
            let (pack, slot, count) = self.place_of(at, left)?;
            let info = self.info(pack)?;
            let (number, entry) = info.toc.frame_of(slot).ok_or(StoreError::Unresolved { address: at })?;
            let held = (info.frame_slots(number).end - slot).min(count);
            pieces.push(Piece { place: FramePlace { pack, frame: number }, first: slot - entry.first_slot, blocks: held });
            at.slot += held;
            left -= held;
        }
        Ok(pieces)
    }

    /// The pack that holds a birth address now, the slot there, and how many of `count` consecutive slots follow it there.
    fn place_of(&self, address: Address, count: u32) -> Result<(PackId, u32, u32), StoreError> {
        match self.info(address.pack) {
            Ok(_) => Ok((address.pack, address.slot, count)),
            Err(error) if error.is_missing() => self.moved.find(address, count)?.ok_or(StoreError::Unresolved { address }),
            Err(error) => Err(error),
        }
    }

    /// Fills `chunk` from its runs. The last block may be cut short by the end of the chunk.
    ///
    /// # Errors
    /// [`StoreError`] of the first piece that cannot be read; [`StoreError::Runs`] where the runs do not fit the chunk.
    pub fn read_runs(&self, runs: &[Run], chunk: &mut [u8]) -> Result<(), StoreError> {
        let blocks: usize = runs.iter().map(|run| usize::from(run.blocks())).sum();
        if blocks != chunk.len().div_ceil(BLOCK_BYTES) {
            return Err(StoreError::Runs { blocks, chunk_bytes: chunk.len() });
        }
        let mut rest = chunk;
        for run in runs {
            let bytes = (usize::from(run.blocks()) * BLOCK_BYTES).min(rest.len());
            let (part, after) = rest.split_at_mut(bytes);
            rest = after;
            match *run {
                Run::Zero { .. } => part.fill(0),
                Run::Blocks { address, blocks } => self.read_blocks(address, u32::from(blocks), part)?,
            }
        }
        Ok(())
    }

    fn read_blocks(&self, address: Address, blocks: u32, target: &mut [u8]) -> Result<(), StoreError> {
        self.following_moves(address, || {
            let mut target = &mut *target;
            for piece in self.locate(address, blocks)? {
                let raw = self.frame(piece.place)?;
                let start = piece.first as usize * BLOCK_BYTES;
                let bytes = (piece.blocks as usize * BLOCK_BYTES).min(target.len());
                let (part, rest) = target.split_at_mut(bytes);
                let source = raw.get(start..start + bytes).ok_or(StoreError::Unresolved { address })?;
                part.copy_from_slice(source);
                target = rest;
            }
            Ok(())
        })
    }

    /// The encoded node at an address.
    ///
    /// # Errors
    /// [`StoreError`]; the caller checks the node's id.
    pub fn read_node(&self, address: Address) -> Result<Arc<Vec<u8>>, StoreError> {
        self.following_moves(address, || {
            let pieces = self.locate(address, 1)?;
            let piece = pieces.first().ok_or(StoreError::Unresolved { address })?;
            if self.info(piece.place.pack)?.toc.kind != PackKind::Map {
                return Err(StoreError::Unresolved { address });
            }
            self.frame(piece.place)
        })
    }

    /// Reads at an address, and once more when a pack is found missing: what is cached of it may be older than its removal.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn following_moves<T>(&self, address: Address, mut read: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match read() {
            Err(error) if error.is_missing() => {
                self.tables.forget(&address.pack);
                self.moved.forget(address.pack);
                read()
            }
            done => done,
        }
    }
}
