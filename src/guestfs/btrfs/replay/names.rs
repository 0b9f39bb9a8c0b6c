//! Names: those that the log has are linked, those that it would have if they were still there are unlinked.

use super::super::super::GuestResult;
use super::super::super::fields::le64;
use super::super::directory::each_reference;
use super::super::items::{Named, Reference, extended_references, inode_at, named, references};
use super::super::layout::{Key, extref_hash, kind, name_hash};
use super::super::tree::{Bytes, Item, Tree};
use super::Replay;

/// A name in a directory that leads to an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    directory: u64,
    name: Vec<u8>,
    target: Key,
}

/// The references in an item.
fn references_of(key: Key, data: &[u8]) -> Vec<Reference<'_>> {
    match key.kind {
        kind::INODE_REF => references(key.offset, data).collect(),
        _ => extended_references(data).collect(),
    }
}

/// Where a reference of an inode would be, in items of one kind or the other.
fn reference_keys(inode: u64, directory: u64, name: &[u8]) -> [Key; 2] {
    [Key::new(inode, kind::INODE_REF, directory), Key::new(inode, kind::INODE_EXTREF, extref_hash(directory, name))]
}

fn has_reference(tree: &Tree, key: Key, directory: u64, name: &[u8]) -> GuestResult<bool> {
    let item = tree.get(key)?;
    Ok(item.is_some_and(|item| references_of(key, &item).iter().any(|found| found.parent == directory && found.name == name)))
}

/// What an item of names says of one name.
fn find_name(item: Option<&Bytes>, name: &[u8]) -> Option<(Key, u8)> {
    item.and_then(|item| named(item).find(|entry| entry.name == name).map(|entry| (entry.target, entry.kind)))
}

impl Replay<'_> {
    fn by_name(&self, directory: u64, name: &[u8]) -> GuestResult<Option<(Key, u8)>> {
        let item = self.tree.get(Key::new(directory, kind::DIR_ITEM, name_hash(name)))?;
        Ok(find_name(item.as_ref(), name))
    }

    fn by_index(&self, directory: u64, index: u64, name: &[u8]) -> GuestResult<Option<(Key, u8)>> {
        let item = self.tree.get(Key::new(directory, kind::DIR_INDEX, index))?;
        Ok(find_name(item.as_ref(), name))
    }

    /// Unlinks the names of a directory that lie in the ranges of numbers for which the log speaks, and that it does not have.
    pub(super) fn delete_names(&mut self, directory: u64) -> GuestResult<()> {
        let log = self.log;
        for range in log.range(Key::first(directory, kind::DIR_LOG_INDEX), Key::last(directory, kind::DIR_LOG_INDEX)) {
            let range = range?;
            self.delete_range(directory, range.key.offset, le64(&range.data, 0), Some(log))?;
        }
        Ok(())
    }

    /// Unlinks all names of a directory.
    pub(super) fn delete_all_names(&mut self, directory: u64) -> GuestResult<()> {
        self.delete_range(directory, 0, u64::MAX, None)
    }

    fn delete_range(&mut self, directory: u64, start: u64, end: u64, log: Option<&Tree>) -> GuestResult<()> {
        let key = |index| Key::new(directory, kind::DIR_INDEX, index);
        let mut gone = Vec::new();
        for item in self.tree.range(key(start), key(end)) {
            let item = item?;
            for entry in named(&item.data).filter(|entry| entry.target.kind == kind::INODE_ITEM) {
                let logged = log.map(|log| log.get(item.key)).transpose()?.flatten();
                if find_name(logged.as_ref(), entry.name).is_none() {
                    gone.push(Link { directory, name: entry.name.to_vec(), target: entry.target });
                }
            }
        }
        gone.iter().try_for_each(|link| self.unlink(link))
    }

    /// Takes a name out of its directory and out of the references of its inode.
    fn unlink(&mut self, link: &Link) -> GuestResult<()> {
        let Link { directory, name, target } = link;
        let inode = target.objectid;
        let key = Key::new(*directory, kind::DIR_ITEM, name_hash(name));
        if let Some(item) = self.tree.get(key)? {
            let is_other = |entry: &Named<'_>| entry.name != name || entry.target != *target;
            let kept: Vec<u8> = named(&item).filter(is_other).flat_map(|entry| entry.bytes.to_vec()).collect();
            self.put_or_remove(key, &kept)?;
        }
        for key in reference_keys(inode, *directory, name) {
            let Some(item) = self.tree.get(key)? else { continue };
            let (these, others): (Vec<_>, Vec<_>) = references_of(key, &item)
                .into_iter()
                .partition(|reference| reference.parent == *directory && reference.name == name.as_slice());
            let Some(reference) = these.first() else { continue };
            let kept: Vec<u8> = others.iter().flat_map(|reference| reference.bytes.to_vec()).collect();
            self.put_or_remove(key, &kept)?;
            self.remove(Key::new(*directory, kind::DIR_INDEX, reference.index))?;
            break;
        }
        self.resize(*directory, name, false)?;
        self.fixups.insert(inode);
        Ok(())
    }

    /// The size of a directory is twice the bytes of its names.
    fn resize(&mut self, directory: u64, name: &[u8], is_added: bool) -> GuestResult<()> {
        let bytes = (name.len() as u64).saturating_mul(2);
        let change = |size: u64| if is_added { size.saturating_add(bytes) } else { size.saturating_sub(bytes) };
        self.edit_inode(directory, inode_at::SIZE, change)
    }

    /// Unlinks what stands in the way of a new name. Subvolumes stay.
    fn unlink_other(&mut self, directory: u64, name: &[u8], target: Key) -> GuestResult<()> {
        if target.kind != kind::INODE_ITEM {
            return Ok(());
        }
        self.unlink(&Link { directory, name: name.to_vec(), target })
    }

    /// A name that a logged directory has. Only names of inodes that exist are linked: syncing a directory does not sync what is in it.
    pub(super) fn replay_names(&mut self, item: &Item) -> GuestResult<()> {
        let Key { objectid: directory, offset: index, .. } = item.key;
        if self.inode_item(directory)?.is_none() {
            return Ok(());
        }
        for entry in named(&item.data) {
            let Named { target, kind, name, .. } = entry;
            let exists = target.kind == kind::INODE_ITEM && self.inode_item(target.objectid)?.is_some();
            let by_name = self.by_name(directory, name)?;
            if let Some((other, _)) = by_name.filter(|found| *found != (target, kind) && exists) {
                self.unlink_other(directory, name, other)?;
            }
            let by_index = self.by_index(directory, index, name)?;
            if let Some((other, _)) = by_index.filter(|found| *found != (target, kind) && exists) {
                self.unlink_other(directory, name, other)?;
            }
            let is_there = by_name == Some((target, kind)) && by_index == Some((target, kind));
            if is_there || !exists {
                continue;
            }
            // A reference in the log links the name later.
            let [plain, extended] = reference_keys(target.objectid, directory, name);
            if has_reference(self.log, plain, directory, name)? || has_reference(self.log, extended, directory, name)? {
                continue;
            }
            self.link_with_reference(directory, index, &entry)?;
        }
        Ok(())
    }

    fn link_with_reference(&mut self, directory: u64, index: u64, entry: &Named<'_>) -> GuestResult<()> {
        let inode = entry.target.objectid;
        let [plain, extended] = reference_keys(inode, directory, entry.name);
        let is_referred =
            has_reference(&self.tree, plain, directory, entry.name)? || has_reference(&self.tree, extended, directory, entry.name)?;
        if is_referred || self.by_name(directory, entry.name)?.is_some() {
            return Ok(());
        }
        let mut item = self.tree.get(plain)?.map(|item| item.to_vec()).unwrap_or_default();
        item.extend(index.to_le_bytes());
        item.extend(u16::try_from(entry.name.len()).unwrap_or(0).to_le_bytes());
        item.extend(entry.name);
        self.put(plain, &item)?;
        self.link(directory, index, entry.bytes, entry.name)?;
        if entry.kind != Named::DIRECTORY {
            self.fixups.insert(inode);
        }
        Ok(())
    }

    /// Puts a name into a directory.
    fn link(&mut self, directory: u64, index: u64, record: &[u8], name: &[u8]) -> GuestResult<()> {
        let key = Key::new(directory, kind::DIR_ITEM, name_hash(name));
        let mut item = self.tree.get(key)?.map(|item| item.to_vec()).unwrap_or_default();
        item.extend(record);
        self.put(key, &item)?;
        self.put(Key::new(directory, kind::DIR_INDEX, index), record)?;
        self.resize(directory, name, true)
    }

    /// References of a logged inode: it has these names in that directory and no others.
    pub(super) fn replay_references(&mut self, item: &Item) -> GuestResult<()> {
        let inode = item.key.objectid;
        if self.inode_item(inode)?.is_none() {
            return Ok(());
        }
        let logged = references_of(item.key, &item.data);
        for reference in &logged {
            let Reference { parent, index, name, .. } = *reference;
            // Not all directories above a synced inode need be logged.
            if self.inode_item(parent)?.is_none() {
                return Ok(());
            }
            let target = Key::new(inode, kind::INODE_ITEM, 0);
            let leads_here = |found: Option<(Key, u8)>| found.is_some_and(|(found, _)| found.objectid == inode);
            if leads_here(self.by_index(parent, index, name)?) && leads_here(self.by_name(parent, name)?) {
                continue;
            }
            // The root directory refers to itself.
            if inode == parent {
                return Ok(());
            }
            self.unlink_unlogged(inode, parent)?;
            for other in [self.by_index(parent, index, name)?, self.by_name(parent, name)?].into_iter().flatten() {
                self.unlink_other(parent, name, other.0)?;
            }
            if has_reference(&self.tree, item.key, parent, name)? {
                self.unlink(&Link { directory: parent, name: name.to_vec(), target })?;
            }
            let record = self.record(target, name)?;
            self.link(parent, index, &record, name)?;
        }
        let old = self.tree.get(item.key)?;
        for reference in old.as_deref().map(|old| references_of(item.key, old)).unwrap_or_default() {
            if !logged.iter().any(|other| other.parent == reference.parent && other.name == reference.name) {
                let target = Key::new(inode, kind::INODE_ITEM, 0);
                self.unlink(&Link { directory: reference.parent, name: reference.name.to_vec(), target })?;
            }
        }
        self.put(item.key, &item.data)
    }

    /// Unlinks the names that an inode has in a directory and not in the log.
    fn unlink_unlogged(&mut self, inode: u64, directory: u64) -> GuestResult<()> {
        let mut gone = Vec::new();
        each_reference(&self.tree, inode, |reference| {
            if reference.parent == directory {
                gone.push(reference.name.to_vec());
            }
        })?;
        for name in gone {
            let keys = reference_keys(inode, directory, &name);
            let is_logged = has_reference(self.log, keys[0], directory, &name)? || has_reference(self.log, keys[1], directory, &name)?;
            if !is_logged {
                self.unlink(&Link { directory, name, target: Key::new(inode, kind::INODE_ITEM, 0) })?;
            }
        }
        Ok(())
    }

    /// A record of a name in a directory, as it lies on disk.
    fn record(&self, target: Key, name: &[u8]) -> GuestResult<Vec<u8>> {
        let kind = self.inode(target.objectid)?.map_or(0, |inode| inode.kind_number());
        let mut record = target.objectid.to_le_bytes().to_vec();
        record.push(target.kind);
        record.extend(target.offset.to_le_bytes());
        record.extend(self.transaction.to_le_bytes());
        record.extend(0_u16.to_le_bytes());
        record.extend(u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
        record.push(kind);
        record.extend(name);
        Ok(record)
    }
}
