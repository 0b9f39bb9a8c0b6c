//! Filesystems inside a volume, behind one trait. Everything in them was written by somebody else, perhaps in order to do harm:
//! a reader never panics, never recurses without bound, never believes a length, and ends on a structure that leads back into itself.
//!
//! [`identify`] says what a volume holds from its superblock alone, [`open`] gives the filesystem, guarded (`guard.rs`). Readers know
//! nothing of vaults, disks or volumes: they read a device, and only read it. What a journal would change is laid over it in memory.

mod attributes;
mod btrfs;
mod chain;
mod civil;
mod codec;
mod crc32c;
mod erofs;
mod error;
mod exfat;
mod ext;
mod fat;
mod fields;
mod guard;
mod iso;
mod lookups;
mod mapped;
mod ntfs;
mod pages;
mod panics;
mod recent;
mod squashfs;
mod swap;
#[cfg(test)]
mod testing;
mod utf16;
mod xfs;

pub use attributes::{Attributes, DeviceNumber, FileKind, Timestamp};
pub use error::{GuestError, GuestResult};

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::io::ReadAt;

/// What a filesystem lies on: all bytes of a volume, read only, by many threads at once.
pub type Device = Arc<dyn ReadAt>;

/// An object of one filesystem: the number under which its reader finds it again, whatever that is (inode number, record number,
/// place of a directory entry). Two names of one file (hard links) lead to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u64);

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes of the name, as the guest's kernel would show them (UTF-8 where the format has UTF-16). Never empty, `.` or `..`,
    /// never with a slash or a NUL: such names are left out and counted.
    pub name: Vec<u8>,
    /// What it leads to.
    pub node: Node,
    /// Its kind, if the directory tells it, so that a listing needs no attributes.
    pub kind: Option<FileKind>,
}

/// What is known of a filesystem from its superblock, without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name as blkid has it: `ext4`, `xfs`, `btrfs`, `ntfs`, `vfat`, `exfat`, `iso9660`, `squashfs`, `erofs`, `swap`.
    pub kind: &'static str,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Its UUID or serial number, written as blkid writes it.
    pub uuid: Option<String>,
    /// The bytes that it claims for itself; may be more than the volume has.
    pub size_bytes: Option<u64>,
    /// Which of several devices of one filesystem this is (btrfs).
    pub member: Option<Member>,
}

/// A device's place among the devices of one filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Equal for all devices of the filesystem.
    pub pool: [u8; 16],
    /// The number of this device in it.
    pub device: u64,
    /// How many devices it has.
    pub devices: u64,
}

/// What is known of a filesystem that has been opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Bytes of its allocation unit.
    pub block_bytes: u32,
    /// Bytes that it can hold in all, and of these in use, where it keeps count.
    pub size_bytes: u64,
    /// Bytes in use, if the filesystem says so.
    pub used_bytes: Option<u64>,
    /// What a person should know of this view, each a sentence without a full stop: "the journal was replayed in memory",
    /// "it was not unmounted cleanly".
    pub notes: Vec<String>,
}

/// How to open a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Whether what a journal still holds is applied (in memory), as the guest's kernel would when it mounts.
    pub replay: bool,
    /// Memory for the reader's own metadata cache.
    pub cache_bytes: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { replay: true, cache_bytes: 16 << 20 }
    }
}

/// A filesystem, read by many threads at once.
pub trait FileSystem: Send + Sync {
    /// What is known of the whole.
    fn about(&self) -> &About;

    /// The topmost directory.
    fn root(&self) -> Node;

    /// What is known of one object.
    ///
    /// # Errors
    /// [`GuestError::NotFound`] for a node that does not exist; damage.
    fn attributes(&self, node: Node) -> GuestResult<Attributes>;

    /// Calls `visit` with each entry of a directory, in a stable order, until it breaks off.
    ///
    /// # Errors
    /// [`GuestError::WrongKind`] where it is no directory. Damage: entries that could be read have been visited before.
    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()>;

    /// The node of a name. Readers whose directories are trees or ignore case answer better than this walk.
    ///
    /// # Errors
    /// As [`FileSystem::entries`].
    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let mut found = None;
        let walked = self.entries(directory, &mut |entry| {
            if entry.name == name {
                found = Some(entry.node);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if found.is_some() { Ok(found) } else { walked.map(|()| None) }
    }

    /// Where a symbolic link leads, as it is stored.
    ///
    /// # Errors
    /// [`GuestError::WrongKind`] where it is no link; damage.
    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>>;

    /// Extended attributes with the names and values that the guest's kernel shows (ACLs as `system.posix_acl_access`); what has no
    /// such name there gets one that says what it is (an NTFS stream: `user.stream.NAME`).
    ///
    /// # Errors
    /// Damage.
    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The contents of a regular file.
    ///
    /// # Errors
    /// [`GuestError::WrongKind`] where it is none; damage; what this reader cannot decode.
    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>>;
}

/// The contents of a file. Errors of `read_at` carry a [`GuestError`] inside, if it was not the device that failed.
pub trait FileData: ReadAt {
    /// What the bytes from `offset_bytes` on are, up to where that changes. Past the end: a hole of length 0.
    ///
    /// # Errors
    /// Damage.
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run>;
}

/// Bytes of a file that are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many, at least 1 before the end of the file.
    pub length_bytes: u64,
    /// Where they come from.
    pub place: Place,
}

/// Where bytes of a file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From nowhere: zeros, not allocated or never written.
    Hole,
    /// As they are from a device of the filesystem (the only one: 0) at this offset.
    Device {
        /// Which, in the order in which they were given to [`open`].
        device: u32,
        /// Where, in bytes.
        offset_bytes: u64,
    },
    /// Data that is not found as it is at any one place: compressed, inline, put together.
    Computed,
}

type Identify = fn(&dyn ReadAt) -> GuestResult<Option<Identity>>;
type Open = fn(&[Device], &OpenOptions) -> GuestResult<Box<dyn FileSystem>>;

/// A reader: who recognizes its superblock, and opens it.
struct Reader {
    identify: Identify,
    open: Open,
}

/// All readers, in the order in which they are asked: those with a plain magic number first.
const READERS: &[Reader] = &[
    Reader { identify: squashfs::identify, open: squashfs::open },
    Reader { identify: erofs::identify, open: erofs::open },
    Reader { identify: xfs::identify, open: xfs::open },
    Reader { identify: ntfs::identify, open: ntfs::open },
    Reader { identify: btrfs::identify, open: btrfs::open },
    Reader { identify: ext::identify, open: ext::open },
    Reader { identify: swap::identify, open: swap::open },
    Reader { identify: iso::identify, open: iso::open },
    Reader { identify: exfat::identify, open: exfat::open },
    Reader { identify: fat::identify, open: fat::open },
    // Last of all: what has lost its first superblock.
    Reader { identify: ext::identify_by_copy, open: ext::open },
];

/// What a volume holds; `None` where no reader knows it.
///
/// # Errors
/// The device's; a superblock that is damaged beyond recognition counts as unknown.
pub fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    find(device).map(|found| found.map(|(identity, _)| identity))
}

/// Opens the filesystem on `devices` (one, but for btrfs), whose first is asked what it is.
///
/// # Errors
/// [`GuestError::Unsupported`] for features that no reader knows, by name, and for swap; damage; the device's.
pub fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let first = devices.first().ok_or_else(|| GuestError::unsupported("a filesystem without any device"))?;
    let Some((_, reader)) = find(first.as_ref())? else {
        return Err(GuestError::unsupported("what this volume holds, which is no filesystem that is known here"));
    };
    guard::open(reader.open, devices, options)
}

fn find(device: &dyn ReadAt) -> GuestResult<Option<(Identity, &'static Reader)>> {
    for reader in READERS {
        if let Some(identity) = guard::identify(reader.identify, device)? {
            return Ok(Some((identity, reader)));
        }
    }
    Ok(None)
}
