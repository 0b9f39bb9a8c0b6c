//! Files out of a recovery point into an archive, written from its beginning to its end, so that it can go into a pipe.
//!
//! A file that cannot be read to its end is filled up with zeros, since its size stands before it in the archive, and told.

mod acl;
mod output;
mod pax;
mod sparse;
mod tar;
#[cfg(test)]
mod tests;
mod zip;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

pub use output::{ArchiveFile, Compression};

use super::super::JobError;
use super::Source;
use super::name_for_person;
use super::pieces::{MOST_PIECE_BYTES, next_piece};
use crate::guestfs::{Attributes, FileData, FileKind};
use crate::monitor::{Counter, Monitor, Problem};
use crate::tree::{Found, Step, Tree, Walk, join};
use output::Compressed;

/// Files of several names that are remembered until the last one was met.
const MOST_LINKED: usize = 1 << 20;
/// Bytes of zeros that are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// tar with PAX records (POSIX 2001), and GNU's for holes.
    Tar,
    /// ZIP with deflate, Unix modes and links.
    Zip,
}

/// What was packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Device nodes and pipes.
    pub special: u64,
    /// Bytes of all these files, with their holes.
    pub size_bytes: u64,
    /// What the archive cannot hold, and of how many files.
    pub not_kept: Vec<(String, u64)>,
}

/// Why something was not packed.
enum Failure {
    /// It cannot be read; nothing of it is in the archive.
    Source(String),
    /// The archive cannot be written.
    Output(io::Error),
    /// Somebody asked for the end.
    Cancelled,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// One object on its way into an archive.
struct Item<'a> {
    /// Its path in the archive; empty for the topmost directory.
    name: &'a [u8],
    known: &'a Attributes,
    extended: &'a [(Vec<u8>, Vec<u8>)],
}

/// What is told while an archive is written.
struct Telling<'a> {
    monitor: &'a dyn Monitor,
    lost: BTreeMap<String, u64>,
}

impl Telling<'_> {
    fn lose(&mut self, what: &str) {
        *self.lost.entry(what.to_owned()).or_default() += 1;
    }
}

/// A format.
trait Archive {
    fn directory(&mut self, item: &Item<'_>, telling: &mut Telling<'_>) -> Result<(), Failure>;
    fn link(&mut self, item: &Item<'_>, target: &[u8], telling: &mut Telling<'_>) -> Result<(), Failure>;
    /// A further name for a file that is in the archive as `first`; `false` where the format has none.
    fn hard_link(&mut self, item: &Item<'_>, first: &[u8], telling: &mut Telling<'_>) -> Result<bool, Failure>;
    /// A device node or pipe; `false` where the format has none.
    fn special(&mut self, item: &Item<'_>, telling: &mut Telling<'_>) -> Result<bool, Failure>;
    fn file(&mut self, item: &Item<'_>, data: &dyn FileData, telling: &mut Telling<'_>) -> Result<(), Failure>;
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Packs `sources` of `tree` into an archive that is written to `output`.
///
/// # Errors
/// [`JobError::File`] where the archive cannot be written; [`JobError::Cancelled`]. What concerns single files is told to the monitor.
pub fn pack<T: Tree, W: Write>(
    tree: &T,
    sources: &[Source<T::Spot>],
    format: ArchiveFormat,
    compression: Compression,
    output: W,
    monitor: &dyn Monitor,
) -> Result<Packed, JobError> {
    let written = |source| JobError::File { what: "the archive", path: "-".into(), doing: "cannot be written", source };
    let compressed = Compressed::new(output, compression).map_err(written)?;
    let archive: Box<dyn Archive + '_> = match format {
        ArchiveFormat::Tar => Box::new(tar::Tar::new(compressed)),
        ArchiveFormat::Zip => Box::new(zip::Zip::new(compressed)),
    };
    let telling = Telling { monitor, lost: BTreeMap::new() };
    let mut packer = Packer { tree, archive, telling, linked: HashMap::new(), packed: Packed::default() };
    for source in sources {
        packer.take(source).map_err(|failure| match failure {
            Failure::Output(source) => written(source),
            Failure::Cancelled => JobError::Cancelled,
            Failure::Source(message) => written(io::Error::other(message)),
        })?;
    }
    packer.archive.finish().map_err(written)?;
    packer.packed.not_kept = packer.telling.lost.into_iter().collect();
    Ok(packer.packed)
}

struct Packer<'a, T: Tree> {
    tree: &'a T,
    archive: Box<dyn Archive + 'a>,
    telling: Telling<'a>,
    /// The first names of files that have several, and how many are to come.
    linked: HashMap<T::Spot, (Vec<u8>, u32)>,
    packed: Packed,
}

impl<T: Tree> Packer<'_, T> {
    fn take(&mut self, source: &Source<T::Spot>) -> Result<(), Failure> {
        let walk = Walk::new(self.tree, source.spot.clone(), source.path.clone());
        for step in walk {
            if self.telling.monitor.cancelled() {
                return Err(Failure::Cancelled);
            }
            match step {
                Step::Found(found) => {
                    // The path below the source, behind the name that the source has in the archive.
                    let below = found.path.get(source.path.len()..).unwrap_or_default();
                    let below = below.strip_prefix(b"/").unwrap_or(below);
                    let name = if below.is_empty() { source.name.clone() } else { join(&source.name, below) };
                    match self.object(&found, &name) {
                        Err(Failure::Source(message)) => self.problem(&found.path, message),
                        other => other?,
                    }
                }
                Step::Left => {}
                Step::Problem { path, error } => self.problem(&path, error.to_string()),
            }
        }
        Ok(())
    }

    fn problem(&self, path: &[u8], message: String) {
        self.telling.monitor.problem(Problem { subject: name_for_person(path), message });
    }

    fn object(&mut self, found: &Found<T::Spot>, name: &[u8]) -> Result<(), Failure> {
        let unreadable = |error: crate::guestfs::GuestError| Failure::Source(error.to_string());
        let extended = self.tree.extended_attributes(&found.spot).map_err(unreadable)?;
        let known = &found.attributes;
        let item = Item { name, known, extended: &extended };
        if self.further_name(found, &item)? {
            return Ok(());
        }
        let is_packed = match known.kind {
            FileKind::Directory => {
                self.archive.directory(&item, &mut self.telling)?;
                self.packed.directories += 1;
                return Ok(());
            }
            FileKind::Regular => {
                let data = self.tree.open(&found.spot).map_err(unreadable)?;
                self.telling.monitor.count(Counter::PlannedBytes, known.size_bytes);
                self.archive.file(&item, data.as_ref(), &mut self.telling)?;
                self.packed.files += 1;
                self.packed.size_bytes = self.packed.size_bytes.saturating_add(known.size_bytes);
                true
            }
            FileKind::Link => {
                let target = self.tree.link_target(&found.spot).map_err(unreadable)?;
                self.archive.link(&item, &target, &mut self.telling)?;
                self.packed.links += 1;
                true
            }
            // No archive has sockets: they mean something only to a process that listens on them.
            FileKind::Socket => false,
            _ => {
                let is_packed = self.archive.special(&item, &mut self.telling)?;
                self.packed.special += u64::from(is_packed);
                is_packed
            }
        };
        if !is_packed {
            self.telling.lose(if known.kind == FileKind::Socket { "sockets" } else { "device nodes and pipes" });
        } else if known.links > 1 && self.linked.len() < MOST_LINKED {
            self.linked.insert(found.spot.clone(), (name.to_vec(), known.links - 1));
        }
        Ok(())
    }

    /// Adds a further name of a file that is in the archive; `false` where it is not, or the format has no such names.
    fn further_name(&mut self, found: &Found<T::Spot>, item: &Item<'_>) -> Result<bool, Failure> {
        if found.attributes.links < 2 || found.attributes.kind == FileKind::Directory {
            return Ok(false);
        }
        let Some((first, left)) = self.linked.get_mut(&found.spot) else { return Ok(false) };
        *left = left.saturating_sub(1);
        let is_added = self.archive.hard_link(item, first, &mut self.telling)?;
        if *left == 0 {
            self.linked.remove(&found.spot);
        }
        if is_added {
            self.packed.hard_links += 1;
        } else {
            self.telling.lose("hard links");
        }
        Ok(is_added)
    }
}

/// Writes a range of a file. What cannot be read is zeros, and told once.
fn write_range(
    output: &mut dyn Write,
    data: &dyn FileData,
    item: &Item<'_>,
    range: std::ops::Range<u64>,
    telling: &mut Telling<'_>,
) -> Result<(), Failure> {
    let mut at = range.start;
    let mut buffer = Vec::new();
    while at < range.end {
        if telling.monitor.cancelled() {
            return Err(Failure::Cancelled);
        }
        let result = next_piece(data, at, MOST_PIECE_BYTES).and_then(|piece| {
            let Some(piece) = piece.filter(|piece| piece.offset_bytes < range.end) else { return Ok(None) };
            let length = (range.end - piece.offset_bytes).min(piece.length as u64);
            // No more than a piece, so the cast cannot cut.
            buffer.resize(length as usize, 0);
            data.read_at(piece.offset_bytes, &mut buffer)?;
            Ok(Some(piece.offset_bytes))
        });
        let data_at = match result {
            Ok(found) => found,
            Err(error) => {
                let message = format!("from byte {at} on: {error}; the archive has zeros for the rest of it");
                telling.monitor.problem(Problem { subject: name_for_person(item.name), message });
                None
            }
        };
        let zeros = data_at.unwrap_or(range.end) - at;
        write_zeros(output, zeros)?;
        at += zeros;
        if data_at.is_some() {
            output.write_all(&buffer)?;
            at += buffer.len() as u64;
            telling.monitor.count(Counter::DoneBytes, buffer.len() as u64);
        }
        telling.monitor.count(Counter::DoneBytes, zeros);
    }
    Ok(())
}

fn write_zeros(output: &mut dyn Write, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let length = bytes.min(ZEROS.len() as u64);
        output.write_all(ZEROS.get(..length as usize).unwrap_or_default())?;
        bytes -= length;
    }
    Ok(())
}
