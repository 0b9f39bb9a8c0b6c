//! The table of UEFI: a header behind the first sector, its entries, and a second copy of both at the end of the disk.
//!
//! Layout: UEFI specification, section 5.3. A copy counts as whole only if both its checksums hold.

use super::{Partition, SECTOR_BYTES, Scheme, Table, cut, kinds, looks};
use crate::io::ReadAt;
use crate::volume::bytes::{guid, le32, le64, utf16};
use crate::volume::{VolumeError, VolumeResult};

/// The most bytes of entries that are read: 32,768 of the usual ones.
const MOST_ENTRY_BYTES: u64 = 4 << 20;

/// A header whose checksum holds.
struct Header {
    sector_bytes: u64,
    /// Where it was read, in sectors.
    at: u64,
    other: u64,
    entries_at: u64,
    entry_count: u64,
    entry_bytes: u64,
    entries_crc: u32,
    disk: Option<String>,
}

/// One of the two copies as far as it can be read.
struct Copy {
    header: Header,
    entries: Vec<u8>,
    /// Whether the checksum of the entries holds.
    whole: bool,
}

/// The table, from its first copy, else from the one at the end. `announced`: the old table says that there is one.
///
/// # Errors
/// Damage where it is announced and no copy is of use.
pub(super) fn read(disk: &dyn ReadAt, announced: bool) -> VolumeResult<Option<Table>> {
    let first = SECTOR_BYTES.iter().find_map(|&sector_bytes| copy(disk, sector_bytes, 1));
    if let Some(copy) = first.as_ref().filter(|copy| copy.whole) {
        let notes = if announced { Vec::new() } else { vec!["the old table does not announce the GPT".to_owned()] };
        return Ok(Some(table(disk, copy, notes)));
    }
    let last = last(disk, first.as_ref());
    // Without a first header and without an announcement, a copy at the end may be left over from before the disk was formatted as a whole.
    if let Some(copy) = last.as_ref().filter(|copy| copy.whole && (announced || first.is_some() || !looks::known(disk, 0))) {
        let note = "the first copy of the GPT is damaged, so the second, at the end of the disk, is used";
        return Ok(Some(table(disk, copy, vec![note.to_owned()])));
    }
    if let Some(copy) = first.as_ref().or(last.as_ref().filter(|_| announced)) {
        let note = "both copies of the GPT are damaged; its partitions may be wrong";
        return Ok(Some(table(disk, copy, vec![note.to_owned()])));
    }
    if announced {
        return Err(VolumeError::damaged("the partition table (GPT)", "it is announced, but neither of its two headers is sound"));
    }
    Ok(None)
}

/// The copy at the end: where the first header says, else in the last sector.
fn last(disk: &dyn ReadAt, first: Option<&Copy>) -> Option<Copy> {
    let named = first.and_then(|first| copy(disk, first.header.sector_bytes, first.header.other));
    let in_last = |sector_bytes: u64| copy(disk, sector_bytes, disk.size_bytes().checked_div(sector_bytes)?.checked_sub(1)?);
    named.or_else(|| SECTOR_BYTES.iter().find_map(|&sector_bytes| in_last(sector_bytes)))
}

fn copy(disk: &dyn ReadAt, sector_bytes: u64, at: u64) -> Option<Copy> {
    let header = header(disk, sector_bytes, at)?;
    let length = header.entry_count.checked_mul(header.entry_bytes).filter(|length| *length <= MOST_ENTRY_BYTES)?;
    let mut entries = vec![0_u8; usize::try_from(length).ok()?];
    disk.read_at(header.entries_at.checked_mul(sector_bytes)?, &mut entries).ok()?;
    let whole = crc32fast::hash(&entries) == header.entries_crc;
    Some(Copy { header, entries, whole })
}

fn header(disk: &dyn ReadAt, sector_bytes: u64, at: u64) -> Option<Header> {
    let mut raw = [0_u8; 512];
    disk.read_at(at.checked_mul(sector_bytes)?, &mut raw).ok()?;
    if !raw.starts_with(b"EFI PART") {
        return None;
    }
    let length = usize::try_from(le32(&raw, 12)?).ok().filter(|length| (92..=512).contains(length))?;
    let stored = le32(&raw, 16)?;
    let mut summed = raw;
    summed.get_mut(16..20)?.fill(0);
    if crc32fast::hash(summed.get(..length)?) != stored || le64(&raw, 24)? != at {
        return None;
    }
    let entry_bytes = u64::from(le32(&raw, 84)?);
    if entry_bytes < 128 || !entry_bytes.is_multiple_of(8) {
        return None;
    }
    Some(Header {
        sector_bytes,
        at,
        other: le64(&raw, 32)?,
        entries_at: le64(&raw, 72)?,
        entry_count: le32(&raw, 80)?.into(),
        entry_bytes,
        entries_crc: le32(&raw, 88)?,
        disk: guid(&raw, 56),
    })
}

fn table(disk: &dyn ReadAt, copy: &Copy, mut notes: Vec<String>) -> Table {
    let header = &copy.header;
    let disk_sectors = disk.size_bytes().checked_div(header.sector_bytes).unwrap_or(0);
    if header.at.max(header.other) >= disk_sectors {
        notes.push("the disk is smaller than when the partition table was made".to_owned());
    }
    let entry_bytes = usize::try_from(header.entry_bytes).unwrap_or(usize::MAX);
    let raws = copy.entries.chunks_exact(entry_bytes);
    let partitions = (1..).zip(raws).filter_map(|(number, raw)| partition(number, raw, header.sector_bytes, disk.size_bytes()));
    Table {
        scheme: Scheme::Gpt,
        sector_bytes: u32::try_from(header.sector_bytes).unwrap_or(512),
        uuid: header.disk.clone(),
        partitions: partitions.collect(),
        notes,
    }
}

/// `None` where the entry is unused.
fn partition(number: u32, raw: &[u8], sector_bytes: u64, disk_bytes: u64) -> Option<Partition> {
    let type_id = guid(raw, 0)?;
    let (first, last) = (le64(raw, 32)?, le64(raw, 40)?);
    let count = last.saturating_add(1).saturating_sub(first);
    let (range, mut notes) = cut(first, count, sector_bytes, disk_bytes);
    if count == 0 {
        notes.push("it ends before it begins".to_owned());
    }
    let (kind, uuid, name) = (kinds::of_guid(&type_id), guid(raw, 16), utf16(raw.get(56..128)?));
    Some(Partition { number, range, kind, type_id, name, uuid, notes })
}
