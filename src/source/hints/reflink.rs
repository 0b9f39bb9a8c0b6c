//! Hints from where a file's bytes lie: what a file still shares with a reflink copy of it was not written since the copy.
//!
//! On filesystems that share extents a write to shared bytes goes elsewhere, so bytes of equal place on the device are equal bytes.
//! That holds only while both files exist: the space of a deleted copy is used again. Moved extents (defragmentation, balance)
//! show as changed and cost a read, no more.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{HintBase, HintError, Hints};
use crate::io::{DurableFile, FileExtent, file_extents};
use crate::units::{Extent, ExtentSet};

/// Extents whose place says nothing of their bytes (flags of linux/fiemap.h): unknown, delayed, encoded (compressed), encrypted,
/// not aligned, inline, in a shared tail.
const PLACELESS: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;
/// Allocated and never written: reads as zeros, like a hole.
const UNWRITTEN: u32 = 0x800;

/// Magic numbers of `statfs` (linux/magic.h): XFS, btrfs, bcachefs.
const SHARING_FILESYSTEMS: [u32; 3] = [0x5846_5342, 0x9123_683e, 0xca45_1a4e];

/// Whether the file lies on a filesystem of a kind that can share extents. Only [`clone_file`] tells whether this one does.
pub fn may_share_extents(file: &File) -> bool {
    let magic = rustix::fs::fstatfs(file.as_fd()).ok().and_then(|status| u32::try_from(status.f_type).ok());
    magic.is_some_and(|magic| SHARING_FILESYSTEMS.contains(&magic))
}

/// Makes `target`, readable by its owner alone, a copy of `source` that shares all its extents; durable when this returns.
/// `Ok(false)`: the filesystem does not share extents, or not between the two places; there is no target then.
///
/// # Errors
/// `AlreadyExists` where `target` exists; else what the system says.
pub fn clone_file(source: &File, target: &Path) -> io::Result<bool> {
    use rustix::io::Errno;

    let mut copy = DurableFile::create(target)?;
    match rustix::fs::ioctl_ficlone(copy.file(), source) {
        Ok(()) if copy.finish()? => Ok(true),
        Ok(()) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What changed in `current`, a file of `size_bytes`, since `copy` was made of it by [`clone_file`]. Nobody may write to either
/// while this runs, and what is read for the backup must be the state that is compared here.
///
/// # Errors
/// [`HintError::Incomparable`] for files of which one cannot be a copy of the other, [`HintError::Extents`] where the filesystem
/// does not tell.
pub fn reflink_hints(current: &File, copy: &File, size_bytes: u64) -> Result<Hints, HintError> {
    let status = |file: &File, name| file.metadata().map_err(|source| HintError::Extents { file: name, source });
    let (now, then) = (status(current, "the disk's file")?, status(copy, "the copy of the last backup")?);
    if now.dev() != then.dev() {
        return Err(HintError::Incomparable { why: "the two files lie on different filesystems" });
    }
    if now.ino() == then.ino() {
        return Err(HintError::Incomparable { why: "the two are one file, which shares all its extents with itself" });
    }
    let extents = |file, name| file_extents(file).map(move |extent| extent.map_err(|source| HintError::Extents { file: name, source }));
    let (now, then) = (extents(current, "the disk's file"), (extents(copy, "the copy of the last backup"), then.len()));
    let (changed, zeroed) = compare(now, then.0, then.1, size_bytes)?;
    Ok(Hints { origin: "extents shared with the copy of the last backup".to_owned(), base: HintBase::Unknown, changed, zeroed })
}

/// Compares the extents of a file with those of its copy, both ascending. Bytes past the end of the copy are changed.
fn compare(
    current: impl Iterator<Item = Result<FileExtent, HintError>>,
    copy: impl Iterator<Item = Result<FileExtent, HintError>>,
    copy_bytes: u64,
    size_bytes: u64,
) -> Result<(ExtentSet, ExtentSet), HintError> {
    let mut copy = Cursor { extents: copy, head: None };
    let mut sets = (ExtentSet::new(), ExtentSet::new());
    let common = copy_bytes.min(size_bytes);
    let mut position = 0;
    let mut pass = |range: Extent, now: Option<&FileExtent>| {
        copy.walk(range, |part, then| match (holds_data(now), holds_data(then)) {
            (None, None) => {}
            (None, Some(_)) => sets.1.push(part),
            (Some(now), Some(then)) if same_place(now, then) => {}
            (Some(_), _) => sets.0.push(part),
        })
    };
    for extent in current {
        let extent = extent?;
        let range = Extent::between(extent.logical.offset().max(position), extent.logical.end().min(common));
        if !range.is_empty() {
            pass(Extent::between(position, range.offset()), None)?;
            pass(range, Some(&extent))?;
            position = range.end();
        }
    }
    pass(Extent::between(position, common), None)?;
    sets.0.push(Extent::between(common, size_bytes));
    Ok(sets)
}

/// The extent, unless it reads as zeros.
fn holds_data(extent: Option<&FileExtent>) -> Option<&FileExtent> {
    extent.filter(|extent| extent.flags & UNWRITTEN == 0)
}

/// Whether two extents that overlap in the file have their common bytes at one place on the device.
fn same_place(one: &FileExtent, other: &FileExtent) -> bool {
    let shift = |extent: &FileExtent| extent.physical_bytes.wrapping_sub(extent.logical.offset());
    one.flags & PLACELESS == 0 && other.flags & PLACELESS == 0 && shift(one) == shift(other)
}

/// Walks the copy's extents once, from its start to its end.
struct Cursor<I> {
    extents: I,
    head: Option<FileExtent>,
}

impl<I: Iterator<Item = Result<FileExtent, HintError>>> Cursor<I> {
    /// Cuts `range` at the borders of the copy's extents and tells each part with the extent that it lies in. Ranges are asked
    /// for in ascending order.
    fn walk(&mut self, range: Extent, mut tell: impl FnMut(Extent, Option<&FileExtent>)) -> Result<(), HintError> {
        let mut position = range.offset();
        while position < range.end() {
            while self.head.is_none_or(|head| head.logical.end() <= position) {
                match self.extents.next().transpose()? {
                    Some(extent) => self.head = Some(extent),
                    None => {
                        tell(Extent::between(position, range.end()), None);
                        return Ok(());
                    }
                }
            }
            let Some(head) = &self.head else { return Ok(()) };
            let inside = head.logical.offset() <= position;
            let end = if inside { head.logical.end() } else { head.logical.offset() }.min(range.end());
            tell(Extent::between(position, end), inside.then_some(head));
            position = end;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count in small numbers")]
mod tests;
