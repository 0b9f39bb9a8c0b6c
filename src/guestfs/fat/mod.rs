//! FAT12, FAT16 and FAT32 with long names, after Microsoft's "FAT32 File System Specification" and what Linux makes of it.
//!
//! A node is the place of the entry in its directory; the topmost directory, which has none, is 0. The ways back (`.` and `..`) are not
//! read at all. There are no owners, and times are without a zone: they are shown as if the machine's clock had shown UTC.

mod boot;
mod directory;
mod names;
mod table;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::chain::{Chain, ChainFile};
use super::fields::{array, le32};
use super::pages::Pages;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions};
use crate::io::ReadAt;
use boot::{Geometry, Root};
use directory::Record;
use names::SLOT_BYTES;
use table::Width;

/// The node of the topmost directory. No entry lies there: it is the place of the boot sector.
const ROOT: Node = Node(0);

/// The largest table in which free clusters are counted, where the volume does not know their number.
const MOST_COUNTED_BYTES: u64 = 64 << 20;

/// Says whether a volume holds FAT.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some(geometry) = boot::read(device)? else { return Ok(None) };
    Ok(Some(Identity {
        kind: "vfat",
        label: label(device, &geometry).ok().flatten().or_else(|| geometry.label.clone()),
        uuid: geometry.serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        size_bytes: Some(geometry.size_bytes),
        member: None,
    }))
}

/// The label in the topmost directory, of which no more than a part is looked at: it stands in front.
fn label(device: &dyn ReadAt, geometry: &Geometry) -> GuestResult<Option<String>> {
    let (start, length) = match geometry.root {
        Root::Fixed { start_bytes, length_bytes } => (start_bytes, length_bytes),
        Root::Chain(first) => (geometry.clusters.offset(first).unwrap_or(u64::MAX), geometry.clusters.cluster_bytes),
    };
    let mut bytes = vec![0; usize::try_from(length.min(64 << 10)).unwrap_or(0)];
    device.read_at(start, &mut bytes).map_err(GuestError::Device)?;
    Ok(directory::label(&bytes))
}

/// Opens a volume of FAT.
///
/// # Errors
/// The device's; damage where the boot sector is none.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("FAT without a device"))?;
    let geometry = boot::read(device.as_ref())?.ok_or_else(|| GuestError::damaged("the boot sector", "it is none of FAT"))?;
    let pages = Pages::new(Arc::clone(device), options.cache_bytes);
    let notes = notes(&pages, &geometry)?;
    let free = free_clusters(&pages, &geometry);
    let fat = Fat { pages, geometry, notes, free, about: OnceLock::new() };
    Ok(Box::new(fat))
}

/// Whether it was left mounted: said by a flag of Linux and Windows NT in the boot sector, and by one of Windows 95 in the table.
fn notes(pages: &Pages, geometry: &Geometry) -> GuestResult<Vec<String>> {
    let mut notes = vec!["times have no zone: they are shown as if the clock of the machine had been set to UTC".to_owned()];
    let flags = table::Walk::new(pages, geometry).number(1)?;
    let (clean, sound) = match geometry.width {
        Width::Bits12 => (true, true),
        Width::Bits16 => (flags & 0x8000 != 0, flags & 0x4000 != 0),
        Width::Bits32 => (flags & 0x0800_0000 != 0, flags & 0x0400_0000 != 0),
    };
    if geometry.dirty || !clean {
        notes.push("it was not unmounted cleanly".to_owned());
    }
    if !sound {
        notes.push("the guest met errors of the disk in it".to_owned());
    }
    Ok(notes)
}

/// The number of free clusters that FAT32 keeps, if it can be true.
fn free_clusters(pages: &Pages, geometry: &Geometry) -> Option<u64> {
    let mut sector = [0; 512];
    pages.read(geometry.info_bytes?, &mut sector).ok()?;
    let signed = &array::<4>(&sector, 0) == b"RRaA" && &array::<4>(&sector, 484) == b"rrAa";
    let free = le32(&sector, 488);
    (signed && free <= geometry.clusters.count).then(|| u64::from(free))
}

struct Fat {
    pages: Pages,
    geometry: Geometry,
    notes: Vec<String>,
    free: Option<u64>,
    about: OnceLock<About>,
}

impl Fat {
    fn used_clusters(&self) -> Option<u64> {
        match self.free {
            Some(free) => u64::from(self.geometry.clusters.count).checked_sub(free),
            None if self.geometry.table_bytes > MOST_COUNTED_BYTES => None,
            None => table::count_used(&self.pages, &self.geometry).ok(),
        }
    }

    fn describe(&self) -> About {
        let clusters = &self.geometry.clusters;
        About {
            block_bytes: u32::try_from(clusters.cluster_bytes).unwrap_or(u32::MAX),
            size_bytes: u64::from(clusters.count).saturating_mul(clusters.cluster_bytes),
            used_bytes: self.used_clusters().map(|used| used.saturating_mul(clusters.cluster_bytes)),
            notes: self.notes.clone(),
        }
    }

    /// The entry at a node's place.
    fn record(&self, node: Node) -> GuestResult<Record> {
        let missing = || GuestError::NotFound { object: object(node) };
        let in_root = match self.geometry.root {
            Root::Fixed { start_bytes, length_bytes } => node.0.checked_sub(start_bytes).is_some_and(|within| within < length_bytes),
            Root::Chain(_) => false,
        };
        if !node.0.is_multiple_of(32) || !(in_root || self.geometry.clusters.at(node.0).is_some()) {
            return Err(missing());
        }
        let mut slot = [0; SLOT_BYTES];
        self.pages.read(node.0, &mut slot)?;
        Record::parse(slot, self.geometry.width).ok_or_else(missing)
    }

    /// Where the entries of a directory lie.
    fn directory(&self, node: Node) -> GuestResult<Chain> {
        if node == ROOT {
            return match self.geometry.root {
                Root::Fixed { start_bytes, length_bytes } => Ok(Chain::contiguous(start_bytes, length_bytes)),
                Root::Chain(first) => self.chain(first, directory::MOST_BYTES),
            };
        }
        let record = self.record(node)?;
        if record.kind() != FileKind::Directory {
            return Err(GuestError::WrongKind { object: object(node), expected: "directory" });
        }
        self.chain(record.first, directory::MOST_BYTES)
    }

    fn chain(&self, first: u32, most_bytes: u64) -> GuestResult<Chain> {
        table::chain(&self.pages, &self.geometry, first, most_bytes)
    }

    fn names(&self, node: Node, visit: &mut dyn FnMut(directory::Found) -> ControlFlow<()>) -> GuestResult<()> {
        let chain = self.directory(node)?;
        directory::names(&self.pages, &chain, &object(node), self.geometry.width, visit)
    }
}

fn object(node: Node) -> String {
    if node == ROOT { "the topmost directory".to_owned() } else { format!("the object with its entry at byte {}", node.0) }
}

impl FileSystem for Fat {
    fn about(&self) -> &About {
        self.about.get_or_init(|| self.describe())
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        if node == ROOT {
            return Ok(Attributes::of_root(self.directory(node)?.length_bytes));
        }
        let record = self.record(node)?;
        if record.kind() == FileKind::Directory {
            let length = self.directory(node)?.length_bytes;
            return Ok(record.attributes(length, length));
        }
        Ok(record.attributes(record.size_bytes(), self.geometry.clusters.rounded(record.size_bytes())))
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        self.names(directory, &mut |found| visit(Entry { name: found.name, node: Node(found.place), kind: Some(found.record.kind()) }))
    }

    /// As systems do it: case does not count, and the short name of a file with a long one leads to it too.
    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let wanted = folded(name);
        let mut near = None;
        let mut exact = None;
        let walked = self.names(directory, &mut |found| {
            if found.name == name {
                exact = Some(Node(found.place));
                return ControlFlow::Break(());
            }
            if near.is_none() && (folded(&found.name) == wanted || folded(&found.short) == wanted) {
                near = Some(Node(found.place));
            }
            ControlFlow::Continue(())
        });
        match exact.or(near) {
            Some(node) => Ok(Some(node)),
            None => walked.map(|()| None),
        }
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        Err(GuestError::WrongKind { object: object(node), expected: "symbolic link" })
    }

    /// `system.fat_attrib`: read-only 1, hidden 2, system 4, directory 16, archive 32, as in `FAT_IOCTL_GET_ATTRIBUTES` (32 bits,
    /// little-endian).
    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let flags = u32::from(self.record(node)?.flags());
        Ok(vec![(b"system.fat_attrib".to_vec(), flags.to_le_bytes().to_vec())])
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        if node == ROOT || self.record(node)?.kind() != FileKind::Regular {
            return Err(GuestError::WrongKind { object: object(node), expected: "regular file" });
        }
        let record = self.record(node)?;
        let size = record.size_bytes();
        let chain = if size == 0 { Chain::default() } else { self.chain(record.first, size)? };
        Ok(Arc::new(ChainFile::new(object(node), Arc::clone(self.pages.device()), chain, size, size)?))
    }
}

/// A name without regard to case.
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}
