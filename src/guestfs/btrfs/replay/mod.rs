//! The log: what was synced since the last commit, per subvolume a tree of copied items. The kernel merges it into the subvolumes when it
//! mounts; here it is merged into an overlay in memory, so that the view is the one that the kernel would give. A log says of an inode
//! that it has these extended attributes, extents and references and no others, and of a directory that in these ranges of numbers it
//! has these names and no others.

mod extents;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::super::fields::{le32, le64};
use super::super::{FileKind, GuestError, GuestResult};
use super::items::{Inode, RootItem, inode_at, named};
use super::layout::{Key, kind, object};
use super::pool::Pool;
use super::superblock::RootPointer;
use super::tree::{Bytes, Item, Overlay, Tree};
use super::volume::Subvolume;

/// Bytes that the changes of a log may take in memory.
const MOST_BYTES: usize = 96 << 20;

/// What a change takes beside its data.
const CHANGE_BYTES: usize = 96;

/// What a log changes.
#[derive(Default)]
pub(super) struct Replayed {
    /// Of each subvolume, by its place in the list.
    pub(super) overlays: Vec<(usize, Overlay)>,
    /// Checksums of data, by the address of the first sector.
    pub(super) checksums: BTreeMap<u64, Vec<u8>>,
}

/// Merges all logs.
pub(super) fn replay(pool: &Arc<Pool>, logs: RootPointer, subvolumes: &[Subvolume]) -> GuestResult<Replayed> {
    let roots = Tree::new(pool, logs);
    let mut replayed = Replayed::default();
    let mut bytes = 0;
    for item in roots.range(Key::first(object::TREE_LOG, kind::ROOT_ITEM), Key::last(object::TREE_LOG, kind::ROOT_ITEM)) {
        let item = item?;
        let id = item.key.offset;
        // A subvolume that is gone needs nothing of its log.
        let Ok(at) = subvolumes.binary_search_by_key(&id, |subvolume| subvolume.id) else { continue };
        let Some(subvolume) = subvolumes.get(at) else { continue };
        let log = Tree::new(pool, RootItem::parse(id, &item.data)?.root);
        let mut replay = Replay {
            log: &log,
            tree: Tree::clone(&subvolume.tree),
            fixups: BTreeSet::new(),
            ignored: HashSet::new(),
            checksums: &mut replayed.checksums,
            bytes,
            sector_bytes: pool.sector_bytes,
            transaction: logs.generation,
        };
        replay.run()?;
        bytes = replay.bytes;
        replayed.overlays.push((at, replay.tree.overlay));
    }
    Ok(replayed)
}

/// The merging of the log of one subvolume.
struct Replay<'a> {
    log: &'a Tree,
    /// The subvolume, with what has been merged.
    tree: Tree,
    /// Inodes whose references are to be counted at the end.
    fixups: BTreeSet<u64>,
    /// Inodes in the log that had lost their last name when they were synced.
    ignored: HashSet<u64>,
    checksums: &'a mut BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    sector_bytes: u64,
    transaction: u64,
}

impl Replay<'_> {
    /// Inodes come first, so that everything that follows finds them; then names, then what remains.
    fn run(&mut self) -> GuestResult<()> {
        let log = self.log;
        for item in log.all() {
            let item = item?;
            if item.key.kind == kind::INODE_ITEM {
                self.replay_inode(item.key.objectid, &item.data)?;
            }
        }
        for item in log.all() {
            let item = item?;
            if item.key.kind == kind::DIR_INDEX && !self.ignored.contains(&item.key.objectid) {
                self.replay_names(&item)?;
            }
        }
        for item in log.all() {
            self.replay_rest(&item?)?;
        }
        self.count_references()
    }

    fn replay_rest(&mut self, item: &Item) -> GuestResult<()> {
        if self.ignored.contains(&item.key.objectid) {
            return Ok(());
        }
        match item.key.kind {
            kind::XATTR_ITEM => self.put(item.key, &item.data),
            kind::INODE_REF | kind::INODE_EXTREF => self.replay_references(item),
            kind::EXTENT_DATA => self.replay_extent(item),
            kind::EXTENT_CSUM if item.key.objectid == object::EXTENT_CSUM => {
                self.account(item.data.len())?;
                self.checksums.insert(item.key.offset, item.data.to_vec());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn account(&mut self, data_bytes: usize) -> GuestResult<()> {
        self.bytes = self.bytes.saturating_add(data_bytes).saturating_add(CHANGE_BYTES);
        if self.bytes > MOST_BYTES {
            return Err(GuestError::limit("the log tree", format!("its changes take more than {MOST_BYTES} bytes of memory")));
        }
        Ok(())
    }

    fn put(&mut self, key: Key, data: &[u8]) -> GuestResult<()> {
        self.account(data.len())?;
        self.tree.overlay.insert(key, Some(Arc::from(data)));
        Ok(())
    }

    fn remove(&mut self, key: Key) -> GuestResult<()> {
        self.account(0)?;
        self.tree.overlay.insert(key, None);
        Ok(())
    }

    /// Puts what is left of an item, which goes with its last byte.
    fn put_or_remove(&mut self, key: Key, data: &[u8]) -> GuestResult<()> {
        if data.is_empty() { self.remove(key) } else { self.put(key, data) }
    }

    fn inode_item(&self, number: u64) -> GuestResult<Option<Bytes>> {
        self.tree.get(Key::new(number, kind::INODE_ITEM, 0))
    }

    fn inode(&self, number: u64) -> GuestResult<Option<Inode>> {
        self.inode_item(number)?.map(|item| Inode::parse(number, &item)).transpose()
    }

    /// Changes a number of eight bytes in an inode.
    fn edit_inode(&mut self, number: u64, at: usize, change: impl FnOnce(u64) -> u64) -> GuestResult<()> {
        let Some(item) = self.inode_item(number)? else { return Ok(()) };
        let mut bytes = item.to_vec();
        set_u64(&mut bytes, at, change(le64(&item, at)));
        self.put(Key::new(number, kind::INODE_ITEM, 0), &bytes)
    }

    fn replay_inode(&mut self, number: u64, logged: &Bytes) -> GuestResult<()> {
        let inode = Inode::parse(number, logged)?;
        if inode.links == 0 {
            self.ignored.insert(number);
            return Ok(());
        }
        self.delete_attributes(number)?;
        let kind = inode.kind(number)?;
        if kind == FileKind::Directory && self.inode(number)?.is_some() {
            self.delete_names(number)?;
        }
        self.overwrite_inode(number, &inode, logged)?;
        if let Some(merged) = self.inode(number)?.filter(|_| kind == FileKind::Regular) {
            // Before extents are merged: there may be some behind the end that were allocated in advance.
            let from = merged.size_bytes.checked_next_multiple_of(self.sector_bytes).unwrap_or(u64::MAX);
            let dropped = self.drop_extents(number, from, u64::MAX)?;
            self.edit_inode(number, inode_at::STORED, |bytes| bytes.saturating_sub(dropped))?;
        }
        self.fixups.insert(number);
        Ok(())
    }

    /// Writes a logged inode over the one in the subvolume. The bytes that it stores and the size of a directory follow from what else
    /// is merged. Generation 0: it was only logged so that it exists.
    fn overwrite_inode(&mut self, number: u64, logged: &Inode, logged_bytes: &[u8]) -> GuestResult<()> {
        let key = Key::new(number, kind::INODE_ITEM, 0);
        let is_directory = logged.kind(number)? == FileKind::Directory;
        let mut bytes = logged_bytes.to_vec();
        let (mut stored, mut directory_size) = (0, 0);
        if let Some(item) = self.inode_item(number)? {
            let old = Inode::parse(number, &item)?;
            if logged.generation == 0 {
                let is_file = |inode: &Inode| inode.kind(number).is_ok_and(|kind| kind == FileKind::Regular);
                if is_file(logged) && is_file(&old) && logged.size_bytes != 0 {
                    self.edit_inode(number, inode_at::SIZE, |_| logged.size_bytes)?;
                }
                return Ok(());
            }
            stored = old.stored_bytes;
            directory_size = if old.kind(number)? == FileKind::Directory { old.size_bytes } else { 0 };
        }
        set_u64(&mut bytes, inode_at::STORED, stored);
        if is_directory {
            set_u64(&mut bytes, inode_at::SIZE, directory_size);
        }
        if logged.generation == 0 {
            set_u64(&mut bytes, inode_at::GENERATION, self.transaction);
        }
        self.put(key, &bytes)
    }

    /// Removes extended attributes that the log does not have.
    fn delete_attributes(&mut self, number: u64) -> GuestResult<()> {
        let (from, to) = (Key::first(number, kind::XATTR_ITEM), Key::last(number, kind::XATTR_ITEM));
        let items: Vec<Item> = self.tree.range(from, to).collect::<GuestResult<_>>()?;
        for item in items {
            let logged = self.log.get(item.key)?;
            let is_logged = |name: &[u8]| logged.as_ref().is_some_and(|logged| named(logged).any(|other| other.name == name));
            let kept: Vec<u8> = named(&item.data).filter(|entry| is_logged(entry.name)).flat_map(|entry| entry.bytes.to_vec()).collect();
            if kept.len() != item.data.len() {
                self.put_or_remove(item.key, &kept)?;
            }
        }
        Ok(())
    }

    /// Sets the number of links of inodes to that of their references. A directory without any loses its names as well.
    fn count_references(&mut self) -> GuestResult<()> {
        while let Some(number) = self.fixups.pop_last() {
            let Some(item) = self.inode_item(number)? else { continue };
            let mut count = 0_u32;
            super::directory::each_reference(&self.tree, number, |_| count = count.saturating_add(1))?;
            if le32(&item, inode_at::LINKS) != count {
                let mut bytes = item.to_vec();
                if let Some(links) = bytes.get_mut(inode_at::LINKS..).and_then(|rest| rest.first_chunk_mut()) {
                    *links = count.to_le_bytes();
                }
                self.put(Key::new(number, kind::INODE_ITEM, 0), &bytes)?;
            }
            if count == 0 && Inode::parse(number, &item)?.kind(number)? == FileKind::Directory {
                self.delete_all_names(number)?;
            }
        }
        Ok(())
    }
}

/// Changes a number of eight bytes in an item that has it.
fn set_u64(bytes: &mut [u8], at: usize, number: u64) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = number.to_le_bytes();
    }
}
