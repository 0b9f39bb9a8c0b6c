//! What items say: inodes, names in directories and references to them, file extents, subvolumes.

use super::super::fields::{byte, le16, le32, le64};
use super::super::{Attributes, DeviceNumber, FileKind, GuestError, GuestResult, Timestamp};
use super::layout::Key;
use super::superblock::RootPointer;

/// Bytes of an inode.
const INODE_BYTES: usize = 160;

/// Kinds of files by their numbers in names.
const KINDS: [(u8, FileKind); 7] = [
    (1, FileKind::Regular),
    (Named::DIRECTORY, FileKind::Directory),
    (3, FileKind::CharacterDevice),
    (4, FileKind::BlockDevice),
    (5, FileKind::Pipe),
    (6, FileKind::Socket),
    (7, FileKind::Link),
];

/// Where an inode's numbers lie that a replay changes.
pub(super) mod inode_at {
    pub(in super::super) const GENERATION: usize = 0;
    pub(in super::super) const SIZE: usize = 16;
    pub(in super::super) const STORED: usize = 24;
    pub(in super::super) const LINKS: usize = 40;
    pub(in super::super) const CHANGED: usize = 124;
    pub(in super::super) const MODIFIED: usize = 136;
}

/// An inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    pub(super) generation: u64,
    pub(super) size_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) links: u32,
    pub(super) mode: u32,
    uid: u32,
    gid: u32,
    device: u64,
    flags: u64,
    accessed: Timestamp,
    changed: Timestamp,
    modified: Timestamp,
    created: Timestamp,
}

fn time_at(bytes: &[u8], at: usize) -> Timestamp {
    let seconds = le64(bytes, at).cast_signed();
    Timestamp { seconds, nanoseconds: le32(bytes, at.saturating_add(8)).min(999_999_999) }
}

impl Inode {
    pub(super) fn parse(number: u64, bytes: &[u8]) -> GuestResult<Self> {
        if bytes.len() < INODE_BYTES {
            return Err(GuestError::damaged(format!("inode {number}"), format!("{INODE_BYTES} bytes expected, {} found", bytes.len())));
        }
        Ok(Self {
            generation: le64(bytes, inode_at::GENERATION),
            size_bytes: le64(bytes, inode_at::SIZE),
            stored_bytes: le64(bytes, inode_at::STORED),
            links: le32(bytes, inode_at::LINKS),
            uid: le32(bytes, 44),
            gid: le32(bytes, 48),
            mode: le32(bytes, 52),
            device: le64(bytes, 56),
            flags: le64(bytes, 64),
            accessed: time_at(bytes, 112),
            changed: time_at(bytes, inode_at::CHANGED),
            modified: time_at(bytes, inode_at::MODIFIED),
            created: time_at(bytes, 148),
        })
    }

    /// Whether checksums were kept of its data.
    pub(super) fn has_checksums(&self) -> bool {
        self.flags & 1 == 0
    }

    pub(super) fn kind(&self, number: u64) -> GuestResult<FileKind> {
        let unknown = || GuestError::damaged(format!("inode {number}"), format!("mode {:#o} is of no kind", self.mode));
        FileKind::of_mode(self.mode).ok_or_else(unknown)
    }

    /// The number of its kind in the names that lead to it.
    pub(super) fn kind_number(&self) -> u8 {
        let kind = FileKind::of_mode(self.mode);
        KINDS.iter().find(|(_, other)| Some(*other) == kind).map_or(0, |(number, _)| *number)
    }

    /// As the kernel shows it.
    pub(super) fn attributes(&self, number: u64, sector_bytes: u64) -> GuestResult<Attributes> {
        let kind = self.kind(number)?;
        let is_device = matches!(kind, FileKind::BlockDevice | FileKind::CharacterDevice);
        // The kernel keeps its own numbers of devices: 12 bits, then 20.
        let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let device = DeviceNumber { major: part(self.device >> 20), minor: part(self.device & 0xf_ffff) };
        Ok(Attributes {
            kind,
            size_bytes: self.size_bytes,
            allocated_bytes: self.stored_bytes.checked_next_multiple_of(sector_bytes).unwrap_or(u64::MAX),
            mode: u16::try_from(self.mode & 0o7777).unwrap_or(0),
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            device: is_device.then_some(device),
            modified: self.modified,
            changed: Some(self.changed),
            accessed: Some(self.accessed),
            created: Some(self.created),
        })
    }
}

/// A name in a directory, or an extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// The key of what it leads to.
    pub(super) target: Key,
    /// Its kind, by a number of btrfs.
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// The value of an extended attribute.
    pub(super) value: &'a [u8],
    /// All of its bytes.
    pub(super) bytes: &'a [u8],
}

impl Named<'_> {
    /// The number that btrfs has for directories.
    pub(super) const DIRECTORY: u8 = 2;

    pub(super) fn file_kind(&self) -> Option<FileKind> {
        KINDS.iter().find(|(number, _)| *number == self.kind).map(|(_, kind)| *kind)
    }
}

/// Records with names of variable length in one item.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Cuts off `head` bytes and as many more as they say.
    fn next(&mut self, head: usize, more: impl Fn(&[u8]) -> usize) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = head.saturating_add(self.rest.get(..head).map_or(0, more));
        // One that is cut short is the last: its fields read as zeros and its name as empty.
        let (record, rest) = self.rest.split_at_checked(length).unwrap_or((&[], &[]));
        self.rest = rest;
        (!record.is_empty()).then_some(record)
    }
}

const NAMED_HEAD: usize = 30;

/// The names or extended attributes in one item (several where their hashes are equal).
pub(super) fn named(bytes: &[u8]) -> impl Iterator<Item = Named<'_>> {
    let mut records = Records { rest: bytes };
    std::iter::from_fn(move || {
        let value_bytes = |head: &[u8]| usize::from(le16(head, 25));
        let name_bytes = |head: &[u8]| usize::from(le16(head, 27));
        let record = records.next(NAMED_HEAD, |head| name_bytes(head).saturating_add(value_bytes(head)))?;
        let (name, value) = record.split_at_checked(NAMED_HEAD)?.1.split_at_checked(name_bytes(record))?;
        Some(Named { target: Key::at(record, 0), kind: byte(record, 29), name, value, bytes: record })
    })
}

/// A reference of an inode to one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The directory.
    pub(super) parent: u64,
    /// The name's number in the directory.
    pub(super) index: u64,
    pub(super) name: &'a [u8],
    /// All of its bytes.
    pub(super) bytes: &'a [u8],
}

/// The references in an item of kind `INODE_REF`, whose offset is the directory.
pub(super) fn references(parent: u64, bytes: &[u8]) -> impl Iterator<Item = Reference<'_>> {
    let mut records = Records { rest: bytes };
    std::iter::from_fn(move || {
        let record = records.next(10, |head| usize::from(le16(head, 8)))?;
        Some(Reference { parent, index: le64(record, 0), name: record.get(10..)?, bytes: record })
    })
}

/// The references in an item of kind `INODE_EXTREF`.
pub(super) fn extended_references(bytes: &[u8]) -> impl Iterator<Item = Reference<'_>> {
    let mut records = Records { rest: bytes };
    std::iter::from_fn(move || {
        let record = records.next(18, |head| usize::from(le16(head, 16)))?;
        Some(Reference { parent: le64(record, 0), index: le64(record, 8), name: record.get(18..)?, bytes: record })
    })
}

/// Where the bytes of a file extent are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// In the item, from this byte on.
    Inline(usize),
    /// Nowhere: zeros.
    Hole,
    /// In an extent on the devices.
    Extent {
        /// Its address.
        logical: u64,
        /// Its length there.
        bytes: u64,
        /// Where in the extent (when it is decompressed) this part of the file begins.
        offset_bytes: u64,
    },
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileExtent {
    /// Bytes of the file that it stands for.
    pub(super) length_bytes: u64,
    /// Bytes of the whole extent when it is decompressed.
    pub(super) plain_bytes: u64,
    /// 0: none, 1: zlib, 2: LZO, 3: zstd.
    pub(super) compression: u8,
    pub(super) stored: Stored,
}

impl FileExtent {
    /// Where the data of an inline extent begins, and the shortest item.
    pub(super) const INLINE_AT: usize = 21;
    /// Bytes of an item of any other kind.
    pub(super) const BYTES: usize = 53;
    /// Where the fields lie that change when an extent is cut.
    pub(super) const OFFSET_AT: usize = 37;
    pub(super) const LENGTH_AT: usize = 45;

    /// `object` names the file.
    pub(super) fn parse(object: impl Fn() -> String, bytes: &[u8]) -> GuestResult<Self> {
        let plain_bytes = le64(bytes, 8);
        let compression = byte(bytes, 16);
        let kind = byte(bytes, 20);
        if bytes.len() < if kind == 0 { Self::INLINE_AT } else { Self::BYTES } {
            return Err(GuestError::damaged(object(), format!("an extent of {} bytes", bytes.len())));
        }
        if byte(bytes, 17) != 0 || le16(bytes, 18) != 0 {
            return Err(GuestError::unsupported("a btrfs extent with encryption or another encoding"));
        }
        if compression > 3 {
            return Err(GuestError::unsupported(format!("btrfs compression {compression}")));
        }
        let (logical, length_bytes) = (le64(bytes, 21), le64(bytes, Self::LENGTH_AT));
        let stored = match kind {
            0 => Stored::Inline(Self::INLINE_AT),
            1 if logical != 0 => Stored::Extent { logical, bytes: le64(bytes, 29), offset_bytes: le64(bytes, Self::OFFSET_AT) },
            1 | 2 => Stored::Hole,
            _ => return Err(GuestError::unsupported(format!("a btrfs extent of type {kind}"))),
        };
        let length_bytes = if kind == 0 { plain_bytes } else { length_bytes };
        Ok(Self { length_bytes, plain_bytes, compression, stored })
    }
}

/// A subvolume or another tree, as the tree of trees has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RootItem {
    pub(super) root: RootPointer,
    /// The inode of its topmost directory.
    pub(super) directory: u64,
    /// Places that hold it; 0: it is being deleted.
    pub(super) references: u32,
}

impl RootItem {
    pub(super) fn parse(tree: u64, bytes: &[u8]) -> GuestResult<Self> {
        if bytes.len() < 239 {
            return Err(GuestError::damaged(format!("the root of tree {tree}"), format!("{} bytes found", bytes.len())));
        }
        Ok(Self {
            root: RootPointer { logical: le64(bytes, 176), level: byte(bytes, 238), generation: le64(bytes, 160) },
            directory: le64(bytes, 168),
            references: le32(bytes, 216),
        })
    }
}
