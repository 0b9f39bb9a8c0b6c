//! NTFS, as Windows 2000 to 11 and Windows Server make it, read without writing.
//!
//! A file is a record of the `$MFT` (`mft.rs`, `record.rs`) or, where one is not enough, several that an attribute list names
//! (`list.rs`); `volume.rs` hides the difference. What a file has are attributes: names, times, contents, indexes. Contents lie in the
//! record, in runs of clusters (`runs.rs`), compressed in units (`compressed.rs`, `lznt1.rs`) or, by the Windows Overlay Filter, in a
//! stream of their own (`wof.rs`, `xpress.rs`, `lzx.rs`). Directories are trees (`index.rs`, `directory.rs`).
//!
//! What Linux has no words for: a name with a colon, `FILE:STREAM`, finds a named stream in [`Ntfs::lookup`], though no listing shows
//! it; `xattrs.rs` says what becomes of the rest. Owners and modes are those of WSL where it left any, else 0 and what `object.rs` says.
//! The log ($LogFile) is not applied, as no other reader does; that it has something is said.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod about;
mod boot;
mod bytes;
mod compressed;
mod directory;
mod ea;
mod huffman;
mod index;
mod links;
mod list;
mod lznt1;
mod lzx;
mod mft;
mod names;
mod object;
mod record;
mod reparse;
mod runs;
mod security;
mod stream;
#[cfg(test)]
mod tests;
mod time;
mod volume;
mod wof;
mod xattrs;
mod xpress;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use self::directory::{Directories, flag};
use self::names::to_utf8;
use self::object::Object;
use self::record::{Attribute, Reference, kind};
use self::reparse::Reparse;
use self::volume::{Volume, system};
use self::wof::WofFile;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions};
use crate::io::ReadAt;

/// An opened volume.
struct Ntfs {
    volume: Volume,
    directories: Directories,
    uses_copy: bool,
    /// Counted when somebody asks: the bitmap of a large volume has many megabytes.
    about: OnceLock<About>,
}

/// Recognizes NTFS and BitLocker.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let (sector, is_copy) = boot::read(device)?;
    if boot::is_bitlocker(&sector) {
        return Ok(Some(Identity { kind: "BitLocker", label: None, uuid: None, size_bytes: None, member: None }));
    }
    if !boot::is_ntfs(&sector) {
        return Ok(None);
    }
    let geometry = boot::parse(&sector)?;
    let record_bytes = u64::from(geometry.record_bytes);
    // The first records lie together, and have copies.
    let record = |number: u64| {
        let within = number.saturating_mul(record_bytes);
        let read = |table: u64| mft::read_record(device, table.saturating_add(within), geometry.record_bytes, number);
        read(geometry.mft_bytes).or_else(|_| read(geometry.mirror_bytes))
    };
    // A copy of the boot sector survives other filesystems; the table of files does not.
    if is_copy && record(0).is_err() {
        return Ok(None);
    }
    let label = record(system::VOLUME).ok().and_then(|record| {
        let name = record.attributes.iter().find(|attribute| attribute.kind == kind::VOLUME_NAME);
        name.and_then(about::label)
    });
    let uuid = Some(format!("{:016X}", geometry.serial));
    Ok(Some(Identity { kind: "ntfs", label, uuid, size_bytes: Some(geometry.size_bytes()), member: None }))
}

/// Opens a volume.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("NTFS without any device"))?;
    let (sector, uses_copy) = boot::read(device.as_ref())?;
    if boot::is_bitlocker(&sector) {
        return Err(GuestError::unsupported("BitLocker encryption"));
    }
    let geometry = boot::parse(&sector)?;
    let volume = Volume::new(Arc::clone(device), geometry, options)?;
    Ok(Box::new(Ntfs { volume, directories: Directories::new(), uses_copy, about: OnceLock::new() }))
}

/// Nodes: the record in the low 32 bits, above it 16 bits for a named stream (0: the file itself, else its place among them), and on top
/// the record's count of reuses, so that a stale entry does not lead to somebody else's file.
fn node(reference: Reference, stream: u16) -> Option<Node> {
    let record = u32::try_from(reference.record).ok()?;
    Some(Node(u64::from(reference.sequence) << 48 | u64::from(stream) << 32 | u64::from(record)))
}

fn reference(node: Node) -> (Reference, u16) {
    let [a, b, c, d, stream_low, stream_high, low, high] = node.0.to_le_bytes();
    let record = u64::from(u32::from_le_bytes([a, b, c, d]));
    (Reference { record, sequence: u16::from_le_bytes([low, high]) }, u16::from_le_bytes([stream_low, stream_high]))
}

impl Ntfs {
    fn object(&self, node: Node) -> GuestResult<(Object, u16)> {
        let (reference, stream) = reference(node);
        Ok((Object::load(&self.volume, reference)?, stream))
    }

    /// The named stream that a node stands for.
    fn stream(&self, object: &Object, place: u16) -> GuestResult<Attribute> {
        let streams = xattrs::streams(&self.volume, object)?;
        let stream = usize::from(place).checked_sub(1).and_then(|place| streams.into_iter().nth(place));
        stream.ok_or_else(|| GuestError::NotFound { object: format!("stream {place} of {}", object.inode.name()) })
    }

    /// `FILE:STREAM`.
    fn lookup_stream(&self, directory: &Object, name: &[u8]) -> GuestResult<Option<Node>> {
        let Some(colon) = name.iter().position(|&byte| byte == b':') else { return Ok(None) };
        let (file, stream) = name.split_at(colon);
        let Some(found) = self.directories.find(&self.volume, &directory.inode, file)? else { return Ok(None) };
        let object = Object::load(&self.volume, found.reference)?;
        let streams = xattrs::streams(&self.volume, &object)?;
        let place = streams.iter().position(|known| Some(to_utf8(&known.name).as_slice()) == stream.get(1..));
        Ok(place.and_then(|place| node(found.reference, u16::try_from(place.checked_add(1)?).ok()?)))
    }

    fn directory(&self, directory: Node) -> GuestResult<Object> {
        let (object, stream) = self.object(directory)?;
        if object.kind != FileKind::Directory || stream != 0 {
            return Err(GuestError::WrongKind { object: object.inode.name(), expected: "directory" });
        }
        Ok(object)
    }

    fn open_contents(&self, object: &Object) -> GuestResult<Arc<dyn FileData>> {
        let (volume, inode) = (&self.volume, &object.inode);
        let offline = flag::OFFLINE | flag::RECALL_ON_OPEN | flag::RECALL_ON_DATA_ACCESS;
        match &object.reparse {
            Some(Reparse::Other(what)) => return Err(GuestError::unsupported(what.clone())),
            Some(Reparse::Cloud) if object.standard.flags & offline != 0 => {
                return Err(GuestError::unsupported("a file whose contents are in a cloud and not on this disk (OneDrive or the like)"));
            }
            Some(Reparse::Wof(algorithm)) => {
                let name = wof::stream_name();
                let size_bytes = volume.attribute(inode, kind::DATA, &[])?.map_or(0, |data| data.size_bytes());
                let streams = (volume.metadata(inode, kind::DATA, &name)?, volume.contents(inode, kind::DATA, &name, &volume.device)?);
                // Without the stream, the contents are as those of any file.
                if let (Some(table), Some(chunks)) = streams {
                    return Ok(Arc::new(WofFile::new(inode.name(), table, chunks, *algorithm, size_bytes)));
                }
            }
            _ => {}
        }
        let data = volume.contents(inode, kind::DATA, &[], &volume.device)?;
        Ok(data.unwrap_or_else(|| Arc::new(stream::Resident(Vec::new()))))
    }
}

impl FileSystem for Ntfs {
    fn about(&self) -> &About {
        self.about.get_or_init(|| about::about(&self.volume, &self.directories, self.uses_copy))
    }

    fn root(&self) -> Node {
        Node(system::ROOT)
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let (object, stream) = self.object(node)?;
        let mut attributes = object.attributes(&self.volume, &self.directories)?;
        if stream != 0 {
            let stream = self.stream(&object, stream)?;
            attributes.kind = FileKind::Regular;
            attributes.size_bytes = stream.size_bytes();
            attributes.allocated_bytes = stream.occupied_bytes();
            attributes.mode &= 0o666;
            attributes.links = 1;
            attributes.device = None;
        }
        Ok(attributes)
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let object = self.directory(directory)?;
        self.directories.walk(&self.volume, &object.inode, &mut |found| match node(found.reference, 0) {
            Some(node) => visit(Entry { name: to_utf8(&found.letters), node, kind: found.kind }),
            None => ControlFlow::Continue(()),
        })
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let object = self.directory(directory)?;
        match self.directories.find(&self.volume, &object.inode, name)? {
            Some(found) => Ok(node(found.reference, 0)),
            None => self.lookup_stream(&object, name),
        }
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        self.object(node)?.0.target(&self.volume, &self.directories)
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.object(node)? {
            (object, 0) => xattrs::all(&self.volume, &object),
            _ => Ok(Vec::new()),
        }
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        match self.object(node)? {
            (object, 0) if object.kind == FileKind::Regular => self.open_contents(&object),
            (object, 0) => Err(GuestError::WrongKind { object: object.inode.name(), expected: "regular file" }),
            (object, place) => {
                let stream = self.stream(&object, place)?;
                let contents = self.volume.contents(&object.inode, kind::DATA, &stream.name, &self.volume.device)?;
                contents.ok_or_else(|| GuestError::NotFound { object: format!("stream {place} of {}", object.inode.name()) })
            }
        }
    }
}
