//! Directories: names, their order, and finding one of them. Layout of a name: the Linux-NTFS project's documentation ("$FILE_NAME").

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use super::bytes::{slice_at, u8_at, u32_at, u64_at};
use super::index::Index;
use super::names::{letters, to_utf16};
use super::record::{Reference, kind};
use super::reparse;
use super::volume::{Inode, Volume, system};
use crate::guestfs::{FileKind, GuestError, GuestResult};

/// Flags of files, as Windows numbers them.
pub(super) mod flag {
    pub(in crate::guestfs::ntfs) const READ_ONLY: u32 = 0x0001;
    pub(in crate::guestfs::ntfs) const HIDDEN: u32 = 0x0002;
    pub(in crate::guestfs::ntfs) const SYSTEM: u32 = 0x0004;
    pub(in crate::guestfs::ntfs) const REPARSE_POINT: u32 = 0x0400;
    pub(in crate::guestfs::ntfs) const OFFLINE: u32 = 0x1000;
    pub(in crate::guestfs::ntfs) const RECALL_ON_OPEN: u32 = 0x0004_0000;
    pub(in crate::guestfs::ntfs) const RECALL_ON_DATA_ACCESS: u32 = 0x0040_0000;
    /// In names only.
    pub(super) const DIRECTORY: u32 = 0x1000_0000;
}

/// The namespace of short names that only DOS programs see.
const DOS: u8 = 2;

/// The index of a directory's names.
const INDEX_NAME: &str = "$I30";

/// A name of a file.
pub(super) struct FileName {
    /// The directory that has it.
    pub(super) parent: Reference,
    /// The letters of the name.
    pub(super) letters: Vec<u16>,
    /// Whether only DOS programs see it.
    pub(super) is_dos: bool,
    flags: u32,
    tag: u32,
}

impl FileName {
    /// From the key of an entry, or the value of an attribute.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let length = usize::from(u8_at(bytes, 64)?).checked_mul(2)?;
        Some(Self {
            parent: Reference::new(u64_at(bytes, 0)?),
            letters: letters(slice_at(bytes, 66, length)?),
            is_dos: u8_at(bytes, 65)? == DOS,
            flags: u32_at(bytes, 56)?,
            tag: u32_at(bytes, 60)?,
        })
    }

    /// What the entry says of its file's kind; `None` where only the file itself tells.
    fn kind(&self) -> Option<FileKind> {
        let is_directory = self.flags & flag::DIRECTORY != 0;
        if self.flags & flag::REPARSE_POINT != 0 {
            return (self.tag != 0)
                .then(|| reparse::kind_of_tag(self.tag))
                .flatten()
                .or_else(|| is_directory.then_some(FileKind::Directory));
        }
        match (is_directory, self.flags & flag::SYSTEM != 0) {
            (true, _) => Some(FileKind::Directory),
            // Links and devices of Interix are system files with a mark in their contents.
            (false, true) => None,
            (false, false) => Some(FileKind::Regular),
        }
    }
}

/// A name in a directory with what it leads to.
pub(super) struct Found {
    /// The letters of the name.
    pub(super) letters: Vec<u16>,
    /// The file.
    pub(super) reference: Reference,
    /// Its kind, if the entry tells.
    pub(super) kind: Option<FileKind>,
}

/// How letters compare when their case does not matter: the volume's own table, or the one of Unicode if that cannot be read.
pub(super) struct UpCase(OnceLock<(Vec<u16>, bool)>);

impl UpCase {
    /// Read when it is first needed.
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The table, and whether it is the volume's own.
    fn table(&self, volume: &Volume) -> (&[u16], bool) {
        let (table, own) = self.0.get_or_init(|| match read_table(volume) {
            Ok(table) => (table, true),
            Err(_) => ((0..=u16::MAX).map(simple_upper).collect(), false),
        });
        (table, *own)
    }
}

fn read_table(volume: &Volume) -> GuestResult<Vec<u16>> {
    let inode = volume.inode(Reference { record: system::UP_CASE, sequence: 0 })?;
    let contents = volume.contents(&inode, kind::DATA, &[], &volume.device)?;
    let contents = contents.filter(|contents| contents.size_bytes() == 0x20000);
    let contents = contents.ok_or_else(|| GuestError::damaged("$UpCase", "it does not have 65,536 letters"))?;
    let mut bytes = vec![0; 0x20000];
    contents.read_at(0, &mut bytes)?;
    let table = letters(&bytes);
    if table.get(0x61) == Some(&0x41) && table.get(0x41) == Some(&0x41) {
        return Ok(table);
    }
    Err(GuestError::damaged("$UpCase", "its capital of a is not A"))
}

fn simple_upper(letter: u16) -> u16 {
    let mut upper = char::from_u32(u32::from(letter)).into_iter().flat_map(char::to_uppercase);
    match (upper.next(), upper.next()) {
        (Some(upper), None) => u16::try_from(u32::from(upper)).unwrap_or(letter),
        _ => letter,
    }
}

/// Reads directories.
pub(super) struct Directories {
    up_case: UpCase,
}

impl Directories {
    /// Knows nothing yet.
    pub(super) const fn new() -> Self {
        Self { up_case: UpCase::new() }
    }

    /// Visits all names of a directory but those of DOS, and in the topmost those of the files that NTFS keeps for itself.
    ///
    /// # Errors
    /// Damage, after what can be read.
    pub(super) fn walk(&self, volume: &Volume, inode: &Inode, visit: &mut dyn FnMut(Found) -> ControlFlow<()>) -> GuestResult<()> {
        let mut unreadable = 0_u64;
        Index::open(volume, inode, INDEX_NAME)?.walk(&mut |entry| match found(inode, entry.head, entry.key) {
            Some(Some(found)) => visit(found),
            Some(None) => ControlFlow::Continue(()),
            None => {
                unreadable = unreadable.saturating_add(1);
                ControlFlow::Continue(())
            }
        })?;
        match unreadable {
            0 => Ok(()),
            _ => Err(GuestError::damaged(format!("the index of {}", inode.name()), format!("{unreadable} of its names end too early"))),
        }
    }

    /// Finds a name: as it is written, or if there is none, the first that differs only in the case of its letters, as Windows would.
    ///
    /// # Errors
    /// Damage that may hide the name.
    pub(super) fn find(&self, volume: &Volume, inode: &Inode, name: &[u8]) -> GuestResult<Option<Found>> {
        let Some(wanted) = to_utf16(name).filter(|wanted| !wanted.is_empty() && wanted.len() <= 255) else { return Ok(None) };
        let (table, own_table) = self.up_case.table(volume);
        let mut best: Option<Found> = None;
        let take = |best: &mut Option<Found>, head: u64, key: &[u8]| {
            let Some(Some(found)) = found(inode, head, key) else { return ControlFlow::Continue(()) };
            if found.letters == wanted {
                *best = Some(found);
                return ControlFlow::Break(());
            }
            if best.is_none() && compare(table, &found.letters, &wanted) == Ordering::Equal {
                *best = Some(found);
            }
            ControlFlow::Continue(())
        };
        let names = Index::open(volume, inode, INDEX_NAME)?;
        let mut order = |key: &[u8]| FileName::parse(key).map_or(Ordering::Equal, |name| compare(table, &name.letters, &wanted));
        if own_table && names.find(&mut order, &mut |entry| take(&mut best, entry.head, entry.key)).is_ok() {
            return Ok(best);
        }
        // The order of the tree cannot be relied on: every name is looked at.
        let walked = names.walk(&mut |entry| take(&mut best, entry.head, entry.key));
        if best.is_some() { Ok(best) } else { walked.map(|()| None) }
    }
}

/// An entry as a name that is shown; `Some(None)` for one that is not, `None` for one that cannot be read.
fn found(directory: &Inode, head: u64, key: &[u8]) -> Option<Option<Found>> {
    let name = FileName::parse(key)?;
    let reference = Reference::new(head);
    let hidden = name.is_dos || (directory.record.number == system::ROOT && reference.record < system::FIRST_FREE);
    if hidden {
        return Some(None);
    }
    let kind = name.kind();
    Some(Some(Found { letters: name.letters, reference, kind }))
}

/// The order of names in a tree, but for their case.
fn compare(table: &[u16], left: &[u16], right: &[u16]) -> Ordering {
    let upper = |letter: &u16| table.get(usize::from(*letter)).copied().unwrap_or(*letter);
    left.iter().map(upper).cmp(right.iter().map(upper))
}

/// The names of a file, those of DOS apart, with the directories that have them.
///
/// # Errors
/// Damage that may hide one.
pub(super) fn names(volume: &Volume, inode: &Inode) -> GuestResult<Vec<FileName>> {
    let attributes = volume.attributes(inode, kind::FILE_NAME)?;
    Ok(attributes.iter().filter_map(|attribute| FileName::parse(attribute.resident()?)).collect())
}

/// Directories that [`depth`] climbs.
const MOST_PARENTS: usize = 1024;

/// How many directories lie between a file and the topmost one: of its first name.
///
/// # Errors
/// Damage; a limit where directories lead in a circle.
pub(super) fn depth(volume: &Volume, inode: &Inode) -> GuestResult<usize> {
    let first = |inode: &Inode| -> GuestResult<Reference> {
        let names = names(volume, inode)?;
        let parent = names.iter().find(|name| !name.is_dos).or(names.first()).map(|name| name.parent);
        parent.ok_or_else(|| GuestError::damaged(inode.name(), "it has no name"))
    };
    let mut parent = first(inode)?;
    for depth in 0..MOST_PARENTS {
        if parent.record == system::ROOT {
            return Ok(depth);
        }
        parent = first(&volume.inode(parent)?)?;
    }
    Err(GuestError::limit(inode.name(), format!("more than {MOST_PARENTS} directories above it")))
}
