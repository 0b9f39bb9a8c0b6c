//! The boot sector: where everything lies, and whether it is one of FAT at all. Its fields are those of Microsoft's "FAT32 File System
//! Specification" (2000). Many other things begin like one (NTFS, exFAT, boot code of disks), so every field is checked against
//! the others.

use super::super::chain::Clusters;
use super::super::fields::{array, byte, le16, le32};
use super::names;
use super::table::Width;
use crate::guestfs::{GuestError, GuestResult};
use crate::io::ReadAt;

/// The most clusters with entries of 12 bits, and of 16.
const MOST_OF_12: u64 = 4084;
const MOST_OF_16: u64 = 65_524;
const MOST_OF_32: u64 = 0x0fff_fff4;

/// Where a volume has what.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Bytes of the volume, as it says.
    pub(super) size_bytes: u64,
    /// Width of the entries of the allocation table.
    pub(super) width: Width,
    /// Where the copies of the table lie, the one to use first.
    pub(super) tables: Vec<u64>,
    /// Bytes of each copy.
    pub(super) table_bytes: u64,
    /// Where the clusters lie.
    pub(super) clusters: Clusters,
    /// Where the topmost directory lies.
    pub(super) root: Root,
    /// Where the sector with the count of free clusters lies (only 32 bits).
    pub(super) info_bytes: Option<u64>,
    /// The serial number.
    pub(super) serial: Option<u32>,
    /// The label in the boot sector; that in the topmost directory is the one that systems show.
    pub(super) label: Option<String>,
    /// The mark by which Linux and Windows NT remember that it is mounted.
    pub(super) dirty: bool,
}

/// The topmost directory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    /// A place of its own, of fixed size.
    Fixed {
        /// Where on the device.
        start_bytes: u64,
        /// How many bytes.
        length_bytes: u64,
    },
    /// A chain that begins with this cluster.
    Chain(u32),
}

/// Reads the boot sector; `None` where it is none of FAT.
pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Option<Geometry>> {
    if device.size_bytes() < 512 {
        return Ok(None);
    }
    let mut sector = [0; 512];
    device.read_at(0, &mut sector).map_err(GuestError::Device)?;
    Ok(parse(&sector))
}

/// Whether it looks like a boot sector of FAT: it says so, or it begins with a jump and ends with the mark.
fn signed(sector: &[u8]) -> bool {
    if [&b"NTFS    "[..], b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0", b"HPFS    "].contains(&&array::<8>(sector, 3)[..]) {
        return false;
    }
    let named =
        [0x36, 0x52].iter().any(|&at| matches!(&array::<5>(sector, at), b"FAT12" | b"FAT16" | b"FAT32" | b"FAT  " | b"MSDOS" | b"MSWIN"));
    let jump = matches!(array(sector, 0), [0xeb, _, 0x90] | [0xe9, _, _]);
    let marked = array(sector, 510) == [0x55, 0xaa];
    let os2 = matches!(&array::<5>(sector, 0x36), b"JFS  " | b"HPFS ");
    (named || (jump && marked)) && !os2
}

fn parse(sector: &[u8]) -> Option<Geometry> {
    if !signed(sector) {
        return None;
    }
    let sector_bytes = u64::from(le16(sector, 11));
    let per_cluster = u64::from(byte(sector, 13));
    let reserved = u64::from(le16(sector, 14));
    let copies = u64::from(byte(sector, 16));
    let media = byte(sector, 21);
    let sizes = matches!(sector_bytes, 512 | 1024 | 2048 | 4096) && per_cluster.is_power_of_two() && per_cluster <= 128;
    if !sizes || reserved == 0 || !(1..=4).contains(&copies) || !(media == 0xf0 || media >= 0xf8) {
        return None;
    }
    let (short_table, root_entries) = (u64::from(le16(sector, 22)), u64::from(le16(sector, 17)));
    let is_32 = short_table == 0;
    let table_sectors = if is_32 { u64::from(le32(sector, 36)) } else { short_table };
    let root_bytes = root_entries * 32;
    if table_sectors == 0 || (root_entries == 0) != is_32 || root_bytes % sector_bytes != 0 {
        return None;
    }
    let sectors = match le16(sector, 19) {
        0 => u64::from(le32(sector, 32)),
        sectors => u64::from(sectors),
    };
    let root_sector = reserved + copies * table_sectors;
    let first_sector = root_sector + root_bytes / sector_bytes;
    let whole = sectors.checked_sub(first_sector)? / per_cluster;
    let width = match whole {
        _ if is_32 => Width::Bits32,
        0..=MOST_OF_12 => Width::Bits12,
        _ => Width::Bits16,
    };
    let table_bytes = table_sectors * sector_bytes;
    // Linux takes a table that is too short for the volume as the end of the volume, and one that is too long for nothing worse.
    let count = whole.min((table_bytes * 8 / width.bits()).checked_sub(2)?);
    let most = if is_32 { MOST_OF_32 } else { MOST_OF_16 };
    if count == 0 || count > most {
        return None;
    }
    let extended = if is_32 { 64 } else { 36 };
    let clusters =
        Clusters { start_bytes: first_sector * sector_bytes, cluster_bytes: per_cluster * sector_bytes, count: u32::try_from(count).ok()? };
    let root = match is_32 {
        true => Root::Chain(le32(sector, 44) & 0x0fff_ffff),
        false => Root::Fixed { start_bytes: root_sector * sector_bytes, length_bytes: root_bytes },
    };
    Some(Geometry {
        size_bytes: sectors * sector_bytes,
        width,
        tables: tables(sector, is_32, reserved * sector_bytes, table_bytes, copies),
        table_bytes,
        clusters,
        root,
        info_bytes: (is_32 && !matches!(le16(sector, 48), 0 | 0xffff)).then(|| u64::from(le16(sector, 48)) * sector_bytes),
        serial: matches!(byte(sector, extended + 2), 0x28 | 0x29).then(|| le32(sector, extended + 3)),
        label: boot_label(sector, extended),
        dirty: byte(sector, extended + 1) & 1 != 0,
    })
}

/// The copies of the table: with mirroring switched off (only 32 bits) the one in use and no other.
fn tables(sector: &[u8], is_32: bool, start_bytes: u64, table_bytes: u64, copies: u64) -> Vec<u64> {
    let flags = u64::from(le16(sector, 40));
    let active = flags & 15;
    let place = |copy: u64| start_bytes + copy * table_bytes;
    if is_32 && flags & 0x80 != 0 && active < copies {
        return vec![place(active)];
    }
    (0..copies).map(place).collect()
}

fn boot_label(sector: &[u8], extended: usize) -> Option<String> {
    let bytes: [u8; 11] = array(sector, extended + 7);
    if byte(sector, extended + 2) != 0x29 || &bytes == b"NO NAME    " {
        return None;
    }
    names::label(&bytes)
}
