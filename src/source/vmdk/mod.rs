//! VMDK images: a descriptor that names extents, each flat, sparse (two levels of tables) or zero; or one sparse extent that holds
//! its own descriptor, its grains compressed or not (streamOptimized).
//!
//! Not read: the sparse extents of ESX hosts (COWD, SESPARSE), which exist only as snapshots on a datastore.
//! Layout: VMware's "Virtual Disk Format 5.0".

mod descriptor;
mod sparse;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests count in small numbers")]
mod tests;

use std::path::{Path, PathBuf};

use super::chain::{Lineage, beside, resolve};
use super::fields::{Fields, Flaw, split};
use super::host::HostFile;
use super::mapped::{BlockMap, Packed, Parts, Place, Run};
use super::pages::Pages;
use super::unpack::{Packing, unpack};
use super::{Format, Source, SourceError};
use crate::units::Grid;
use descriptor::{Descriptor, ExtentLine, Layout};
use sparse::Header;

const SECTOR: u64 = 512;
/// Bytes in front of a compressed grain: its first sector on the disk and its length.
const MARKER_BYTES: u64 = 12;
/// A grain of zeros, where the header allows it.
const ZERO_GRAIN: u32 = 1;

/// Where the extents of a disk lie.
#[derive(Debug)]
pub(super) struct VmdkMap {
    path: PathBuf,
    /// Ascending, without gaps.
    pieces: Vec<Piece>,
    has_parent: bool,
    pages: Pages,
}

/// A part of the disk.
#[derive(Debug)]
struct Piece {
    start_bytes: u64,
    end_bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Zero,
    Flat { file: usize, offset_bytes: u64 },
    Sparse { file: u16, header: Header },
}

/// Opens an image with its extents and its parent.
pub(super) fn open(host: HostFile, lineage: &Lineage) -> Result<Parts<VmdkMap>, SourceError> {
    let path = host.path().to_owned();
    let flaw = |flaw: Flaw| flaw.of(&path, Format::Vmdk.name());
    let (descriptor, own_extent) = describe(&host)?;
    let below = descriptor.parent.as_ref().map(|parent| open_parent(&host, parent, lineage)).transpose()?;
    let mut map = VmdkMap { path: path.clone(), pieces: Vec::new(), has_parent: below.is_some(), pages: Pages::new() };
    let mut files = vec![host];
    match own_extent {
        Some(header) => map.push(header.capacity_bytes, Content::Sparse { file: 0, header }).map_err(flaw)?,
        None => {
            for line in &descriptor.extents {
                let content = open_extent(&mut files, line, lineage)?;
                map.push(line.length_bytes, content).map_err(flaw)?;
            }
        }
    }
    match map.pieces.last().map(|piece| piece.end_bytes) {
        Some(size_bytes @ 1..) => Ok(Parts { format: Format::Vmdk, files, map, size_bytes, below }),
        _ => Err(SourceError::Empty { path }),
    }
}

/// The descriptor, and the sparse extent that it lies in where it is not a file of its own.
fn describe(host: &HostFile) -> Result<(Descriptor, Option<Header>), SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vmdk.name());
    let mut start = vec![0; usize::try_from(host.size_bytes().min(SECTOR)).unwrap_or(0)];
    host.read(0, &mut start)?;
    if !start.starts_with(b"#") {
        let header = sparse_header(host)?;
        let descriptor = header.descriptor.map(|(at, length)| read_descriptor(host, at, length)).transpose()?;
        let alone = descriptor.filter(|descriptor| descriptor.extents.len() == 1);
        let descriptor = alone.ok_or_else(|| {
            flaw(Flaw::Unsupported {
                what: "it is one extent of a disk that has several".to_owned(),
                cure: "name the disk's descriptor, the small text file beside it".to_owned(),
            })
        })?;
        return Ok((descriptor, Some(header)));
    }
    if host.size_bytes() > sparse::MAX_DESCRIPTOR_BYTES {
        return Err(flaw(Flaw::Damaged(format!("its descriptor has {} bytes", host.size_bytes()))));
    }
    Ok((read_descriptor(host, 0, host.size_bytes())?, None))
}

fn read_descriptor(host: &HostFile, at: u64, length_bytes: u64) -> Result<Descriptor, SourceError> {
    let mut bytes = vec![0; usize::try_from(length_bytes).unwrap_or(0)];
    host.read(at, &mut bytes)?;
    descriptor::parse(&bytes).map_err(|flaw| flaw.of(host.path(), Format::Vmdk.name()))
}

/// The header of a sparse extent, or the footer that stands for it in an image that was written as a stream.
fn sparse_header(host: &HostFile) -> Result<Header, SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vmdk.name());
    let size = host.size_bytes();
    let read = |at: Option<u64>| {
        let mut bytes = [0; 512];
        let at = at.filter(|at| at.saturating_add(SECTOR) <= size);
        let at = at.ok_or_else(|| flaw(Flaw::Damaged(format!("it has {size} bytes, less than its header and footer"))))?;
        host.read(at, &mut bytes).map(|()| bytes)
    };
    let first = read(Some(0))?;
    let bytes = if sparse::is_at_end(&first) { read(size.checked_sub(2 * SECTOR))? } else { first };
    sparse::header(&bytes, size).map_err(flaw)
}

/// Opens the disk that this one holds the changes of, and checks that it was not written to since.
fn open_parent(host: &HostFile, parent: &descriptor::Parent, lineage: &Lineage) -> Result<Box<dyn Source>, SourceError> {
    let flaw = |flaw: Flaw| flaw.of(host.path(), Format::Vmdk.name());
    let given = resolve(host.path(), parent.path.as_bytes()).ok().filter(|path| path.is_file());
    let missing = || Flaw::Damaged(format!("its parent '{}' could not be found", parent.path.escape_debug()));
    let path = given.or_else(|| beside(host.path(), &parent.path)).ok_or_else(|| flaw(missing()))?;
    let below = lineage.open_below(host, Format::Vmdk, &path, Format::Vmdk)?;
    let (descriptor, _) = describe(&HostFile::open(&path)?)?;
    if descriptor.content_id != Some(parent.content_id) {
        let what = format!("{} was written to since this image was made over it, or is another disk", path.display());
        return Err(flaw(Flaw::Damaged(what)));
    }
    Ok(below)
}

/// Opens the file of an extent. The descriptor's own file is the first.
fn open_extent(files: &mut Vec<HostFile>, line: &ExtentLine, lineage: &Lineage) -> Result<Content, SourceError> {
    let (Layout::Flat { .. } | Layout::Sparse, Some(host)) = (line.layout, files.first()) else {
        return Ok(Content::Zero);
    };
    let flaw = |path: &Path, flaw: Flaw| flaw.of(path, Format::Vmdk.name());
    let path = resolve(host.path(), line.file.as_bytes()).map_err(|found| flaw(host.path(), found))?;
    let part = lineage.open_part(host, Format::Vmdk, &path)?;
    let file = files.len();
    let content = match line.layout {
        Layout::Flat { offset_bytes } => Content::Flat { file, offset_bytes },
        _ => {
            let header = sparse_header(&part)?;
            if header.capacity_bytes < line.length_bytes {
                let what = format!("it holds {} bytes of the disk instead of {}", header.capacity_bytes, line.length_bytes);
                return Err(flaw(part.path(), Flaw::Damaged(what)));
            }
            Content::Sparse { file: u16::try_from(file).unwrap_or(u16::MAX), header }
        }
    };
    files.push(part);
    Ok(content)
}

impl BlockMap for VmdkMap {
    fn run_at(&self, files: &[HostFile], offset_bytes: u64, limit_bytes: u64) -> Result<Run, SourceError> {
        let number = self.pieces.partition_point(|piece| piece.end_bytes <= offset_bytes);
        let piece = self.pieces.get(number).ok_or_else(|| self.damaged(format!("no extent has the disk's offset {offset_bytes}")))?;
        let within = offset_bytes.saturating_sub(piece.start_bytes);
        let rest = piece.end_bytes.saturating_sub(offset_bytes);
        let run = match &piece.content {
            Content::Zero => Run { length_bytes: rest, place: Place::Zero },
            Content::Flat { file, offset_bytes } => {
                Run { length_bytes: rest, place: Place::Stored { file: *file, offset_bytes: offset_bytes.saturating_add(within) } }
            }
            Content::Sparse { file, header } => {
                let host = files.get(usize::from(*file)).ok_or_else(|| self.damaged(format!("it has no file {file}")))?;
                self.sparse_run(host, *file, header, within, limit_bytes)?
            }
        };
        // A compressed grain's place is told by where its piece starts.
        let place = match run.place {
            Place::Packed(packed) => Place::Packed(Packed { start_bytes: packed.start_bytes.saturating_add(piece.start_bytes), ..packed }),
            other => other,
        };
        Ok(Run { length_bytes: run.length_bytes.min(rest), place })
    }

    fn unpack(&self, files: &[HostFile], packed: Packed, grain: &mut [u8]) -> Result<(), SourceError> {
        let start = packed.start_bytes;
        let damaged =
            |what: String| self.damaged(format!("the compressed grain of the disk's offset {start}, at {}, {what}", packed.offset_bytes));
        let host = files.get(packed.file).ok_or_else(|| damaged("lies in no file".to_owned()))?;
        let mut marker = [0; 12];
        let data_at = packed.offset_bytes.saturating_add(MARKER_BYTES);
        if data_at > host.size_bytes() {
            return Err(damaged("lies past the end of the file: it was cut short".to_owned()));
        }
        host.read(packed.offset_bytes, &mut marker)?;
        let fields = Fields { what: "marker", bytes: &marker };
        let told = fields.le64(0).and_then(|sector| Ok((sector, fields.le32(8)?)));
        let (sector, length) = told.map_err(|flaw| flaw.of(&self.path, Format::Vmdk.name()))?;
        let piece = self.pieces.iter().find(|piece| (piece.start_bytes..piece.end_bytes).contains(&start));
        let within = start.saturating_sub(piece.map_or(0, |piece| piece.start_bytes));
        if sector.checked_mul(SECTOR) != Some(within) {
            return Err(damaged(format!("says that it is that of sector {sector}")));
        }
        // Deflate makes nothing much larger than it was.
        let most = u32::try_from(grain.len()).unwrap_or(u32::MAX).saturating_mul(2).saturating_add(4096);
        if length > most || data_at.saturating_add(length.into()) > host.size_bytes() {
            return Err(damaged(format!("says that it has {length} bytes")));
        }
        let mut stored = vec![0; usize::try_from(length).unwrap_or(0)];
        host.read(data_at, &mut stored)?;
        // The last grain may end with the disk.
        let rest = piece.map_or(0, |piece| piece.end_bytes.saturating_sub(start));
        let least = usize::try_from(rest).unwrap_or(usize::MAX).min(grain.len());
        unpack(Packing::Zlib, &stored, grain, least).map_err(|what| damaged(format!("cannot be decoded: {what}")))
    }
}

impl VmdkMap {
    /// Puts a part behind the others.
    fn push(&mut self, length_bytes: u64, content: Content) -> Result<(), Flaw> {
        let start_bytes = self.pieces.last().map_or(0, |piece| piece.end_bytes);
        let end = start_bytes.checked_add(length_bytes).filter(|&end| end <= Grid::MAX_DISK_BYTES);
        let end_bytes = end.ok_or_else(|| Flaw::Damaged("its extents are together larger than 1 EiB".to_owned()))?;
        if end_bytes > start_bytes {
            self.pieces.push(Piece { start_bytes, end_bytes, content });
        }
        Ok(())
    }

    /// The run of a sparse extent at `within` bytes of it: directory, table, grain.
    fn sparse_run(&self, host: &HostFile, file: u16, header: &Header, within: u64, limit_bytes: u64) -> Result<Run, SourceError> {
        let absent = if self.has_parent { Place::Below } else { Place::Zero };
        let (table, within_table) = split(within, header.table_span_bytes());
        let directory = self.pages.starting_at_file(host, file, header.directory_at.saturating_add(table.saturating_mul(4)), |_, _| {})?;
        let ended = || self.damaged(format!("its tables end before the disk's offset {within}"));
        let table_at = u64::from(u32::from_le_bytes(*directory.bytes().first_chunk().ok_or_else(ended)?)).saturating_mul(SECTOR);
        let table_rest = header.table_span_bytes().saturating_sub(within_table);
        if table_at == 0 {
            return Ok(Run { length_bytes: table_rest, place: absent });
        }
        let (first, within_grain) = split(within_table, header.grain_bytes);
        let page = self.pages.starting_at_file(host, file, table_at.saturating_add(first.saturating_mul(4)), |_, _| {})?;
        let (entries, _) = page.bytes().as_chunks::<4>();
        let mut run: Option<Run> = None;
        let mut position = within_grain;
        for entry in entries {
            let found = run.map_or(0, |run| run.length_bytes);
            if found >= table_rest.min(limit_bytes) {
                break;
            }
            let grain = within.saturating_add(found).saturating_sub(position);
            let place = self.grain(file, header, u32::from_le_bytes(*entry), grain, position, absent)?;
            let piece = Run { length_bytes: header.grain_bytes.saturating_sub(position), place };
            let continues = match &mut run {
                None => run.insert(piece).length_bytes > 0,
                Some(run) => run.extend(&piece),
            };
            if !continues {
                break;
            }
            position = 0;
        }
        run.ok_or_else(ended)
    }

    /// Where `position` bytes into the grain that starts at `grain` of the extent lie.
    fn grain(&self, file: u16, header: &Header, entry: u32, grain: u64, position: u64, absent: Place) -> Result<Place, SourceError> {
        let offset_bytes = u64::from(entry).saturating_mul(SECTOR);
        Ok(match entry {
            0 => absent,
            ZERO_GRAIN if header.zero_grains => Place::Zero,
            ZERO_GRAIN => return Err(self.damaged(format!("the grain of the disk's offset {grain} lies in the header"))),
            _ if header.compressed => Place::Packed(Packed {
                start_bytes: grain,
                length_bytes: usize::try_from(header.grain_bytes).unwrap_or(0),
                file: file.into(),
                offset_bytes,
                stored_bytes: 0,
            }),
            _ => Place::Stored { file: file.into(), offset_bytes: offset_bytes.saturating_add(position) },
        })
    }

    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), format: Format::Vmdk.name(), what }
    }
}
