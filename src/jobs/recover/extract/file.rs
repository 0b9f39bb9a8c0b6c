//! One object of the target: made under a name that nobody knows, given all that it shall have, then given its own name. Nobody ever sees
//! a part of a file, and what is to be replaced stays until its successor is whole.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::fs::{linkat, makedev, mknodat, openat, renameat, renameat_with, statat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::super::pieces::{MOST_PIECE_BYTES, next_piece};
use super::keep::{Extended, Keeper};
use crate::guestfs::{Attributes, FileData, FileKind};
use crate::io::TEMPORARY_PREFIX;
use crate::monitor::{Counter, Monitor};

/// Tries to find a name that is free.
const MOST_TRIES: u32 = 16;

/// Why an object was not made.
#[derive(Debug)]
pub(super) enum Failure {
    /// Only this one: the others may be.
    This(String),
    /// No other could be made either: the medium is full.
    Target(io::Error),
    /// Somebody asked for the end.
    Cancelled,
}

impl Failure {
    /// A failure of the target. A full one fails for all files.
    pub(super) fn target(error: impl Into<io::Error>) -> Self {
        let error = error.into();
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS) => Self::Target(error),
            _ => Self::This(format!("cannot be written: {error}")),
        }
    }

    /// A failure of the recovery point.
    pub(super) fn source(error: impl std::fmt::Display) -> Self {
        Self::This(error.to_string())
    }
}

/// A name in a directory of the target that something is to get.
pub(super) struct Place<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// Whether it may take the place of what has that name.
    pub(super) replaces: bool,
}

/// Something under its temporary name; taken away again unless it gets its own.
struct Unfinished<'a> {
    place: &'a Place<'a>,
    temporary: Vec<u8>,
}

impl<'a> Unfinished<'a> {
    /// Makes something under a name that is free.
    fn make<T>(place: &'a Place<'a>, make: impl Fn(&[u8]) -> rustix::io::Result<T>) -> Result<(Self, T), Failure> {
        for _ in 0..MOST_TRIES {
            let number = getrandom::u64().map_err(|_| Failure::This("the system gives no random numbers".to_owned()))?;
            let temporary = format!("{TEMPORARY_PREFIX}{number:016x}").into_bytes();
            match make(&temporary) {
                Ok(made) => return Ok((Self { place, temporary }, made)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Failure::target(error)),
            }
        }
        Err(Failure::This("no free name was found for it".to_owned()))
    }

    /// Gives it its own name.
    fn finish(self) -> Result<(), Failure> {
        let (directory, name) = (self.place.directory, self.place.name);
        let renamed = if self.place.replaces {
            renameat(directory, &self.temporary, directory, name)
        } else {
            match renameat_with(directory, &self.temporary, directory, name, RenameFlags::NOREPLACE) {
                // Filesystems that cannot rename so: a link never replaces anything, and the temporary name goes below.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => linkat(directory, &self.temporary, directory, name, AtFlags::empty()),
                other => other,
            }
        };
        renamed.map_err(|error| match error {
            Errno::EXIST => Failure::This("exists already; --overwrite replaces it".to_owned()),
            Errno::ISDIR | Errno::NOTEMPTY => Failure::This("a directory is in its place".to_owned()),
            other => Failure::target(other),
        })
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Not there any more where it was renamed. A failure leaves a file whose name says what it is.
        let _ = unlinkat(self.place.directory, &self.temporary, AtFlags::empty());
    }
}

/// Whether something has this name, and whether that is a directory.
pub(super) fn existing(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileType>, Failure> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Failure::target(error)),
    }
}

/// A regular file with its contents; holes stay holes. Gives the bytes that were written.
pub(super) fn regular(
    place: &Place<'_>,
    data: &dyn FileData,
    known: &Attributes,
    extended: &[Extended],
    keeper: &Keeper,
    monitor: &dyn Monitor,
) -> Result<u64, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (unfinished, file) = Unfinished::make(place, |name| openat(place.directory, name, flags, Mode::RUSR | Mode::WUSR))?;
    let file = File::from(file);
    let written = write(&file, data, monitor)?;
    keeper.finish_open(file.as_fd(), known, extended).map_err(Failure::target)?;
    unfinished.finish()?;
    Ok(written)
}

fn write(file: &File, data: &dyn FileData, monitor: &dyn Monitor) -> Result<u64, Failure> {
    let size_bytes = data.size_bytes();
    if size_bytes > 0 {
        file.set_len(size_bytes).map_err(Failure::target)?;
    }
    let (mut at, mut written) = (0, 0);
    let mut buffer = Vec::new();
    while let Some(piece) = next_piece(data, at, MOST_PIECE_BYTES).map_err(Failure::source)? {
        if monitor.cancelled() {
            return Err(Failure::Cancelled);
        }
        monitor.count(Counter::DoneBytes, piece.offset_bytes - at);
        buffer.resize(piece.length, 0);
        let read = data.read_at(piece.offset_bytes, &mut buffer);
        let end = piece.offset_bytes + piece.length as u64;
        read.map_err(|error| Failure::source(format!("bytes {} to {end}: {error}", piece.offset_bytes)))?;
        file.write_all_at(&buffer, piece.offset_bytes).map_err(Failure::target)?;
        monitor.count(Counter::DoneBytes, piece.length as u64);
        monitor.count(Counter::WrittenBytes, piece.length as u64);
        written += piece.length as u64;
        at = end;
    }
    monitor.count(Counter::DoneBytes, size_bytes.saturating_sub(at));
    Ok(written)
}

/// A symbolic link, as it is.
pub(super) fn link(place: &Place<'_>, target: &[u8], known: &Attributes, extended: &[Extended], keeper: &Keeper) -> Result<(), Failure> {
    if target.is_empty() || target.contains(&0) {
        return Err(Failure::This("it is a link to a path that no system would allow".to_owned()));
    }
    let (unfinished, ()) = Unfinished::make(place, |name| symlinkat(target, place.directory, name))?;
    keeper.finish_named(place.directory, &unfinished.temporary, known, extended).map_err(Failure::target)?;
    unfinished.finish()
}

/// A device node, a pipe or a socket. `false`: this user may not make it.
pub(super) fn special(place: &Place<'_>, known: &Attributes, extended: &[Extended], keeper: &Keeper) -> Result<bool, Failure> {
    let kind = match known.kind {
        FileKind::Pipe => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharacterDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let device = known.device.map_or(0, |device| makedev(device.major, device.minor));
    let forbidden = std::cell::Cell::new(false);
    let made = Unfinished::make(place, |name| {
        let made = mknodat(place.directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        forbidden.set(matches!(made, Err(Errno::PERM | Errno::ACCESS | Errno::INVAL)));
        made
    });
    if forbidden.get() {
        return Ok(false);
    }
    let (unfinished, ()) = made?;
    keeper.finish_named(place.directory, &unfinished.temporary, known, extended).map_err(Failure::target)?;
    unfinished.finish()?;
    Ok(true)
}

/// A further name for a file that was made before. Fails where that cannot be found again, or cannot have two names.
pub(super) fn hard_link(place: &Place<'_>, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Failure> {
    if !place.replaces {
        return linkat(directory, name, place.directory, place.name, AtFlags::empty()).map_err(Failure::target);
    }
    let (unfinished, ()) = Unfinished::make(place, |temporary| linkat(directory, name, place.directory, temporary, AtFlags::empty()))?;
    unfinished.finish()
}
