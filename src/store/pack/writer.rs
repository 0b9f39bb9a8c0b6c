//! A pack under way: frames appended in order, then fingerprints, table and trailer.

use super::frame::StoredFrame;
use crate::backend::{Created, ObjectWriter};
use crate::crypt::{PackSealer, random};
use crate::format::index::IndexedPack;
use crate::format::names::ObjectName;
use crate::format::pack::{BirthRange, FrameEntry, PackKind, Toc};
use crate::store::{StoreError, Vault, shared_index};
use crate::units::{Address, Fingerprint, PackId};

/// A pack that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenPack {
    /// Its id.
    pub id: PackId,
    /// Its size.
    pub size_bytes: u64,
}

/// A pack that is durable, with what an index object says of it where the vault needs one.
pub(crate) struct FinishedPack {
    pub(crate) pack: WrittenPack,
    pub(crate) indexed: Option<IndexedPack>,
}

/// Draws a new pack id and its keys.
pub(crate) fn new_sealer(vault: &Vault, kind: PackKind) -> Result<(PackId, PackSealer), StoreError> {
    let id = PackId(random()?);
    Ok((id, vault.keys().new_pack(id, kind)?))
}

/// Appends frames to a pack's object. Dropped before [`PackWriter::finish`] it leaves nothing.
pub(crate) struct PackWriter {
    id: PackId,
    kind: PackKind,
    object: Box<dyn ObjectWriter>,
    frames: Vec<FrameEntry>,
    /// Whether an index object will tell of this pack.
    shared: bool,
    offset_bytes: u64,
    slots: u32,
}

impl PackWriter {
    pub(crate) fn new(vault: &Vault, id: PackId, kind: PackKind) -> Result<Self, StoreError> {
        let object = vault.backend().writer(&ObjectName::Pack(id).to_string())?;
        let shared = shared_index::is_needed(vault);
        Ok(Self { id, kind, object, frames: Vec::new(), shared, offset_bytes: 0, slots: 0 })
    }

    /// Appends a frame that holds the next `slots` slots.
    pub(crate) fn append(&mut self, frame: &StoredFrame, slots: u32) -> Result<(), StoreError> {
        self.object.write(&frame.bytes)?;
        let stored_bytes = frame.bytes.len() as u32;
        self.frames.push(FrameEntry {
            offset_bytes: self.offset_bytes,
            stored_bytes,
            raw_bytes: frame.raw_bytes,
            codec: frame.codec,
            crc32: frame.crc32,
            first_slot: self.slots,
        });
        self.offset_bytes += u64::from(stored_bytes);
        self.slots += slots;
        Ok(())
    }

    /// Bytes of the frames so far.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Writes the tail and makes the pack visible and durable. `births` says which slots were born elsewhere.
    pub(crate) fn finish(
        mut self,
        sealer: PackSealer,
        fingerprints: Vec<Fingerprint>,
        births: Vec<BirthRange>,
    ) -> Result<FinishedPack, StoreError> {
        let toc = Toc { pack: self.id, kind: self.kind, frames: self.frames, slot_count: self.slots, births };
        let tail = sealer.finish(&toc, &fingerprints)?;
        self.object.write(&tail)?;
        match self.object.finish()? {
            Created::New => {
                let size_bytes = self.offset_bytes + tail.len() as u64;
                let indexed = self.shared.then(|| IndexedPack::from_tail(&tail, size_bytes, fingerprints)).transpose()?;
                Ok(FinishedPack { pack: WrittenPack { id: self.id, size_bytes }, indexed })
            }
            Created::Exists => Err(StoreError::Taken { name: ObjectName::Pack(self.id).to_string() }),
        }
    }
}

/// Adds a slot that was born elsewhere, behind those before it.
pub(crate) fn add_birth(births: &mut Vec<BirthRange>, slot: u32, birth: Address) {
    match births.last_mut() {
        Some(last)
            if last.birth.pack == birth.pack
                && last.slot + last.count == slot
                && last.birth.slot.checked_add(last.count) == Some(birth.slot) =>
        {
            last.count += 1;
        }
        _ => births.push(BirthRange { slot, birth, count: 1 }),
    }
}
