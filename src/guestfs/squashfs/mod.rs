//! squashfs 4.0 with all its compressors: a compressed image that is written once, root of live systems and appliances.
//!
//! Written after the layout in the kernel's documentation (`Documentation/filesystems/squashfs.rst`) and the structures that it
//! names. Metadata is found by reference (an inode's node is its reference), blocks of files by the list in their inode, so
//! nothing is read that is not asked for. Decompressed blocks are kept in a cache for all files together.

mod directory;
mod file;
mod inode;
mod metadata;
mod superblock;
#[cfg(test)]
mod tests;
mod xattrs;

use std::ops::ControlFlow;
use std::sync::Arc;

use directory::Listings;
use file::{Packed, SquashFile};
use inode::{Body, Inode};
use metadata::{Metadata, Position, Table};
use superblock::{Raw, Superblock};
use xattrs::Xattrs;

use super::pages::Pages;
use super::recent::Recent;
use super::{
    About, Attributes, Device, DeviceNumber, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions,
    Timestamp,
};
use crate::io::ReadAt;

/// The longest target of a link; Linux follows none above 4 KiB.
const LONGEST_TARGET: usize = 64 << 10;
/// Blocks of files that are kept at least.
const LEAST_BLOCKS: usize = 8;

/// What all parts of the reader share.
struct Core {
    device: Device,
    superblock: Superblock,
    metadata: Metadata,
    ids: Table,
    fragments: Table,
    xattrs: Option<Xattrs>,
    blocks: Recent<Packed, Vec<u8>>,
}

struct SquashFs {
    core: Arc<Core>,
    about: About,
}

/// What a volume holds, if it is squashfs of any version.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let raw = Raw::read(device)?;
    Ok(raw.map(|raw| Identity { kind: "squashfs", label: None, uuid: None, size_bytes: raw.used_bytes(), member: None }))
}

/// Opens it.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("squashfs without a device"))?;
    let raw = Raw::read(device.as_ref())?.ok_or_else(|| GuestError::damaged("the superblock of squashfs", "it is none"))?;
    let superblock = raw.parse()?;
    let quarter = options.cache_bytes / 4;
    let metadata = Metadata::new(Pages::new(Arc::clone(device), quarter), superblock.compressor, quarter);
    let block_bytes = superblock.block_bytes as usize;
    let core = Arc::new(Core {
        ids: Table { object: "owner", list: superblock.id_table, count: u32::from(superblock.id_count) },
        fragments: Table { object: "fragment", list: superblock.fragment_table, count: superblock.fragment_count },
        xattrs: Xattrs::new(superblock.xattr_table),
        blocks: Recent::new((2 * quarter).max(LEAST_BLOCKS.saturating_mul(block_bytes)), 1),
        device: Arc::clone(device),
        metadata,
        superblock,
    });
    let mut about = About {
        block_bytes: core.superblock.block_bytes,
        size_bytes: core.superblock.used_bytes,
        used_bytes: Some(core.superblock.used_bytes),
        notes: Vec::new(),
    };
    if core.superblock.used_bytes > device.size_bytes() {
        about.notes.push("the volume is shorter than its filesystem: what lies behind its end cannot be read".to_owned());
    }
    let filesystem = SquashFs { core, about };
    filesystem.directory(filesystem.root())?;
    Ok(Box::new(filesystem))
}

impl SquashFs {
    fn inode(&self, node: Node) -> GuestResult<Inode> {
        let core = &self.core;
        Inode::read(&core.metadata, Position::of_reference(core.superblock.inode_table, node.0)?)
    }

    fn directory(&self, node: Node) -> GuestResult<inode::Directory> {
        match self.inode(node)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(GuestError::WrongKind { object: format!("object {}", node.0), expected: "directory" }),
        }
    }

    fn listings(&self) -> Listings<'_> {
        Listings { metadata: &self.core.metadata, table: self.core.superblock.directory_table }
    }

    fn id(&self, index: u16) -> GuestResult<u32> {
        self.core.ids.entry(&self.core.metadata, u32::from(index)).map(u32::from_le_bytes)
    }
}

impl FileSystem for SquashFs {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(self.core.superblock.root)
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let inode = self.inode(node)?;
        let (size_bytes, allocated_bytes, device) = match &inode.body {
            Body::File(file) => (file.size_bytes, file.size_bytes.saturating_sub(file.sparse_bytes), None),
            Body::Directory(directory) => (u64::from(directory.size_bytes), 0, None),
            Body::Link { length, .. } => (u64::from(*length), 0, None),
            Body::Device(number) => (0, 0, Some(DeviceNumber::of_linux(*number))),
            Body::Other => (0, 0, None),
        };
        let xattr_bytes = match (inode.xattrs, &self.core.xattrs) {
            (Some(number), Some(xattrs)) => u64::from(xattrs.size_bytes(&self.core.metadata, number)?),
            _ => 0,
        };
        Ok(Attributes {
            kind: inode.kind,
            size_bytes,
            allocated_bytes: sectors(allocated_bytes).saturating_add(sectors(xattr_bytes)),
            mode: inode.mode,
            uid: self.id(inode.uid_index)?,
            gid: self.id(inode.gid_index)?,
            links: inode.links,
            device,
            modified: Timestamp { seconds: i64::from(inode.modified), nanoseconds: 0 },
            changed: None,
            accessed: None,
            created: None,
        })
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        self.listings().visit(&self.directory(directory)?, visit)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        self.listings().lookup(&self.directory(directory)?, name)
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        let Body::Link { length, target } = self.inode(node)?.body else {
            return Err(GuestError::WrongKind { object: format!("object {}", node.0), expected: "symbolic link" });
        };
        if length as usize > LONGEST_TARGET {
            return Err(GuestError::limit("the target of a link", format!("{length} bytes, more than {LONGEST_TARGET}")));
        }
        self.core.metadata.cursor(target).take_vec(length as usize)
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        match (self.inode(node)?.xattrs, &self.core.xattrs) {
            (Some(number), Some(xattrs)) => xattrs.list(&self.core.metadata, number),
            _ => Ok(Vec::new()),
        }
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let inode = self.inode(node)?;
        match (inode.kind, inode.body) {
            (FileKind::Regular, Body::File(file)) => Ok(Arc::new(SquashFile::open(&self.core, &file)?)),
            _ => Err(GuestError::WrongKind { object: format!("object {}", node.0), expected: "regular file" }),
        }
    }
}

/// Rounds up to whole sectors, as the kernel counts.
fn sectors(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(512).unwrap_or(u64::MAX)
}
