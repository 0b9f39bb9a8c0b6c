//! How far a disk's partitions are off the 4 KiB grid: a tolerant look at the old partition table, nothing more.
//!
//! Layout: the master boot record as the UEFI specification tells it (section 5.2.1): four entries of 16 bytes at offset 446, the
//! signature 55 AA at 510.

use std::io;

use crate::io::ReadAt;

const SECTOR: u64 = 512;
const GRID_STEPS: usize = 8;

/// The `grid_offset` on which most bytes of the disk's partitions have their own 4 KiB grid: bytes, a multiple of 512 below 4096.
///
/// Tables made before about 2010 start the first partition at sector 63, which gives 3584. 0 where the disk has a GPT, no
/// table, or one that makes no sense.
///
/// # Errors
/// Of reading the first sector.
pub fn detect_grid_offset(disk: &dyn ReadAt) -> io::Result<u32> {
    if disk.size_bytes() < SECTOR {
        return Ok(0);
    }
    let mut sector = [0_u8; 512];
    disk.read_at(0, &mut sector)?;
    Ok(majority(&sector, disk.size_bytes()).unwrap_or(0))
}

/// A partition of the table, in sectors.
struct Entry {
    start: u64,
    count: u64,
}

/// The offset with the most bytes of partitions; `None` where the sector is no believable old table.
fn majority(sector: &[u8; 512], disk_bytes: u64) -> Option<u32> {
    if sector.get(510..) != Some([0x55, 0xaa].as_slice()) {
        return None;
    }
    let mut votes = [0_u64; GRID_STEPS];
    for raw in sector.get(446..510)?.chunks_exact(16) {
        if let Some(entry) = entry(raw, disk_bytes)? {
            let step = usize::try_from(entry.start).ok()?.checked_rem(GRID_STEPS)?;
            let vote = votes.get_mut(step)?;
            *vote = vote.saturating_add(entry.count);
        }
    }
    // On equal votes the smaller offset wins, so that no table at all is no shift.
    let mut best = (0_u32, 0_u64);
    for (step, vote) in (0_u32..).zip(votes) {
        if vote > best.1 {
            best = (step, vote);
        }
    }
    best.0.checked_mul(512)
}

/// One entry: `Some(None)` where it is unused or a container of others, `None` where the whole table is not to be believed
/// (a boot sector of a filesystem without partitions has code or text here) or is that of a GPT.
fn entry(raw: &[u8], disk_bytes: u64) -> Option<Option<Entry>> {
    let field = |at: usize| raw.get(at..)?.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let (status, kind) = (*raw.first()?, *raw.get(4)?);
    let (start, count) = (field(8)?, field(12)?);
    match kind {
        0 => return Some(None),
        0xee => return None,
        _ => {}
    }
    if !matches!(status, 0 | 0x80) || start == 0 || start.saturating_mul(SECTOR) >= disk_bytes {
        return None;
    }
    // Extended partitions hold others, each with its own start.
    let extended = matches!(kind, 0x05 | 0x0f | 0x85);
    Some((!extended).then_some(Entry { start, count }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryAt;

    /// A disk of 1 MiB with a table of (type, first sector, sectors).
    fn detect(entries: &[(u8, u32, u32)]) -> u32 {
        let mut disk = vec![0_u8; 1 << 20];
        disk[510] = 0x55;
        disk[511] = 0xaa;
        for (raw, (kind, start, count)) in disk[446..510].chunks_exact_mut(16).zip(entries) {
            raw[4] = *kind;
            raw[8..12].copy_from_slice(&start.to_le_bytes());
            raw[12..16].copy_from_slice(&count.to_le_bytes());
        }
        detect_grid_offset(&MemoryAt::new(disk)).expect("a disk in memory reads")
    }

    #[test]
    fn an_old_table_shifts_the_grid_to_its_larger_partitions() {
        assert_eq!(detect(&[(0x83, 63, 1000)]), 3584);
        assert_eq!(detect(&[(0x83, 64, 1000)]), 0);
        assert_eq!(detect(&[(0x83, 64, 100), (0x07, 161, 700)]), 512);
        assert_eq!(detect(&[(0x83, 64, 700), (0x07, 161, 100)]), 0);
    }

    #[test]
    fn gpt_extended_empty_and_senseless_tables_do_not_shift() {
        assert_eq!(detect(&[]), 0);
        assert_eq!(detect(&[(0xee, 1, 2000)]), 0);
        assert_eq!(detect(&[(0x83, 63, 1000), (0xee, 1, 62)]), 0, "a hybrid table belongs to a GPT");
        assert_eq!(detect(&[(0x05, 63, 2000), (0x83, 64, 10)]), 0);
        assert_eq!(detect(&[(0x83, 63, 1000), (0x83, 5_000_000, 10)]), 0, "a start past the end of the disk was believed");
    }

    #[test]
    fn a_tiny_disk_has_no_table() {
        assert_eq!(detect_grid_offset(&MemoryAt::new(vec![0; 511])).expect("a disk in memory reads"), 0);
    }
}
