//! Finds blocks and nodes by address and reads them: tables of contents, frames and fingerprints, each loaded once and cached.

use std::cell::Cell;
use std::sync::Arc;

use super::buffer::{Frame, SpareBuffers};
use super::frame;
use crate::backend::{Backend, BackendError};
use crate::crypt::{PackOpener, VaultKeys};
use crate::format::names::ObjectName;
use crate::format::pack::{FrameEntry, PackKind, TAIL_READ_BYTES, Toc, Trailer};
use crate::store::cache::Cache;
use crate::store::{StoreError, moved};
use crate::units::{Address, Fingerprint, PackId};

/// Tables of contents kept at hand: those of about 100 GiB of packs.
const TABLES_BYTES: usize = 16 << 20;
/// Fingerprint tables kept at hand: about a hundred packs.
const FINGERPRINTS_BYTES: usize = 48 << 20;

/// How often a block is looked for again that has moved just when it was read.
const MOVES_FOLLOWED: u32 = 4;

thread_local! {
    /// Memory for a frame as it is stored, used again for the next one on the thread.
    static STORED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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
    frames: Cache<FramePlace, Arc<Frame>>,
    spare: Arc<SpareBuffers>,
    fingerprints: Cache<PackId, Arc<Vec<Fingerprint>>>,
    moved: moved::MovedPacks,
}

impl PackReader {
    /// A reader whose decompressed frames take at most `frame_cache_bytes` when nothing is being loaded.
    pub fn new(backend: Arc<dyn Backend>, keys: Arc<VaultKeys>, frame_cache_bytes: usize) -> Self {
        let moved = moved::MovedPacks::new(Arc::clone(&backend), Arc::clone(&keys));
        let (tables, fingerprints) = (Cache::new(TABLES_BYTES), Cache::new(FINGERPRINTS_BYTES));
        let (frames, spare) = (Cache::new(frame_cache_bytes), Arc::default());
        Self { backend, keys, tables, frames, spare, fingerprints, moved }
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
    pub fn frame(&self, place: FramePlace) -> Result<Arc<Frame>, StoreError> {
        self.frames.get(&place, || self.load_frame(place).map(Arc::new), |frame| frame.held_bytes())
    }

    /// A frame's raw bytes, read from the store whatever the cache holds.
    pub(crate) fn load_frame(&self, place: FramePlace) -> Result<Frame, StoreError> {
        let info = self.info(place.pack)?;
        let entry = info.toc.frames.get(place.frame as usize).ok_or_else(|| StoreError::Frame {
            pack: place.pack,
            frame: place.frame,
            reason: format!("the pack has only {} frames", info.toc.frames.len()),
        })?;
        let range = entry.offset_bytes..entry.offset_bytes + u64::from(entry.stored_bytes);
        // Taken out meanwhile, so that whatever the store does on this thread finds no borrow.
        let mut stored = STORED.take();
        self.backend.get_range_into(&ObjectName::Pack(place.pack).to_string(), range, &mut stored)?;
        let raw = frame::load(place.pack, place.frame, entry, &mut stored, &info.opener, &self.spare);
        STORED.set(stored);
        Ok(Frame::new(raw?, Arc::clone(&self.spare)))
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

    /// The encoded node at an address.
    ///
    /// # Errors
    /// [`StoreError`]; the caller checks the node's id.
    pub fn read_node(&self, address: Address) -> Result<Arc<Frame>, StoreError> {
        self.following_moves(address, || {
            let pieces = self.locate(address, 1)?;
            let piece = pieces.first().ok_or(StoreError::Unresolved { address })?;
            if self.info(piece.place.pack)?.toc.kind != PackKind::Map {
                return Err(StoreError::Unresolved { address });
            }
            self.frame(piece.place)
        })
    }

    /// Reads at an address, and again when a pack is found missing: what is cached of it may be older than its removal, and the next
    /// collection may move it just when it is looked for.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn following_moves<T>(&self, address: Address, mut read: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        for _ in 0..MOVES_FOLLOWED {
            match read() {
                Err(error) if error.is_missing() => {
                    self.tables.forget(&address.pack);
                    self.moved.forget(address.pack);
                }
                done => return done,
            }
        }
        read()
    }
}
