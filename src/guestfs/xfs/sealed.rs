//! What structures of version 5 say of themselves: checksum, place, filesystem. Layout: `fs/xfs/libxfs/xfs_da_format.h` and
//! `xfs_format.h` of Linux.

use super::volume::Volume;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::fields::{array, be64, le32};
use crate::guestfs::{GuestError, GuestResult};

/// Where the fields lie in one kind of structure.
#[derive(Clone, Copy)]
pub(super) struct Seal {
    checksum_at: usize,
    place_at: usize,
    uuid_at: usize,
}

/// Blocks of the trees of extents.
pub(super) const EXTENTS: Seal = Seal { checksum_at: 64, place_at: 24, uuid_at: 40 };
/// Blocks of entries of directories.
pub(super) const ENTRIES: Seal = Seal { checksum_at: 4, place_at: 8, uuid_at: 24 };
/// Leaves and nodes of attributes.
pub(super) const ATTRIBUTES: Seal = Seal { checksum_at: 12, place_at: 16, uuid_at: 32 };
/// Targets of links, and values of attributes that have blocks of their own.
pub(super) const REMOTE: Seal = Seal { checksum_at: 12, place_at: 40, uuid_at: 16 };

/// The CRC-32C of a structure, its own field taken for zeros.
pub(super) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let (before, rest) = bytes.split_at(at.min(bytes.len()));
    !crc32c(crc32c(crc32c(!0, before), &[0; 4]), rest.get(4..).unwrap_or_default())
}

impl Seal {
    /// Checks a structure that was read from `at_bytes`.
    pub(super) fn check(self, volume: &Volume, at_bytes: u64, bytes: &[u8]) -> Result<(), String> {
        if !volume.superblock.has_checksums {
            return Ok(());
        }
        // Checksums are computed when a structure is written to its place: what comes from the log has an old one.
        if !volume.is_replayed(at_bytes, bytes.len()) {
            let (expected, found) = (checksum(bytes, self.checksum_at), le32(bytes, self.checksum_at));
            if expected != found {
                return Err(format!("its checksum is {found:08x}, not {expected:08x}"));
            }
        }
        let (expected, found) = (at_bytes / 512, be64(bytes, self.place_at));
        if expected != found {
            return Err(format!("it says that it lies in sector {found}, not {expected}"));
        }
        if array(bytes, self.uuid_at) != volume.superblock.structure_uuid {
            return Err("it is part of another filesystem".to_owned());
        }
        Ok(())
    }

    /// Reads and checks a structure.
    pub(super) fn read(self, volume: &Volume, at_bytes: u64, length: usize, object: &dyn Fn() -> String) -> GuestResult<Vec<u8>> {
        let bytes = volume.read(at_bytes, length, object)?;
        let place = || format!("the block at byte {at_bytes} of {}", object());
        self.check(volume, at_bytes, &bytes).map_err(|problem| GuestError::damaged(place(), problem))?;
        Ok(bytes)
    }
}
