//! What operations that the log left unfinished make of the files that they are about, computed once, when the filesystem is opened.
//!
//! What the kernel does with them: `fs/xfs/xfs_bmap_item.c`, `xfs_exchmaps_item.c` and `xfs_attr_item.c`.

use std::collections::HashMap;

use super::inode::{Format, Inode};
use super::log::{AttributeChange, Exchange, Intent, Remap};
use super::mapping::{Fork, Mapping};
use super::volume::Volume;
use super::xattr::{ROOT, SECURE, Stored};
use crate::guestfs::{GuestError, GuestResult};

/// The flags of an attribute that are part of its name.
const NAMESPACES: u8 = ROOT | SECURE;

/// Mappings, sizes, blocks and attributes that are other than what the inodes say.
#[derive(Default)]
pub(super) struct Changes {
    mappings: HashMap<(u64, Fork), Vec<Mapping>>,
    blocks: HashMap<u64, i64>,
    sizes: HashMap<u64, u64>,
    attributes: HashMap<u64, Vec<AttributeChange>>,
}

impl Changes {
    /// Finishes what was begun.
    pub(super) fn finish(volume: &Volume, intents: Vec<Intent>) -> GuestResult<Self> {
        let mut changes = Self::default();
        let mut exchanges = Vec::new();
        for intent in intents {
            match intent {
                Intent::Remap(remaps) => remaps.iter().try_for_each(|remap| changes.remap(volume, remap))?,
                Intent::Attribute(change) => changes.attributes.entry(change.inode).or_default().push(change),
                Intent::Exchange(exchange) => exchanges.push(exchange),
            }
        }
        // A step of an exchange is done by remapping, so that what is begun of it comes before its next step.
        exchanges.iter().try_for_each(|exchange| changes.exchange(volume, exchange))?;
        Ok(changes)
    }

    /// The changed mappings of a fork.
    pub(super) fn mappings(&self, number: u64, fork: Fork) -> Option<&[Mapping]> {
        self.mappings.get(&(number, fork)).map(Vec::as_slice)
    }

    /// Gives an inode the size and the count of blocks that it has then.
    pub(super) fn amend(&self, inode: &mut Inode) {
        if let Some(&size) = self.sizes.get(&inode.number) {
            inode.size_bytes = size;
        }
        if let Some(&blocks) = self.blocks.get(&inode.number) {
            inode.blocks = inode.blocks.saturating_add_signed(blocks);
        }
    }

    /// Changes an inode's attributes.
    pub(super) fn amend_attributes(&self, number: u64, all: &mut Vec<Stored>) {
        for change in self.attributes.get(&number).into_iter().flatten() {
            let flags = change.flags & NAMESPACES;
            all.retain(|stored| stored.name != change.name || stored.flags & NAMESPACES != flags);
            all.extend(change.value.clone().map(|value| Stored { flags, name: change.name.clone(), value }));
        }
    }

    /// The mappings of a fork as they are by now.
    fn current(&self, volume: &Volume, number: u64, fork: Fork) -> GuestResult<Vec<Mapping>> {
        if let Some(mappings) = self.mappings(number, fork) {
            return Ok(mappings.to_vec());
        }
        let inode = volume.inode(number)?;
        if inode.is_real_time() || !matches!(inode.format(fork)?, Format::Extents | Format::Tree) {
            let feature = format!("an unfinished change to the {fork} of inode {number} of XFS, which has no list of blocks,");
            return Err(GuestError::unsupported(feature));
        }
        volume.mappings(&inode, fork)
    }

    fn set(&mut self, number: u64, fork: Fork, mut mappings: Vec<Mapping>) {
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        self.mappings.insert((number, fork), mappings);
    }

    fn count(&mut self, number: u64, added: u64, removed: u64) {
        let blocks = self.blocks.entry(number).or_default();
        *blocks = blocks.saturating_add_unsigned(added).saturating_sub_unsigned(removed);
    }

    fn remap(&mut self, volume: &Volume, remap: &Remap) -> GuestResult<()> {
        let Remap { inode, fork, mapping, is_removed } = *remap;
        let (mut kept, cut) = split(self.current(volume, inode, fork)?, mapping.start, mapping.count);
        if is_removed {
            self.count(inode, 0, blocks(&cut));
        } else if cut.is_empty() {
            kept.push(mapping);
            self.count(inode, mapping.count, 0);
        } else {
            let problem = format!("blocks are to be mapped at its block {}, where there are some", mapping.start);
            return Err(GuestError::damaged(format!("inode {inode}"), problem));
        }
        self.set(inode, fork, kept);
        Ok(())
    }

    fn exchange(&mut self, volume: &Volume, exchange: &Exchange) -> GuestResult<()> {
        let Exchange { inodes: [first, second], starts: [from, to], count, fork, .. } = *exchange;
        if first == second {
            return Err(GuestError::unsupported(format!("an unfinished exchange of blocks of inode {first} of XFS with itself")));
        }
        let ranges = if exchange.only_written {
            let (_, cut) = split(self.current(volume, first, fork)?, from, count);
            cut.iter().filter(|mapping| !mapping.unwritten).map(|mapping| (mapping.start - from, mapping.count)).collect()
        } else {
            vec![(0, count)]
        };
        let (mut left, mut right) = (self.current(volume, first, fork)?, self.current(volume, second, fork)?);
        for (at, count) in ranges {
            let (left_kept, left_cut) = split(left, from.saturating_add(at), count);
            let (right_kept, right_cut) = split(right, to.saturating_add(at), count);
            self.count(first, blocks(&right_cut), blocks(&left_cut));
            self.count(second, blocks(&left_cut), blocks(&right_cut));
            (left, right) = (left_kept, right_kept);
            left.extend(moved(&right_cut, to, from));
            right.extend(moved(&left_cut, from, to));
            left.sort_unstable_by_key(|mapping| mapping.start);
            right.sort_unstable_by_key(|mapping| mapping.start);
        }
        self.set(first, fork, left);
        self.set(second, fork, right);
        if let Some([first_size, second_size]) = exchange.sizes {
            self.sizes.extend([(first, first_size), (second, second_size)]);
        }
        Ok(())
    }
}

/// Mappings outside of a range, and the parts of them inside.
fn split(mappings: Vec<Mapping>, start: u64, count: u64) -> (Vec<Mapping>, Vec<Mapping>) {
    let end = start.saturating_add(count);
    let part = |mapping: &Mapping, from: u64, to: u64| {
        let (from, to) = (from.max(mapping.start), to.min(mapping.end()));
        let skipped = from.saturating_sub(mapping.start);
        (from < to).then(|| Mapping { start: from, count: to - from, block: mapping.block.saturating_add(skipped), ..*mapping })
    };
    let (mut kept, mut cut) = (Vec::with_capacity(mappings.len() + 1), Vec::new());
    for mapping in &mappings {
        kept.extend(part(mapping, 0, start));
        cut.extend(part(mapping, start, end));
        kept.extend(part(mapping, end, u64::MAX));
    }
    (kept, cut)
}

fn blocks(mappings: &[Mapping]) -> u64 {
    mappings.iter().fold(0, |sum, mapping| sum.saturating_add(mapping.count))
}

/// The same blocks in the other file.
fn moved(mappings: &[Mapping], from: u64, to: u64) -> impl Iterator<Item = Mapping> {
    mappings.iter().map(move |mapping| Mapping { start: (mapping.start - from).saturating_add(to), ..*mapping })
}
