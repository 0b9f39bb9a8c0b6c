//! Packs: frames, fingerprints, frame table, trailer.

use crate::units::{Address, PackId};

/// What a pack's frames hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// Blocks of disks: every slot is one block of 4 KiB.
    Data,
    /// Map nodes: every frame is one slot, of any length.
    Map,
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
