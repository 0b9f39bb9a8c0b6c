//! Files that NTFS compresses: units of (usually) 16 clusters, each stored as it is, as a hole, or as LZNT1 in its first clusters with a
//! hole after them. A unit is decoded alone, so reading anywhere costs one unit.

use std::io;
use std::sync::Arc;

use super::bytes::index;
use super::lznt1;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::recent::Recent;
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// Bytes of decoded units that are kept of a file.
const KEPT_BYTES: usize = 512 << 10;

/// A file in units.
pub(super) struct CompressedFile {
    object: String,
    /// The clusters, as if nothing were compressed.
    raw: MappedFile,
    size_bytes: u64,
    initialized_bytes: u64,
    unit_bytes: u64,
    /// Units by the places where they begin, for readers that ask for less than a unit at a time.
    decoded: Recent<u64, Vec<u8>>,
}

/// How a unit is stored.
enum Stored {
    Hole,
    Plain,
    /// In this many bytes.
    Packed(u64),
}

impl CompressedFile {
    /// `raw` places the clusters, `unit_bytes` of them are compressed together.
    pub(super) fn new(object: &str, raw: MappedFile, size_bytes: u64, initialized_bytes: u64, unit_bytes: u64) -> Self {
        Self { object: object.to_owned(), raw, size_bytes, initialized_bytes, unit_bytes, decoded: Recent::new(KEPT_BYTES, 1) }
    }

    /// How the unit that begins at `start` is stored.
    fn stored(&self, start: u64) -> GuestResult<Stored> {
        let unit_end = start.saturating_add(self.unit_bytes);
        let end = unit_end.min(self.raw.size_bytes());
        let mut at = start;
        let mut data_end = start;
        let mut in_hole = false;
        while at < end {
            let run = self.raw.run_at(at)?;
            if run.length_bytes == 0 {
                break;
            }
            at = at.saturating_add(run.length_bytes);
            match run.place {
                Place::Hole => in_hole = true,
                _ if in_hole => {
                    return Err(GuestError::damaged(&self.object, format!("the compressed unit at byte {start} has data after its hole")));
                }
                _ => data_end = at.min(end),
            }
        }
        Ok(match data_end.saturating_sub(start) {
            0 => Stored::Hole,
            length if length == self.unit_bytes => Stored::Plain,
            length => Stored::Packed(length),
        })
    }

    fn unpack(&self, start: u64, packed_bytes: u64) -> GuestResult<Arc<Vec<u8>>> {
        if let Some(unit) = self.decoded.get(start) {
            return Ok(unit);
        }
        let mut packed = vec![0; index(packed_bytes)];
        self.raw.read_at(start, &mut packed)?;
        let unit = lznt1::decode(&packed, index(self.unit_bytes));
        let unit =
            unit.ok_or_else(|| GuestError::damaged(&self.object, format!("the compressed unit at byte {start} cannot be decoded")))?;
        let unit = Arc::new(unit);
        self.decoded.put(start, Arc::clone(&unit), unit.len());
        Ok(unit)
    }

    /// Fills `part`, which lies within one unit and before the end of what was written.
    fn read_within(&self, offset: u64, part: &mut [u8]) -> GuestResult<()> {
        let within = offset.checked_rem(self.unit_bytes).unwrap_or(0);
        let start = offset.saturating_sub(within);
        match self.stored(start)? {
            Stored::Hole => part.fill(0),
            Stored::Plain => self.raw.read_at(offset, part)?,
            Stored::Packed(packed_bytes) => {
                let unit = self.unpack(start, packed_bytes)?;
                let end = index(within).saturating_add(part.len());
                if let Some(bytes) = unit.get(index(within)..end) {
                    part.copy_from_slice(bytes);
                }
            }
        }
        Ok(())
    }
}

impl ReadAt for CompressedFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|end| *end <= self.size_bytes);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let written = index(self.initialized_bytes.saturating_sub(offset_bytes)).min(buffer.len());
        let (mut buffer, never_written) = buffer.split_at_mut(written);
        never_written.fill(0);
        let mut at = offset_bytes;
        while !buffer.is_empty() {
            let left = index(self.unit_bytes.saturating_sub(at.checked_rem(self.unit_bytes).unwrap_or(0))).min(buffer.len());
            let (part, rest) = std::mem::take(&mut buffer).split_at_mut(left);
            self.read_within(at, part)?;
            at = at.saturating_add(part.len() as u64);
            buffer = rest;
        }
        Ok(())
    }
}

impl FileData for CompressedFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let left = self.size_bytes.saturating_sub(offset_bytes);
        if offset_bytes >= self.initialized_bytes {
            return Ok(Run { length_bytes: left, place: Place::Hole });
        }
        let within = offset_bytes.checked_rem(self.unit_bytes).unwrap_or(0);
        let start = offset_bytes.saturating_sub(within);
        let left = left.min(self.initialized_bytes.saturating_sub(offset_bytes));
        let of_unit = self.unit_bytes.saturating_sub(within).min(left);
        Ok(match self.stored(start)? {
            Stored::Packed(_) => Run { length_bytes: of_unit, place: Place::Computed },
            Stored::Plain => {
                let run = self.raw.run_at(offset_bytes)?;
                Run { length_bytes: run.length_bytes.min(of_unit), place: run.place }
            }
            Stored::Hole => {
                // A hole that ends within a later unit is that unit's: only whole units count.
                let hole = self.raw.run_at(start)?.length_bytes;
                let whole = hole.saturating_sub(hole.checked_rem(self.unit_bytes).unwrap_or(0));
                let length = whole.saturating_sub(within).max(of_unit).min(left);
                let length = if start.saturating_add(hole) >= self.raw.size_bytes() { left } else { length };
                Run { length_bytes: length, place: Place::Hole }
            }
        })
    }
}
