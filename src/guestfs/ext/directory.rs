//! Directories of ext2, ext3 and ext4, read from end to end: the blocks of their index look like empty ones.
//!
//! Layout: `Documentation/filesystems/ext4/directory.rst` of Linux.

use std::ops::ControlFlow;

use super::fields::Fields;
use super::hash::NameHash;
use super::inode::{BLOCK_BYTES, Inode, ROOT};
use super::superblock::INCOMPAT_FILETYPE;
use super::volume::Volume;
use super::{encrypted, xattr};
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::{Entry, FileKind, GuestError, GuestResult, Node};
use crate::io::ReadAt;

/// The longest directory that is read: 100 million names of the usual length.
const MOST_BYTES: u64 = 4 << 30;
/// Bytes that are read at once.
const STEP_BYTES: u64 = 256 << 10;
/// The file type of the entry that holds a block's checksum.
const TAIL_KIND: u8 = 0xde;
const TAIL_BYTES: usize = 12;

type Visit<'visit> = dyn FnMut(Entry) -> ControlFlow<()> + 'visit;

/// Visits all entries.
pub(super) fn entries(volume: &Volume, inode: &Inode, visit: &mut Visit<'_>) -> GuestResult<()> {
    if inode.kind != FileKind::Directory {
        return Err(GuestError::WrongKind { object: format!("inode {}", inode.number), expected: "directory" });
    }
    let Some(change) = volume.changes().directory(inode.number) else { return on_disk(volume, inode, visit) };
    let mut stopped = false;
    if !change.is_new {
        on_disk(volume, inode, &mut |entry| {
            if change.removed.contains(&entry.name) || change.added.contains_key(&entry.name) {
                return ControlFlow::Continue(());
            }
            let flow = visit(entry);
            stopped = flow.is_break();
            flow
        })?;
    }
    for (name, &number) in &change.added {
        if stopped {
            break;
        }
        stopped = visit(Entry { name: name.clone(), node: Node(u64::from(number)), kind: None }).is_break();
    }
    Ok(())
}

fn on_disk(volume: &Volume, inode: &Inode, visit: &mut Visit<'_>) -> GuestResult<()> {
    let hash = if inode.is_encrypted() { NameHash::of(volume, inode) } else { None };
    let mut list = List { volume, inode, hash, visit, damage: None };
    if inode.has_inline_data() {
        list.inline()?;
    } else {
        list.blocks()?;
    }
    list.damage.map_or(Ok(()), Err)
}

struct List<'list, 'visit> {
    volume: &'list Volume,
    inode: &'list Inode,
    /// Of names that are encrypted.
    hash: Option<NameHash>,
    visit: &'list mut Visit<'visit>,
    /// The first damage; what comes after it is listed all the same.
    damage: Option<GuestError>,
}

impl List<'_, '_> {
    /// Entries after 4 bytes with the number of the directory above, and more of them in an attribute.
    fn inline(&mut self) -> GuestResult<()> {
        let head = self.inode.block().get(4..BLOCK_BYTES).unwrap_or_default().to_vec();
        if self.block(&head, "inside the inode").is_break() {
            return Ok(());
        }
        let rest = xattr::inline_rest(self.volume, self.inode)?;
        let _ = self.block(&rest, "in its attribute");
        Ok(())
    }

    fn blocks(&mut self) -> GuestResult<()> {
        let size = self.inode.size_bytes;
        if size > MOST_BYTES {
            return Err(GuestError::limit(format!("directory {}", self.inode.number), format!("it has {size} bytes")));
        }
        let block_bytes = self.volume.superblock.block_bytes as usize;
        let contents = self.volume.contents(self.inode, true)?;
        let mut at = 0;
        while at < size {
            let length = STEP_BYTES.min(size - at);
            let mut bytes = vec![0; length as usize];
            match contents.read_at(at, &mut bytes) {
                Ok(()) => {
                    for (nth, block) in bytes.chunks(block_bytes).enumerate() {
                        let place = format!("{}", at / block_bytes as u64 + nth as u64);
                        self.check_tail(block, &place);
                        if self.block(block, &place).is_break() {
                            return Ok(());
                        }
                    }
                }
                Err(error) => self.damaged(format!("at byte {at}: {error}")),
            }
            at += length;
        }
        Ok(())
    }

    fn damaged(&mut self, problem: String) {
        self.damage.get_or_insert_with(|| GuestError::damaged(format!("directory {}", self.inode.number), problem));
    }

    /// The checksum in the last 12 bytes of a block of entries. (Blocks of the index have theirs elsewhere, and no names.)
    fn check_tail(&mut self, block: &[u8], place: &str) {
        let Some(seed) = self.inode.checksum_seed(&self.volume.superblock) else { return };
        // A block of the index has no names but those of the directory itself and of the one above, and perhaps an old checksum.
        let first = Fields(block);
        let is_index = first.le32(0) == 0 && record_bytes(first.le16(4), block.len()) == block.len();
        if self.inode.is_indexed() && (is_index || place == "0") {
            return;
        }
        let Some((body, tail)) = block.split_at_checked(block.len().saturating_sub(TAIL_BYTES)) else { return };
        let fields = Fields(tail);
        if fields.le32(0) != 0 || fields.le16(4) != TAIL_BYTES as u16 || fields.byte(7) != TAIL_KIND {
            return;
        }
        let (expected, found) = (crc32c(seed, body), fields.le32(8));
        if expected != found {
            self.damaged(format!("the checksum of block {place} is {found:08x}, not {expected:08x}"));
        }
    }

    /// The entries of one block.
    fn block(&mut self, bytes: &[u8], place: &str) -> ControlFlow<()> {
        let mut rest = bytes;
        while rest.len() >= 8 {
            let fields = Fields(rest);
            let length = record_bytes(fields.le16(4), self.volume.superblock.block_bytes as usize);
            let (record, after) = match rest.split_at_checked(length) {
                Some(parts) if length >= 8 && length.is_multiple_of(4) => parts,
                _ => {
                    self.damaged(format!("an entry of block {place} has {length} bytes where {} are left", rest.len()));
                    return ControlFlow::Continue(());
                }
            };
            rest = after;
            if let Some(entry) = self.entry(record, place)
                && (self.visit)(entry).is_break()
            {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, record: &[u8], place: &str) -> Option<Entry> {
        let fields = Fields(record);
        let number = fields.le32(0);
        let has_kind = self.volume.superblock.has(INCOMPAT_FILETYPE);
        let name_bytes = if has_kind { usize::from(fields.byte(6)) } else { usize::from(fields.le16(6)) };
        if number == 0 || name_bytes == 0 {
            return None;
        }
        let Some(name) = record.get(8..8_usize.saturating_add(name_bytes)) else {
            self.damaged(format!("a name of {name_bytes} bytes in block {place} leaves its entry"));
            return None;
        };
        if name == b"." || name == b".." {
            return None;
        }
        if number > self.volume.superblock.inodes || (number < 11 && number != ROOT) {
            self.damaged(format!("'{}' leads to inode {number}, which no name may", name.escape_ascii()));
            return None;
        }
        let name = if self.inode.is_encrypted() { encrypted::shown_name(name, self.hash_of(record, name)) } else { name.to_vec() };
        Some(Entry { name, node: Node(u64::from(number)), kind: kind(if has_kind { fields.byte(7) } else { 0 }) })
    }

    /// The hashes of an encrypted name: beside it, rounded up to 4 bytes, or computed.
    fn hash_of(&self, record: &[u8], name: &[u8]) -> [u32; 2] {
        if self.inode.has_stored_hashes() {
            let at = 8_usize.saturating_add(name.len()).next_multiple_of(4);
            return [at, at.saturating_add(4)].map(|at| Fields(record).le32(at));
        }
        self.hash.as_ref().map_or([0; 2], |hash| hash.of_name(name))
    }
}

/// The name in `directory` that is shown for one as it is stored.
pub(super) fn shown_name(volume: &Volume, directory: &Inode, stored: Vec<u8>) -> Vec<u8> {
    if !directory.is_encrypted() {
        return stored;
    }
    let hash = NameHash::of(volume, directory).map_or([0; 2], |hash| hash.of_name(&stored));
    encrypted::shown_name(&stored, hash)
}

/// Lengths of 64 KiB do not fit 16 bits.
fn record_bytes(stored: u16, block_bytes: usize) -> usize {
    match stored {
        0 | 0xffff if block_bytes >= 1 << 16 => block_bytes,
        _ if block_bytes >= 1 << 16 => usize::from(stored & 0xfffc) | usize::from(stored & 3) << 16,
        _ => usize::from(stored),
    }
}

fn kind(stored: u8) -> Option<FileKind> {
    match stored & 7 {
        1 => Some(FileKind::Regular),
        2 => Some(FileKind::Directory),
        3 => Some(FileKind::CharacterDevice),
        4 => Some(FileKind::BlockDevice),
        5 => Some(FileKind::Pipe),
        6 => Some(FileKind::Socket),
        7 => Some(FileKind::Link),
        _ => None,
    }
}
