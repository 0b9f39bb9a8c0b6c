//! Turns the notes of fast commits into changes, in the order and with the effects that the kernel gives them when it mounts.

use super::tags::Tag;
use super::{Changes, DirectoryChange};
use crate::guestfs::ext::directory::{entries, shown_name};
use crate::guestfs::ext::extents::{Blocks, blocks_of};
use crate::guestfs::ext::fields::Fields;
use crate::guestfs::ext::inode::{BLOCK_AT, BLOCK_BYTES, Inode, set_checksum};
use crate::guestfs::ext::volume::Volume;
use crate::guestfs::lookups::Lookups;
use crate::guestfs::mapped::MOST_EXTENTS;
use crate::guestfs::{FileKind, GuestError, GuestResult, Node};

/// Where the fields after the map of blocks begin (the generation).
const AFTER_BLOCKS: usize = 0x64;
const LINKS_AT: usize = 0x1a;
/// The head of a tree of extents without any: magic, 0 entries, room for 4, level 0.
const EMPTY_TREE: [u8; 12] = [0x0a, 0xf3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// All changes together. Notes on inodes that do not exist have no effect.
pub(in crate::guestfs::ext) fn apply(volume: &Volume, tags: Vec<Tag>) -> GuestResult<Changes> {
    let mut state = State { volume, lookups: Lookups::default(), changes: Changes::default() };
    for tag in tags {
        match tag {
            Tag::Inode { inode, raw } => state.inode(inode, &raw)?,
            Tag::AddRange { inode, extent } => state.range(inode, Blocks::parse(Fields(&extent)), true)?,
            Tag::DeleteRange { inode, first, count } => {
                let gone = Blocks { logical: u64::from(first), count: u64::from(count), physical: 0, unwritten: false };
                state.range(inode, gone, false)?;
            }
            Tag::Create { parent, inode, name } => state.create(parent, inode, name)?,
            Tag::Link { parent, inode, name } => state.link(parent, inode, name)?,
            Tag::Unlink { parent, inode, name } => state.unlink(parent, inode, name)?,
        }
    }
    state.count_blocks()?;
    Ok(state.changes)
}

struct State<'state> {
    volume: &'state Volume,
    /// Names on disk.
    lookups: Lookups,
    changes: Changes,
}

impl State<'_> {
    fn raw(&self, number: u32) -> GuestResult<Vec<u8>> {
        self.changes.inode(number).map_or_else(|| self.volume.raw_inode(number), |raw| Ok(raw.to_vec()))
    }

    /// The inode as it is after the notes so far; `None` where there is none, or one that is about to be freed.
    fn current(&self, number: u32) -> GuestResult<Option<Inode>> {
        let raw = match self.raw(number) {
            Err(GuestError::NotFound { .. }) => return Ok(None),
            raw => raw?,
        };
        let inode = Inode::parse(&self.volume.superblock, number, raw).ok();
        Ok(inode.filter(|inode| Fields(&inode.raw).le16(LINKS_AT) > 0))
    }

    fn directory(&self, number: u32) -> GuestResult<Option<Inode>> {
        Ok(self.current(number)?.filter(|inode| inode.kind == FileKind::Directory))
    }

    fn set(&mut self, number: u32, mut raw: Vec<u8>) {
        if let Some(seed) = self.volume.superblock.checksum_seed {
            set_checksum(seed, number, &mut raw);
        }
        self.changes.inodes.insert(number, raw);
    }

    /// All fields are taken over, but not the map of blocks: other notes tell what becomes of it.
    fn inode(&mut self, number: u32, new: &[u8]) -> GuestResult<()> {
        const EXTENTS: u32 = 0x8_0000;
        const INLINE_DATA: u32 = 0x1000_0000;
        let mut raw = match self.raw(number) {
            Err(GuestError::NotFound { .. }) => return Ok(()),
            raw => raw?,
        };
        let flags = Fields(new).le32(0x20);
        let blocks = BLOCK_AT..BLOCK_AT + BLOCK_BYTES;
        let mut take = |range: std::ops::Range<usize>| {
            if let (Some(target), Some(source)) = (raw.get_mut(range.clone()), new.get(range)) {
                target.copy_from_slice(source);
            }
        };
        take(0..BLOCK_AT);
        take(AFTER_BLOCKS..new.len().min(usize::from(self.volume.superblock.inode_bytes)));
        if flags & EXTENTS == 0 && flags & INLINE_DATA != 0 {
            take(blocks);
        } else if flags & EXTENTS != 0
            && Fields(&raw).le16(BLOCK_AT) != 0xf30a
            && let Some(map) = raw.get_mut(blocks)
        {
            map.fill(0);
            if let Some(head) = map.get_mut(..EMPTY_TREE.len()) {
                head.copy_from_slice(&EMPTY_TREE);
            }
        }
        self.set(number, raw);
        Ok(())
    }

    fn blocks(&self, inode: &Inode) -> GuestResult<Vec<Blocks>> {
        match self.changes.blocks(inode.number) {
            Some(blocks) => Ok(blocks.to_vec()),
            None => blocks_of(self.volume, inode),
        }
    }

    /// Removes a range of blocks, and puts other ones in its place.
    fn range(&mut self, number: u32, range: Blocks, add: bool) -> GuestResult<()> {
        let Some(inode) = self.current(number)?.filter(Inode::has_extents) else { return Ok(()) };
        let end = range.logical.saturating_add(range.count);
        let mut blocks = Vec::new();
        for old in self.blocks(&inode)? {
            let old_end = old.logical.saturating_add(old.count);
            let before = range.logical.clamp(old.logical, old_end) - old.logical;
            let after = old_end - end.clamp(old.logical, old_end);
            let skipped = old.count - after;
            blocks.push(Blocks { count: before, ..old });
            blocks.push(Blocks {
                logical: old.logical.saturating_add(skipped),
                count: after,
                physical: old.physical.saturating_add(skipped),
                ..old
            });
        }
        if add {
            blocks.push(range);
        }
        blocks.retain(|blocks| blocks.count > 0);
        blocks.sort_unstable_by_key(|blocks| blocks.logical);
        blocks.truncate(MOST_EXTENTS);
        self.changes.blocks.insert(number, blocks);
        Ok(())
    }

    fn create(&mut self, parent: u32, number: u32, name: Vec<u8>) -> GuestResult<()> {
        let Some(inode) = self.current(number)? else { return Ok(()) };
        if inode.kind == FileKind::Directory {
            // The kernel gives a new directory its first block, and leaves it out where it still has one, of a directory that had the same
            // inode: what it would show is shown.
            if self.directory(parent)?.is_none() || self.has_first_block(&inode)? {
                return Ok(());
            }
            self.changes.directories.insert(number, DirectoryChange { is_new: true, ..DirectoryChange::default() });
        }
        self.add_name(parent, number, name)?;
        self.set_links(number, |_| 1)
    }

    /// Whether a directory already has what a new one is given: its first block.
    fn has_first_block(&self, inode: &Inode) -> GuestResult<bool> {
        let given = self.changes.directory(inode.number).is_some_and(|directory| directory.is_new);
        Ok(given || inode.has_extents() && self.blocks(inode)?.first().is_some_and(|blocks| blocks.logical == 0))
    }

    fn set_links(&mut self, number: u32, links: impl Fn(u16) -> u16) -> GuestResult<()> {
        let mut raw = self.raw(number)?;
        let links = links(Fields(&raw).le16(LINKS_AT)).to_le_bytes();
        if let Some(field) = raw.get_mut(LINKS_AT..LINKS_AT + 2) {
            field.copy_from_slice(&links);
        }
        self.set(number, raw);
        Ok(())
    }

    fn link(&mut self, parent: u32, number: u32, name: Vec<u8>) -> GuestResult<()> {
        if self.current(number)?.is_some() && self.add_name(parent, number, name)? {
            self.set_links(number, |links| links.saturating_add(1))?;
        }
        Ok(())
    }

    /// Adds a name, and says whether it was: one that is there already stays, whatever it leads to.
    fn add_name(&mut self, parent: u32, number: u32, name: Vec<u8>) -> GuestResult<bool> {
        let Some(directory) = self.directory(parent)? else { return Ok(false) };
        let name = shown_name(self.volume, &directory, name);
        if self.find(&directory, &name).is_some() {
            return Ok(false);
        }
        self.changes.directories.entry(parent).or_default().added.insert(name, number);
        Ok(true)
    }

    /// What a name leads to after the notes so far. The notes on a directory that is damaged on disk count all the same.
    fn find(&self, directory: &Inode, name: &[u8]) -> Option<u32> {
        let change = self.changes.directory(directory.number);
        let is_gone = change.is_some_and(|change| change.is_new || change.removed.contains(name));
        let added = change.and_then(|change| change.added.get(name).copied());
        if added.is_some() || is_gone {
            return added;
        }
        let node = Node(u64::from(directory.number));
        let found = self.lookups.find(node, name, |visit| entries(self.volume, directory, visit));
        found.ok().flatten().and_then(|found| u32::try_from(found.0).ok())
    }

    /// A name that leads to another inode by now stays, but the note's own inode loses a link all the same; where there is no such name,
    /// nothing happens.
    fn unlink(&mut self, parent: u32, number: u32, name: Vec<u8>) -> GuestResult<()> {
        let (Some(inode), Some(directory)) = (self.current(number)?, self.directory(parent)?) else { return Ok(()) };
        let name = shown_name(self.volume, &directory, name);
        let Some(found) = self.find(&directory, &name) else { return Ok(()) };
        if found == number {
            let change = self.changes.directories.entry(parent).or_default();
            change.added.remove(&name);
            change.removed.insert(name);
        }
        if Fields(&inode.raw).le16(LINKS_AT) <= 1 && inode.has_extents() && inode.kind != FileKind::Directory {
            // Nothing leads to it any more: the kernel frees its blocks, before the next note gives the inode to something else. Only the
            // block that it gave to a new directory, which is not in the count of the inode's blocks, it forgets to free.
            self.changes.blocks.insert(number, Vec::new());
            self.changes.directories.remove(&number);
        }
        self.set_links(number, |links| links.saturating_sub(1))
    }

    /// The kernel counts the blocks of each inode anew, since its allocator may have decided otherwise.
    fn count_blocks(&mut self) -> GuestResult<()> {
        let numbers: Vec<u32> = self.changes.inodes.keys().copied().collect();
        for number in numbers {
            let Some(inode) = self.current(number)?.filter(Inode::has_extents) else { continue };
            let Ok(blocks) = self.blocks(&inode) else { continue };
            let count = blocks.iter().fold(0_u64, |sum, blocks| sum.saturating_add(blocks.count));
            let count = count.saturating_add(u64::from(inode.attribute_block() != 0));
            let sectors = count.saturating_mul(u64::from(self.volume.superblock.block_bytes) / 512);
            let mut raw = inode.raw;
            if let Some(field) = raw.get_mut(0x1c..0x20) {
                field.copy_from_slice(&(sectors as u32).to_le_bytes());
            }
            self.set(number, raw);
        }
        Ok(())
    }
}
