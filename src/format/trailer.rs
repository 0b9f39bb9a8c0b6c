//! The end of a pack: what lies where in it, found from its last bytes alone.

use std::ops::Range;

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use super::envelope::version_and_features;
use super::pack::{KeyHeader, PackKind, Toc};
use crate::units::PackId;

/// What every pack ends with.
pub const PACK_MAGIC: [u8; 8] = *b"\x89CAIRNPK";
/// The version of packs.
pub const PACK_VERSION: u16 = 1;
/// Bytes of the trailer.
pub const TRAILER_BYTES: u32 = 108;
/// What a reader takes from a pack's end in its first request: it holds the trailer of any version, and most often the table of
/// contents too.
pub const TAIL_READ_BYTES: u64 = 64 * 1024;
/// The part at the very end that is the same in all versions.
const ENDING_BYTES: usize = 28;
/// What the checksum does not cover: itself and the magic.
const UNCHECKED_BYTES: usize = 12;

/// A section of a pack: its length, and the CRC-32 of its bytes as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Bytes as stored.
    pub length_bytes: u64,
    /// Their CRC-32.
    pub crc32: u32,
}

impl Section {
    fn of(bytes: &[u8]) -> Self {
        Self { length_bytes: wide(bytes.len()), crc32: crc32fast::hash(bytes) }
    }

    /// Compares the section as read with what the trailer says of it.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn check(&self, object: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
        let reader = Reader::new(object, bytes);
        reader.require(wide(bytes.len()) == self.length_bytes, &format!("{} bytes", self.length_bytes), bytes.len())?;
        let computed = crc32fast::hash(bytes);
        reader.require(computed == self.crc32, &format!("bytes with checksum {:08x}", self.crc32), format!("{computed:08x}"))
    }
}

/// A pack's fixed end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The pack's id, also its object's name.
    pub pack: PackId,
    /// What its frames hold.
    pub kind: PackKind,
    /// Feature bits that a reader may ignore. This version sets none.
    pub compatible: u32,
    /// Bytes of all frames, from the pack's start.
    pub frames_bytes: u64,
    /// The section of fingerprints, after the frames.
    pub fingerprints: Section,
    /// The table of contents, after the fingerprints.
    pub toc: Section,
    /// Authenticates the table of contents and this trailer, see [`Trailer::mac_input`].
    pub mac: [u8; 32],
}

impl Trailer {
    /// Where in the pack the section of fingerprints is.
    pub fn fingerprints_range(&self) -> Range<u64> {
        self.frames_bytes..self.toc_range().start
    }

    /// Where in the pack the table of contents is.
    pub fn toc_range(&self) -> Range<u64> {
        let start = self.frames_bytes.saturating_add(self.fingerprints.length_bytes);
        start..start.saturating_add(self.toc.length_bytes)
    }

    /// The trailer's part of what its MAC covers, after the table of contents: itself up to the checksum, with zeros for the MAC.
    pub fn mac_input(&self) -> Vec<u8> {
        Self { mac: [0; 32], ..self.clone() }.checked_part().into_bytes()
    }

    fn checked_part(&self) -> Writer {
        let mut writer = Writer::new();
        writer.raw(self.pack.as_bytes());
        writer.u64(self.frames_bytes);
        writer.u64(self.fingerprints.length_bytes);
        writer.u32(self.fingerprints.crc32);
        writer.u64(self.toc.length_bytes);
        writer.u32(self.toc.crc32);
        writer.raw(&self.mac);
        writer.u16(self.kind.number());
        writer.u16(PACK_VERSION);
        writer.u32(0);
        writer.u32(self.compatible);
        writer.u32(TRAILER_BYTES);
        writer
    }

    /// The trailer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = self.checked_part();
        writer.checksum();
        writer.raw(&PACK_MAGIC);
        writer.into_bytes()
    }

    /// Bytes of the pack; `None` where its sections are longer than any pack can be.
    pub fn pack_bytes(&self) -> Option<u64> {
        let sections = [self.fingerprints.length_bytes, self.toc.length_bytes, u64::from(TRAILER_BYTES)];
        sections.into_iter().try_fold(self.frames_bytes, |sum, length_bytes| sum.checked_add(length_bytes))
    }

    /// The trailer from a pack's last bytes (at least [`TAIL_READ_BYTES`], or all that it has) and its length.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`], [`FormatError::Unsupported`] for a pack of a later version.
    pub fn decode(tail: &[u8], pack_bytes: u64) -> Result<Self, FormatError> {
        let trailer = Self::decode_alone(tail)?;
        let reader = Reader::new("pack", tail);
        let total_bytes = trailer.pack_bytes();
        let found = total_bytes.unwrap_or(u64::MAX);
        reader.require(found == pack_bytes, &format!("{pack_bytes} bytes in its sections"), found)?;
        Ok(trailer)
    }

    /// The trailer at the end of `tail`, whatever is before it.
    pub(super) fn decode_alone(tail: &[u8]) -> Result<Self, FormatError> {
        let object = "pack trailer";
        let (trailer, kind_number) = Self::find(object, tail)?;
        let mut reader = Reader::new(object, trailer);
        let pack = PackId(reader.array()?);
        let frames_bytes = reader.u64()?;
        let fingerprints = Section { length_bytes: reader.u64()?, crc32: reader.u32()? };
        let toc = Section { length_bytes: reader.u64()?, crc32: reader.u32()? };
        let mac = reader.array()?;
        let kind = PackKind::from_number(kind_number).ok_or_else(|| reader.corrupt("kind 1 or 2", kind_number))?;
        // Kind, version and incompatible features: `find` took them.
        reader.raw(8)?;
        let compatible = reader.u32()?;
        let trailer = Self { pack, kind, compatible, frames_bytes, fingerprints, toc, mac };
        reader.require(trailer.pack_bytes().is_some(), "sections that a pack can hold", "too much")?;
        Ok(trailer)
    }

    /// The trailer's own bytes when it is whole and of this version, and the kind that it names.
    fn find<'a>(object: &'static str, tail: &'a [u8]) -> Result<(&'a [u8], u16), FormatError> {
        let ending = tail.last_chunk::<ENDING_BYTES>().map_or(tail, |ending| ending);
        let mut reader = Reader::new(object, ending);
        let kind_number = reader.u16()?;
        let mut versions = reader.clone();
        reader.raw(10)?;
        let length_bytes = reader.u32()?;
        let length_read = reader.clone();
        let stored = reader.u32()?;
        let checksum_read = reader.clone();
        let magic = reader.raw(8)?;
        reader.require(magic == PACK_MAGIC, "the magic of a cairn pack", magic.escape_ascii())?;
        let start = usize::try_from(length_bytes).ok().and_then(|length| tail.len().checked_sub(length));
        let trailer = start.filter(|_| wide(ENDING_BYTES) <= u64::from(length_bytes)).and_then(|start| tail.get(start..));
        let trailer = trailer.ok_or_else(|| length_read.corrupt("a trailer's length", length_bytes))?;
        let covered = trailer.len().checked_sub(UNCHECKED_BYTES).and_then(|length| trailer.get(..length)).unwrap_or_default();
        let computed = crc32fast::hash(covered);
        checksum_read.require(computed == stored, &format!("checksum {computed:08x}"), format!("{stored:08x}"))?;
        version_and_features(&mut versions, "pack", PACK_VERSION)?;
        length_read.require(length_bytes == TRAILER_BYTES, "a trailer of 108 bytes", length_bytes)?;
        Ok((trailer, kind_number))
    }
}

/// What follows a pack's frames, before it is authenticated.
#[derive(Debug)]
pub struct PackTail {
    fingerprints: Vec<u8>,
    toc: Vec<u8>,
    trailer: Trailer,
}

impl PackTail {
    /// Puts together a pack's end; `fingerprints` is their section as stored, sealed where the pack has a key.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where the table breaks a rule of the format: nobody could read the pack.
    pub fn new(toc: &Toc, key: &KeyHeader, fingerprints: Vec<u8>) -> Result<Self, FormatError> {
        let frames_bytes = toc.check(key, wide(fingerprints.len())).map_err(|rule| FormatError::invalid("pack", rule))?;
        let toc_bytes = toc.encode(key);
        let trailer = Trailer {
            pack: toc.pack,
            kind: toc.kind,
            compatible: 0,
            frames_bytes,
            fingerprints: Section::of(&fingerprints),
            toc: Section::of(&toc_bytes),
            mac: [0; 32],
        };
        Ok(Self { fingerprints, toc: toc_bytes, trailer })
    }

    /// The table's bytes and the trailer, for the MAC.
    pub fn to_authenticate(&self) -> (&[u8], &Trailer) {
        (&self.toc, &self.trailer)
    }

    /// The bytes to append after the frames.
    pub fn encode(self, mac: [u8; 32]) -> Vec<u8> {
        let mut bytes = self.fingerprints;
        bytes.extend_from_slice(&self.toc);
        bytes.extend_from_slice(&Trailer { mac, ..self.trailer }.encode());
        bytes
    }
}
