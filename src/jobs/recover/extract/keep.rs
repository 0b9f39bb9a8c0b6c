//! Owners, modes, times and extended attributes of files that were made, and what of them could not be kept.
//!
//! Everything is set through open descriptors or through a name in an open directory that is not followed where it is a link.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::fs::{chmod, chownat, fchmod, fchown, fsetxattr, futimens, lsetxattr, utimensat};

use crate::guestfs::{Attributes, FileKind, Timestamp};

/// Kinds of what was lost that are told apart; of attributes with made-up names there could be any number.
const MOST_LOSSES: usize = 32;

/// An extended attribute's name and value.
pub(super) type Extended = (Vec<u8>, Vec<u8>);

/// What is kept besides contents.
pub(super) struct Keeper {
    /// Everything, not only modes and times.
    pub(super) archive: bool,
    /// Whether this process may give files away.
    is_root: bool,
    lost: Mutex<BTreeMap<String, u64>>,
}

impl Keeper {
    pub(super) fn new(archive: bool) -> Self {
        Self { archive, is_root: rustix::process::geteuid().is_root(), lost: Mutex::default() }
    }

    /// Counts something that could not be kept.
    pub(super) fn lose(&self, what: &str) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let what = if lost.len() >= MOST_LOSSES && !lost.contains_key(what) { "other attributes" } else { what };
        *lost.entry(what.to_owned()).or_default() += 1;
    }

    /// What could not be kept, and of how many files.
    pub(super) fn into_lost(self) -> Vec<(String, u64)> {
        self.lost.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }

    /// For a file or directory that is open.
    pub(super) fn finish_open(&self, file: BorrowedFd<'_>, known: &Attributes, extended: &[Extended]) -> rustix::io::Result<()> {
        let is_given = self.archive && self.note_owner(fchown(file, Some(Uid::from_raw(known.uid)), Some(Gid::from_raw(known.gid))));
        if self.archive {
            self.set_extended(extended, |name, value| fsetxattr(file, name, value, XattrFlags::empty()));
        }
        fchmod(file, self.mode(known, is_given))?;
        if self.archive || known.kind == FileKind::Regular {
            futimens(file, &self.times(known))?;
        }
        Ok(())
    }

    /// For a link, a device node, a pipe or a socket of this name.
    pub(super) fn finish_named(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        known: &Attributes,
        extended: &[Extended],
    ) -> rustix::io::Result<()> {
        if !self.archive {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(known.uid), Gid::from_raw(known.gid));
        let is_given = self.note_owner(chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW));
        // The kernel follows the descriptor's own link and nothing else.
        let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        self.set_extended(extended, |name, value| lsetxattr(path.as_slice(), name, value, XattrFlags::empty()));
        if known.kind != FileKind::Link {
            self.set_mode(directory, name, self.mode(known, is_given))?;
        }
        utimensat(directory, name, &self.times(known), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A mode cannot be set by name without following a link that somebody may have put there meanwhile, so by descriptor.
    fn set_mode(&self, directory: BorrowedFd<'_>, name: &[u8], mode: Mode) -> rustix::io::Result<()> {
        use rustix::fs::{OFlags, openat};
        let node = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        chmod(format!("/proc/self/fd/{}", node.as_fd().as_raw_fd()), mode)
    }

    fn note_owner(&self, result: rustix::io::Result<()>) -> bool {
        if result.is_err() {
            self.lose("owner");
        }
        result.is_ok()
    }

    fn set_extended(&self, extended: &[Extended], set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>) {
        for (name, value) in extended {
            if set(name, value).is_err() {
                self.lose(&String::from_utf8_lossy(name));
            }
        }
    }

    /// The bits that let a program run as somebody else are kept only where root asks for everything, and the owner is the right one.
    fn mode(&self, known: &Attributes, is_given: bool) -> Mode {
        let mode = u32::from(known.mode);
        if self.archive && self.is_root && is_given {
            return Mode::from_raw_mode(mode & 0o7777);
        }
        if self.archive && mode & 0o6000 != 0 {
            self.lose("setuid and setgid bits");
        }
        Mode::from_raw_mode(mode & if self.archive { 0o1777 } else { 0o777 })
    }

    fn times(&self, known: &Attributes) -> Timestamps {
        let time = |time: Timestamp| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.min(999_999_999).into() };
        let last_access = match known.accessed {
            Some(accessed) if self.archive => time(accessed),
            _ => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        Timestamps { last_access, last_modification: time(known.modified) }
    }
}
