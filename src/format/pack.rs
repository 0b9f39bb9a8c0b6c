//! Packs: frames, then the fingerprints of their slots, the table of contents, and the trailer (in `trailer.rs`).
//!
//! Here are the table and its rules. It stores no offset and no slot number: both follow from the frames before, so no table can
//! contradict itself.

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use crate::units::{Address, BLOCK_BYTES, Fingerprint, MAX_FRAME_BLOCKS, PackId};

pub use super::trailer::{PACK_MAGIC, PACK_VERSION, PackTail, Section, TAIL_READ_BYTES, TRAILER_BYTES, Trailer};

/// Bytes that sealing adds to a frame and to the fingerprints.
pub const TAG_BYTES: u32 = 16;
/// Longest encoding of a map node.
pub const MAX_NODE_BYTES: u32 = 1024 * 1024;
/// Bytes of a frame's entry.
const FRAME_ENTRY_BYTES: u64 = 13;
/// Bytes of a birth range.
const BIRTH_BYTES: u64 = 28;

/// What a pack's frames hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// Blocks of disks: every slot is one block of 4 KiB.
    Data,
    /// Map nodes: every frame is one slot, of any length.
    Map,
}

impl PackKind {
    /// The number that stands for it in packs.
    pub fn number(self) -> u16 {
        match self {
            Self::Data => 1,
            Self::Map => 2,
        }
    }

    /// The kind of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Data, Self::Map].into_iter().find(|kind| kind.number() == number)
    }

    /// Slots of a frame of `raw_bytes`; `None` where no frame of this kind has that length.
    pub fn slots_of(self, raw_bytes: u32) -> Option<u32> {
        match self {
            Self::Data => {
                let raw_bytes = usize::try_from(raw_bytes).ok()?;
                let blocks = raw_bytes.is_multiple_of(BLOCK_BYTES).then_some(raw_bytes / BLOCK_BYTES)?;
                if (1..=MAX_FRAME_BLOCKS).contains(&blocks) { u32::try_from(blocks).ok() } else { None }
            }
            Self::Map => (1..=MAX_NODE_BYTES).contains(&raw_bytes).then_some(1),
        }
    }
}

/// How a frame's raw bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Stored,
    /// One zstd frame.
    Zstd,
}

/// One frame of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    /// Where its stored bytes start in the pack.
    pub offset_bytes: u64,
    /// Bytes as stored: compressed and sealed.
    pub stored_bytes: u32,
    /// Bytes when decompressed.
    pub raw_bytes: u32,
    /// How they are stored.
    pub codec: Codec,
    /// CRC-32 of the stored bytes.
    pub crc32: u32,
    /// Its first slot; it has slots up to the next frame's first.
    pub first_slot: u32,
}

/// Slots that a relocated pack took over from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BirthRange {
    /// First slot in this pack.
    pub slot: u32,
    /// Where that slot's block was born.
    pub birth: Address,
    /// How many consecutive slots.
    pub count: u32,
}

/// How a pack's own key is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyHeader {
    /// It has none: the vault is not encrypted.
    None,
    /// With the vault's master key: nonce, ciphertext, tag.
    MasterKey([u8; 60]),
}

impl KeyHeader {
    /// Bytes that sealing with such a key adds to each frame and to the fingerprints.
    pub fn overhead_bytes(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::MasterKey(_) => TAG_BYTES,
        }
    }

    fn write(&self, writer: &mut Writer) {
        let (number, bytes): (u16, &[u8]) = match self {
            Self::None => (0, &[]),
            Self::MasterKey(bytes) => (1, bytes),
        };
        writer.u16(number);
        writer.blob(bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let number = reader.u16()?;
        let bytes = reader.blob()?;
        match (number, bytes.len(), bytes.first_chunk()) {
            (0, 0, _) => Ok(Self::None),
            (1, 60, Some(bytes)) => Ok(Self::MasterKey(*bytes)),
            (0 | 1, length, _) => Err(reader.corrupt("a wrapped key of 0 or 60 bytes", length)),
            _ => Err(FormatError::Unsupported { object: "pack", what: format!("a key header of type {number}") }),
        }
    }
}

/// A pack's table of contents: frame table and trailer, without the fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toc {
    /// The pack's id, also its object's name.
    pub pack: PackId,
    /// What it holds.
    pub kind: PackKind,
    /// Its frames in ascending order of offset and slot.
    pub frames: Vec<FrameEntry>,
    /// Slots of the pack: blocks or nodes.
    pub slot_count: u32,
    /// Where its slots were born, where that is not here; ascending by slot.
    pub births: Vec<BirthRange>,
}

/// Where the next frame of a pack must start.
#[derive(Debug, Default)]
struct Position {
    offset_bytes: u64,
    slot: u32,
}

impl Position {
    /// Moves past a frame; its entry, or the rule that it breaks. `overhead_bytes` is what sealing adds to each frame.
    fn place(&mut self, kind: PackKind, overhead_bytes: u32, stored: StoredFrame) -> Result<FrameEntry, &'static str> {
        let StoredFrame { stored_bytes, raw_bytes, codec, crc32 } = stored;
        let slots = kind.slots_of(raw_bytes).ok_or("its raw length is not one that such a pack's frames can have")?;
        let full_bytes = raw_bytes.checked_add(overhead_bytes).ok_or("its raw length is too large")?;
        let legal = match codec {
            Codec::Stored => stored_bytes == full_bytes,
            Codec::Zstd => overhead_bytes < stored_bytes && stored_bytes < full_bytes,
        };
        if !legal {
            return Err("its stored length does not go with its raw length and codec");
        }
        let (offset_bytes, first_slot) = (self.offset_bytes, self.slot);
        self.offset_bytes = offset_bytes.checked_add(u64::from(stored_bytes)).ok_or("the pack's length overflows")?;
        self.slot = first_slot.checked_add(slots).ok_or("the pack's slots overflow")?;
        Ok(FrameEntry { offset_bytes, stored_bytes, raw_bytes, codec, crc32, first_slot })
    }
}

/// What the frame table says of a frame; offset and slot follow from the frames before it.
struct StoredFrame {
    stored_bytes: u32,
    raw_bytes: u32,
    codec: Codec,
    crc32: u32,
}

impl StoredFrame {
    fn of(frame: &FrameEntry) -> Self {
        Self { stored_bytes: frame.stored_bytes, raw_bytes: frame.raw_bytes, codec: frame.codec, crc32: frame.crc32 }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (stored_bytes, raw_bytes, crc32) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let codec = match reader.u8()? {
            0 => Codec::Stored,
            1 => Codec::Zstd,
            other => return Err(reader.corrupt("codec 0 or 1", other)),
        };
        Ok(Self { stored_bytes, raw_bytes, codec, crc32 })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.stored_bytes);
        writer.u32(self.raw_bytes);
        writer.u32(self.crc32);
        writer.u8(match self.codec {
            Codec::Stored => 0,
            Codec::Zstd => 1,
        });
    }
}

impl Toc {
    /// The frame that holds a slot, with its number.
    pub fn frame_of(&self, slot: u32) -> Option<(u32, &FrameEntry)> {
        if slot >= self.slot_count {
            return None;
        }
        let index = self.frames.partition_point(|frame| frame.first_slot <= slot).checked_sub(1)?;
        Some((u32::try_from(index).ok()?, self.frames.get(index)?))
    }

    /// The rule that the births break, if any.
    fn check_births(&self) -> Result<(), &'static str> {
        let mut free_from = 0;
        for range in &self.births {
            let end = range.slot.checked_add(range.count).filter(|&end| end <= self.slot_count);
            if range.count == 0 || range.slot < free_from || range.birth.slot.checked_add(range.count).is_none() {
                return Err("its births are empty, overlap or are not in order");
            }
            if range.birth.pack == self.pack {
                return Err("it names its own slots as born elsewhere");
            }
            free_from = end.ok_or("its births reach past its slots")?;
        }
        Ok(())
    }

    /// Bytes of all frames, or the rule that this breaks when its fingerprints take `stored_fingerprint_bytes`.
    pub(super) fn check(&self, key: &KeyHeader, stored_fingerprint_bytes: u64) -> Result<u64, &'static str> {
        let mut position = Position::default();
        for frame in &self.frames {
            if position.place(self.kind, key.overhead_bytes(), StoredFrame::of(frame))? != *frame {
                return Err("its frames do not follow one another");
            }
        }
        if self.frames.is_empty() || position.slot != self.slot_count {
            return Err("its slots are not those of its frames");
        }
        if fingerprint_bytes(self.kind, self.slot_count, key) != stored_fingerprint_bytes {
            return Err("its fingerprints are not those of its slots");
        }
        self.check_births()?;
        Ok(position.offset_bytes)
    }

    pub(super) fn encode(&self, key: &KeyHeader) -> Vec<u8> {
        let mut writer = Writer::new();
        key.write(&mut writer);
        writer.count(self.frames.len());
        writer.count(self.births.len());
        for frame in &self.frames {
            StoredFrame::of(frame).write(&mut writer);
        }
        for range in &self.births {
            writer.u32(range.slot);
            writer.u32(range.count);
            writer.u32(range.birth.slot);
            writer.raw(range.birth.pack.as_bytes());
        }
        writer.into_bytes()
    }

    /// The table of contents from the bytes of [`Trailer::toc_range`], with the pack's key as it is wrapped.
    ///
    /// This needs no key and proves nothing but the absence of accidents; who has the key checks [`Trailer::mac`] too.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`], [`FormatError::Unsupported`] for a key wrapped in a later way.
    pub fn decode(trailer: &Trailer, bytes: &[u8]) -> Result<(Self, KeyHeader), FormatError> {
        trailer.toc.check("table of contents", bytes)?;
        let mut reader = Reader::new("table of contents", bytes);
        let key = KeyHeader::read(&mut reader)?;
        let (frame_count, birth_count) = (reader.u64()?, reader.u64()?);
        reader.fits(frame_count, FRAME_ENTRY_BYTES)?;
        let mut position = Position::default();
        let mut place = |_| {
            let stored = StoredFrame::read(&mut reader)?;
            position.place(trailer.kind, key.overhead_bytes(), stored).map_err(|rule| reader.corrupt("a legal frame", rule))
        };
        let frames = (0..frame_count).map(&mut place).collect::<Result<Vec<_>, _>>()?;
        reader.fits(birth_count, BIRTH_BYTES)?;
        let births = (0..birth_count).map(|_| read_birth(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let toc = Self { pack: trailer.pack, kind: trailer.kind, frames, slot_count: position.slot, births };
        reader.require(!toc.frames.is_empty(), "at least one frame", 0)?;
        toc.check_births().map_err(|rule| reader.corrupt("legal births", rule))?;
        reader.require(
            position.offset_bytes == trailer.frames_bytes,
            "frames as long as the trailer says",
            format!("{} bytes", position.offset_bytes),
        )?;
        let expected = fingerprint_bytes(toc.kind, toc.slot_count, &key);
        reader.require(
            expected == trailer.fingerprints.length_bytes,
            "a fingerprint for each slot",
            format!("{} bytes", trailer.fingerprints.length_bytes),
        )?;
        reader.finish()?;
        Ok((toc, key))
    }
}

fn read_birth(reader: &mut Reader<'_>) -> Result<BirthRange, FormatError> {
    let (slot, count, birth_slot) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let pack = PackId(reader.array()?);
    Ok(BirthRange { slot, birth: Address { pack, slot: birth_slot }, count })
}

/// Bytes of the section of fingerprints as stored: none in a metadata pack, whose nodes are found by their parents.
fn fingerprint_bytes(kind: PackKind, slot_count: u32, key: &KeyHeader) -> u64 {
    match kind {
        PackKind::Data => u64::from(slot_count).saturating_mul(16).saturating_add(u64::from(key.overhead_bytes())),
        PackKind::Map => 0,
    }
}

/// The fingerprints' section before it is sealed.
pub fn encode_fingerprints(fingerprints: &[Fingerprint]) -> Vec<u8> {
    fingerprints.iter().flat_map(|fingerprint| fingerprint.0).collect()
}

/// The fingerprints from their section when it is open.
///
/// # Errors
/// [`FormatError::Corrupt`] for a part of one at the end.
pub fn decode_fingerprints(bytes: &[u8]) -> Result<Vec<Fingerprint>, FormatError> {
    let (whole, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() {
        return Ok(whole.iter().copied().map(Fingerprint).collect());
    }
    let found = format!("{} bytes", bytes.len());
    Err(FormatError::Corrupt { object: "section of fingerprints", at: wide(bytes.len()), expected: "16 bytes each".into(), found })
}
