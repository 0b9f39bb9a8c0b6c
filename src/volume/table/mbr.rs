//! The master boot record and the chain of records for logical partitions.
//!
//! Layout: UEFI specification, section 5.2.1 (four entries of 16 bytes at offset 446, the signature 55 AA at 510, the disk's own number
//! at 440). Logical partitions: each is described by such a record of its own, whose second entry leads to the next record.

use super::{Partition, SECTOR_BYTES, Scheme, Table, cut, kinds, looks};
use crate::io::ReadAt;
use crate::volume::VolumeResult;
use crate::volume::bytes::{le16, le32};

/// The most records of logical partitions that are followed; Linux itself stops at 256 minors.
const MOST_RECORDS: usize = 1024;

/// An entry of a record, in sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    kind: u8,
    start: u64,
    count: u64,
}

impl Entry {
    /// Whether it describes anything.
    pub(super) fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    /// Whether it says that the disk has a GPT.
    pub(super) fn announces_gpt(&self) -> bool {
        self.kind == 0xee
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// The entries of a record; `None` where the sector is none.
pub(super) fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    if sector.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    let mut entries = [Entry::default(); 4];
    for (entry, raw) in entries.iter_mut().zip(sector.get(446..510)?.chunks_exact(16)) {
        if !matches!(raw.first()?, 0 | 0x80) {
            return None;
        }
        *entry = Entry { kind: *raw.get(4)?, start: le32(raw, 8)?.into(), count: le32(raw, 12)?.into() };
    }
    Some(entries)
}

/// Whether a sector is the boot sector of a filesystem, which has the same signature and code or text where a record has entries.
pub(super) fn is_filesystem(sector: &[u8]) -> bool {
    let text = |at: usize, text: &[u8]| sector.get(at..).is_some_and(|rest| rest.starts_with(text));
    let jump = (text(0, &[0xeb]) && text(2, &[0x90])) || text(0, &[0xe9]);
    if !jump {
        return false;
    }
    text(3, b"NTFS    ") || text(3, b"EXFAT   ") || is_fat(sector).unwrap_or(false)
}

/// Whether the numbers of a FAT are there and make sense.
fn is_fat(sector: &[u8]) -> Option<bool> {
    let byte = |at: usize| sector.get(at).copied();
    let sectors_fit = matches!(le16(sector, 11)?, 512 | 1024 | 2048 | 4096) && byte(13)?.is_power_of_two();
    let tables_fit = le16(sector, 14)? != 0 && matches!(byte(16)?, 1..=2) && (byte(21)? == 0xf0 || byte(21)? >= 0xf8);
    let sized = le16(sector, 19)? != 0 || le32(sector, 32)? != 0;
    Some(sectors_fit && tables_fit && sized)
}

/// The table of a disk whose first sector has these entries.
///
/// # Errors
/// The disk's, except in the chain of logical partitions, which then ends with a note.
pub(super) fn read(disk: &dyn ReadAt, sector: &[u8], entries: &[Entry; 4]) -> VolumeResult<Table> {
    let sector_bytes = sector_bytes(disk, entries);
    let signature = le32(sector, 440).filter(|signature| *signature != 0);
    let mut reading = Reading { disk, sector_bytes, signature, partitions: Vec::new(), notes: Vec::new() };
    for (number, entry) in (1..).zip(entries) {
        if entry.is_used() && !entry.is_extended() && !entry.announces_gpt() {
            reading.add(number, *entry);
        }
    }
    let mut next = 5;
    for entry in entries.iter().filter(|entry| entry.is_used() && entry.is_extended()) {
        reading.logical(entry.start, &mut next);
    }
    Ok(Table {
        scheme: Scheme::Mbr,
        sector_bytes: u32::try_from(sector_bytes).unwrap_or(512),
        uuid: signature.map(|signature| format!("{signature:08x}")),
        partitions: reading.partitions,
        notes: reading.notes,
    })
}

/// The record does not say in which sectors it counts. They are large only where the partitions fit the disk so, and what begins
/// there is known, while nothing that is known begins where small sectors put them.
fn sector_bytes(disk: &dyn ReadAt, entries: &[Entry; 4]) -> u64 {
    let [small, large] = SECTOR_BYTES;
    let used = || entries.iter().filter(|entry| entry.is_used());
    let known = |sector_bytes: u64| {
        used().any(|entry| {
            let at = entry.start.saturating_mul(sector_bytes);
            if entry.is_extended() { record(disk, at).is_some() } else { looks::known(disk, at) }
        })
    };
    let fits = used().all(|entry| entry.start.saturating_add(entry.count).saturating_mul(large) <= disk.size_bytes());
    if fits && !known(small) && known(large) { large } else { small }
}

fn record(disk: &dyn ReadAt, at: u64) -> Option<[Entry; 4]> {
    let mut sector = [0_u8; 512];
    disk.read_at(at, &mut sector).ok()?;
    entries(&sector)
}

struct Reading<'a> {
    disk: &'a dyn ReadAt,
    sector_bytes: u64,
    signature: Option<u32>,
    partitions: Vec<Partition>,
    notes: Vec<String>,
}

impl Reading<'_> {
    fn add(&mut self, number: u32, entry: Entry) {
        let (range, notes) = cut(entry.start, entry.count, self.sector_bytes, self.disk.size_bytes());
        self.partitions.push(Partition {
            number,
            range,
            kind: kinds::of_byte(entry.kind),
            type_id: format!("{:#04x}", entry.kind),
            name: None,
            uuid: self.signature.map(|signature| format!("{signature:08x}-{number:02x}")),
            notes,
        });
    }

    /// Follows the chain that begins at sector `first`. Records count from themselves, the links between them from `first`.
    fn logical(&mut self, first: u64, next: &mut u32) {
        let mut visited = std::collections::HashSet::new();
        let mut at = first;
        loop {
            if !visited.insert(at) || visited.len() > MOST_RECORDS {
                self.notes.push("the chain of logical partitions leads back into itself and is cut there".to_owned());
                return;
            }
            let Some(entries) = record(self.disk, at.saturating_mul(self.sector_bytes)) else {
                self.notes.push(format!("the chain of logical partitions breaks off at sector {at}"));
                return;
            };
            for entry in entries.iter().filter(|entry| entry.is_used() && !entry.is_extended()) {
                self.add(*next, Entry { start: at.saturating_add(entry.start), ..*entry });
                *next = next.saturating_add(1);
            }
            match entries.iter().find(|entry| entry.is_used() && entry.is_extended()) {
                Some(link) => at = first.saturating_add(link.start),
                None => return,
            }
        }
    }
}
