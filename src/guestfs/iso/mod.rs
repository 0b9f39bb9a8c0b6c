//! ISO 9660 (ECMA-119) with Rock Ridge or Joliet, read as Linux reads them: of the trees of names that a volume has, the best one.
//!
//! A node is the place of a record on the disc; the topmost directory, whose record is in the descriptor, is 0, and one that was moved
//! because it lay too deep has the place of the first record in itself. Names of one file in several directories (hard links) are
//! nodes of their own, of the same contents.

mod descriptors;
mod record;
mod rock;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::mapped::{FileExtent, MappedFile};
use super::pages::Pages;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions};
use crate::io::ReadAt;
use descriptors::{SECTOR_BYTES, Volume};
use record::Record;
use rock::Rock;

/// The node of the topmost directory: no record lies in the first sector.
const ROOT: Node = Node(0);

/// The most bytes of a directory: some millions of names.
const MOST_DIRECTORY_BYTES: u64 = 256 << 20;

/// The most pieces of a file, each of up to 4 GiB.
const MOST_PIECES: usize = 1 << 14;

/// Where names and attributes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Rock Ridge; so many bytes before its fields are passed over.
    RockRidge { skip: usize },
    /// The tree of Joliet.
    Joliet,
    /// The tree with names in capitals.
    Plain,
}

/// Says whether a volume holds ISO 9660.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some(found) = descriptors::read(device)? else { return Ok(None) };
    Ok(Some(Identity {
        kind: "iso9660",
        label: found.label(),
        uuid: found.primary.uuid.clone(),
        size_bytes: Some(found.primary.size_bytes),
        member: None,
    }))
}

/// Opens a volume of ISO 9660.
///
/// # Errors
/// The device's; damage where there is no primary descriptor.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("ISO 9660 without a device"))?;
    let found =
        descriptors::read(device.as_ref())?.ok_or_else(|| GuestError::damaged("the volume descriptors", "there is no primary one"))?;
    let pages = Pages::new(Arc::clone(device), options.cache_bytes);
    let mut iso = Iso { pages, volume: found.primary.clone(), names: Names::Plain, about: About::default() };
    if let Some(skip) = iso.find_rock_ridge() {
        iso.names = Names::RockRidge { skip };
    } else if let Some(joliet) = found.joliet {
        (iso.volume, iso.names) = (joliet, Names::Joliet);
    }
    let mut notes = vec![match iso.names {
        Names::RockRidge { .. } => "names and attributes are those of Rock Ridge".to_owned(),
        Names::Joliet => "names are those of Joliet".to_owned(),
        Names::Plain => "names are those of plain ISO 9660, in small letters as Linux shows them".to_owned(),
    }];
    if found.has_udf {
        notes.push("it holds UDF as well, which may show more files than ISO 9660".to_owned());
    }
    iso.about = About {
        block_bytes: u32::try_from(iso.volume.block_bytes).unwrap_or(u32::MAX),
        size_bytes: found.primary.size_bytes,
        used_bytes: Some(found.primary.size_bytes),
        notes,
    };
    Ok(Box::new(iso))
}

struct Iso {
    pages: Pages,
    volume: Volume,
    names: Names,
    about: About,
}

/// A record with all that its extensions say.
struct Found {
    place: u64,
    record: Record,
    rock: Rock,
}

impl Found {
    fn kind(&self) -> FileKind {
        let plain = if self.record.is_directory() || self.rock.child.is_some() { FileKind::Directory } else { FileKind::Regular };
        let posix = self.rock.posix.and_then(|posix| FileKind::of_mode(posix.mode));
        if self.rock.child.is_some() { FileKind::Directory } else { posix.unwrap_or(plain) }
    }
}

fn object(node: Node) -> String {
    if node == ROOT { "the topmost directory".to_owned() } else { format!("the object with its record at byte {}", node.0) }
}

/// The last sector that was read.
#[derive(Default)]
struct Sector {
    start: Option<u64>,
    bytes: Vec<u8>,
}

impl Iso {
    fn bytes_of_block(&self, block: u64) -> u64 {
        block.saturating_mul(self.volume.block_bytes)
    }

    /// The record at a place, if one is there.
    fn record(&self, place: u64, sector: &mut Sector) -> GuestResult<Option<Record>> {
        let within = place % SECTOR_BYTES as u64;
        let start = place - within;
        if sector.start != Some(start) {
            sector.bytes.resize(SECTOR_BYTES, 0);
            sector.start = None;
            self.pages.read(start, &mut sector.bytes)?;
            sector.start = Some(start);
        }
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        Ok(sector.bytes.get(within..).and_then(Record::parse))
    }

    /// The fields of Rock Ridge behind a record.
    fn rock(&self, record: &Record, skip: usize) -> GuestResult<Rock> {
        Rock::read(record.system_use().get(skip..).unwrap_or_default(), &|block, offset, length| {
            let mut bytes = vec![0; length];
            self.pages.read(self.bytes_of_block(block).saturating_add(offset), &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Whether the first record of the topmost directory says that there is Rock Ridge: how many bytes to pass over before its fields.
    /// Discs of CD-ROM XA have 14 bytes of their own before them.
    fn find_rock_ridge(&self) -> Option<usize> {
        let first = self.record(self.bytes_of_block(self.volume.root.block()), &mut Sector::default()).ok().flatten()?;
        let at = |skip| self.rock(&first, skip).ok().and_then(|rock| rock.skip_if_rock_ridge());
        at(0).or_else(|| at(14))
    }

    fn with_extensions(&self, place: u64, record: Record) -> GuestResult<Found> {
        let rock = match self.names {
            // The first record of the topmost directory tells how many bytes to pass over and does not do it itself.
            Names::RockRidge { skip } => {
                self.rock(&record, if place == self.bytes_of_block(self.volume.root.block()) { 0 } else { skip })?
            }
            _ => Rock::default(),
        };
        Ok(Found { place, record, rock })
    }

    fn found(&self, node: Node) -> GuestResult<Found> {
        if node == ROOT {
            let place = self.bytes_of_block(self.volume.root.block());
            let first = self.record(place, &mut Sector::default()).ok().flatten();
            let rock = first.and_then(|first| self.with_extensions(place, first).ok()).map(|found| found.rock).unwrap_or_default();
            return Ok(Found { place: ROOT.0, record: self.volume.root.clone(), rock });
        }
        let missing = || GuestError::NotFound { object: object(node) };
        let record = self.record(node.0, &mut Sector::default())?.ok_or_else(missing)?;
        self.with_extensions(node.0, record)
    }

    /// Calls `visit` with each record of a directory, those of pieces of files too.
    ///
    /// # Errors
    /// Damage, after all records that could be read.
    fn records(&self, node: Node, visit: &mut dyn FnMut(u64, Record) -> GuestResult<ControlFlow<()>>) -> GuestResult<()> {
        let found = self.found(node)?;
        if found.kind() != FileKind::Directory {
            return Err(GuestError::WrongKind { object: object(node), expected: "directory" });
        }
        let start = self.bytes_of_block(found.record.block());
        let size = found.record.size_bytes();
        if size > MOST_DIRECTORY_BYTES {
            return Err(GuestError::limit(object(node), format!("a directory of {size} bytes")));
        }
        let (mut at, mut bad, mut sector) = (0_u64, 0_u64, Sector::default());
        while at < size {
            let place = start.saturating_add(at);
            let next_sector = at.saturating_add(SECTOR_BYTES as u64 - place % SECTOR_BYTES as u64);
            match self.record(place, &mut sector)? {
                Some(record) => {
                    at = at.saturating_add(record.length() as u64);
                    if visit(place, record)?.is_break() {
                        return Ok(());
                    }
                }
                None => {
                    // Records do not reach over sectors: zeros fill the rest of one.
                    let within = usize::try_from(place % SECTOR_BYTES as u64).unwrap_or(usize::MAX);
                    bad = bad.saturating_add(u64::from(sector.bytes.get(within).is_some_and(|&length| length != 0)));
                    at = next_sector;
                }
            }
        }
        if bad == 0 {
            return Ok(());
        }
        Err(GuestError::damaged(object(node), format!("{bad} of its sectors have records that are none")))
    }

    /// Calls `visit` with each name of a directory.
    fn names(&self, node: Node, visit: &mut dyn FnMut(Vec<u8>, Found) -> ControlFlow<()>) -> GuestResult<()> {
        let (mut goes_on, mut problem) = (false, None);
        self.records(node, &mut |place, record| {
            let is_piece = std::mem::replace(&mut goes_on, record.goes_on());
            if is_piece || record.is_way_back() || record.is_associated() {
                return Ok(ControlFlow::Continue(()));
            }
            let found = match self.with_extensions(place, record) {
                Ok(found) => found,
                Err(error @ GuestError::Device(_)) => return Err(error),
                Err(error) => {
                    problem = problem.take().or(Some(error));
                    return Ok(ControlFlow::Continue(()));
                }
            };
            if found.rock.is_relocated {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(visit(self.name(&found), found))
        })?;
        problem.map_or(Ok(()), Err)
    }

    fn name(&self, found: &Found) -> Vec<u8> {
        match (self.names, &found.rock.name) {
            (Names::RockRidge { .. }, Some(name)) => name.clone(),
            (Names::Joliet, _) => found.record.joliet_name(),
            _ => found.record.plain_name(),
        }
    }

    /// The node of a name: a directory that was moved is where it was moved to.
    fn node(&self, found: &Found) -> Node {
        Node(found.rock.child.map_or(found.place, |block| self.bytes_of_block(block)))
    }

    /// The pieces of a file, from its first record on.
    fn pieces(&self, found: &Found) -> GuestResult<Vec<Record>> {
        let mut pieces = vec![found.record.clone()];
        let (mut at, mut sector) = (found.place, Sector::default());
        while pieces.last().is_some_and(Record::goes_on) {
            at = at.saturating_add(pieces.last().map_or(0, Record::length) as u64);
            let next = match self.record(at, &mut sector)? {
                None => {
                    at = at.saturating_add(SECTOR_BYTES as u64 - at % SECTOR_BYTES as u64);
                    self.record(at, &mut sector)?
                }
                next => next,
            };
            let object = object(Node(found.place));
            let next = next.filter(|next| next.raw_name() == found.record.raw_name());
            pieces.push(next.ok_or_else(|| GuestError::damaged(&object, "the record of its next piece is not there"))?);
            if pieces.len() > MOST_PIECES {
                return Err(GuestError::limit(object, format!("more than {MOST_PIECES} pieces")));
            }
        }
        Ok(pieces)
    }

    /// Bytes of the contents as they lie on the disc.
    fn stored_bytes(&self, found: &Found) -> GuestResult<u64> {
        let pieces = self.pieces(found)?;
        Ok(pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.size_bytes())))
    }
}

impl FileSystem for Iso {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let found = self.found(node)?;
        let kind = found.kind();
        let stored = if kind == FileKind::Regular { self.stored_bytes(&found)? } else { found.record.size_bytes() };
        let size_bytes = match (kind, &found.rock.target, found.rock.uncompressed_bytes) {
            (FileKind::Link, target, _) => target.as_ref().map_or(0, Vec::len) as u64,
            (FileKind::Regular, _, Some(size)) => size,
            (FileKind::Regular | FileKind::Directory, ..) => stored,
            _ => 0,
        };
        let is_special = !matches!(kind, FileKind::Regular | FileKind::Directory);
        let posix = found.rock.posix;
        let plain_mode = if kind == FileKind::Directory { 0o555 } else { 0o444 };
        Ok(Attributes {
            kind,
            size_bytes,
            allocated_bytes: if is_special { 0 } else { stored.checked_next_multiple_of(self.volume.block_bytes).unwrap_or(u64::MAX) },
            mode: posix.and_then(|posix| u16::try_from(posix.mode & 0o7777).ok()).unwrap_or(plain_mode),
            uid: posix.map_or(0, |posix| posix.uid),
            gid: posix.map_or(0, |posix| posix.gid),
            links: posix.map_or(1, |posix| posix.links),
            device: found.rock.device.filter(|_| matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice)),
            modified: found.rock.modified.unwrap_or_else(|| found.record.time()),
            changed: found.rock.changed,
            accessed: found.rock.accessed,
            created: found.rock.created,
        })
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        self.names(directory, &mut |name, found| visit(Entry { name, node: self.node(&found), kind: Some(found.kind()) }))
    }

    /// Without Rock Ridge case does not count, as in Linux.
    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let relaxed = (!matches!(self.names, Names::RockRidge { .. })).then(|| String::from_utf8_lossy(name).to_lowercase());
        let (mut exact, mut near) = (None, None);
        let walked = self.names(directory, &mut |found_name, found| {
            if found_name == name {
                exact = Some(self.node(&found));
                return ControlFlow::Break(());
            }
            if near.is_none() && relaxed.as_ref().is_some_and(|name| String::from_utf8_lossy(&found_name).to_lowercase() == *name) {
                near = Some(self.node(&found));
            }
            ControlFlow::Continue(())
        });
        match exact.or(near) {
            Some(node) => Ok(Some(node)),
            None => walked.map(|()| None),
        }
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        let found = self.found(node)?;
        if found.kind() != FileKind::Link {
            return Err(GuestError::WrongKind { object: object(node), expected: "symbolic link" });
        }
        found.rock.target.ok_or_else(|| GuestError::damaged(object(node), "a symbolic link without a target"))
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        self.found(node).map(|_| Vec::new())
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let found = self.found(node)?;
        if found.kind() != FileKind::Regular {
            return Err(GuestError::WrongKind { object: object(node), expected: "regular file" });
        }
        if found.rock.uncompressed_bytes.is_some() {
            return Err(GuestError::unsupported("a file compressed by zisofs"));
        }
        let pieces = self.pieces(&found)?;
        if found.rock.is_sparse || pieces.iter().any(Record::is_interleaved) {
            return Err(GuestError::unsupported("an interleaved or sparse file of ISO 9660"));
        }
        let mut start_bytes = 0_u64;
        let mut extents = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let (length_bytes, device_bytes) = (piece.size_bytes(), self.bytes_of_block(piece.block()));
            extents.push(FileExtent { start_bytes, length_bytes, device_bytes });
            start_bytes = start_bytes.saturating_add(length_bytes);
        }
        Ok(Arc::new(MappedFile::new(&object(node), Arc::clone(self.pages.device()), start_bytes, extents)?))
    }
}
