//! The boot region of exFAT, after Microsoft's "exFAT file system specification" (2019): a sector with all the numbers, a checksum over
//! the eleven first ones, and a copy of all of it after twelve.

use super::super::chain::Clusters;
use super::super::fields::{array, byte, le16, le32, le64};
use crate::guestfs::{GuestError, GuestResult};
use crate::io::ReadAt;

/// The mark in [`Boot::flags`] of a volume that is mounted, and of one whose disk failed.
pub(super) const DIRTY: u16 = 2;
pub(super) const FAILED: u16 = 4;

/// Sectors of a boot region, the last one of checksums.
const REGION_SECTORS: u64 = 12;

/// Where a volume has what.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    /// Bytes of the volume, as it says.
    pub(super) size_bytes: u64,
    /// Where the allocation table in use lies.
    pub(super) table: [u64; 1],
    /// Bytes of it.
    pub(super) table_bytes: u64,
    /// Where the clusters lie.
    pub(super) clusters: Clusters,
    /// The first cluster of the topmost directory.
    pub(super) root: u32,
    /// The serial number.
    pub(super) serial: u32,
    /// The volume's flags.
    pub(super) flags: u16,
    /// Whether the first or the second table and bitmap are in use.
    pub(super) active: u8,
    sector_bytes: u64,
}

/// The boot sector, and what is to be said of it; `None` where it is none of exFAT.
///
/// # Errors
/// The device's.
pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Option<(Boot, Option<&'static str>)>> {
    let mut sector = [0; 512];
    if device.size_bytes() < REGION_SECTORS * 512 {
        return Ok(None);
    }
    device.read_at(0, &mut sector).map_err(GuestError::Device)?;
    if !named(&sector) {
        return Ok(None);
    }
    let first = parse(&sector);
    if let Some(boot) = first.clone().filter(|boot| is_whole(device, 0, boot.sector_bytes)) {
        return Ok(Some((boot, None)));
    }
    // The copy is believed only below a first sector that says exFAT: it outlives being overwritten by another filesystem.
    for sector_bytes in [512, 1024, 2048, 4096] {
        let start = REGION_SECTORS * sector_bytes;
        if device.read_at(start, &mut sector).is_err() || !named(&sector) {
            continue;
        }
        if let Some(boot) = parse(&sector).filter(|boot| boot.sector_bytes == sector_bytes && is_whole(device, start, sector_bytes)) {
            return Ok(Some((boot, Some("its boot sector is damaged: the copy was used"))));
        }
    }
    Ok(first.map(|boot| (boot, Some("its boot sectors do not have the checksum that they should have"))))
}

/// Whether it says that it is exFAT. Where FAT has its numbers there must be zeros.
fn named(sector: &[u8]) -> bool {
    &array::<8>(sector, 3) == b"EXFAT   " && array::<53>(sector, 11) == [0; 53] && array(sector, 510) == [0x55, 0xaa]
}

fn parse(sector: &[u8]) -> Option<Boot> {
    let (sector_shift, cluster_shift, tables) = (byte(sector, 108), byte(sector, 109), u64::from(byte(sector, 110)));
    if !(9..=12).contains(&sector_shift) || cluster_shift > 25_u8.checked_sub(sector_shift)? || !(1..=2).contains(&tables) {
        return None;
    }
    let sector_bytes = 1_u64 << sector_shift;
    let bytes = |sectors: u64| sectors.checked_mul(sector_bytes);
    let flags = le16(sector, 106);
    let active = u64::from(flags & 1).min(tables.saturating_sub(1));
    let table_bytes = bytes(u64::from(le32(sector, 84)))?;
    let table_start = bytes(u64::from(le32(sector, 80)))?.checked_add(active.checked_mul(table_bytes)?)?;
    // A table that is too short ends the volume.
    let count = u64::from(le32(sector, 92)).min((table_bytes / 4).saturating_sub(2));
    let clusters = Clusters {
        start_bytes: bytes(u64::from(le32(sector, 88)))?,
        cluster_bytes: sector_bytes << cluster_shift,
        count: u32::try_from(count).ok()?,
    };
    let root = le32(sector, 96);
    clusters.offset(root)?;
    Some(Boot {
        size_bytes: bytes(le64(sector, 72))?,
        table: [table_start],
        table_bytes,
        clusters,
        root,
        serial: le32(sector, 100),
        flags,
        active: u8::try_from(active).unwrap_or(0),
        sector_bytes,
    })
}

/// Whether the sectors of a boot region have their checksum, which leaves out the flags and the share in use.
fn is_whole(device: &dyn ReadAt, start_bytes: u64, sector_bytes: u64) -> bool {
    let mut region = vec![0; usize::try_from(sector_bytes * REGION_SECTORS).unwrap_or(0)];
    if device.read_at(start_bytes, &mut region).is_err() {
        return false;
    }
    let (sectors, sums) = region.split_at(region.len() / 12 * 11);
    let sum = checksum32(sectors.iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112)).map(|(_, &byte)| byte));
    le32(sums, 0) == sum
}

/// The checksum of boot regions and of tables of capitals.
pub(super) fn checksum32(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(byte)))
}
