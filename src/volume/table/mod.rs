//! Partition tables: which there is, if any, and what its partitions are.
//!
//! Linux's rules hold where tables contradict each other: a GPT counts where the old table announces it (type EE), and the old table
//! counts where it does not. A boot sector of FAT or NTFS, whose signature is that of a table, is none.

mod gpt;
mod kinds;
mod looks;
mod mbr;
#[cfg(test)]
mod tests;

use super::VolumeResult;
use crate::io::ReadAt;
use crate::units::Extent;

/// The sector sizes that disks have.
const SECTOR_BYTES: [u64; 2] = [512, 4096];

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The master boot record with its logical partitions.
    Mbr,
    /// The table of UEFI.
    Gpt,
}

impl Scheme {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number as Linux counts: the first is 1, logical ones begin at 5.
    pub number: u32,
    /// Its bytes, cut where the disk ends; empty where it begins past that.
    pub range: Extent,
    /// Its type for people: "Linux filesystem".
    pub kind: String,
    /// Its type as the table has it: a GUID, or `0x83`.
    pub type_id: String,
    /// Its name in the table, if that keeps one.
    pub name: Option<String>,
    /// What Linux calls its PARTUUID.
    pub uuid: Option<String>,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which kind.
    pub scheme: Scheme,
    /// Bytes of the sectors in which it counts.
    pub sector_bytes: u32,
    /// Its GUID, or the disk signature in hex.
    pub uuid: Option<String>,
    /// Its partitions in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
}

/// The table of a disk; `None` where it has none, or one without partitions that is not announced by anything.
///
/// # Errors
/// The disk's; damage where a GPT is announced and neither of its two copies is of use.
pub fn identify(disk: &dyn ReadAt) -> VolumeResult<Option<Table>> {
    if disk.size_bytes() < 1024 {
        return Ok(None);
    }
    let mut sector = [0_u8; 512];
    disk.read_at(0, &mut sector)?;
    if mbr::is_filesystem(&sector) {
        return Ok(None);
    }
    let entries = mbr::entries(&sector).unwrap_or_default();
    let announced = entries.iter().any(mbr::Entry::announces_gpt);
    let listed = entries.iter().any(|entry| entry.is_used() && !entry.announces_gpt());
    if listed && !announced {
        return mbr::read(disk, &sector, &entries).map(Some);
    }
    match gpt::read(disk, announced) {
        Ok(Some(table)) => Ok(Some(table)),
        Ok(None) => Ok(None),
        // What a hybrid table says beside the announcement is better than nothing.
        Err(error) if listed => {
            let mut table = mbr::read(disk, &sector, &entries)?;
            table.notes.push(format!("only what the old table lists is seen, because {error}"));
            Ok(Some(table))
        }
        Err(error) => Err(error),
    }
}

/// The bytes of `count` sectors from `start` on, cut at the end of a disk of `disk_bytes`, and what to say if they were.
fn cut(start: u64, count: u64, sector_bytes: u64, disk_bytes: u64) -> (Extent, Vec<String>) {
    let from = start.saturating_mul(sector_bytes);
    let end = start.saturating_add(count).saturating_mul(sector_bytes);
    let range = Extent::between(from.min(disk_bytes), end.min(disk_bytes));
    let beyond = end.saturating_sub(disk_bytes.max(from));
    let notes = if beyond > 0 && from < disk_bytes {
        vec![format!("the disk ends {beyond} bytes before the partition does")]
    } else if from >= disk_bytes {
        vec!["it begins past the end of the disk".to_owned()]
    } else {
        Vec::new()
    };
    (range, notes)
}
