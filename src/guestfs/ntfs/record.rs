//! File records: the fixups that protect each 512 bytes, the header, and the attributes within. Layouts: the Linux-NTFS project's
//! documentation ("FILE Record", "Attributes").

use super::bytes::{index, slice_at, u8_at, u16_at, u32_at, u64_at};
use super::names::letters;
use crate::guestfs::{GuestError, GuestResult};

/// The kinds of attributes that are read here.
pub(super) mod kind {
    pub(in crate::guestfs::ntfs) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in crate::guestfs::ntfs) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in crate::guestfs::ntfs) const FILE_NAME: u32 = 0x30;
    pub(in crate::guestfs::ntfs) const OBJECT_ID: u32 = 0x40;
    pub(in crate::guestfs::ntfs) const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub(in crate::guestfs::ntfs) const VOLUME_NAME: u32 = 0x60;
    pub(in crate::guestfs::ntfs) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in crate::guestfs::ntfs) const DATA: u32 = 0x80;
    pub(in crate::guestfs::ntfs) const INDEX_ROOT: u32 = 0x90;
    pub(in crate::guestfs::ntfs) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(in crate::guestfs::ntfs) const BITMAP: u32 = 0xB0;
    pub(in crate::guestfs::ntfs) const REPARSE_POINT: u32 = 0xC0;
    pub(in crate::guestfs::ntfs) const EA: u32 = 0xE0;
    pub(super) const END: u32 = 0xFFFF_FFFF;
}

/// Flags of an attribute: how its contents are stored.
pub(super) const COMPRESSION_MASK: u16 = 0x00FF;
/// LZNT1, the only compression of attributes that there is.
pub(super) const COMPRESSED_LZNT1: u16 = 0x0001;
/// Encrypted by EFS.
pub(super) const ENCRYPTED: u16 = 0x4000;

/// The record holds something.
const IN_USE: u16 = 0x0001;
/// It is a directory.
const DIRECTORY: u16 = 0x0002;

/// Bytes that one fixup protects, whatever the size of the device's sectors.
const STRIDE: usize = 512;

/// Undoes the fixups: the last two bytes of each 512 were replaced by a number on the way to the disk, so that a write that was torn is
/// seen.
///
/// # Errors
/// Damage: another mark than `magic`, sizes that contradict each other, a torn write.
pub(super) fn undo_fixups(bytes: &mut [u8], magic: [u8; 4], object: &dyn Fn() -> String) -> GuestResult<()> {
    let wrong = |problem: String| GuestError::damaged(object(), problem);
    if bytes.get(..4) != Some(&magic) {
        let found = String::from_utf8_lossy(bytes.get(..4).unwrap_or_default()).escape_debug().to_string();
        return Err(wrong(format!("it begins with \"{found}\" instead of \"{}\"", magic.escape_ascii())));
    }
    let (offset, count) = (u16_at(bytes, 4).map_or(0, usize::from), u16_at(bytes, 6).map_or(0, usize::from));
    let strides = bytes.len() / STRIDE;
    if count != strides.saturating_add(1) || !offset.is_multiple_of(2) {
        return Err(wrong(format!("{count} fixups from byte {offset} on for {strides} parts")));
    }
    let array = slice_at(bytes, offset, count.saturating_mul(2)).map(letters);
    let array = array.ok_or_else(|| wrong("its fixups lie outside of it".to_owned()))?;
    let Some((number, saved)) = array.split_first() else {
        return Err(wrong("it has no fixups".to_owned()));
    };
    for (part, original) in bytes.chunks_exact_mut(STRIDE).zip(saved) {
        let Some(tail) = part.last_chunk_mut::<2>() else { continue };
        if u16::from_le_bytes(*tail) != *number {
            return Err(wrong("a write to it was torn (a fixup does not match)".to_owned()));
        }
        *tail = original.to_le_bytes();
    }
    Ok(())
}

/// A record's number with the count of its reuses, as entries and lists name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reference {
    /// Its place in the table.
    pub(super) record: u64,
    /// Its reuse; 0 matches any.
    pub(super) sequence: u16,
}

impl Reference {
    /// From the eight bytes on the disk.
    pub(super) fn new(raw: u64) -> Self {
        let [.., low, high] = raw.to_le_bytes();
        Self { record: raw & 0xFFFF_FFFF_FFFF, sequence: u16::from_le_bytes([low, high]) }
    }
}

/// A file record without its fixups.
#[derive(Debug)]
pub(super) struct Record {
    /// Its place in the table.
    pub(super) number: u64,
    /// How often it was used again.
    pub(super) sequence: u16,
    /// What it holds belongs to this record; 0 where it stands for itself.
    pub(super) base: Reference,
    /// What could be read of its attributes.
    pub(super) attributes: Vec<Attribute>,
    /// Why not all could.
    pub(super) damage: Option<String>,
    flags: u16,
}

impl Record {
    /// Takes a record apart as it came from the disk.
    ///
    /// # Errors
    /// Damage of its header. Damage within is kept in [`Record::damage`], with the attributes before it.
    pub(super) fn parse(number: u64, mut bytes: Vec<u8>) -> GuestResult<Self> {
        undo_fixups(&mut bytes, *b"FILE", &|| record_name(number))?;
        let short = || GuestError::damaged(record_name(number), "its header ends too early");
        let used = index(u32_at(&bytes, 24).ok_or_else(short)?).min(bytes.len());
        let first = usize::from(u16_at(&bytes, 20).ok_or_else(short)?);
        let (attributes, damage) = parse_attributes(bytes.get(..used).unwrap_or_default(), first);
        Ok(Self {
            number,
            sequence: u16_at(&bytes, 16).ok_or_else(short)?,
            base: Reference::new(u64_at(&bytes, 32).ok_or_else(short)?),
            attributes,
            damage,
            flags: u16_at(&bytes, 22).ok_or_else(short)?,
        })
    }

    /// Whether it holds something.
    pub(super) fn is_in_use(&self) -> bool {
        self.flags & IN_USE != 0
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.flags & DIRECTORY != 0
    }
}

/// What errors call a record.
pub(super) fn record_name(number: u64) -> String {
    format!("file record {number}")
}

/// An attribute, or the part of one that a record holds.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    /// See [`kind`].
    pub(super) kind: u32,
    /// Empty for most.
    pub(super) name: Vec<u16>,
    /// How its contents are stored.
    pub(super) flags: u16,
    /// Its number within the record.
    pub(super) instance: u16,
    /// Its contents.
    pub(super) body: Body,
}

/// The contents of an attribute.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// In the record itself.
    Resident(Vec<u8>),
    /// In clusters.
    Mapped(Mapped),
}

/// Where a part of an attribute lies.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    /// The first cluster of the attribute that this part places.
    pub(super) first_vcn: u64,
    /// The last one; below the first where there is none.
    pub(super) last_vcn: u64,
    /// Of the whole attribute, as the next three: bytes that it has room for, with holes. Valid in the first part only.
    pub(super) allocated_bytes: u64,
    /// Its length in bytes.
    pub(super) size_bytes: u64,
    /// Bytes that were ever written; zeros follow.
    pub(super) initialized_bytes: u64,
    /// Bytes that it occupies, where it is sparse or compressed.
    pub(super) occupied_bytes: Option<u64>,
    /// The power of two of clusters that are compressed together.
    pub(super) unit_log: u8,
    /// The list of runs, packed.
    pub(super) runs: Vec<u8>,
}

impl Attribute {
    /// The value of an attribute that lies in the record.
    pub(super) fn resident(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Resident(value) => Some(value),
            Body::Mapped(_) => None,
        }
    }

    /// Bytes of its contents.
    pub(super) fn size_bytes(&self) -> u64 {
        match &self.body {
            Body::Resident(value) => value.len() as u64,
            Body::Mapped(mapped) => mapped.size_bytes,
        }
    }

    /// Bytes that it occupies outside of the record.
    pub(super) fn occupied_bytes(&self) -> u64 {
        match &self.body {
            Body::Resident(_) => 0,
            Body::Mapped(mapped) => mapped.occupied_bytes.unwrap_or(mapped.allocated_bytes),
        }
    }

    /// The first cluster that this part places; 0 for contents in the record.
    pub(super) fn first_vcn(&self) -> u64 {
        match &self.body {
            Body::Resident(_) => 0,
            Body::Mapped(mapped) => mapped.first_vcn,
        }
    }
}

fn parse_attributes(record: &[u8], first: usize) -> (Vec<Attribute>, Option<String>) {
    let mut attributes = Vec::new();
    let mut at = first;
    loop {
        match u32_at(record, at) {
            Some(kind::END) => return (attributes, None),
            None => return (attributes, Some(format!("its attributes have no end (byte {at})"))),
            Some(_) => {}
        }
        let length = index(u32_at(record, at.saturating_add(4)).unwrap_or(0));
        let attribute = slice_at(record, at, length).filter(|bytes| bytes.len() >= 24).and_then(parse_attribute);
        let Some(attribute) = attribute else {
            return (attributes, Some(format!("its attribute at byte {at} contradicts itself")));
        };
        attributes.push(attribute);
        at = at.saturating_add(length);
    }
}

fn parse_attribute(bytes: &[u8]) -> Option<Attribute> {
    let name_bytes = usize::from(u8_at(bytes, 9)?).checked_mul(2)?;
    let name = if name_bytes == 0 { Vec::new() } else { letters(slice_at(bytes, usize::from(u16_at(bytes, 10)?), name_bytes)?) };
    let flags = u16_at(bytes, 12)?;
    let body = if u8_at(bytes, 8)? == 0 {
        let length = index(u32_at(bytes, 16)?);
        Body::Resident(slice_at(bytes, usize::from(u16_at(bytes, 20)?), length)?.to_vec())
    } else {
        let runs = usize::from(u16_at(bytes, 32)?);
        // The field is there only where the attribute may occupy less than it has room for.
        let occupied_bytes = if flags & (COMPRESSION_MASK | 0x8000) != 0 && runs >= 72 { u64_at(bytes, 64) } else { None };
        Body::Mapped(Mapped {
            first_vcn: u64_at(bytes, 16)?,
            last_vcn: u64_at(bytes, 24)?,
            allocated_bytes: u64_at(bytes, 40)?,
            size_bytes: u64_at(bytes, 48)?,
            initialized_bytes: u64_at(bytes, 56)?,
            occupied_bytes,
            unit_log: u8_at(bytes, 34)?,
            runs: bytes.get(runs..)?.to_vec(),
        })
    };
    Some(Attribute { kind: u32_at(bytes, 0)?, name, flags, instance: u16_at(bytes, 14)?, body })
}
