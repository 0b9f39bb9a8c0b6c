//! Files in directories of exFAT: a set of entries of 32 bytes each, with a checksum over all of them.

use super::super::civil::dos_time;
use super::super::fields::{array, byte, le16, le32, le64};
use super::super::utf16::utf16_name;
use crate::guestfs::{Attributes, FileKind, Timestamp};

/// Bytes of an entry.
pub(super) const SLOT_BYTES: usize = 32;

/// Entries of the largest set: that of the file, that of its stream, and 17 with its name; others may follow that mean nothing here.
const MOST_SLOTS: usize = 256;

const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;

const READ_ONLY: u16 = 0x01;
const DIRECTORY: u16 = 0x10;

/// Bytes of the whole set that begins with this entry; `None` where no file begins.
pub(super) fn set_bytes(first: &[u8]) -> Option<usize> {
    let slots = usize::from(byte(first, 1)).saturating_add(1);
    (byte(first, 0) == FILE && (3..=MOST_SLOTS).contains(&slots)).then(|| slots.saturating_mul(SLOT_BYTES))
}

/// Whether an entry continues a set.
pub(super) fn continues(slot: &[u8]) -> bool {
    byte(slot, 0) >= STREAM
}

/// The checksum of a set.
pub(super) fn checksum(set: &[u8]) -> u16 {
    let bytes = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    bytes.fold(0_u16, |sum, (_, &byte)| sum.rotate_right(1).wrapping_add(u16::from(byte)))
}

/// Whether a set has the checksum that it says.
pub(super) fn is_whole(set: &[u8]) -> bool {
    checksum(set) == le16(set, 2)
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Read-only, hidden, system, directory and archive, with the numbers of DOS.
    pub(super) flags: u16,
    /// The number of the first cluster.
    pub(super) first: u32,
    /// Whether its clusters follow each other, so that the table says nothing of them.
    pub(super) is_contiguous: bool,
    /// Bytes.
    pub(super) size_bytes: u64,
    /// Bytes from the start that were ever written; zeros follow.
    pub(super) valid_bytes: u64,
    /// The name in UTF-16.
    pub(super) name: Vec<u16>,
    modified: Timestamp,
    created: Timestamp,
    accessed: Timestamp,
}

impl Record {
    /// From a whole set; `None` where it is not that of a file with a stream and a name.
    pub(super) fn parse(set: &[u8]) -> Option<Self> {
        let (slots, _) = set.as_chunks::<SLOT_BYTES>();
        let (file, rest) = slots.split_first()?;
        let (stream, rest) = rest.split_first()?;
        if byte(file, 0) != FILE || byte(stream, 0) != STREAM {
            return None;
        }
        let parts = rest.iter().take_while(|slot| byte(*slot, 0) == NAME);
        let units = parts.flat_map(|slot| (2..SLOT_BYTES).step_by(2).map(|at| le16(slot, at)));
        let name: Vec<u16> = units.take(usize::from(byte(stream, 3))).collect();
        if name.is_empty() {
            return None;
        }
        Some(Self {
            flags: le16(file, 4),
            first: le32(stream, 20),
            is_contiguous: byte(stream, 1) & 2 != 0,
            size_bytes: le64(stream, 24),
            valid_bytes: le64(stream, 8),
            name,
            created: time(file, 8, byte(file, 20), byte(file, 22)),
            modified: time(file, 12, byte(file, 21), byte(file, 23)),
            accessed: time(file, 16, 0, byte(file, 24)),
        })
    }

    /// The name as it is shown.
    pub(super) fn name(&self) -> Vec<u8> {
        utf16_name(self.name.iter().copied())
    }

    /// File or directory.
    pub(super) fn kind(&self) -> FileKind {
        if self.flags & DIRECTORY != 0 { FileKind::Directory } else { FileKind::Regular }
    }

    /// All that the set says.
    pub(super) fn attributes(&self, allocated_bytes: u64) -> Attributes {
        let kind = self.kind();
        let mode = match kind {
            FileKind::Directory => 0o755,
            _ if self.flags & READ_ONLY != 0 => 0o444,
            _ => 0o644,
        };
        Attributes {
            kind,
            size_bytes: self.size_bytes,
            allocated_bytes,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            device: None,
            modified: self.modified,
            changed: None,
            accessed: Some(self.accessed),
            created: Some(self.created),
        }
    }
}

/// A time with its distance from UTC in quarters of an hour; one without is taken as UTC.
fn time(slot: &[u8], at: usize, hundredths: u8, offset: u8) -> Timestamp {
    let [low, high, date_low, date_high] = array(slot, at);
    let local = dos_time(u16::from_le_bytes([date_low, date_high]), u16::from_le_bytes([low, high]), hundredths);
    // Seven bits with a sign, below the one that says that they count.
    let quarters = if offset & 0x80 == 0 { 0 } else { i64::from((offset << 1).cast_signed() >> 1) };
    Timestamp { seconds: local.seconds.saturating_sub(quarters.saturating_mul(900)), ..local }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_by_their_zone() {
        let mut slot = [0; SLOT_BYTES];
        // 2001-09-09 01:46:40
        slot[8..12].copy_from_slice(&((21_u32 << 25) | (9 << 21) | (9 << 16) | (1 << 11) | (46 << 5) | 20).to_le_bytes());
        let at = |hundredths, offset| time(&slot, 8, hundredths, offset);
        assert_eq!(at(0, 0), Timestamp { seconds: 1_000_000_000, nanoseconds: 0 });
        assert_eq!(at(0, 0x08).seconds, 1_000_000_000, "without the mark the zone does not count");
        assert_eq!(at(150, 0x80), Timestamp { seconds: 1_000_000_001, nanoseconds: 500_000_000 });
        assert_eq!(at(0, 0x88).seconds, 1_000_000_000 - 2 * 3600, "two hours east");
        assert_eq!(at(0, 0xfc).seconds, 1_000_000_000 + 3600, "an hour west");
    }
}
