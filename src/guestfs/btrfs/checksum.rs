//! The four checksums of btrfs. They cover the superblock and tree blocks (all bytes after the field of the checksum itself) and, in a
//! tree of their own, each sector of data.

use aws_lc_rs::digest::{SHA256, digest};
use blake2::Digest;
use blake2::digest::consts::U32;

use super::super::{GuestError, GuestResult};

/// Bytes of the field that holds a checksum at the start of superblocks and tree blocks.
pub(super) const FIELD_BYTES: usize = 32;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Crc32c,
    XxHash64,
    Sha256,
    Blake2b,
}

impl Checksum {
    /// The algorithm of a number in the superblock.
    pub(super) fn of(number: u16) -> GuestResult<Self> {
        match number {
            0 => Ok(Self::Crc32c),
            1 => Ok(Self::XxHash64),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Blake2b),
            _ => Err(GuestError::unsupported(format!("btrfs with checksums of type {number}"))),
        }
    }

    /// Bytes of a checksum.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::XxHash64 => 8,
            Self::Sha256 | Self::Blake2b => 32,
        }
    }

    /// The checksum, in the first [`Checksum::bytes`] of the field.
    pub(super) fn of_bytes(self, bytes: &[u8]) -> [u8; FIELD_BYTES] {
        let mut field = [0; FIELD_BYTES];
        match self {
            Self::Crc32c => field[..4].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes()),
            Self::XxHash64 => field[..8].copy_from_slice(&twox_hash::XxHash64::oneshot(0, bytes).to_le_bytes()),
            Self::Sha256 => field.copy_from_slice(digest(&SHA256, bytes).as_ref()),
            Self::Blake2b => field.copy_from_slice(&blake2::Blake2b::<U32>::digest(bytes)),
        }
        field
    }

    /// Whether `bytes` have the checksum that starts `expected`.
    pub(super) fn matches(self, expected: &[u8], bytes: &[u8]) -> bool {
        expected.get(..self.bytes()) == self.of_bytes(bytes).get(..self.bytes())
    }

    /// Whether a superblock or tree block has the checksum in its first field.
    pub(super) fn matches_block(self, block: &[u8]) -> bool {
        block.split_at_checked(FIELD_BYTES).is_some_and(|(field, rest)| self.matches(field, rest))
    }
}
