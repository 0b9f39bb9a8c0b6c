//! Where a disk may be restored to, decided before anything is written.
//!
//! A new file is written under its name with [`PARTIAL_SUFFIX`] and gets its own name when it is whole, so that nobody takes a part of a
//! disk for the disk; the same command run again goes on with such a file. What exists already is changed in place, where `overwrite`
//! allows it. The place is locked while it is written.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::RestoreError;
use super::busy::{loop_device_of, who_uses};
use super::target::{FileTarget, NothingThere, Target};
use crate::io::{block_device_bytes, next_data, sync_directory};
use crate::units::Extent;

/// What is added to the name of a file that is not whole yet.
const PARTIAL_SUFFIX: &str = ".cairn-partial";

/// How a place may be used.
#[derive(Debug, Clone, Copy)]
pub struct PlaceOptions<'a> {
    /// Bytes of the disk.
    pub disk_bytes: u64,
    /// What is there may be replaced.
    pub overwrite: bool,
    /// Change nothing at all.
    pub dry_run: bool,
    /// Everything will be synced: write early.
    pub sync: bool,
    /// The directory of the vault, where it is a local one: no place for a target.
    pub vault: Option<&'a Path>,
}

/// What a disk is restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A file that was not there.
    NewFile,
    /// A file that was there, in place.
    File,
    /// A block device.
    BlockDevice,
}

/// A place that was found fit for a disk, open and locked.
pub struct Place {
    path: PathBuf,
    kind: PlaceKind,
    target: Box<dyn Target>,
    /// Where the file is until it is whole.
    partial: Option<PathBuf>,
    sync: bool,
}

impl Place {
    /// Opens the place at `path`: makes the file where it is missing, and gives it the disk's size. In a dry run nothing is made or changed.
    ///
    /// # Errors
    /// [`RestoreError::Exists`], [`RestoreError::TooSmall`], [`RestoreError::InUse`], [`RestoreError::InVault`],
    /// [`RestoreError::Unsuitable`]: nothing was changed; [`RestoreError::Place`], [`RestoreError::Full`].
    pub fn open(path: &Path, options: PlaceOptions<'_>) -> Result<Self, RestoreError> {
        refuse_vault(path, options.vault)?;
        match path.metadata() {
            Ok(metadata) if metadata.file_type().is_block_device() => Self::device(path, &metadata, options),
            Ok(metadata) if metadata.is_file() => Self::file(path, &metadata, options),
            Ok(metadata) => {
                let reason = if metadata.is_dir() { "it is a directory" } else { "it is neither a file nor a block device" };
                Err(RestoreError::Unsuitable { path: path.to_owned(), reason: reason.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::new_file(path, options),
            Err(error) => Err(RestoreError::place(path, "looking at it", error)),
        }
    }

    /// A file that would be made in a directory that would be made: for dry runs.
    pub fn nowhere(path: PathBuf, disk_bytes: u64) -> Self {
        let target = Box::new(NothingThere { size_bytes: disk_bytes });
        Self { path, kind: PlaceKind::NewFile, target, partial: None, sync: false }
    }

    /// What it is.
    pub fn kind(&self) -> PlaceKind {
        self.kind
    }

    /// Its path: where the disk will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to write to.
    pub fn target(&self) -> &dyn Target {
        self.target.as_ref()
    }

    /// Says that the disk is whole: a new file gets its name.
    ///
    /// # Errors
    /// [`RestoreError::Exists`] where somebody else has made a file of that name meanwhile; [`RestoreError::Place`].
    pub fn finish(self) -> Result<(), RestoreError> {
        let Some(partial) = &self.partial else { return Ok(()) };
        let fail = |error| RestoreError::place(&self.path, "giving the finished file its name", error);
        match renameat_with(CWD, partial, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(exists(&self.path, "was made by somebody else meanwhile")),
            // Filesystems that cannot refuse to replace (NFS): look first.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !self.path.exists() => {
                std::fs::rename(partial, &self.path).map_err(fail)?;
            }
            Err(error) => return Err(fail(error.into())),
        }
        if self.sync { sync_directory(&directory_of(&self.path)).map_err(fail) } else { Ok(()) }
    }

    fn new_file(path: &Path, options: PlaceOptions<'_>) -> Result<Self, RestoreError> {
        let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
        name.push(PARTIAL_SUFFIX);
        let partial = path.with_file_name(name);
        let (kind, sync) = (PlaceKind::NewFile, options.sync);
        let old = match partial.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => true,
            Ok(_) => return Err(unsuitable(&partial, "it is not a file; remove it")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(RestoreError::place(path, "looking for it", error)),
        };
        let directory = directory_of(path);
        if !directory.is_dir() {
            return Err(unsuitable(path, &format!("'{}' is no directory", directory.display())));
        }
        if options.dry_run && !old {
            let target = Box::new(NothingThere { size_bytes: options.disk_bytes });
            return Ok(Self { path: path.to_owned(), kind, target, partial: None, sync });
        }
        let mut open = OpenOptions::new();
        open.read(true).write(!options.dry_run).create_new(!old).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = open.open(&partial).map_err(|error| RestoreError::place(&partial, "making it", error))?;
        let target = file_target(&partial, file, !old, options)?;
        Ok(Self { path: path.to_owned(), kind, target, partial: (!options.dry_run).then_some(partial), sync })
    }

    fn file(path: &Path, metadata: &Metadata, options: PlaceOptions<'_>) -> Result<Self, RestoreError> {
        if let Some(device) = loop_device_of(path) {
            return Err(RestoreError::InUse { path: path.to_owned(), by: format!("{} is attached to it", device.display()) });
        }
        let open = OpenOptions::new().read(true).write(!options.dry_run).open(path);
        let file = open.map_err(|error| RestoreError::place(path, "opening", error))?;
        let fail = |error| RestoreError::place(path, "looking for data in it", error);
        let empty = next_data(&file, Extent::between(0, metadata.len())).map_err(fail)?.is_none();
        if !empty && !options.overwrite {
            return Err(exists(path, "holds data already"));
        }
        let target = file_target(path, file, empty, options)?;
        Ok(Self { path: path.to_owned(), kind: PlaceKind::File, target, partial: None, sync: options.sync })
    }

    fn device(path: &Path, metadata: &Metadata, options: PlaceOptions<'_>) -> Result<Self, RestoreError> {
        // The kernel refuses an exclusive open of a device that is mounted, swapped to, part of another, or has such a partition.
        let open = OpenOptions::new().read(true).write(!options.dry_run).custom_flags(libc::O_EXCL).open(path);
        let device = open.map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => RestoreError::InUse { path: path.to_owned(), by: who_uses(metadata.rdev()) },
            _ => RestoreError::place(path, "opening", error),
        })?;
        let target_bytes = block_device_bytes(&device).map_err(|error| RestoreError::place(path, "asking for its size", error))?;
        if target_bytes < options.disk_bytes {
            return Err(RestoreError::TooSmall { path: path.to_owned(), target_bytes, disk_bytes: options.disk_bytes });
        }
        if !options.overwrite {
            return Err(exists(path, "is a block device, and what is on it would be replaced"));
        }
        lock(path, &device)?;
        let target = FileTarget::new(device, false, options.sync).map_err(|error| RestoreError::place(path, "looking at it", error))?;
        Ok(Self { path: path.to_owned(), kind: PlaceKind::BlockDevice, target: Box::new(target), partial: None, sync: options.sync })
    }
}

/// Locks a file and gives it the disk's size.
fn file_target(path: &Path, file: File, fresh: bool, options: PlaceOptions<'_>) -> Result<Box<dyn Target>, RestoreError> {
    lock(path, &file)?;
    let fail = |doing| move |error| RestoreError::place(path, doing, error);
    let size_bytes = file.metadata().map_err(fail("looking at it"))?.len();
    if size_bytes != options.disk_bytes && !options.dry_run {
        file.set_len(options.disk_bytes).map_err(fail("giving it the disk's size"))?;
    }
    Ok(Box::new(FileTarget::new(file, fresh, options.sync).map_err(fail("looking at it"))?))
}

/// Keeps other restores away while the file is open.
fn lock(path: &Path, file: &File) -> Result<(), RestoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        // Some network filesystems have no locks.
        Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) => Ok(()),
        Err(rustix::io::Errno::AGAIN) => {
            Err(RestoreError::InUse { path: path.to_owned(), by: "another restore or program has locked it".to_owned() })
        }
        Err(error) => Err(RestoreError::place(path, "locking", error.into())),
    }
}

fn exists(path: &Path, holds: &str) -> RestoreError {
    RestoreError::Exists { path: path.to_owned(), holds: holds.to_owned() }
}

fn unsuitable(path: &Path, reason: &str) -> RestoreError {
    RestoreError::Unsuitable { path: path.to_owned(), reason: reason.to_owned() }
}

/// The directory that a path's last name is in.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Refuses a path inside the vault's directory. A path that does not exist yet is judged by the nearest directory above it that does.
///
/// # Errors
/// [`RestoreError::InVault`].
pub fn refuse_vault(path: &Path, vault: Option<&Path>) -> Result<(), RestoreError> {
    let Some(vault) = vault.and_then(|vault| vault.canonicalize().ok()) else { return Ok(()) };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let place = absolute.ancestors().find_map(|part| part.canonicalize().ok());
    match place {
        Some(place) if place.starts_with(&vault) => Err(RestoreError::InVault { path: path.to_owned(), vault }),
        _ => Ok(()),
    }
}
