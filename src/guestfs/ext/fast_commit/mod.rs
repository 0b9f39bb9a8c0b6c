//! Fast commits of ext4: short notes after the journal's last transaction that say what happened to single files since.
//!
//! They are no copies of blocks, so they cannot be laid over the device: they are kept as changes to inodes, maps of blocks and
//! directories, which everybody who reads those asks first. Layout: `fs/ext4/fast_commit.h` of Linux.

mod apply;
mod tags;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use apply::apply;
pub(super) use tags::read;

use super::extents::Blocks;

/// What changes, by the numbers of inodes.
#[derive(Default)]
pub(super) struct Changes {
    inodes: BTreeMap<u32, Vec<u8>>,
    blocks: BTreeMap<u32, Vec<Blocks>>,
    directories: BTreeMap<u32, DirectoryChange>,
}

/// What changes in one directory.
#[derive(Default)]
pub(super) struct DirectoryChange {
    /// It was made by a fast commit: what its blocks hold is of something else.
    pub(super) is_new: bool,
    /// Names that were added, over those of equal name on disk.
    pub(super) added: BTreeMap<Vec<u8>, u32>,
    /// Names on disk that are gone.
    pub(super) removed: BTreeSet<Vec<u8>>,
}

impl Changes {
    /// The bytes of an inode, if they change.
    pub(super) fn inode(&self, number: u32) -> Option<&[u8]> {
        self.inodes.get(&number).map(Vec::as_slice)
    }

    /// The blocks of an inode, if they change.
    pub(super) fn blocks(&self, number: u32) -> Option<&[Blocks]> {
        self.blocks.get(&number).map(Vec::as_slice)
    }

    /// The names of a directory, if they change.
    pub(super) fn directory(&self, number: u32) -> Option<&DirectoryChange> {
        self.directories.get(&number)
    }
}
