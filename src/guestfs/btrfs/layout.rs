//! Numbers, keys and codes of btrfs on disk (kernel: `include/uapi/linux/btrfs_tree.h`). All numbers are little-endian.

use super::super::fields::{byte, le64};
use crate::guestfs::crc32c::crc32c;

/// Where an item stands in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The object that it belongs to: an inode, a tree, a byte of the filesystem's address space.
    pub(super) objectid: u64,
    /// One of [`kind`].
    pub(super) kind: u8,
    /// What it means depends on the kind.
    pub(super) offset: u64,
}

impl Key {
    /// Bytes on disk.
    pub(super) const SIZE: usize = 17;

    pub(super) const fn new(objectid: u64, kind: u8, offset: u64) -> Self {
        Self { objectid, kind, offset }
    }

    /// The first key of a kind of items of an object.
    pub(super) const fn first(objectid: u64, kind: u8) -> Self {
        Self::new(objectid, kind, 0)
    }

    /// The last key of a kind of items of an object.
    pub(super) const fn last(objectid: u64, kind: u8) -> Self {
        Self::new(objectid, kind, u64::MAX)
    }

    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        Self::new(le64(bytes, at), byte(bytes, at.saturating_add(8)), le64(bytes, at.saturating_add(9)))
    }

    /// The greatest key below this one.
    pub(super) fn before(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_sub(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = self.kind.checked_sub(1) {
            return Some(Self::new(self.objectid, kind, u64::MAX));
        }
        Some(Self::new(self.objectid.checked_sub(1)?, u8::MAX, u64::MAX))
    }
}

/// Kinds of items.
pub(super) mod kind {
    pub(in super::super) const INODE_ITEM: u8 = 1;
    pub(in super::super) const INODE_REF: u8 = 12;
    pub(in super::super) const INODE_EXTREF: u8 = 13;
    pub(in super::super) const XATTR_ITEM: u8 = 24;
    pub(in super::super) const DIR_LOG_INDEX: u8 = 72;
    pub(in super::super) const DIR_ITEM: u8 = 84;
    pub(in super::super) const DIR_INDEX: u8 = 96;
    pub(in super::super) const EXTENT_DATA: u8 = 108;
    pub(in super::super) const EXTENT_CSUM: u8 = 128;
    pub(in super::super) const ROOT_ITEM: u8 = 132;
    pub(in super::super) const ROOT_BACKREF: u8 = 144;
    pub(in super::super) const ROOT_REF: u8 = 156;
    pub(in super::super) const DEV_ITEM: u8 = 216;
    pub(in super::super) const CHUNK_ITEM: u8 = 228;
}

/// Objects with fixed numbers.
pub(super) mod object {
    /// Device items in the chunk tree.
    pub(in super::super) const DEV_ITEMS: u64 = 1;
    /// The tree of the topmost subvolume.
    pub(in super::super) const FS_TREE: u64 = 5;
    /// The directory in the root tree that names the default subvolume.
    pub(in super::super) const ROOT_TREE_DIR: u64 = 6;
    /// The tree of checksums of data.
    pub(in super::super) const CSUM_TREE: u64 = 7;
    /// The first inode of a subvolume (its root directory) and the first subvolume.
    pub(in super::super) const FIRST_FREE: u64 = 256;
    /// The last number of an inode or a subvolume.
    pub(in super::super) const LAST_FREE: u64 = 256_u64.wrapping_neg();
    /// The chunks' address space.
    pub(in super::super) const FIRST_CHUNK_TREE: u64 = 256;
    /// Checksums.
    pub(in super::super) const EXTENT_CSUM: u64 = 10_u64.wrapping_neg();
    /// Log trees in the tree of log trees.
    pub(in super::super) const TREE_LOG: u64 = 6_u64.wrapping_neg();
    /// The inode that the kernel shows where a subvolume is linked that is not there.
    pub(in super::super) const EMPTY_SUBVOLUME: u64 = 2;
}

/// The number under which a name is found in a directory: CRC-32C begun with all bits but the lowest, not inverted at the end.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(crc32c(!1, name))
}

/// The number under which an extended reference to an inode is found.
pub(super) fn extref_hash(parent: u64, name: &[u8]) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the kernel begins with the lower 32 bits")]
    let start = parent as u32;
    u64::from(crc32c(start, name))
}
