//! The fixed structures of a VHDX, from bytes to checked numbers: headers, region table, metadata.
//!
//! Layout: [MS-VHDX], sections 2.2 and 2.6. Little-endian.

use super::crc32c::crc32c;
use crate::source::fields::{Fields, Flaw};

/// Where the two headers and the two region tables lie.
pub(super) const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
pub(super) const REGION_TABLES_AT: [u64; 2] = [192 << 10, 256 << 10];
pub(super) const HEADER_BYTES: usize = 4 << 10;
/// Bytes of a region table and of a metadata table.
pub(super) const TABLE_BYTES: usize = 64 << 10;
/// Largest disk.
const MAX_DISK_BYTES: u64 = 64 << 40;
/// Most entries of a table.
const MAX_ENTRIES: u32 = 2047;

/// A GUID as it lies in the file.
pub(super) type Guid = [u8; 16];

const BAT_REGION: Guid = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];
const METADATA_REGION: Guid = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
const FILE_PARAMETERS: Guid = [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const DISK_SIZE: Guid = [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
const DISK_ID: Guid = [0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46];
const LOGICAL_SECTOR: Guid = [0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f];
const PHYSICAL_SECTOR: Guid = [0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56];
const PARENT_LOCATOR: Guid = [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
const VHDX_LOCATOR: Guid = [0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13];

/// The header that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    sequence: u64,
    /// Changes whenever the disk's bytes do: what a child knows its parent by.
    pub(super) data_id: Guid,
    /// All zeros where there is nothing in the log.
    pub(super) log_id: Guid,
    pub(super) log_bytes: u32,
    pub(super) log_at: u64,
}

/// A range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) at: u64,
    pub(super) length_bytes: u64,
}

/// The two regions that every image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
}

/// Where the items of the metadata lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) parameters: Region,
    pub(super) disk_size: Region,
    pub(super) logical_sector: Region,
    pub(super) parent_locator: Option<Region>,
}

/// What the disk looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) block_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) sector_bytes: u64,
    pub(super) has_parent: bool,
}

/// The one of the two headers with the higher number, of those with a right checksum.
pub(super) fn newest_header(copies: [&[u8]; 2]) -> Result<Header, Flaw> {
    let mut newest: Option<Header> = None;
    for bytes in copies {
        let fields = Fields { what: "header", bytes };
        if !bytes.starts_with(b"head") || fields.le32(4)? != crc32c(bytes, 4) {
            continue;
        }
        if fields.le16(66)? != 1 {
            return Err(unsupported(format!("it is of version {} of the format, and only 1 is read", fields.le16(66)?)));
        }
        let header = Header {
            sequence: fields.le64(8)?,
            data_id: fields.array(32)?,
            log_id: fields.array(48)?,
            log_bytes: fields.le32(68)?,
            log_at: fields.le64(72)?,
        };
        if newest.as_ref().is_none_or(|newest| newest.sequence <= header.sequence) {
            newest = Some(header);
        }
    }
    newest.ok_or_else(|| Flaw::Damaged("neither of its two headers has a right checksum".to_owned()))
}

/// The regions, from the first of the two tables that has a right checksum.
pub(super) fn regions(copies: [&[u8]; 2], file_bytes: u64) -> Result<Regions, Flaw> {
    let right = |bytes: &&[u8]| {
        let fields = Fields { what: "region table", bytes };
        bytes.starts_with(b"regi") && fields.le32(4).is_ok_and(|sum| sum == crc32c(bytes, 4))
    };
    let table = copies.into_iter().find(right);
    let bytes = table.ok_or_else(|| Flaw::Damaged("neither of its two region tables has a right checksum".to_owned()))?;
    let fields = Fields { what: "region table", bytes };
    let (mut bat, mut metadata) = (None, None);
    for entry in entries(bytes, 16, fields.le32(8)?)? {
        let fields = Fields { what: "region", bytes: entry };
        let region = Region { at: fields.le64(16)?, length_bytes: fields.le32(24)?.into() };
        if region.at.checked_add(region.length_bytes).is_none_or(|end| end > file_bytes) {
            let Region { at, length_bytes } = region;
            return Err(Flaw::Damaged(format!("a region of {length_bytes} bytes should lie at {at}, and the file ends at {file_bytes}")));
        }
        match fields.array(0)? {
            BAT_REGION => bat = Some(region),
            METADATA_REGION => metadata = Some(region),
            other if fields.le32(28)? & 1 != 0 => return Err(unknown("region", &other)),
            _ => {}
        }
    }
    match (bat, metadata) {
        (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata }),
        _ => Err(Flaw::Damaged("it has no block table or no metadata".to_owned())),
    }
}

/// Where the items lie, from the metadata table at the start of the metadata region.
pub(super) fn items(bytes: &[u8], region: Region) -> Result<Items, Flaw> {
    const IS_USER: u32 = 1;
    const IS_REQUIRED: u32 = 4;
    if !bytes.starts_with(b"metadata") {
        return Err(Flaw::Damaged("its metadata table has a wrong mark".to_owned()));
    }
    let table = Fields { what: "metadata table", bytes };
    let (mut parameters, mut disk_size, mut logical_sector, mut parent_locator) = (None, None, None, None);
    for entry in entries(bytes, 32, table.le16(10)?.into())? {
        let fields = Fields { what: "metadata item", bytes: entry };
        let (offset, length_bytes, flags) = (u64::from(fields.le32(16)?), u64::from(fields.le32(20)?), fields.le32(24)?);
        let item = Region { at: region.at.saturating_add(offset), length_bytes };
        if offset.saturating_add(length_bytes) > region.length_bytes {
            return Err(Flaw::Damaged(format!("an item of its metadata, {length_bytes} bytes at {offset}, lies outside of them")));
        }
        match fields.array(0)? {
            FILE_PARAMETERS => parameters = Some(item),
            DISK_SIZE => disk_size = Some(item),
            LOGICAL_SECTOR => logical_sector = Some(item),
            PARENT_LOCATOR => parent_locator = Some(item),
            PHYSICAL_SECTOR | DISK_ID => {}
            other if flags & IS_REQUIRED != 0 && flags & IS_USER == 0 => return Err(unknown("metadata item", &other)),
            _ => {}
        }
    }
    match (parameters, disk_size, logical_sector) {
        (Some(parameters), Some(disk_size), Some(logical_sector)) => Ok(Items { parameters, disk_size, logical_sector, parent_locator }),
        _ => Err(Flaw::Damaged("its metadata lack the size of the disk, of its blocks or of its sectors".to_owned())),
    }
}

/// The entries of 32 bytes of a table.
fn entries(bytes: &[u8], at: usize, count: u32) -> Result<std::slice::ChunksExact<'_, u8>, Flaw> {
    if count > MAX_ENTRIES {
        return Err(Flaw::Damaged(format!("a table has {count} entries; {MAX_ENTRIES} are possible")));
    }
    let length = usize::try_from(count).unwrap_or(0).saturating_mul(32);
    Ok(Fields { what: "table", bytes }.slice(at, length)?.chunks_exact(32))
}

/// The disk's shape, from the bytes of the three items.
pub(super) fn shape(parameters: &[u8], disk_size: &[u8], logical_sector: &[u8]) -> Result<Shape, Flaw> {
    let parameters = Fields { what: "file parameters", bytes: parameters };
    let (block_bytes, flags) = (u64::from(parameters.le32(0)?), parameters.le32(4)?);
    let size_bytes = Fields { what: "disk size", bytes: disk_size }.le64(0)?;
    let sector_bytes = u64::from(Fields { what: "sector size", bytes: logical_sector }.le32(0)?);
    if !block_bytes.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_bytes) {
        return Err(Flaw::Damaged(format!("its blocks have {block_bytes} bytes; powers of two from 1 to 256 MiB are possible")));
    }
    if !matches!(sector_bytes, 512 | 4096) {
        return Err(Flaw::Damaged(format!("its sectors have {sector_bytes} bytes; 512 and 4096 are possible")));
    }
    if size_bytes > MAX_DISK_BYTES || !size_bytes.is_multiple_of(sector_bytes) {
        return Err(Flaw::Damaged(format!("its disk has {size_bytes} bytes; whole sectors up to 64 TiB are possible")));
    }
    Ok(Shape { block_bytes, size_bytes, sector_bytes, has_parent: flags & 2 != 0 })
}

/// The keys and values of a parent locator: texts in UTF-16.
pub(super) fn locator(bytes: &[u8]) -> Result<Vec<(String, String)>, Flaw> {
    let fields = Fields { what: "parent locator", bytes };
    if fields.array(0)? != VHDX_LOCATOR {
        return Err(unknown("kind of parent", &fields.array(0)?));
    }
    let text = |at: u32, length: u16| {
        let bytes = fields.slice(usize::try_from(at).unwrap_or(usize::MAX), length.into())?;
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().map(|pair| u16::from_le_bytes(*pair)));
        let text = char::decode_utf16(units).collect::<Result<String, _>>();
        text.map_err(|_| Flaw::Damaged("its parent locator is no UTF-16".to_owned()))
    };
    let count = usize::from(fields.le16(18)?);
    let mut found = Vec::new();
    for entry in fields.slice(20, count.saturating_mul(12))?.chunks_exact(12) {
        let entry = Fields { what: "parent locator", bytes: entry };
        found.push((text(entry.le32(0)?, entry.le16(8)?)?, text(entry.le32(4)?, entry.le16(10)?)?));
    }
    Ok(found)
}

/// A GUID as it is written: its first three groups are little-endian numbers.
pub(super) fn guid_text(guid: &Guid) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let mut text = format!("{{{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-");
    for (number, byte) in rest.iter().enumerate() {
        text.push_str(if number == 2 { "-" } else { "" });
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('}');
    text
}

fn unknown(what: &str, guid: &Guid) -> Flaw {
    unsupported(format!("it has a required {what} that is not understood: {}", guid_text(guid)))
}

fn unsupported(what: String) -> Flaw {
    Flaw::Unsupported { what, cure: "convert it: qemu-img convert -f vhdx -O qcow2".to_owned() }
}
