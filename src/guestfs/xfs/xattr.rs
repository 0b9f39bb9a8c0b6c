//! Extended attributes: inside the inode, in leaves, in leaves below nodes, and values in blocks of their own.
//! Layout: `fs/xfs/libxfs/xfs_da_format.h` of Linux; what is shown: `fs/xfs/xfs_xattr.c` and `xfs_acl.c`.

use std::collections::HashSet;

use super::inode::{Format, Inode};
use super::mapping::Fork;
use super::sealed;
use super::volume::Volume;
use crate::guestfs::fields::{be16, be32, byte};
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{FileData, GuestError, GuestResult, Place};
use crate::io::ReadAt;

/// Flags of an attribute: where its value lies, in which namespace it is, whether it is still being written.
const LOCAL: u8 = 1;
pub(super) const ROOT: u8 = 1 << 1;
pub(super) const SECURE: u8 = 1 << 2;
const PARENT: u8 = 1 << 3;
const INCOMPLETE: u8 = 1 << 7;

/// The longest value that Linux allows.
const MOST_VALUE_BYTES: usize = 64 << 10;
/// Bytes of all attributes of one inode that are read: what `listxattr` can give, and as many of the longest values.
const MOST_BYTES: usize = 64 << 20;
/// Where the last block of attributes can lie: block numbers have 32 bits.
const MOST_BLOCKS: u64 = 1 << 32;
/// Bytes before the part of a value that one block of version 5 holds.
const REMOTE_HEAD: usize = 56;
/// Levels of nodes above the leaves (`XFS_DA_NODE_MAXDEPTH`).
const MOST_LEVELS: usize = 5;

/// An attribute as it is stored.
pub(super) struct Stored {
    pub(super) flags: u8,
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// All that the kernel shows, by the names that it shows.
pub(super) fn all(volume: &Volume, inode: &Inode) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut shown = Vec::new();
    for stored in stored(volume, inode)? {
        if stored.flags & (PARENT | INCOMPLETE) != 0 {
            continue;
        }
        let acl_name = match stored.name.as_slice() {
            b"SGI_ACL_FILE" if stored.flags & ROOT != 0 => Some("system.posix_acl_access"),
            b"SGI_ACL_DEFAULT" if stored.flags & ROOT != 0 => Some("system.posix_acl_default"),
            _ => None,
        };
        if let Some(name) = acl_name {
            shown.push((name.as_bytes().to_vec(), acl(inode, &stored.value)?));
        }
        let prefix = if stored.flags & ROOT != 0 {
            "trusted."
        } else if stored.flags & SECURE != 0 {
            "security."
        } else {
            "user."
        };
        shown.push(([prefix.as_bytes(), &stored.name].concat(), stored.value));
    }
    Ok(shown)
}

fn damaged(inode: &Inode, problem: impl Into<String>) -> GuestError {
    GuestError::damaged(format!("the extended attributes of inode {}", inode.number), problem)
}

/// An ACL in the form of system calls, from the longer and big-endian one on disk.
fn acl(inode: &Inode, stored: &[u8]) -> GuestResult<Vec<u8>> {
    let entries = stored.get(4..).unwrap_or_default();
    if (be32(stored, 0) as usize).checked_mul(12) != Some(entries.len()) {
        return Err(damaged(inode, format!("an ACL of {} bytes says that it has {} entries", stored.len(), be32(stored, 0))));
    }
    let mut shown = 2_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(12) {
        let tag = be32(entry, 0) as u16;
        // Only entries of named users (2) and groups (8) have an id.
        let id = if matches!(tag, 2 | 8) { be32(entry, 4) } else { u32::MAX };
        shown.extend_from_slice(&tag.to_le_bytes());
        shown.extend_from_slice(&be16(entry, 8).to_le_bytes());
        shown.extend_from_slice(&id.to_le_bytes());
    }
    Ok(shown)
}

fn stored(volume: &Volume, inode: &Inode) -> GuestResult<Vec<Stored>> {
    let mut all = match inode.has_attributes().then(|| inode.format(Fork::Attributes)).transpose()? {
        None => Vec::new(),
        Some(Format::Local) => inside(inode)?,
        Some(_) => Leaves::open(volume, inode)?.all()?,
    };
    volume.changes().amend_attributes(inode.number, &mut all);
    Ok(all)
}

/// Attributes in the inode, after the bytes and the number of all.
fn inside(inode: &Inode) -> GuestResult<Vec<Stored>> {
    let bytes = inode.fork(Fork::Attributes);
    let mut rest = bytes.get(4..).unwrap_or_default();
    let mut all = Vec::new();
    for _ in 0..byte(bytes, 2) {
        let (name_bytes, value_bytes) = (usize::from(byte(rest, 0)), usize::from(byte(rest, 1)));
        let (entry, after) = rest.split_at_checked(3 + name_bytes + value_bytes).ok_or_else(|| damaged(inode, "one leaves the inode"))?;
        let (name, value) = entry.get(3..).unwrap_or_default().split_at(name_bytes);
        all.push(Stored { flags: byte(entry, 2), name: name.to_vec(), value: value.to_vec() });
        rest = after;
    }
    Ok(all)
}

/// The blocks of an inode's attributes.
struct Leaves<'leaves> {
    volume: &'leaves Volume,
    inode: &'leaves Inode,
    blocks: MappedFile,
    block_bytes: u64,
    read_bytes: usize,
}

impl<'leaves> Leaves<'leaves> {
    fn open(volume: &'leaves Volume, inode: &'leaves Inode) -> GuestResult<Self> {
        let block_bytes = u64::from(volume.superblock.block_bytes);
        let blocks = volume.metadata_fork(inode, Fork::Attributes, MOST_BLOCKS * block_bytes)?;
        Ok(Self { volume, inode, blocks, block_bytes, read_bytes: 0 })
    }

    /// Where a block of attributes lies on the device.
    fn place(&self, number: u64) -> GuestResult<Option<u64>> {
        Ok(match self.blocks.run_at(number.saturating_mul(self.block_bytes))?.place {
            Place::Device { offset_bytes, .. } => Some(offset_bytes),
            Place::Hole | Place::Computed => None,
        })
    }

    fn block(&mut self, number: u64) -> GuestResult<Vec<u8>> {
        let inode = self.inode;
        let at = self.place(number)?.ok_or_else(|| damaged(inode, format!("block {number} is a hole")))?;
        self.read_bytes = self.read_bytes.saturating_add(self.block_bytes as usize);
        if self.read_bytes > MOST_BYTES {
            return Err(GuestError::limit(format!("inode {}", inode.number), format!("more than {MOST_BYTES} bytes of attributes")));
        }
        let object = || format!("the extended attributes of inode {}", inode.number);
        sealed::ATTRIBUTES.read(self.volume, at, self.block_bytes as usize, &object)
    }

    /// The attributes of all leaves, from the first one on, each of which tells the next.
    fn all(mut self) -> GuestResult<Vec<Stored>> {
        // A fork whose attributes were all removed.
        if self.place(0)?.is_none() {
            return Ok(Vec::new());
        }
        let (mut number, mut block) = self.first_leaf()?;
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        loop {
            if !seen.insert(number) {
                return Err(damaged(self.inode, format!("block {number} follows itself")));
            }
            self.leaf(&block, &mut all)?;
            number = u64::from(be32(&block, 0));
            if number == 0 {
                return Ok(all);
            }
            block = self.block(number)?;
        }
    }

    /// Down the left side of the tree.
    fn first_leaf(&mut self) -> GuestResult<(u64, Vec<u8>)> {
        let has_checksums = self.volume.superblock.has_checksums;
        let (leaf, node, first) = if has_checksums { (0x3bee, 0x3ebe, 64) } else { (0xfbee, 0xfebe, 16) };
        let mut number = 0;
        for _ in 0..=MOST_LEVELS {
            let block = self.block(number)?;
            match be16(&block, 8) {
                magic if magic == leaf => return Ok((number, block)),
                magic if magic == node => number = u64::from(be32(&block, first + 4)),
                magic => return Err(damaged(self.inode, format!("block {number} has the magic number {magic:04x}"))),
            }
        }
        Err(damaged(self.inode, "their tree has too many levels"))
    }

    fn leaf(&mut self, block: &[u8], all: &mut Vec<Stored>) -> GuestResult<()> {
        let (leaf, counts_at, first) = if self.volume.superblock.has_checksums { (0x3bee, 56, 80) } else { (0xfbee, 12, 32) };
        let count = usize::from(be16(block, counts_at));
        let entries = block.get(first..).and_then(|rest| rest.get(..count.saturating_mul(8)));
        let entries = entries.filter(|_| be16(block, 8) == leaf);
        let entries = entries.ok_or_else(|| damaged(self.inode, format!("a leaf says that it has {count}")))?;
        for entry in entries.chunks_exact(8) {
            let stored = self.entry(block, usize::from(be16(entry, 4)), byte(entry, 6))?;
            self.read_bytes = self.read_bytes.saturating_add(stored.value.len());
            all.push(stored);
        }
        Ok(())
    }

    fn entry(&self, block: &[u8], at: usize, flags: u8) -> GuestResult<Stored> {
        let entry = block.get(at..).unwrap_or_default();
        let part = |from: usize, length: usize| {
            let found = entry.get(from..).and_then(|rest| rest.get(..length));
            found.map(<[u8]>::to_vec).ok_or_else(|| damaged(self.inode, format!("one of {length} bytes at {at} leaves its block")))
        };
        if flags & LOCAL != 0 {
            let (value_bytes, name_bytes) = (usize::from(be16(entry, 0)), usize::from(byte(entry, 2)));
            return Ok(Stored { flags, name: part(3, name_bytes)?, value: part(3 + name_bytes, value_bytes)? });
        }
        let name = part(9, usize::from(byte(entry, 8)))?;
        // What is still being written may have no blocks yet, and is not shown.
        let is_shown = flags & INCOMPLETE == 0;
        let value = if is_shown { self.remote(u64::from(be32(entry, 0)), be32(entry, 4) as usize)? } else { Vec::new() };
        Ok(Stored { flags, name, value })
    }

    /// A value in blocks of its own, each of which has a head in version 5.
    fn remote(&self, first: u64, value_bytes: usize) -> GuestResult<Vec<u8>> {
        if value_bytes > MOST_VALUE_BYTES {
            return Err(damaged(self.inode, format!("a value has {value_bytes} bytes")));
        }
        let head = if self.volume.superblock.has_checksums { REMOTE_HEAD } else { 0 };
        let room = self.block_bytes as usize - head;
        let mut value = Vec::with_capacity(value_bytes);
        for number in (first..).take(value_bytes.div_ceil(room)) {
            let wanted = room.min(value_bytes - value.len());
            let at = self.place(number)?.ok_or_else(|| damaged(self.inode, format!("block {number} of a value is a hole")))?;
            let block = self.remote_block(number, at, head)?;
            let part = block.get(head..head + wanted).unwrap_or_default();
            if head > 0 && (be32(&block, 4) as usize, be32(&block, 8) as usize) != (value.len(), wanted) {
                return Err(damaged(self.inode, format!("block {number} is no part of a value at {}", value.len())));
            }
            value.extend_from_slice(part);
        }
        Ok(value)
    }

    /// Values are not written through the log, and lie on the device as they are.
    fn remote_block(&self, number: u64, at: u64, head: usize) -> GuestResult<Vec<u8>> {
        let object = || format!("block {number} of the attributes of inode {}", self.inode.number);
        let mut block = vec![0; self.block_bytes as usize];
        self.blocks.read_at(number.saturating_mul(self.block_bytes), &mut block)?;
        if head > 0 {
            if !block.starts_with(b"XARM") {
                return Err(GuestError::damaged(object(), "it holds no value"));
            }
            sealed::REMOTE.check(self.volume, at, &block).map_err(|problem| GuestError::damaged(object(), problem))?;
        }
        Ok(block)
    }
}
