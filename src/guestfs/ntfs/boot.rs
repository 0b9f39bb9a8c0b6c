//! The first sector: sizes and places. Its layout is in the Linux-NTFS project's documentation ("$Boot").

use super::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::guestfs::{GuestError, GuestResult};
use crate::io::ReadAt;

/// Bytes of the boot sector that mean something.
pub(super) const BOOT_BYTES: usize = 512;

/// What a boot sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a sector, 256 to 4096.
    pub(super) sector_bytes: u32,
    /// Bytes of a cluster, 256 to 2 MiB, a power of two.
    pub(super) cluster_bytes: u32,
    /// Sectors of the volume, without the copy of the boot sector behind it.
    pub(super) sectors: u64,
    /// Where the table of files begins, in bytes.
    pub(super) mft_bytes: u64,
    /// Where the copy of its first records begins, in bytes.
    pub(super) mirror_bytes: u64,
    /// Bytes of a record of it, 512 to 64 KiB, a power of two.
    pub(super) record_bytes: u32,
    /// The volume's serial number.
    pub(super) serial: u64,
}

impl Geometry {
    /// Bytes of the volume.
    pub(super) fn size_bytes(&self) -> u64 {
        self.sectors.saturating_mul(u64::from(self.sector_bytes))
    }
}

/// Whether it calls itself NTFS.
pub(super) fn is_ntfs(sector: &[u8]) -> bool {
    sector.get(3..11) == Some(b"NTFS    ")
}

/// Whether it is BitLocker's: its own mark, or the GUID that "BitLocker To Go" keeps in what looks like FAT.
pub(super) fn is_bitlocker(sector: &[u8]) -> bool {
    const TO_GO: [u8; 16] = [0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01];
    sector.get(3..11) == Some(b"-FVE-FS-") || (sector.get(3..11) == Some(b"MSWIN4.1") && sector.get(424..440) == Some(&TO_GO))
}

/// Reads the boot sector, or its copy in the last sector if the first is empty, as after a slip with a partitioning tool. Only then: a
/// copy at the end also survives another filesystem that was made over this one. The flag says that it is the copy.
pub(super) fn read(device: &dyn ReadAt) -> GuestResult<([u8; BOOT_BYTES], bool)> {
    let mut sector = [0; BOOT_BYTES];
    if device.size_bytes() < BOOT_BYTES as u64 {
        return Ok((sector, false));
    }
    device.read_at(0, &mut sector)?;
    if sector.iter().any(|&byte| byte != 0) {
        return Ok((sector, false));
    }
    for sector_bytes in [512, 4096] {
        let mut copy = [0; BOOT_BYTES];
        if let Some(last) = device.size_bytes().checked_sub(sector_bytes) {
            device.read_at(last, &mut copy)?;
            if is_ntfs(&copy) {
                return Ok((copy, true));
            }
        }
    }
    Ok((sector, false))
}

/// Takes a boot sector apart.
///
/// # Errors
/// Damage: a size that NTFS does not have.
pub(super) fn parse(sector: &[u8]) -> GuestResult<Geometry> {
    let wrong = |what: &str| GuestError::damaged("the boot sector", what.to_owned());
    let short = || wrong("it ends too early");
    let sector_bytes = u32::from(u16_at(sector, 0x0B).ok_or_else(short)?);
    if !sector_bytes.is_power_of_two() || !(256..=4096).contains(&sector_bytes) {
        return Err(wrong(&format!("a sector of {sector_bytes} bytes")));
    }
    // Clusters above 128 sectors are written as a negative power of two.
    let coded = u8_at(sector, 0x0D).ok_or_else(short)?;
    let per_cluster = if coded > 0x80 { 1_u32.checked_shl(256 - u32::from(coded)) } else { Some(u32::from(coded)) };
    let cluster_bytes = per_cluster.and_then(|count| count.checked_mul(sector_bytes));
    let cluster_bytes = cluster_bytes.filter(|bytes| bytes.is_power_of_two() && *bytes <= 2 << 20);
    let cluster_bytes = cluster_bytes.ok_or_else(|| wrong(&format!("a cluster of {coded:#x} sectors")))?;
    let coded = u8_at(sector, 0x40).ok_or_else(short)?;
    let record_bytes = if coded >= 0x80 { 1_u32.checked_shl(256 - u32::from(coded)) } else { u32::from(coded).checked_mul(cluster_bytes) };
    let record_bytes = record_bytes.filter(|bytes| bytes.is_power_of_two() && (512..=1 << 16).contains(bytes));
    let record_bytes = record_bytes.ok_or_else(|| wrong(&format!("a file record of {coded:#x} clusters")))?;
    let place = |at| {
        let cluster = u64_at(sector, at).ok_or_else(short)?;
        cluster.checked_mul(u64::from(cluster_bytes)).ok_or_else(|| wrong("the table of files lies past the end of numbers"))
    };
    Ok(Geometry {
        sector_bytes,
        cluster_bytes,
        sectors: u64_at(sector, 0x28).ok_or_else(short)?,
        mft_bytes: place(0x30)?,
        mirror_bytes: place(0x38)?,
        record_bytes,
        serial: u64_at(sector, 0x48).ok_or_else(short)?,
    })
}

/// The last four bytes of a boot sector's serial number are what Windows shows.
pub(super) fn short_serial(serial: u64) -> String {
    let low = u32_at(&serial.to_le_bytes(), 0).unwrap_or(0);
    format!("{:04X}-{:04X}", low >> 16, low & 0xFFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(sector_bytes: u16, cluster: u8, record: u8) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[0x0B..0x0D].copy_from_slice(&sector_bytes.to_le_bytes());
        sector[0x0D] = cluster;
        sector[0x40] = record;
        sector[0x30] = 4;
        sector
    }

    #[test]
    fn every_size_of_cluster_and_record_is_understood() {
        for (sector_bytes, cluster, record, expected) in [
            (512, 1, 0xF6, (512, 1024)),
            (512, 8, 0xF6, (4096, 1024)),
            (512, 0x80, 0xF6, (65536, 1024)),
            (512, 0xF8, 0xF6, (128 << 10, 1024)),
            (512, 0xF4, 0xF6, (2 << 20, 1024)),
            (4096, 1, 1, (4096, 4096)),
            (512, 2, 1, (1024, 1024)),
        ] {
            let geometry = parse(&sector(sector_bytes, cluster, record)).expect("sound");
            assert_eq!((geometry.cluster_bytes, geometry.record_bytes), expected);
            assert_eq!(geometry.mft_bytes, 4 * u64::from(geometry.cluster_bytes));
        }
    }

    #[test]
    fn sizes_that_do_not_exist_are_damage() {
        for (sector_bytes, cluster, record) in
            [(0, 8, 0xF6), (513, 8, 0xF6), (512, 0, 0xF6), (512, 3, 0xF6), (512, 0xE0, 0xF6), (512, 8, 0), (512, 8, 0x81)]
        {
            assert!(parse(&sector(sector_bytes, cluster, record)).is_err(), "{sector_bytes} {cluster} {record}");
        }
    }
}
