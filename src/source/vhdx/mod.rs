//! VHDX images: a table says for each block whether it is stored, zero, partly stored, or in the parent.
//!
//! Read: fixed, dynamic and differencing images; a log that was not written back is laid over the file (`log.rs`).
//! Layout: [MS-VHDX] of Microsoft's open specifications.

mod crc32c;
mod log;
mod regions;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests count in small numbers")]
mod tests;

use std::path::PathBuf;

use super::chain::{Lineage, beside};
use super::fields::{Flaw, split};
use super::host::HostFile;
use super::mapped::{BlockMap, Packed, Parts, Place, Run, bitmap_run};
use super::pages::{Page, Pages};
use super::{Format, Source, SourceError};
use log::Overlay;
use regions::{Header, Region, Shape};

/// Largest item of the metadata.
const MAX_ITEM_BYTES: u64 = 1 << 20;
/// The states of a block, in the lowest three bits of its entry.
const PARTLY_PRESENT: u64 = 7;
const PRESENT: u64 = 6;
const NOT_PRESENT: u64 = 0;
/// The part of an entry that is an offset: whole MiB.
const OFFSET_MASK: u64 = !0xf_ffff;

/// Where a VHDX's blocks lie.
#[derive(Debug)]
pub(super) struct VhdxMap {
    path: PathBuf,
    shape: Shape,
    table: Region,
    /// Blocks of the disk that share one bitmap block.
    blocks_per_bitmap: u64,
    overlay: Overlay,
    pages: Pages,
}

/// Opens an image with its parent.
pub(super) fn open(host: HostFile, lineage: &Lineage) -> Result<Parts<VhdxMap>, SourceError> {
    let path = host.path().to_owned();
    let flaw = |flaw: Flaw| flaw.of(&path, Format::Vhdx.name());
    let header = header(&host)?;
    let overlay = overlay(&host, &header)?;
    let file = Patched { host: &host, overlay: &overlay };
    let [first, second] = regions::REGION_TABLES_AT.map(|at| file.read(at, regions::TABLE_BYTES));
    let regions = regions::regions([&first?, &second?], host.size_bytes()).map_err(flaw)?;
    let items = regions::items(&file.read(regions.metadata.at, regions::TABLE_BYTES)?, regions.metadata).map_err(flaw)?;
    let item = |item: Region| file.read(item.at, usize::try_from(item.length_bytes.min(MAX_ITEM_BYTES)).unwrap_or(0));
    let shape = regions::shape(&item(items.parameters)?, &item(items.disk_size)?, &item(items.logical_sector)?).map_err(flaw)?;
    if shape.size_bytes == 0 {
        return Err(SourceError::Empty { path });
    }
    let below = match (shape.has_parent, items.parent_locator) {
        (true, Some(locator)) => Some(parent(&host, &item(locator)?, lineage)?),
        (true, None) => return Err(flaw(Flaw::Damaged("it rests on a parent that it does not name".to_owned()))),
        (false, _) => None,
    };
    let map = map(path.clone(), shape, regions.bat, overlay).map_err(flaw)?;
    let size_bytes = map.shape.size_bytes;
    Ok(Parts { format: Format::Vhdx, files: vec![host], map, size_bytes, below })
}

/// The tables, checked against the size of the disk.
fn map(path: PathBuf, shape: Shape, table: Region, overlay: Overlay) -> Result<VhdxMap, Flaw> {
    // A bitmap block of 1 MiB has a bit for each sector.
    let (blocks_per_bitmap, _) = split(shape.sector_bytes.saturating_mul(1 << 23), shape.block_bytes);
    let map = VhdxMap { path, shape, table, blocks_per_bitmap, overlay, pages: Pages::new() };
    let last = map.shape.size_bytes.div_ceil(map.shape.block_bytes).saturating_sub(1);
    let needed = if map.shape.has_parent { map.bitmap_entry(last) } else { map.block_entry(last) };
    let needed = needed.saturating_add(1).saturating_mul(8);
    if needed > table.length_bytes {
        let what = format!("its block table has {} bytes, and its disk of {} needs {needed}", table.length_bytes, map.shape.size_bytes);
        return Err(Flaw::Damaged(what));
    }
    Ok(map)
}

/// The header that counts.
fn header(host: &HostFile) -> Result<Header, SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vhdx.name());
    let file = Patched { host, overlay: &Overlay::default() };
    if !file.read(0, 8)?.starts_with(b"vhdxfile") {
        return Err(flaw(Flaw::Damaged("it does not start with vhdxfile".to_owned())));
    }
    let [first, second] = regions::HEADERS_AT.map(|at| file.read(at, regions::HEADER_BYTES));
    regions::newest_header([&first?, &second?]).map_err(flaw)
}

/// What the log says, where there is something in it.
fn overlay(host: &HostFile, header: &Header) -> Result<Overlay, SourceError> {
    let flaw = |what: String| Flaw::Damaged(what).of(host.path(), Format::Vhdx.name());
    if header.log_id == [0; 16] {
        return Ok(Overlay::default());
    }
    let (at, length) = (header.log_at, header.log_bytes);
    let inside = at.checked_add(length.into()).is_some_and(|end| end <= host.size_bytes());
    if !inside || length > log::MAX_LOG_BYTES || !length.is_multiple_of(4096) {
        return Err(flaw(format!("its log should be {length} bytes at {at}, in a file of {}", host.size_bytes())));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    host.read(at, &mut bytes)?;
    log::replay(&bytes, &header.log_id, host.size_bytes()).map_err(|flaw| flaw.of(host.path(), Format::Vhdx.name()))
}

/// The file as the log leaves it.
struct Patched<'a> {
    host: &'a HostFile,
    overlay: &'a Overlay,
}

impl Patched<'_> {
    /// `length` bytes at `at`; zeros past the end of the file, which no checksum takes for anything.
    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, SourceError> {
        let there = usize::try_from(self.host.size_bytes().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let (there, _) = bytes.split_at_mut(there.min(length));
        if !there.is_empty() {
            self.host.read(at, there)?;
        }
        self.overlay.patch(at, &mut bytes);
        Ok(bytes)
    }
}

/// Opens the parent that the locator names, and checks that it was not written to since.
fn parent(host: &HostFile, locator: &[u8], lineage: &Lineage) -> Result<Box<dyn Source>, SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vhdx.name());
    let entries = regions::locator(locator).map_err(flaw)?;
    let value = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let paths = ["relative_path", "absolute_win32_path", "volume_path"].into_iter().filter_map(value);
    let path = paths.filter_map(|path| beside(host.path(), path)).next();
    let path = path.ok_or_else(|| flaw(Flaw::Damaged("it names no parent that could be found".to_owned())))?;
    let below = lineage.open_below(host, Format::Vhdx, &path, Format::Vhdx)?;
    let id = regions::guid_text(&header(&HostFile::open(&path)?)?.data_id);
    let known = ["parent_linkage", "parent_linkage2"].into_iter().filter_map(value).any(|linkage| linkage.eq_ignore_ascii_case(&id));
    if !known {
        let what = format!("{} was written to since this image was made over it, or is another disk", path.display());
        return Err(flaw(Flaw::Damaged(what)));
    }
    Ok(below)
}

impl BlockMap for VhdxMap {
    fn run_at(&self, files: &[HostFile], offset_bytes: u64, limit_bytes: u64) -> Result<Run, SourceError> {
        let host = files.first().ok_or_else(|| self.damaged("it has no file".to_owned()))?;
        let (block, within) = split(offset_bytes, self.shape.block_bytes);
        let rest = self.shape.block_bytes.saturating_sub(within);
        let entry = self.entry(host, self.block_entry(block))?;
        let stored = Place::Stored { file: 0, offset_bytes: (entry & OFFSET_MASK).saturating_add(within) };
        match entry & 7 {
            PRESENT if entry & OFFSET_MASK == 0 => Err(self.damaged(format!("block {block} is marked as stored, but has no place"))),
            PRESENT => Ok(Run { length_bytes: rest, place: stored }),
            PARTLY_PRESENT if self.shape.has_parent => self.partly(host, block, within, limit_bytes, stored),
            NOT_PRESENT if self.shape.has_parent => Ok(Run { length_bytes: rest, place: Place::Below }),
            // Undefined, zero, unmapped: nothing of the guest's is there.
            0..=3 => Ok(Run { length_bytes: rest, place: Place::Zero }),
            state => Err(self.damaged(format!("block {block} is in the state {state}, which is not possible"))),
        }
    }

    fn unpack(&self, _: &[HostFile], packed: Packed, _: &mut [u8]) -> Result<(), SourceError> {
        Err(self.damaged(format!("its block at {} is compressed, which the format has not", packed.offset_bytes)))
    }

    fn is_patched(&self) -> bool {
        !self.overlay.is_empty()
    }

    fn patch(&self, offset_bytes: u64, bytes: &mut [u8]) {
        self.overlay.patch(offset_bytes, bytes);
    }
}

impl VhdxMap {
    /// Number of a block's entry: a bitmap's entry follows each group of blocks.
    fn block_entry(&self, block: u64) -> u64 {
        let (groups, _) = split(block, self.blocks_per_bitmap);
        block.saturating_add(groups)
    }

    /// Number of the entry of the bitmap of a block's group.
    fn bitmap_entry(&self, block: u64) -> u64 {
        let (group, _) = split(block, self.blocks_per_bitmap);
        let entries = self.blocks_per_bitmap.saturating_add(1);
        group.saturating_add(1).saturating_mul(entries).saturating_sub(1)
    }

    fn entry(&self, host: &HostFile, number: u64) -> Result<u64, SourceError> {
        let at = self.table.at.saturating_add(number.saturating_mul(8));
        let page = self.page(host, at)?;
        let bytes = page.bytes().first_chunk().ok_or_else(|| self.damaged(format!("its block table ends before entry {number}")))?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn page(&self, host: &HostFile, at: u64) -> Result<Page, SourceError> {
        self.pages.from(host, at, |at, bytes| self.overlay.patch(at, bytes))
    }

    /// The run of sectors that are stored, or are not, in a block of which only some are.
    fn partly(&self, host: &HostFile, block: u64, within: u64, limit_bytes: u64, stored: Place) -> Result<Run, SourceError> {
        let entry = self.entry(host, self.bitmap_entry(block))?;
        if entry & 7 != PRESENT {
            return Err(self.damaged(format!("block {block} is partly stored, but has no bitmap that tells which sectors are")));
        }
        let (_, in_group) = split(block, self.blocks_per_bitmap);
        let (sector, within_sector) = split(within, self.shape.sector_bytes);
        let (sectors_per_block, _) = split(self.shape.block_bytes, self.shape.sector_bytes);
        let (byte, bit) = split(in_group.saturating_mul(sectors_per_block).saturating_add(sector), 8);
        let page = self.page(host, (entry & OFFSET_MASK).saturating_add(byte))?;
        let limit = limit_bytes.div_ceil(self.shape.sector_bytes).saturating_add(1);
        let (here, sectors) = bitmap_run(page.bytes().iter().copied(), bit, limit)
            .ok_or_else(|| self.damaged(format!("the bitmap of block {block} lies past the end of the file: it was cut short")))?;
        let length_bytes = sectors.saturating_mul(self.shape.sector_bytes).saturating_sub(within_sector);
        let rest = self.shape.block_bytes.saturating_sub(within);
        Ok(Run { length_bytes: length_bytes.min(rest), place: if here { stored } else { Place::Below } })
    }

    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), format: Format::Vhdx.name(), what }
    }
}
