//! VHD images: fixed, dynamic (a table says where each block lies) and differencing (a bitmap says which sectors of a block).
//!
//! The disk has the size that the footer tells; QEMU tells another, rounded up to a geometry, for some old writers' images.
//! Layout: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0.

mod header;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests count in small numbers")]
mod tests;

use std::path::PathBuf;

use super::chain::{Lineage, beside};
use super::fields::{Flaw, split};
use super::host::HostFile;
use super::mapped::{BlockMap, Packed, Parts, Place, Run, bitmap_run};
use super::pages::Pages;
use super::{Format, Source, SourceError};
use header::{FOOTER_BYTES, Footer, HEADER_BYTES, Header, Kind, Locator};

const SECTOR: u64 = 512;
/// A block that the table gives no place.
const NO_BLOCK: u32 = u32::MAX;
const MAX_PATH_BYTES: u32 = 64 << 10;

/// Where a VHD's blocks lie.
#[derive(Debug)]
pub(super) struct VhdMap {
    path: PathBuf,
    size_bytes: u64,
    /// `None` for a fixed disk, whose bytes lie as they are.
    table: Option<Table>,
}

#[derive(Debug)]
struct Table {
    pages: Pages,
    table_at: u64,
    block_bytes: u64,
    /// Bytes of the bitmap in front of each block, rounded up to sectors.
    bitmap_bytes: u64,
    differencing: bool,
}

/// Whether the file ends as a fixed VHD does, which nothing at its start shows: with a footer that tells its very length.
pub(super) fn ends_as_fixed(host: &HostFile) -> Result<bool, SourceError> {
    let Some(at) = host.size_bytes().checked_sub(FOOTER_BYTES) else { return Ok(false) };
    let footer = header::footer(&read(host, at)?);
    Ok(matches!(footer, Ok(Some(Footer { kind: Kind::Fixed, size_bytes, .. })) if size_bytes == at))
}

/// Opens an image with its parent.
pub(super) fn open(host: HostFile, lineage: &Lineage) -> Result<Parts<VhdMap>, SourceError> {
    let path = host.path().to_owned();
    let flaw = |flaw: Flaw| flaw.of(&path, Format::Vhd.name());
    let footer = footer(&host)?;
    let size_bytes = footer.size_bytes;
    if size_bytes == 0 {
        return Err(SourceError::Empty { path });
    }
    let (mut table, mut below) = (None, None);
    if footer.kind != Kind::Fixed {
        let mut bytes = vec![0; usize::try_from(HEADER_BYTES).unwrap_or(0)];
        if footer.header_at.checked_add(HEADER_BYTES).is_none_or(|end| end > host.size_bytes()) {
            return Err(flaw(Flaw::Damaged(format!("its dynamic header should lie at {}, past the end of the file", footer.header_at))));
        }
        host.read(footer.header_at, &mut bytes)?;
        let header = header::header(&bytes, size_bytes, host.size_bytes()).map_err(flaw)?;
        let differencing = footer.kind == Kind::Differencing;
        if differencing {
            below = Some(parent(&host, &header, lineage)?);
        }
        // One bit a sector, in whole sectors.
        let (bits, _) = split(header.block_bytes, SECTOR);
        let bitmap_bytes = bits.div_ceil(8).checked_next_multiple_of(SECTOR).unwrap_or(SECTOR);
        let (table_at, block_bytes) = (header.table_at, header.block_bytes);
        table = Some(Table { pages: Pages::new(), table_at, block_bytes, bitmap_bytes, differencing });
    }
    Ok(Parts { format: Format::Vhd, files: vec![host], map: VhdMap { path, size_bytes, table }, size_bytes, below })
}

/// The footer: at the end, or, where that one was lost, its copy at the start.
fn footer(host: &HostFile) -> Result<Footer, SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vhd.name());
    let too_short = || flaw(Flaw::Damaged(format!("it has {} bytes, less than a footer", host.size_bytes())));
    let end = host.size_bytes().checked_sub(FOOTER_BYTES).ok_or_else(too_short)?;
    for at in [end, 0] {
        if let Some(footer) = header::footer(&read(host, at)?).map_err(flaw)? {
            return Ok(footer);
        }
    }
    Err(flaw(Flaw::Damaged("it has no footer with a right checksum at its end, and no copy of it at its start".to_owned())))
}

fn read(host: &HostFile, at: u64) -> Result<[u8; 512], SourceError> {
    let mut bytes = [0; 512];
    host.read(at, &mut bytes)?;
    Ok(bytes)
}

/// Opens the parent of a differencing disk: by the relative path where there is one, else under the same name beside it.
fn parent(host: &HostFile, header: &Header, lineage: &Lineage) -> Result<Box<dyn Source>, SourceError> {
    let flaw = |what: String| Flaw::Damaged(what).of(host.path(), Format::Vhd.name());
    let mut found = None;
    for code in [b"W2ru", b"W2ku"] {
        let locator = header.locators.iter().find(|locator| locator.code == *code && locator.length_bytes > 0);
        if let (None, Some(locator)) = (&found, locator) {
            found = beside(host.path(), &located(host, locator)?);
        }
    }
    let path = found.ok_or_else(|| flaw("it names no parent that could be found".to_owned()))?;
    let below = lineage.open_below(host, Format::Vhd, &path, Format::Vhd)?;
    let parent = HostFile::open(&path)?;
    if footer(&parent)?.id != header.parent_id {
        return Err(flaw(format!("{} is another disk than the parent that it was made from, or was made anew since", path.display())));
    }
    Ok(below)
}

/// The path of a locator: UTF-16.
fn located(host: &HostFile, locator: &Locator) -> Result<String, SourceError> {
    let flaw = |what: String| Flaw::Damaged(what).of(host.path(), Format::Vhd.name());
    let length = locator.length_bytes;
    if length > MAX_PATH_BYTES || locator.at.checked_add(u64::from(length)).is_none_or(|end| end > host.size_bytes()) {
        return Err(flaw(format!("the path of its parent should be {length} bytes at {} of the file", locator.at)));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    host.read(locator.at, &mut bytes)?;
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().map(|pair| u16::from_le_bytes(*pair)));
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    Ok(text.map_err(|_| flaw("the path of its parent is no UTF-16".to_owned()))?.trim_end_matches('\0').to_owned())
}

impl BlockMap for VhdMap {
    fn run_at(&self, files: &[HostFile], offset_bytes: u64, limit_bytes: u64) -> Result<Run, SourceError> {
        let Some(table) = &self.table else {
            let rest = self.size_bytes.saturating_sub(offset_bytes);
            return Ok(Run { length_bytes: rest, place: Place::Stored { file: 0, offset_bytes } });
        };
        let host = files.first().ok_or_else(|| self.damaged("it has no file".to_owned()))?;
        let (block, within) = split(offset_bytes, table.block_bytes);
        let rest = table.block_bytes.saturating_sub(within);
        let page = table.pages.from(host, table.table_at.saturating_add(block.saturating_mul(4)), |_, _| {})?;
        let (entries, _) = page.bytes().as_chunks::<4>();
        let [first, others @ ..] = entries else {
            return Err(self.damaged(format!("its table ends before block {block}")));
        };
        let none = |entry: &[u8; 4]| u32::from_be_bytes(*entry) == NO_BLOCK;
        let absent = if table.differencing { Place::Below } else { Place::Zero };
        if none(first) {
            let more = u64::try_from(others.iter().take_while(|entry| none(entry)).count()).unwrap_or(0);
            return Ok(Run { length_bytes: rest.saturating_add(more.saturating_mul(table.block_bytes)), place: absent });
        }
        let bitmap_at = u64::from(u32::from_be_bytes(*first)).saturating_mul(SECTOR);
        let stored = Place::Stored { file: 0, offset_bytes: bitmap_at.saturating_add(table.bitmap_bytes).saturating_add(within) };
        if !table.differencing {
            return Ok(Run { length_bytes: rest, place: stored });
        }
        // The first sector of a byte is its highest bit.
        let (sector, within_sector) = split(within, SECTOR);
        let (byte, bit) = split(sector, 8);
        let page = table.pages.from(host, bitmap_at.saturating_add(byte), |_, _| {})?;
        let bits = page.bytes().iter().map(|byte| byte.reverse_bits());
        let (here, sectors) = bitmap_run(bits, bit, limit_bytes.div_ceil(SECTOR).saturating_add(1))
            .ok_or_else(|| self.damaged(format!("block {block} lies past the end of the file: it was cut short")))?;
        let length_bytes = sectors.saturating_mul(SECTOR).saturating_sub(within_sector).min(rest);
        Ok(Run { length_bytes, place: if here { stored } else { Place::Below } })
    }

    fn unpack(&self, _: &[HostFile], packed: Packed, _: &mut [u8]) -> Result<(), SourceError> {
        Err(self.damaged(format!("its block at {} is compressed, which the format has not", packed.offset_bytes)))
    }
}

impl VhdMap {
    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), format: Format::Vhd.name(), what }
    }
}
