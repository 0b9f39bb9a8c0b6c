//! Extended attributes: inside the inode, in a block of their own, and with values in inodes of their own.
//!
//! Layout: `Documentation/filesystems/ext4/attributes.rst` of Linux.

use super::fields::Fields;
use super::inode::Inode;
use super::volume::Volume;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::{GuestError, GuestResult};

const MAGIC: u32 = 0xea02_0000;
/// Bytes of an entry before its name.
const ENTRY_BYTES: usize = 16;
/// Bytes before the first entry of a block.
const HEAD_BYTES: usize = 32;
/// The index of names that begin with `system.`, of which only the rest of inline contents is in use.
const SYSTEM: u8 = 7;
/// The longest value that Linux allows.
const MOST_VALUE_BYTES: u64 = 64 << 10;

/// An attribute as it is stored.
struct Stored {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// All that the kernel shows, by the names that it shows.
pub(super) fn all(volume: &Volume, inode: &Inode) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut shown = Vec::new();
    for stored in stored(volume, inode)? {
        let prefix = match stored.index {
            1 => "user.",
            2 => "system.posix_acl_access",
            3 => "system.posix_acl_default",
            4 => "trusted.",
            6 => "security.",
            10 => "gnu.",
            // What the kernel keeps for itself: inline contents, the policy of encryption.
            _ => continue,
        };
        let is_acl = matches!(stored.index, 2 | 3);
        let value = if is_acl { acl(inode, &stored.value)? } else { stored.value };
        shown.push(([prefix.as_bytes(), if is_acl { b"" } else { &stored.name }].concat(), value));
    }
    Ok(shown)
}

/// The part of inline contents that does not fit the 60 bytes of the inode.
pub(super) fn inline_rest(volume: &Volume, inode: &Inode) -> GuestResult<Vec<u8>> {
    let found = stored(volume, inode)?.into_iter().find(|stored| stored.index == SYSTEM && stored.name == b"data");
    Ok(found.map(|stored| stored.value).unwrap_or_default())
}

fn damaged(inode: &Inode, problem: impl Into<String>) -> GuestError {
    GuestError::damaged(format!("the extended attributes of inode {}", inode.number), problem)
}

fn stored(volume: &Volume, inode: &Inode) -> GuestResult<Vec<Stored>> {
    let mut all = Vec::new();
    if let Some(space) = inode.attribute_space()
        && Fields(space).le32(0) == MAGIC
    {
        let entries = space.get(4..).unwrap_or_default();
        read(volume, inode, entries, entries, &mut all)?;
    }
    let number = inode.attribute_block();
    if number != 0 {
        let block = volume.block(number)?;
        if Fields(&block).le32(0) != MAGIC {
            return Err(damaged(inode, format!("block {number} does not hold any")));
        }
        check_block(volume, inode, number, &block)?;
        read(volume, inode, block.get(HEAD_BYTES..).unwrap_or_default(), &block, &mut all)?;
    }
    Ok(all)
}

fn check_block(volume: &Volume, inode: &Inode, number: u64, block: &[u8]) -> GuestResult<()> {
    let Some(seed) = volume.superblock.checksum_seed else { return Ok(()) };
    let mut clear = block.to_vec();
    if let Some(field) = clear.get_mut(16..20) {
        field.fill(0);
    }
    let (expected, found) = (crc32c(crc32c(seed, &number.to_le_bytes()), &clear), Fields(block).le32(16));
    if expected == found {
        return Ok(());
    }
    Err(damaged(inode, format!("the checksum of block {number} is {found:08x}, not {expected:08x}")))
}

/// Reads entries until four bytes of zeros; values lie in `space` at the offsets that entries tell.
fn read(volume: &Volume, inode: &Inode, entries: &[u8], space: &[u8], all: &mut Vec<Stored>) -> GuestResult<()> {
    let mut rest = entries;
    while Fields(rest).le32(0) != 0 {
        let fields = Fields(rest);
        let name_bytes = usize::from(fields.byte(0));
        let (offset, value_inode, value_bytes) = (usize::from(fields.le16(2)), fields.le32(4), fields.le32(8));
        let name = rest.get(ENTRY_BYTES..ENTRY_BYTES.saturating_add(name_bytes));
        let name = name.ok_or_else(|| damaged(inode, "a name leaves its place"))?.to_vec();
        let value = if value_inode == 0 {
            let value = space.get(offset..).and_then(|rest| rest.get(..value_bytes as usize));
            value.ok_or_else(|| damaged(inode, format!("a value of {value_bytes} bytes at {offset} leaves its place")))?.to_vec()
        } else {
            in_inode(volume, inode, value_inode, value_bytes)?
        };
        all.push(Stored { index: fields.byte(1), name, value });
        rest = rest.get((ENTRY_BYTES.saturating_add(name_bytes)).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// A value that has an inode for itself.
fn in_inode(volume: &Volume, inode: &Inode, number: u32, value_bytes: u32) -> GuestResult<Vec<u8>> {
    let holder = volume.inode(number)?;
    if !holder.is_attribute_value() || holder.size_bytes != u64::from(value_bytes) {
        return Err(damaged(inode, format!("inode {number} does not hold a value of {value_bytes} bytes")));
    }
    volume.whole(&holder, MOST_VALUE_BYTES)
}

/// An ACL in the form of system calls: version 2, and each entry with an id, from the shorter form on disk.
fn acl(inode: &Inode, stored: &[u8]) -> GuestResult<Vec<u8>> {
    if Fields(stored).le32(0) != 1 {
        return Err(damaged(inode, format!("an ACL has version {}, not 1", Fields(stored).le32(0))));
    }
    let mut shown = 2_u32.to_le_bytes().to_vec();
    let mut rest = stored.get(4..).unwrap_or_default();
    while !rest.is_empty() {
        // Only entries of named users (2) and groups (8) have an id.
        let has_id = matches!(Fields(rest).le16(0), 2 | 8);
        let (entry, after) =
            rest.split_at_checked(if has_id { 8 } else { 4 }).ok_or_else(|| damaged(inode, "an ACL ends within an entry"))?;
        shown.extend_from_slice(entry);
        if !has_id {
            shown.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        rest = after;
    }
    Ok(shown)
}
