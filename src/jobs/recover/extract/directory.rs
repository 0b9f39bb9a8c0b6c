//! Directories of the target, held open: everything is made relative to one of them, and no name is ever followed through a link.
//!
//! Only the upper ones keep a descriptor of their own, so that a deep tree does not take all that a process may have.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::keep::Extended;
use crate::guestfs::Attributes;

/// Levels whose directories keep a descriptor.
const HELD_LEVELS: usize = 200;

/// A directory of the target.
pub(super) struct Directory {
    parent: Option<Arc<Directory>>,
    name: Vec<u8>,
    descriptor: Option<OwnedFd>,
    level: usize,
    /// What it gets when everything is in it; none for one that was there before.
    pub(super) finish: Option<Finish>,
}

/// What a directory gets at its end.
pub(super) struct Finish {
    pub(super) path: Vec<u8>,
    pub(super) known: Attributes,
    pub(super) extended: Vec<Extended>,
}

/// A directory's descriptor, its own or one opened for this use.
pub(super) enum Handle<'a> {
    Held(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(descriptor) => *descriptor,
            Self::Opened(descriptor) => descriptor.as_fd(),
        }
    }
}

/// A directory by its name in another one: never a link to one.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

impl Directory {
    /// The directory that a person named; links in this path are that person's own and are followed.
    pub(super) fn named(path: &Path) -> io::Result<Arc<Self>> {
        let descriptor = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Arc::new(Self { parent: None, name: Vec::new(), descriptor: Some(descriptor), level: 0, finish: None }))
    }

    /// Its descriptor.
    pub(super) fn handle(&self) -> io::Result<Handle<'_>> {
        let mut names = Vec::new();
        let mut at = self;
        let held = loop {
            if let Some(descriptor) = &at.descriptor {
                break descriptor.as_fd();
            }
            names.push(at.name.as_slice());
            at = at.parent.as_deref().ok_or(io::ErrorKind::NotFound)?;
        };
        let mut opened: Option<OwnedFd> = None;
        for name in names.into_iter().rev() {
            opened = Some(enter(opened.as_ref().map_or(held, AsFd::as_fd), name)?);
        }
        Ok(opened.map_or(Handle::Held(held), Handle::Opened))
    }

    /// A directory in this one: a new one, which gets `finish` at its end, or one that is there, which gets it only if `overwrite`.
    pub(super) fn make(self: &Arc<Self>, name: &[u8], finish: Finish, overwrite: bool) -> io::Result<Arc<Self>> {
        let parent = self.handle()?;
        let made = match mkdirat(parent.as_fd(), name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let descriptor = enter(parent.as_fd(), name).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOTDIR | Errno::LOOP) => io::Error::other("something that is no directory is in its place"),
            _ => error,
        })?;
        let level = self.level + 1;
        Ok(Arc::new(Self {
            parent: Some(Arc::clone(self)),
            name: name.to_vec(),
            descriptor: (level <= HELD_LEVELS).then_some(descriptor),
            level,
            finish: (made || overwrite).then_some(finish),
        }))
    }

    /// Lets go of a directory. Whoever is the last to do so has everything in it; `finish` is then called for it, and for those above it
    /// that nobody else holds.
    pub(super) fn release(directory: Arc<Self>, mut finish: impl FnMut(&Self)) {
        let mut next = Some(directory);
        while let Some(mut last) = next.take().and_then(Arc::into_inner) {
            finish(&last);
            next = last.parent.take();
        }
    }

    /// Its path below the directory that a person named.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.clone());
            at = parent;
        }
        names.reverse();
        names
    }

    /// A directory below this one, as [`Directory::names`] has named it.
    pub(super) fn descend(&self, names: &[Vec<u8>]) -> io::Result<OwnedFd> {
        let mut at = self.handle()?.as_fd().try_clone_to_owned()?;
        for name in names {
            at = enter(at.as_fd(), name)?;
        }
        Ok(at)
    }
}
