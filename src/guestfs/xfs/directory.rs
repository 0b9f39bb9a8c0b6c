//! Directories of XFS: inside the inode, or blocks of entries, read from end to end. Their index (leaves, nodes, free space) lies behind
//! them and is not needed. Layout: `fs/xfs/libxfs/xfs_da_format.h` of Linux.

use std::ops::ControlFlow;

use super::inode::{Format, Inode};
use super::mapping::Fork;
use super::sealed;
use super::volume::Volume;
use crate::guestfs::fields::{be16, be32, be64, byte};
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{Entry, FileData, FileKind, GuestError, GuestResult, Node, Place};
use crate::io::ReadAt;

/// Where the index begins, in bytes (`XFS_DIR2_LEAF_OFFSET`).
const ENTRIES_END: u64 = 32 << 30;
/// The longest directory that is read: 100 million names of the usual length.
const MOST_BYTES: u64 = 4 << 30;
/// What stands in the place of an inode's number where there is no entry.
const UNUSED: u16 = 0xffff;

type Visit<'visit> = dyn FnMut(Entry) -> ControlFlow<()> + 'visit;

/// Visits all entries.
pub(super) fn entries(volume: &Volume, inode: &Inode, visit: &mut Visit<'_>) -> GuestResult<()> {
    if inode.kind != FileKind::Directory {
        return Err(GuestError::WrongKind { object: format!("inode {}", inode.number), expected: "directory" });
    }
    let mut list = List { volume, inode, visit, damage: None };
    match inode.format(Fork::Data)? {
        Format::Local => {
            let _ = list.inside();
        }
        Format::Extents | Format::Tree => list.blocks()?,
        Format::Device => list.damaged("it is stored like a device".to_owned()),
    }
    list.damage.map_or(Ok(()), Err)
}

struct List<'list, 'visit> {
    volume: &'list Volume,
    inode: &'list Inode,
    visit: &'list mut Visit<'visit>,
    /// The first damage; what comes after it is listed all the same.
    damage: Option<GuestError>,
}

impl List<'_, '_> {
    fn object(&self) -> String {
        format!("directory {}", self.inode.number)
    }

    fn damaged(&mut self, problem: String) {
        let object = self.object();
        self.damage.get_or_insert_with(|| GuestError::damaged(object, problem));
    }

    /// Entries in the inode, after how many there are, whether their numbers have 8 bytes, and the directory above.
    fn inside(&mut self) -> ControlFlow<()> {
        let inode = self.inode;
        let length = usize::try_from(inode.size_bytes).unwrap_or(usize::MAX);
        let fork = inode.fork(Fork::Data);
        let bytes = fork.get(..length).unwrap_or(fork);
        let number_bytes = if byte(bytes, 1) > 0 { 8 } else { 4 };
        let mut rest = bytes.get(2 + number_bytes..).unwrap_or_default();
        for _ in 0..byte(bytes, 0).max(byte(bytes, 1)) {
            let name_bytes = usize::from(byte(rest, 0));
            let kind_bytes = usize::from(self.volume.superblock.has_kinds);
            let length = 3 + name_bytes + kind_bytes + number_bytes;
            let Some((entry, after)) = rest.split_at_checked(length) else {
                self.damaged(format!("a name of {name_bytes} bytes leaves the inode"));
                return ControlFlow::Break(());
            };
            rest = after;
            let number_at = length - number_bytes;
            let number = if number_bytes == 8 { be64(entry, number_at) } else { u64::from(be32(entry, number_at)) };
            let kind = if kind_bytes == 1 { byte(entry, 3 + name_bytes) } else { 0 };
            self.entry(entry.get(3..3 + name_bytes).unwrap_or_default(), number, kind)?;
        }
        ControlFlow::Continue(())
    }

    fn blocks(&mut self) -> GuestResult<()> {
        let contents = self.volume.metadata_fork(self.inode, Fork::Data, ENTRIES_END)?;
        let block_bytes = u64::from(self.volume.superblock.directory_bytes);
        let (mut at, mut read) = (0, 0);
        loop {
            // Directories have holes where all entries were removed.
            let run = contents.run_at(at)?;
            if run.place == Place::Hole {
                at = at.saturating_add(run.length_bytes).next_multiple_of(block_bytes);
                if at >= ENTRIES_END {
                    return Ok(());
                }
                continue;
            }
            read += block_bytes;
            if read > MOST_BYTES {
                return Err(GuestError::limit(self.object(), format!("it has more than {MOST_BYTES} bytes")));
            }
            if self.block_at(&contents, at).is_break() {
                return Ok(());
            }
            at += block_bytes;
        }
    }

    fn block_at(&mut self, contents: &MappedFile, at: u64) -> ControlFlow<()> {
        let mut bytes = vec![0; self.volume.superblock.directory_bytes as usize];
        let checked = contents.read_at(at, &mut bytes).map_err(|error| error.to_string()).and_then(|()| self.check(contents, at, &bytes));
        match checked {
            Ok(entries) => self.block(bytes.get(entries).unwrap_or_default(), at),
            Err(problem) => {
                self.damaged(format!("at byte {at}: {problem}"));
                ControlFlow::Continue(())
            }
        }
    }

    /// Checks a block, and gives which of its bytes are entries.
    fn check(&self, contents: &MappedFile, at: u64, bytes: &[u8]) -> Result<std::ops::Range<usize>, String> {
        let has_checksums = self.volume.superblock.has_checksums;
        // The only block of a small directory has its index behind the entries.
        let is_only = match (bytes.first_chunk::<4>(), has_checksums) {
            (Some(b"XDB3"), true) | (Some(b"XD2B"), false) => true,
            (Some(b"XDD3"), true) | (Some(b"XD2D"), false) => false,
            _ => return Err(format!("a block of entries begins with {:08x}", be32(bytes, 0))),
        };
        if let Place::Device { offset_bytes, .. } = contents.run_at(at).map_err(|error| error.to_string())?.place {
            self.check_seal(contents, at, offset_bytes, bytes)?;
        }
        let head = if has_checksums { 64 } else { 16 };
        let index = if is_only { (be32(bytes, bytes.len() - 8) as usize).saturating_mul(8).saturating_add(8) } else { 0 };
        let end = bytes.len().checked_sub(index).filter(|&end| end >= head);
        end.map(|end| head..end).ok_or_else(|| format!("its index of {index} bytes leaves no room for entries"))
    }

    /// A block may lie in several pieces: any of them may come from the log.
    fn check_seal(&self, contents: &MappedFile, at: u64, first: u64, bytes: &[u8]) -> Result<(), String> {
        let mut within = 0;
        while within < bytes.len() as u64 {
            let run = contents.run_at(at + within).map_err(|error| error.to_string())?;
            let Place::Device { offset_bytes, .. } = run.place else { return Err("part of it is a hole".to_owned()) };
            let length = run.length_bytes.min(bytes.len() as u64 - within);
            if within > 0 && self.volume.is_replayed(offset_bytes, length as usize) {
                return Ok(());
            }
            within += length;
        }
        sealed::ENTRIES.check(self.volume, first, bytes)
    }

    /// The entries of one block.
    fn block(&mut self, bytes: &[u8], at: u64) -> ControlFlow<()> {
        let kind_bytes = usize::from(self.volume.superblock.has_kinds);
        let mut rest = bytes;
        while rest.len() >= 8 {
            let name_bytes = usize::from(byte(rest, 8));
            let is_unused = be16(rest, 0) == UNUSED;
            // Number, length of the name, name, kind, and where the entry itself lies.
            let length = if is_unused { usize::from(be16(rest, 2)) } else { (8 + 1 + name_bytes + kind_bytes + 2).next_multiple_of(8) };
            let (entry, after) = match rest.split_at_checked(length) {
                Some(parts) if length >= 8 && length.is_multiple_of(8) => parts,
                _ => {
                    self.damaged(format!("an entry of the block at byte {at} has {length} bytes where {} are left", rest.len()));
                    return ControlFlow::Continue(());
                }
            };
            rest = after;
            if !is_unused {
                let kind = if kind_bytes == 1 { byte(entry, 9 + name_bytes) } else { 0 };
                self.entry(entry.get(9..9 + name_bytes).unwrap_or_default(), be64(entry, 0), kind)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, name: &[u8], number: u64, stored: u8) -> ControlFlow<()> {
        if name == b"." || name == b".." {
            return ControlFlow::Continue(());
        }
        if self.volume.superblock.place_of_inode(number).is_none() {
            self.damaged(format!("'{}' leads to inode {number}, which cannot be", name.escape_ascii()));
            return ControlFlow::Continue(());
        }
        (self.visit)(Entry { name: name.to_vec(), node: Node(number), kind: kind(stored) })
    }
}

/// `XFS_DIR3_FT_*`.
fn kind(stored: u8) -> Option<FileKind> {
    match stored {
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
