//! A physical volume: its label, its header, and the metadata areas that hold the text of its group.
//!
//! Layout: LVM2's `format_text` (label in one of the first four sectors, `LABELONE`; a header of the areas; each area a ring buffer
//! behind a header of its own that says where the current text lies). Checksums are the raw CRC-32 that begins with F597A6CF.

use std::sync::Arc;

use super::config::{self, MOST_TEXT_BYTES};
use super::group::GroupText;
use crate::io::ReadAt;
use crate::volume::VolumeResult;
use crate::volume::bytes::{le32, le64, raw_crc32};

const SECTOR: usize = 512;
const CHECKSUM_START: u32 = 0xf597_a6cf;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// Bytes of an area's header, behind which its ring begins.
const AREA_HEADER: u64 = 512;
/// The most areas that are looked at; tools make at most two.
const MOST_AREAS: usize = 16;

/// A physical volume as its own label tells it.
#[derive(Clone, Debug)]
pub struct PhysicalVolume {
    /// Its UUID, written with dashes.
    pub uuid: String,
    /// The newest text of its group that it holds; none where it holds none (by choice, or all are damaged).
    pub(super) group: Option<Arc<GroupText>>,
    /// What is wrong with its metadata areas, each a sentence without a full stop.
    pub notes: Vec<String>,
}

impl PhysicalVolume {
    /// The name of its group, as far as it knows that itself.
    pub fn group_name(&self) -> Option<&str> {
        self.group.as_ref().map(|group| group.name.as_str())
    }
}

/// The physical volume on `device`; `None` where it is none.
///
/// # Errors
/// The device's, where its first sectors cannot be read.
pub fn identify(device: &dyn ReadAt) -> VolumeResult<Option<PhysicalVolume>> {
    let mut head = [0_u8; 4 * SECTOR];
    if device.size_bytes() < head.len() as u64 {
        return Ok(None);
    }
    device.read_at(0, &mut head)?;
    let found = (0_u64..).zip(head.chunks_exact(SECTOR)).find_map(|(number, sector)| header(number, sector));
    let Some(header) = found else { return Ok(None) };
    let mut volume = PhysicalVolume { uuid: header.uuid, group: None, notes: Vec::new() };
    for (offset_bytes, size_bytes) in header.areas {
        match area(device, offset_bytes, size_bytes) {
            Ok(Some(text)) if volume.group.as_ref().is_none_or(|group| group.seqno < text.seqno) => volume.group = Some(Arc::new(text)),
            Ok(_) => {}
            Err(problem) => volume.notes.push(format!("its metadata area at byte {offset_bytes} is damaged: {problem}")),
        }
    }
    Ok(Some(volume))
}

struct Header {
    uuid: String,
    /// Offset and size of each metadata area, in bytes.
    areas: Vec<(u64, u64)>,
}

fn header(number: u64, sector: &[u8]) -> Option<Header> {
    let sound = sector.starts_with(b"LABELONE") && sector.get(24..32)? == b"LVM2 001" && le64(sector, 8)? == number;
    if !sound || raw_crc32(CHECKSUM_START, sector.get(20..)?) != le32(sector, 16)? {
        return None;
    }
    let body = sector.get(usize::try_from(le32(sector, 20)?).ok()?..)?;
    let uuid = uuid_text(body.get(..32)?)?;
    // Two lists of places follow the size, each ended by an empty one: of data, then of metadata.
    let mut places = body.get(40..)?.chunks_exact(16).map(|raw| Some((le64(raw, 0)?, le64(raw, 8)?)));
    places.by_ref().find(|place| matches!(place, Some((0, _)) | None))??;
    let areas = places.take(MOST_AREAS).map_while(|place| place.filter(|(offset_bytes, _)| *offset_bytes != 0)).collect();
    Some(Header { uuid, areas })
}

/// A UUID of 32 characters with the dashes that LVM writes.
fn uuid_text(raw: &[u8]) -> Option<String> {
    if raw.len() != 32 || !raw.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let mut text = String::with_capacity(38);
    for (at, byte) in raw.iter().enumerate() {
        if matches!(at, 6 | 10 | 14 | 18 | 22 | 26) {
            text.push('-');
        }
        text.push(char::from(*byte));
    }
    Some(text)
}

/// The text that a metadata area holds; `None` where it is empty or set aside.
fn area(device: &dyn ReadAt, offset_bytes: u64, size_bytes: u64) -> Result<Option<GroupText>, String> {
    let mut raw = [0_u8; SECTOR];
    device.read_at(offset_bytes, &mut raw).map_err(|error| error.to_string())?;
    let field32 = |at: usize| le32(&raw, at).unwrap_or(0);
    let field64 = |at: usize| le64(&raw, at).unwrap_or(0);
    if raw.get(4..20) != Some(AREA_MAGIC) {
        return Err("its header has no magic number".to_owned());
    }
    if raw_crc32(CHECKSUM_START, raw.get(4..).unwrap_or_default()) != field32(0) {
        return Err("its header fails its checksum".to_owned());
    }
    let (version, start, area_bytes) = (field32(20), field64(24), field64(32));
    if version != 1 || start != offset_bytes {
        return Err(format!("its header has version {version} and is for byte {start}"));
    }
    let area_bytes = if size_bytes == 0 { area_bytes } else { area_bytes.min(size_bytes) };
    let (at, length, checksum, flags) = (field64(40), field64(48), field32(56), field32(60));
    if at == 0 || length == 0 || flags & 1 != 0 {
        return Ok(None);
    }
    let text = ring(device, offset_bytes, area_bytes, at, length)?;
    if raw_crc32(CHECKSUM_START, &text) != checksum {
        return Err("its text fails its checksum".to_owned());
    }
    GroupText::new(&config::parse(&text)?, text.len()).map(Some)
}

/// `length` bytes from `at` on in the area that begins at `area_start`; past its end the text goes on behind the area's header.
fn ring(device: &dyn ReadAt, area_start: u64, area_bytes: u64, at: u64, length: u64) -> Result<Vec<u8>, String> {
    let ring_bytes = area_bytes.saturating_sub(AREA_HEADER);
    if at < AREA_HEADER || at >= area_bytes || length > ring_bytes || length > MOST_TEXT_BYTES as u64 {
        return Err(format!("its text of {length} bytes at {at} is not inside of its {area_bytes} bytes"));
    }
    let mut text = vec![0_u8; usize::try_from(length).map_err(|error| error.to_string())?];
    let before_end = usize::try_from(area_bytes.saturating_sub(at).min(length)).map_err(|error| error.to_string())?;
    let (head, tail) = text.split_at_mut(before_end);
    device.read_at(area_start.saturating_add(at), head).map_err(|error| error.to_string())?;
    device.read_at(area_start.saturating_add(AREA_HEADER), tail).map_err(|error| error.to_string())?;
    Ok(text)
}
