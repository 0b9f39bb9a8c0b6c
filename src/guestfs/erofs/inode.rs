//! Inodes: 32 bytes, or 64 where a size, an owner or a time needs it.

use super::core::{Core, Place};
use crate::guestfs::fields::{le16, le32, le64};
use crate::guestfs::{FileKind, GuestError, GuestResult, Node, Timestamp};

/// Bit of a node: its inode is in the compressed metadata.
pub(super) const IN_METABOX: u64 = 1 << 63;
/// The binary logarithm of the bytes of a slot, which is what nodes count.
const SLOT_BITS: u32 = 5;

/// How the contents of a file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Blocks one behind the other.
    Plain,
    /// Compressed, with 8 bytes for each block, or with a list of extents.
    CompressedFull,
    /// Blocks one behind the other, the last one behind the inode.
    Inline,
    /// Compressed, with 2 or 4 bytes for each block.
    CompressedCompact,
    /// Chunks of some blocks each.
    Chunks,
}

/// What is known of an object.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    /// Where it is.
    pub(super) place: Place,
    /// Its bytes, and those of its extended attributes, which follow it.
    pub(super) own_bytes: u64,
    pub(super) xattr_bytes: u64,
    pub(super) layout: Layout,
    pub(super) kind: FileKind,
    pub(super) mode: u16,
    pub(super) size_bytes: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u32,
    pub(super) modified: Timestamp,
    /// The number of a block, of a device, or of compressed blocks, or how chunks are described.
    pub(super) word: u32,
    /// The upper 16 bits of a number of blocks, and whether there are any.
    pub(super) high: u16,
    wide: bool,
}

impl Inode {
    fn damaged(node: Node, problem: String) -> GuestError {
        GuestError::damaged(format!("inode {}", node.0 & !IN_METABOX), problem)
    }

    /// What describes the problem with this inode.
    pub(super) fn problem(&self, problem: String) -> GuestError {
        Self::damaged(self.node, problem)
    }

    /// Reads the inode of a node.
    ///
    /// # Errors
    /// Damage; formats that are not known.
    pub(super) fn read(core: &Core, node: Node) -> GuestResult<Self> {
        let place = Self::place(core, node)?;
        let mut bytes = [0; 64];
        let (short, rest) = bytes.split_at_mut(32);
        core.read(place, short)?;
        let format = le16(short, 0);
        let long = format & 1 != 0;
        if long {
            core.read(place.behind(32), rest)?;
        }
        if format >> 5 != 0 {
            return Err(GuestError::unsupported(format!("EROFS inode format {format:#x}")));
        }
        let layout = match format >> 1 & 7 {
            0 => Layout::Plain,
            1 => Layout::CompressedFull,
            2 => Layout::Inline,
            3 => Layout::CompressedCompact,
            4 => Layout::Chunks,
            other => return Err(GuestError::unsupported(format!("EROFS data layout {other}"))),
        };
        let mode = u32::from(le16(&bytes, 4));
        let kind = FileKind::of_mode(mode).ok_or_else(|| Self::damaged(node, format!("mode {mode:#o}, which is of no kind")))?;
        let attributes = u64::from(le16(&bytes, 2));
        let mut inode = Self {
            node,
            place,
            own_bytes: if long { 64 } else { 32 },
            xattr_bytes: if attributes == 0 { 0 } else { 12 + 4 * (attributes - 1) },
            layout,
            kind,
            mode: (mode & 0o7777) as u16,
            size_bytes: 0,
            uid: 0,
            gid: 0,
            links: 0,
            modified: Timestamp::default(),
            word: le32(&bytes, 16),
            high: le16(&bytes, 6),
            wide: core.image.superblock.is_wide(),
        };
        if long {
            inode.long(&bytes)
        } else {
            inode.short(core, &bytes, format)
        }
        if i64::try_from(inode.size_bytes).is_err() {
            return Err(Self::damaged(node, format!("a size of {} bytes", inode.size_bytes)));
        }
        Ok(inode)
    }

    fn place(core: &Core, node: Node) -> GuestResult<Place> {
        let superblock = &core.image.superblock;
        let metabox = node.0 & IN_METABOX != 0;
        let base = if metabox { 0 } else { superblock.block_at(u64::from(superblock.metadata_block)) };
        let slots = (node.0 & !IN_METABOX).checked_mul(1 << SLOT_BITS);
        let at = slots.and_then(|bytes| bytes.checked_add(base));
        at.map(|at| Place { metabox, at }).ok_or_else(|| GuestError::NotFound { object: format!("inode {}", node.0 & !IN_METABOX) })
    }

    fn long(&mut self, bytes: &[u8; 64]) {
        self.size_bytes = le64(bytes, 8);
        self.uid = le32(bytes, 24);
        self.gid = le32(bytes, 28);
        self.modified = Timestamp { seconds: le64(bytes, 32).cast_signed(), nanoseconds: le32(bytes, 40) };
        self.links = le32(bytes, 44);
    }

    fn short(&mut self, core: &Core, bytes: &[u8; 64], format: u16) {
        let superblock = &core.image.superblock;
        self.size_bytes = u64::from(le32(bytes, 8));
        self.uid = u32::from(le16(bytes, 24));
        self.gid = u32::from(le16(bytes, 26));
        self.modified = Timestamp {
            seconds: superblock.epoch_seconds.cast_signed().saturating_add(i64::from(le32(bytes, 12))),
            nanoseconds: superblock.epoch_nanoseconds,
        };
        // With this bit an object that is no directory has one name, and what else is the count is part of a block's number.
        if format & 0x10 != 0 && self.kind != FileKind::Directory {
            self.links = 1;
        } else {
            self.links = u32::from(self.high);
            self.high = 0;
            self.wide = false;
        }
    }

    /// The place behind the inode and its extended attributes, at a multiple of `unit` (a power of two).
    pub(super) fn body(&self, unit: u64) -> Place {
        let end = self.place.at.saturating_add(self.own_bytes).saturating_add(self.xattr_bytes);
        Place { metabox: self.place.metabox, at: end.checked_next_multiple_of(unit).unwrap_or(u64::MAX) }
    }

    /// The block in which the contents begin; `None`: all is a hole.
    pub(super) fn first_block(&self) -> Option<u64> {
        let block = u64::from(self.word) | u64::from(self.high) << 32;
        let nowhere = if self.wide { (1 << 48) - 1 } else { u64::from(u32::MAX) };
        (block & nowhere != nowhere).then_some(block)
    }
}
