//! Operations of several transactions: each says in the first what it intends, and in the last that it is done. What was begun and not
//! done is finished by the kernel after replay, and here by `changes`, as far as it changes what files show: mappings moved between
//! files, and attributes. What space is free, who owns it and how often it is shared is not shown.
//!
//! Layout: `struct xfs_bui_log_format`, `xfs_attri_log_format` and `xfs_xmi_log_format` in `fs/xfs/libxfs/xfs_log_format.h` of Linux.

use super::damaged;
use super::transactions::Item;
use crate::guestfs::GuestResult;
use crate::guestfs::fields::{le16, le32, le64};
use crate::guestfs::xfs::mapping::{Fork, Mapping};

/// `XFS_LI_*`: intents and what ends them.
const REMAP: u16 = 0x1244;
const REMAP_DONE: u16 = 0x1245;
const ATTRIBUTE: u16 = 0x1246;
const ATTRIBUTE_DONE: u16 = 0x1247;
const EXCHANGE: u16 = 0x1248;
const EXCHANGE_DONE: u16 = 0x1249;
/// Freed extents, reverse mappings and counts of shares, with what ends them, of data and real-time devices.
const NOT_SHOWN: [u16; 12] = [0x1236, 0x1237, 0x1240, 0x1241, 0x1242, 0x1243, 0x124a, 0x124b, 0x124c, 0x124d, 0x124e, 0x124f];
/// More than this many cannot be unfinished: each holds space of the log.
const MOST: usize = 1 << 16;

/// A mapping that is to be made or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) struct Remap {
    pub(in crate::guestfs::xfs) inode: u64,
    pub(in crate::guestfs::xfs) fork: Fork,
    pub(in crate::guestfs::xfs) mapping: Mapping,
    pub(in crate::guestfs::xfs) is_removed: bool,
}

/// Blocks of two files that are to change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) struct Exchange {
    pub(in crate::guestfs::xfs) inodes: [u64; 2],
    pub(in crate::guestfs::xfs) starts: [u64; 2],
    pub(in crate::guestfs::xfs) count: u64,
    pub(in crate::guestfs::xfs) fork: Fork,
    /// The sizes that both have then.
    pub(in crate::guestfs::xfs) sizes: Option<[u64; 2]>,
    /// Whether only what is written in the first file changes places.
    pub(in crate::guestfs::xfs) only_written: bool,
}

/// An attribute that is to be set, or removed where it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) struct AttributeChange {
    pub(in crate::guestfs::xfs) inode: u64,
    pub(in crate::guestfs::xfs) flags: u8,
    pub(in crate::guestfs::xfs) name: Vec<u8>,
    pub(in crate::guestfs::xfs) value: Option<Vec<u8>>,
}

/// Something that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) enum Intent {
    Remap(Vec<Remap>),
    Exchange(Exchange),
    Attribute(AttributeChange),
}

/// What was begun and not done, in the order in which it was begun, by kind and number.
#[derive(Default)]
pub(super) struct Intents {
    open: Vec<((u16, u64), Intent)>,
}

impl Intents {
    /// Takes in an item that is neither a buffer nor an inode.
    pub(super) fn add(&mut self, item: &Item) -> GuestResult<()> {
        let id = le64(item.region(0), 8);
        let intent = match item.kind() {
            REMAP => Intent::Remap(remaps(item)?),
            EXCHANGE => Intent::Exchange(exchange(item.region(0))),
            ATTRIBUTE => match attribute(item)? {
                Some(change) => Intent::Attribute(change),
                None => return Ok(()),
            },
            REMAP_DONE | ATTRIBUTE_DONE | EXCHANGE_DONE => {
                let begun = (item.kind() - 1, id);
                self.open.retain(|(key, _)| *key != begun);
                return Ok(());
            }
            kind if NOT_SHOWN.contains(&kind) => return Ok(()),
            kind => return Err(damaged(format!("an item of the kind {kind:04x} is not known"))),
        };
        if self.open.len() >= MOST {
            return Err(damaged(format!("more than {MOST} operations are not finished")));
        }
        self.open.push(((item.kind(), id), intent));
        Ok(())
    }

    /// What is left.
    pub(super) fn left(self) -> Vec<Intent> {
        self.open.into_iter().map(|(_, intent)| intent).collect()
    }
}

fn remaps(item: &Item) -> GuestResult<Vec<Remap>> {
    let bytes = item.region(0);
    let count = le32(bytes, 4) as usize;
    let extents = bytes.get(16..).and_then(|rest| rest.get(..count.checked_mul(32)?));
    let extents = extents.ok_or_else(|| damaged(format!("{count} mappings do not fit {} bytes", bytes.len())))?;
    extents.chunks_exact(32).map(remap).collect()
}

/// `struct xfs_map_extent`.
fn remap(extent: &[u8]) -> GuestResult<Remap> {
    let flags = le32(extent, 28);
    let is_removed = match flags & 0xff {
        1 => false,
        2 => true,
        other => return Err(damaged(format!("a mapping is to be changed in the way {other}"))),
    };
    let (start, count, block) = (le64(extent, 16), u64::from(le32(extent, 24)), le64(extent, 8));
    let mapping = Mapping { start, count, block, unwritten: flags & 1 << 30 != 0 };
    let fork = if flags & 1 << 31 != 0 { Fork::Attributes } else { Fork::Data };
    Ok(Remap { inode: le64(extent, 0), fork, mapping, is_removed })
}

fn exchange(bytes: &[u8]) -> Exchange {
    let flags = le64(bytes, 64);
    Exchange {
        inodes: [le64(bytes, 16), le64(bytes, 24)],
        starts: [le64(bytes, 40), le64(bytes, 48)],
        count: le64(bytes, 56),
        fork: if flags & 1 != 0 { Fork::Attributes } else { Fork::Data },
        sizes: (flags & 2 != 0).then(|| [le64(bytes, 72), le64(bytes, 80)]),
        only_written: flags & 4 != 0,
    }
}

/// `None` for pointers to parents, which are not shown.
fn attribute(item: &Item) -> GuestResult<Option<AttributeChange>> {
    let bytes = item.region(0);
    let operation = le32(bytes, 24) & 0xff;
    let (name_bytes, value_bytes) = (le32(bytes, 28) as usize, le32(bytes, 32) as usize);
    let is_set = match operation {
        1 | 3 => true,
        2 => false,
        4..=6 => return Ok(None),
        other => return Err(damaged(format!("an attribute is to be changed in the way {other}"))),
    };
    let part = |region: usize, length: usize| {
        let found = item.region(region).get(..length).map(<[u8]>::to_vec);
        found.ok_or_else(|| damaged(format!("an attribute that is to be changed has not {length} bytes")))
    };
    let name = part(1, name_bytes)?;
    let value = if is_set { Some(if value_bytes == 0 { Vec::new() } else { part(2, value_bytes)? }) } else { None };
    Ok(Some(AttributeChange { inode: le64(bytes, 16), flags: le16(bytes, 36) as u8, name, value }))
}
