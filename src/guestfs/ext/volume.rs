//! An opened filesystem as its structures see it: blocks, groups and inodes by their numbers, with what the journal changes laid over.

use std::sync::Arc;

use super::extents::{Blocks, extents_of};
use super::fast_commit::Changes;
use super::fields::Fields;
use super::inode::Inode;
use super::superblock::Superblock;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::pages::Pages;
use crate::guestfs::{Device, GuestError, GuestResult};
use crate::io::ReadAt;

/// Blocks and inodes.
pub(super) struct Volume {
    pub(super) superblock: Superblock,
    /// The device with the journal laid over it.
    pub(super) device: Device,
    /// The same through a cache, for metadata.
    metadata: Device,
    /// What fast commits change.
    changes: Changes,
}

impl Volume {
    /// Without any changes yet.
    pub(super) fn new(superblock: Superblock, device: Device, cache_bytes: usize) -> Self {
        let metadata: Device = Arc::new(Pages::new(Arc::clone(&device), cache_bytes));
        Self { superblock, device, metadata, changes: Changes::default() }
    }

    /// With the changes of fast commits, which from now on are seen by everybody.
    pub(super) fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// One block of metadata.
    pub(super) fn block(&self, number: u64) -> GuestResult<Vec<u8>> {
        let bytes = self.superblock.block_bytes;
        let at = number.checked_mul(u64::from(bytes)).filter(|_| number < self.superblock.blocks);
        let at = at.ok_or_else(|| GuestError::damaged(format!("block {number}"), "it lies past the end of the filesystem"))?;
        let mut block = vec![0; bytes as usize];
        self.metadata.read_at(at, &mut block)?;
        Ok(block)
    }

    /// The inode of a number.
    pub(super) fn inode(&self, number: u32) -> GuestResult<Inode> {
        Inode::parse(&self.superblock, number, self.raw_inode(number)?)
    }

    /// The bytes of an inode, existing or not.
    pub(super) fn raw_inode(&self, number: u32) -> GuestResult<Vec<u8>> {
        match self.changes.inode(number) {
            Some(raw) => Ok(raw.to_vec()),
            None => self.raw_inode_on_disk(number),
        }
    }

    fn raw_inode_on_disk(&self, number: u32) -> GuestResult<Vec<u8>> {
        let superblock = &self.superblock;
        let index = number.checked_sub(1).filter(|_| number <= superblock.inodes);
        let index = index.ok_or_else(|| GuestError::NotFound { object: format!("inode {number}") })?;
        let (group, within) = (index / superblock.inodes_per_group.max(1), index % superblock.inodes_per_group.max(1));
        let table = self.inode_table(group)?;
        let offset = u64::from(within).saturating_mul(u64::from(superblock.inode_bytes));
        let at = table.checked_mul(u64::from(superblock.block_bytes)).and_then(|start| start.checked_add(offset));
        let at = at.ok_or_else(|| GuestError::damaged(format!("group {group}"), "its inodes lie past the end of numbers"))?;
        let mut raw = vec![0; usize::from(superblock.inode_bytes)];
        self.metadata.read_at(at, &mut raw)?;
        Ok(raw)
    }

    /// The first block of a group's inodes.
    pub(super) fn inode_table(&self, group: u32) -> GuestResult<u64> {
        let object = || format!("the descriptor of group {group}");
        let place = self.superblock.descriptor_place(group);
        let (at, length) = place.ok_or_else(|| GuestError::damaged(object(), "it lies past the end of numbers"))?;
        let mut bytes = vec![0; length];
        self.metadata.read_at(at, &mut bytes)?;
        let fields = Fields(&bytes);
        if let Some(seed) = self.superblock.checksum_seed {
            let mut clear = bytes.clone();
            if let Some(field) = clear.get_mut(0x1e..0x20) {
                field.fill(0);
            }
            let expected = crc32c(crc32c(seed, &group.to_le_bytes()), &clear) as u16;
            if expected != fields.le16(0x1e) {
                return Err(GuestError::damaged(object(), format!("its checksum is {:04x}, not {expected:04x}", fields.le16(0x1e))));
            }
        }
        Ok(if length >= 64 { fields.le64_halves(8, 0x28) } else { u64::from(fields.le32(8)) })
    }

    /// The blocks of an inode where fast commits changed them.
    pub(super) fn changed_blocks(&self, number: u32) -> Option<Vec<Blocks>> {
        self.changes.blocks(number).map(<[Blocks]>::to_vec)
    }

    /// What fast commits change.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Contents of an inode that lie in blocks: through the cache for what is metadata itself (directories, links, attributes).
    pub(super) fn contents(&self, inode: &Inode, metadata: bool) -> GuestResult<MappedFile> {
        let device = Arc::clone(if metadata { &self.metadata } else { &self.device });
        MappedFile::new(&format!("inode {}", inode.number), device, inode.size_bytes, extents_of(self, inode)?)
    }

    /// Contents in blocks from the start, `most` bytes at the longest.
    pub(super) fn whole(&self, inode: &Inode, most: u64) -> GuestResult<Vec<u8>> {
        if inode.size_bytes > most {
            return Err(GuestError::damaged(format!("inode {}", inode.number), format!("{} bytes are too many", inode.size_bytes)));
        }
        let mut bytes = vec![0; inode.size_bytes as usize];
        self.contents(inode, true)?.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}
