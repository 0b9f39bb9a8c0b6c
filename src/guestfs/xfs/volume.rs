//! An opened filesystem as its structures see it: blocks and inodes by their numbers, with what the log holds laid over.

use std::sync::Arc;

use super::changes::Changes;
use super::inode::Inode;
use super::log::Overlay;
use super::mapping::{self, Fork, Mapping};
use super::superblock::Superblock;
use crate::guestfs::fields::{be32, be64};
use crate::guestfs::mapped::{FileExtent, MappedFile};
use crate::guestfs::pages::Pages;
use crate::guestfs::{Device, GuestError, GuestResult};

/// Blocks and inodes.
pub(super) struct Volume {
    pub(super) superblock: Superblock,
    /// The device as it is: what files contain is never in the log.
    device: Device,
    /// The device through a cache, with the log laid over it.
    metadata: Device,
    overlay: Option<Arc<Overlay>>,
    /// What operations that the log left unfinished change.
    changes: Changes,
}

impl Volume {
    /// As it lies on the disk.
    pub(super) fn new(superblock: Superblock, device: Device, cache_bytes: usize) -> Self {
        let metadata: Device = Arc::new(Pages::new(Arc::clone(&device), cache_bytes));
        Self { superblock, device, metadata, overlay: None, changes: Changes::default() }
    }

    /// With the log laid over it.
    pub(super) fn with_overlay(self, superblock: Superblock, overlay: Overlay) -> Self {
        let overlay = Arc::new(overlay);
        Self { superblock, metadata: Arc::clone(&overlay) as Device, overlay: Some(overlay), ..self }
    }

    /// With unfinished operations done.
    pub(super) fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// The device as it is, for what is not cached.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The device with the log laid over it.
    pub(super) fn metadata(&self) -> &Device {
        &self.metadata
    }

    /// What operations that the log left unfinished change.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether some of these bytes come from the log.
    pub(super) fn is_replayed(&self, at_bytes: u64, length: usize) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.touches(at_bytes, length))
    }

    /// Bytes of metadata.
    pub(super) fn read(&self, at_bytes: u64, length: usize, object: &dyn Fn() -> String) -> GuestResult<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.metadata.read_at(at_bytes, &mut bytes).map_err(|error| GuestError::of_read(error, object))?;
        Ok(bytes)
    }

    /// The inode of a number.
    pub(super) fn inode(&self, number: u64) -> GuestResult<Inode> {
        let object = || format!("inode {number}");
        let at = self.superblock.place_of_inode(number).ok_or_else(|| GuestError::NotFound { object: object() })?;
        let raw = self.read(at, self.superblock.inode_bytes as usize, &object)?;
        let mut inode = Inode::parse(&self.superblock, number, raw, self.is_replayed(at, self.superblock.inode_bytes as usize))?;
        self.changes.amend(&mut inode);
        Ok(inode)
    }

    /// Where the blocks of a fork lie, in ascending order.
    pub(super) fn mappings(&self, inode: &Inode, fork: Fork) -> GuestResult<Vec<Mapping>> {
        match self.changes.mappings(inode.number, fork) {
            Some(mappings) => Ok(mappings.to_vec()),
            None => mapping::read(self, inode, fork),
        }
    }

    /// The same as places in bytes, without what reads as zeros.
    fn extents(&self, inode: &Inode, fork: Fork) -> GuestResult<Vec<FileExtent>> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let to_bytes = |mapping: &Mapping| {
            Some(FileExtent {
                start_bytes: mapping.start.checked_mul(block_bytes)?,
                length_bytes: mapping.count.checked_mul(block_bytes)?,
                device_bytes: self.superblock.place_of_blocks(mapping.block, mapping.count)?,
            })
        };
        let mut extents = Vec::new();
        for mapping in self.mappings(inode, fork)?.iter().filter(|mapping| !mapping.unwritten) {
            extents.push(to_bytes(mapping).ok_or_else(|| {
                let problem = format!("its {} blocks from {} on are not in the filesystem", mapping.count, mapping.block);
                GuestError::damaged(format!("inode {}", inode.number), problem)
            })?);
        }
        Ok(extents)
    }

    /// The contents of a regular file.
    pub(super) fn contents(&self, inode: &Inode) -> GuestResult<MappedFile> {
        let extents = self.extents(inode, Fork::Data)?;
        MappedFile::new(&format!("inode {}", inode.number), Arc::clone(&self.device), inode.size_bytes, extents)
    }

    /// A fork that is metadata itself, `size_bytes` of it.
    pub(super) fn metadata_fork(&self, inode: &Inode, fork: Fork, size_bytes: u64) -> GuestResult<MappedFile> {
        let extents = self.extents(inode, fork)?;
        MappedFile::new(&format!("the {fork} of inode {}", inode.number), Arc::clone(&self.metadata), size_bytes, extents)
    }

    /// Free blocks as the groups count them, which the superblock does only when it is unmounted.
    pub(super) fn count_free_blocks(&self) -> GuestResult<u64> {
        let mut free = 0_u64;
        for group in 0..self.superblock.groups {
            let object = || format!("the free space of group {group}");
            let at = self.superblock.place_of_group(group).saturating_add(u64::from(self.superblock.sector_bytes));
            let bytes = self.read(at, 128, &object)?;
            if !bytes.starts_with(b"XAGF") {
                return Err(GuestError::damaged(object(), format!("it begins with {:016x}", be64(&bytes, 0))));
            }
            // Of `struct xfs_agf`: agf_flcount, agf_freeblks, agf_btreeblks.
            free = [48, 52, 60].iter().fold(free, |sum, &at| sum.saturating_add(u64::from(be32(&bytes, at))));
        }
        Ok(free)
    }
}
