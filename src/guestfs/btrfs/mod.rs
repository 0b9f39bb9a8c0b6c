//! btrfs, on one or several devices. Written against the kernel's description of its structures; every tree block and, where it has
//! checksums, all data is checked, and read from another copy where one is damaged. Subvolumes and snapshots are directories where they
//! hang, below the topmost one.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod checksum;
mod chunk;
mod compress;
mod data;
mod directory;
mod file;
mod items;
mod layout;
mod node;
mod pool;
mod replay;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions};
use crate::io::ReadAt;
use directory::{node, parts};
use items::{Inode, named};
use layout::{Key, kind, object};
use tree::Tree;
use volume::Volume;

/// Bytes of a symbolic link, at most.
const LONGEST_LINK: u64 = 64 << 10;

/// Bytes of all extended attributes of one inode, at most.
const MOST_ATTRIBUTE_BYTES: usize = 16 << 20;

/// What a device holds, if its first superblock is one of btrfs.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    superblock::identify(device)
}

/// Opens the filesystem of which these are the devices, in any order.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    Ok(Box::new(Volume::open(devices, options)?))
}

impl Volume {
    fn tree_of(&self, of: Node) -> GuestResult<(usize, u64, &Arc<Tree>)> {
        let (at, inode) = parts(of);
        let subvolume = self.subvolumes.get(at).ok_or_else(|| GuestError::NotFound { object: format!("subvolume {at}") })?;
        Ok((at, inode, &subvolume.tree))
    }

    fn inode(&self, of: Node) -> GuestResult<Inode> {
        let (_, number, tree) = self.tree_of(of)?;
        let item = tree.get(Key::new(number, kind::INODE_ITEM, 0))?;
        let item = item.ok_or_else(|| GuestError::NotFound { object: format!("inode {number}") })?;
        Inode::parse(number, &item)
    }

    /// The inode, if it is of that kind.
    fn inode_of(&self, of: Node, kind: FileKind, expected: &'static str) -> GuestResult<Inode> {
        let inode = self.inode(of)?;
        let (_, number) = parts(of);
        if inode.kind(number)? != kind {
            return Err(GuestError::WrongKind { object: format!("inode {number}"), expected });
        }
        Ok(inode)
    }

    fn file(&self, of: Node, inode: &Inode) -> GuestResult<file::File> {
        let (_, number, tree) = self.tree_of(of)?;
        Ok(file::File {
            tree: Arc::clone(tree),
            data: Arc::clone(&self.data),
            inode: number,
            size_bytes: inode.size_bytes,
            is_checked: inode.has_checksums(),
        })
    }
}

/// What the kernel shows in the place of a subvolume that is not there.
fn empty_subvolume(above: &Attributes) -> Attributes {
    Attributes { kind: FileKind::Directory, size_bytes: 0, allocated_bytes: 0, mode: 0o755, links: 1, device: None, ..above.clone() }
}

impl FileSystem for Volume {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(self.subvolumes.first().map_or(object::FIRST_FREE, |top| top.directory))
    }

    fn attributes(&self, of: Node) -> GuestResult<Attributes> {
        let (at, number) = parts(of);
        let sector = self.data.pool().sector_bytes;
        if number != object::EMPTY_SUBVOLUME {
            return self.inode(of)?.attributes(number, sector);
        }
        self.tree_of(of)?;
        let root = self.subvolumes.get(at).map_or(object::FIRST_FREE, |subvolume| subvolume.directory);
        Ok(empty_subvolume(&self.inode(node(at, root)?)?.attributes(root, sector)?))
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let (at, number, tree) = self.tree_of(directory)?;
        if number == object::EMPTY_SUBVOLUME {
            return Ok(());
        }
        self.inode_of(directory, FileKind::Directory, "directory")?;
        self.each_entry((at, number), tree, visit)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let (at, number, tree) = self.tree_of(directory)?;
        if number == object::EMPTY_SUBVOLUME {
            return Ok(None);
        }
        self.inode_of(directory, FileKind::Directory, "directory")?;
        self.find((at, number), tree, name)
    }

    fn link_target(&self, link: Node) -> GuestResult<Vec<u8>> {
        let inode = self.inode_of(link, FileKind::Link, "symbolic link")?;
        if inode.size_bytes > LONGEST_LINK {
            let (_, number) = parts(link);
            return Err(GuestError::damaged(format!("inode {number}"), format!("a link of {} bytes", inode.size_bytes)));
        }
        let mut target = vec![0; usize::try_from(inode.size_bytes).unwrap_or(0)];
        self.file(link, &inode)?.read_at(0, &mut target)?;
        Ok(target)
    }

    fn extended_attributes(&self, of: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let (_, number, tree) = self.tree_of(of)?;
        let mut attributes = Vec::new();
        let mut bytes = 0_usize;
        for item in tree.range(Key::first(number, kind::XATTR_ITEM), Key::last(number, kind::XATTR_ITEM)) {
            let item = item?;
            bytes = bytes.saturating_add(item.data.len());
            if bytes > MOST_ATTRIBUTE_BYTES {
                return Err(GuestError::limit(format!("inode {number}"), format!("more than {MOST_ATTRIBUTE_BYTES} bytes of attributes")));
            }
            attributes.extend(named(&item.data).map(|attribute| (attribute.name.to_vec(), attribute.value.to_vec())));
        }
        Ok(attributes)
    }

    fn open(&self, of: Node) -> GuestResult<Arc<dyn FileData>> {
        let inode = self.inode_of(of, FileKind::Regular, "regular file")?;
        Ok(Arc::new(self.file(of, &inode)?))
    }
}
