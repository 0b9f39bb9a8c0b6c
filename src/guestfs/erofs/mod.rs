//! EROFS: images that are written once and read in place, of Android, of containers and of live systems.
//!
//! Written after the kernel's documentation (`Documentation/filesystems/erofs.rst`) and the structures of its `erofs_fs.h`. An inode is
//! found by its number without any table; extents of compressed files are all found when a file is opened, so that any byte of it is
//! read by decompressing one extent.

mod chunks;
mod compressed;
mod core;
mod directory;
mod extents;
mod index;
mod inode;
mod superblock;
#[cfg(test)]
mod tests;
mod xattrs;

use std::ops::ControlFlow;
use std::sync::Arc;

use self::core::{Core, Use};
use directory::Directory;
use inode::{Inode, Layout};
use superblock::Superblock;
use xattrs::Prefixes;

use super::{
    About, Attributes, Device, DeviceNumber, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions,
};
use crate::io::ReadAt;

struct Erofs {
    core: Core,
    prefixes: Prefixes,
    about: About,
}

/// What a volume holds, if it is EROFS.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some(bytes) = superblock::raw(device)? else { return Ok(None) };
    let superblock = Superblock::parse(&bytes);
    let hex: String = superblock.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts: Option<Vec<&str>> = [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().map(|part| hex.get(part)).collect();
    Ok(Some(Identity {
        kind: "erofs",
        label: (!superblock.label.is_empty()).then(|| String::from_utf8_lossy(&superblock.label).into_owned()),
        uuid: parts.filter(|_| superblock.uuid != [0; 16]).map(|parts| parts.join("-")),
        size_bytes: Some(superblock.block_at(superblock.blocks)),
        member: None,
    }))
}

/// Opens it.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("EROFS without a device"))?;
    let core = Core::open(device, options)?;
    let superblock = &core.image.superblock;
    let size_bytes = superblock.block_at(superblock.blocks);
    let mut notes = Vec::new();
    let prefixes = Prefixes::read(&core).unwrap_or_else(|error| {
        notes.push(format!("long names of extended attributes cannot be read: {error}"));
        Prefixes::default()
    });
    if size_bytes > device.size_bytes() {
        notes.push("the volume is shorter than its filesystem: what lies behind its end cannot be read".to_owned());
    }
    let block_bytes = u32::try_from(superblock.block_bytes()).unwrap_or(0);
    let about = About { block_bytes, size_bytes, used_bytes: Some(size_bytes), notes };
    let filesystem = Erofs { core, prefixes, about };
    let root = filesystem.inode(filesystem.root())?;
    if root.kind != FileKind::Directory {
        return Err(root.problem("it is the root and no directory".to_owned()));
    }
    Ok(Box::new(filesystem))
}

impl Erofs {
    fn inode(&self, node: Node) -> GuestResult<Inode> {
        Inode::read(&self.core, node)
    }

    fn directory(&self, node: Node) -> GuestResult<Directory> {
        Directory::open(&self.core, &self.inode(node)?)
    }

    fn allocated_bytes(&self, inode: &Inode) -> u64 {
        let superblock = &self.core.image.superblock;
        match inode.layout {
            Layout::CompressedFull | Layout::CompressedCompact => superblock.block_at(u64::from(inode.word) | u64::from(inode.high) << 32),
            _ => superblock.block_at(inode.size_bytes.div_ceil(superblock.block_bytes())),
        }
    }
}

impl FileSystem for Erofs {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(self.core.image.superblock.root)
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let inode = self.inode(node)?;
        let is_device = matches!(inode.kind, FileKind::BlockDevice | FileKind::CharacterDevice);
        Ok(Attributes {
            kind: inode.kind,
            size_bytes: inode.size_bytes,
            allocated_bytes: self.allocated_bytes(&inode),
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            links: inode.links,
            device: is_device.then(|| DeviceNumber::of_linux(inode.word)),
            modified: inode.modified,
            changed: None,
            accessed: None,
            created: None,
        })
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        self.directory(directory)?.visit(visit)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        self.directory(directory)?.lookup(name)
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        xattrs::link_target(&self.core, &self.inode(node)?)
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        xattrs::list(&self.core, &self.prefixes, &self.inode(node)?)
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let inode = self.inode(node)?;
        if inode.kind != FileKind::Regular {
            return Err(GuestError::WrongKind { object: format!("inode {}", node.0), expected: "regular file" });
        }
        self.core.data(&inode, Use::File)
    }
}
