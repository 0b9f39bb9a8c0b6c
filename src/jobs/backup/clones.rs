//! What is read instead of the disks: reflink clones of raw image files, or what a command made of a disk.
//!
//! A clone of a file is read so that a running writer does not disturb the backup. One that is kept stays beside the file: the next
//! backup compares where the bytes of both lie, and what they still share has not changed.
//!
//! A clone's name tells for which point it was read, so that no crash does harm: one whose point is not the base is never compared with,
//! and the next backup that keeps a clone removes all others of its machine and disk. Nothing here touches the vault.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{BackupRequest, DiskRequest};
use crate::format::point::Manifest;
use crate::io::ReadAt;
use crate::jobs::JobError;
use crate::jobs::sources::open_source;
use crate::monitor::{Monitor, Problem};
use crate::quiesce::{QuiesceError, Rest, Snapshot};
use crate::source::{self, Format, HintBase, Hints, Source, SourceError, SourceSpec, clone_file, reflink_hints};
use crate::store::Vault;
use crate::units::{ExtentSet, MachineName, PointId};

/// What the name of a clone has between the image's name and what it is a clone for.
const MARK: &str = ".cairn-";
/// How the names of clones under way start, as the durable write of files makes them.
const UNFINISHED: &str = ".tmp-";

/// The disks as they are read: clones of those that shall have one, the others as they were opened.
pub(super) struct Clones<'a> {
    request: &'a BackupRequest,
    monitor: &'a dyn Monitor,
    taken: Vec<Option<Taken>>,
    /// When the clones were taken: the moment that the point shows.
    pub(super) time: Option<Timestamp>,
}

/// What is read instead of a disk's own file.
struct Taken {
    disk: DiskRequest,
    /// Where its clones lie, if it is one.
    names: Option<Names>,
    /// The clone, removed again unless it is to be kept and the point is published; none in a dry run.
    clone: Option<Removed>,
}

/// The image that a clone is made of for this backup only.
fn image_to_clone<'r>(request: &'r BackupRequest, disk: &'r DiskRequest) -> Option<&'r Path> {
    let setup = request.quiesce.as_ref().filter(|setup| setup.options.snapshot == Some(Snapshot::Clone) && !request.dry_run);
    setup.and(disk.spec.as_ref()).map(|spec| spec.path.as_path())
}

/// The clone that will be made of a disk for this backup only.
pub(super) fn planned(vault: &Vault, request: &BackupRequest, disk: &DiskRequest, point: PointId) -> io::Result<Option<PathBuf>> {
    let image = image_to_clone(request, disk);
    image.map(|image| Ok(Names::new(vault, &request.machine, &disk.name, image)?.of(point))).transpose()
}

impl<'a> Clones<'a> {
    /// Takes what the request wants to be read instead, all before any disk is read, for the point `point`. A disk whose clone was only to
    /// be kept is read itself where it cannot have one, with a warning; where a snapshot was asked for, or a machine is at rest for it,
    /// there is no backup without.
    pub(super) fn take(
        vault: &Vault,
        request: &'a BackupRequest,
        point: PointId,
        mut rest: Option<&mut Rest<'_>>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, JobError> {
        let mut clones = Self { request, monitor, taken: Vec::new(), time: None };
        for disk in &request.disks {
            let must = rest.is_some();
            let taken = match (disk.keep_clone.as_deref().or(image_to_clone(request, disk)), &mut rest) {
                (Some(image), _) => match Taken::of(vault, request, disk, image, point) {
                    Ok(taken) => Some(taken),
                    Err(why) if must => return Err(QuiesceError::Snapshot { disk: disk.name.to_string(), why: why.to_string() }.into()),
                    Err(why) => {
                        let message = format!("no clone of {} can be kept: {why}; the file itself is read, and all of it", image.display());
                        monitor.problem(Problem { subject: disk.name.to_string(), message });
                        None
                    }
                },
                (None, Some(rest)) => Taken::by_command(vault, disk, rest)?,
                (None, None) => None,
            };
            clones.taken.push(taken);
        }
        if clones.taken.iter().any(Option::is_some) {
            clones.time = Some(Timestamp::now());
        }
        Ok(clones)
    }

    /// Finds out what has changed since the base, where nobody has said it. Not while anything is frozen: it takes its time.
    pub(super) fn compare(&mut self, base: Option<&Manifest>) -> Result<(), JobError> {
        for (disk, taken) in self.request.disks.iter().zip(&mut self.taken) {
            if let Some(taken) = taken {
                // What is read may be of another size than the hints that somebody gave; so it is one that nobody asked for.
                disk.source.check_unchanged()?;
                taken.disk.hints = taken.given_hints(disk, self.monitor).or_else(|| taken.compare(base, self.monitor));
            }
        }
        Ok(())
    }

    /// The disks to read.
    pub(super) fn disks(&self) -> impl Iterator<Item = &DiskRequest> {
        self.request.disks.iter().zip(&self.taken).map(|(disk, taken)| taken.as_ref().map_or(disk, |taken| &taken.disk))
    }

    /// Closes everything that was read, so that snapshots can be removed; what is left are the clones to keep.
    pub(super) fn close(self) -> Kept<'a> {
        let mut clones = Vec::new();
        for taken in self.taken.into_iter().flatten() {
            if let (Some(clone), Some(names), Some(_)) = (taken.clone, taken.names, &taken.disk.keep_clone) {
                clones.push((taken.disk.name.clone(), names, clone));
            }
        }
        Kept { monitor: self.monitor, clones }
    }
}

/// Clones that stay where they are once their point is published.
pub(super) struct Kept<'a> {
    monitor: &'a dyn Monitor,
    clones: Vec<(MachineName, Names, Removed)>,
}

impl Kept<'_> {
    /// Keeps the clones, now that the point is published, and removes all others that were made for these disks.
    pub(super) fn keep(self, point: PointId) {
        for (disk, names, clone) in self.clones {
            clone.keep();
            if let Err(error) = names.remove_all_but(point) {
                let message = format!("an old clone in {} cannot be removed: {error}", names.directory.display());
                self.monitor.problem(Problem { subject: disk.to_string(), message });
            }
        }
    }
}

impl Taken {
    fn of(vault: &Vault, request: &BackupRequest, disk: &DiskRequest, image: &Path, point: PointId) -> Result<Self, NoClone> {
        let file = disk.source.raw_file().ok_or(NoClone::NotRaw)?;
        let names = Names::new(vault, &request.machine, &disk.name, image)?;
        let (path, clone) = if request.dry_run {
            (image.to_owned(), None)
        } else {
            let path = names.of(point);
            if !clone_file(file, &path)? {
                return Err(NoClone::NotShared);
            }
            (path.clone(), Some(Removed { path, kept: false }))
        };
        let disk = instead(disk, source::open(&path, Format::Raw)?);
        Ok(Self { disk, names: Some(names), clone })
    }

    /// What the snapshot command made of the disk; `None` where the disk itself is to be read.
    fn by_command(vault: &Vault, disk: &DiskRequest, rest: &mut Rest<'_>) -> Result<Option<Self>, JobError> {
        let Some(path) = rest.take_by_command(disk.name.as_str())? else { return Ok(None) };
        let format = disk.spec.as_ref().map_or(Format::Auto, |spec| spec.format);
        let source = open_source(vault, &SourceSpec { path, format })?;
        Ok(Some(Self { disk: instead(disk, source), names: None, clone: None }))
    }

    /// The hints that somebody gave, unless they are for a disk of another size.
    fn given_hints(&self, own: &DiskRequest, monitor: &dyn Monitor) -> Option<Hints> {
        let (read, own_bytes) = (self.disk.source.size_bytes(), own.source.size_bytes());
        let hints = own.hints.as_ref()?;
        if self.clone.is_none() && read != own_bytes {
            let message =
                format!("its snapshot has {read} bytes and the disk {own_bytes}, so what is said to have changed is not believed");
            monitor.problem(Problem { subject: own.name.to_string(), message });
            return None;
        }
        Some(hints.clone())
    }

    /// What has changed since the clone that was kept for the base; nothing is known without one.
    fn compare(&self, base: Option<&Manifest>, monitor: &dyn Monitor) -> Option<Hints> {
        let base = base?.point;
        let path = self.names.as_ref()?.of(base);
        let compared = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
            Ok(before) => {
                let now = self.disk.source.raw_file()?;
                reflink_hints(now, &before, self.disk.source.size_bytes()).map_err(|error| error.to_string())
            }
        };
        match compared {
            Ok(hints) => Some(Hints { base: HintBase::Point(base.to_string()), ..hints }),
            Err(why) => {
                let message = format!("the clone {} tells nothing: {why}; the whole disk is read", path.display());
                monitor.problem(Problem { subject: self.disk.name.to_string(), message });
                None
            }
        }
    }
}

/// The disk with another source, under its own description.
fn instead(disk: &DiskRequest, source: Box<dyn Source>) -> DiskRequest {
    let source = Box::new(Instead { source, description: disk.source.description() });
    DiskRequest { name: disk.name.clone(), source, spec: disk.spec.clone(), hints: None, keep_clone: disk.keep_clone.clone() }
}

/// Why a disk has no clone.
#[derive(Debug, thiserror::Error)]
enum NoClone {
    #[error("only a raw image file can have one")]
    NotRaw,
    #[error("its filesystem does not share extents between files, as XFS and btrfs do")]
    NotShared,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Where the clones of an image for one disk of a machine in a vault lie, and what they are called:
/// `.<image>.cairn-<what it is for>-<point>`.
struct Names {
    directory: PathBuf,
    /// All before the point.
    prefix: OsString,
}

impl Names {
    fn new(vault: &Vault, machine: &MachineName, disk: &MachineName, image: &Path) -> io::Result<Self> {
        // The file itself: a clone beside a symbolic link could lie on another filesystem.
        let image = image.canonicalize()?;
        let (Some(directory), Some(name)) = (image.parent(), image.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"));
        };
        // Other vaults, machines and disks may keep clones of the same file; they must not take each other's for theirs.
        let purpose = blake3::hash(format!("{}/{machine}/{disk}", vault.header().vault).as_bytes()).to_hex();
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(MARK);
        prefix.push(purpose.get(..16).unwrap_or(&purpose));
        prefix.push("-");
        Ok(Self { directory: directory.to_owned(), prefix })
    }

    /// The clone for a point.
    fn of(&self, point: PointId) -> PathBuf {
        let mut name = self.prefix.clone();
        name.push(point.to_string());
        self.directory.join(name)
    }

    /// Removes clones for other points, and what an interrupted backup left of one.
    fn remove_all_but(&self, point: PointId) -> io::Result<()> {
        let kept = self.of(point);
        let mut unfinished = OsString::from(UNFINISHED);
        unfinished.push(self.prefix.to_string_lossy().as_ref());
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_clone = rest(&name, &self.prefix).is_some_and(|point| point.parse::<PointId>().is_ok());
            if (is_clone || rest(&name, &unfinished).is_some()) && entry.path() != kept {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// What follows `prefix` in a name that starts with it.
fn rest<'n>(name: &'n OsStr, prefix: &OsStr) -> Option<&'n str> {
    std::str::from_utf8(name.as_bytes().strip_prefix(prefix.as_bytes())?).ok()
}

/// A file that is removed when this is dropped, unless it is kept.
struct Removed {
    path: PathBuf,
    kept: bool,
}

impl Removed {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.kept {
            // A failure leaves a clone for a point that never was, which the next backup removes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A source under the description of the one that it stands for.
struct Instead {
    source: Box<dyn Source>,
    description: String,
}

impl ReadAt for Instead {
    fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.source.read_at(offset_bytes, buffer)
    }
}

impl Source for Instead {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn data_extents(&self) -> Result<ExtentSet, SourceError> {
        self.source.data_extents()
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        self.source.check_unchanged()
    }

    fn raw_file(&self) -> Option<&File> {
        self.source.raw_file()
    }
}
