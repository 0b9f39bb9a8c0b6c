//! Files out of a recovery point, to files of this computer.
//!
//! One thread walks the tree and makes directories, links and nodes; several others write files. Nothing is ever made outside of the
//! target: see `directory.rs` and `file.rs`. A file that cannot be had is a problem of its own, and the others follow; a full target ends it.

mod directory;
mod file;
mod keep;
mod target;
#[cfg(test)]
mod tests;
mod walker;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, bounded};

use super::super::JobError;
use super::name_for_person;
use crate::monitor::{Monitor, Problem};
use crate::tree::{Found, Tree};
use directory::Directory;
use file::{Failure, Place};
use keep::Keeper;
use target::Target;
use walker::Walker;

/// Files that wait for a thread to write them.
const MOST_WAITING: usize = 512;
/// Threads that write files. Each has one piece of a few MiB in memory.
const MOST_WRITERS: usize = 8;

/// Something to take out.
#[derive(Debug, Clone)]
pub struct Source<S> {
    /// Where it is.
    pub spot: S,
    /// Its path, for messages.
    pub path: Vec<u8>,
    /// The name that it gets in a directory; empty: what is in it goes into the directory itself.
    pub name: Vec<u8>,
}

/// What may happen to a file that has the name of one to be made.
#[derive(Clone, Copy)]
pub enum Existing<'a> {
    /// It stays.
    Keep,
    /// It is replaced.
    Replace,
    /// Somebody is asked, with its path.
    Ask(&'a (dyn Fn(&Path) -> bool + Sync)),
}

/// How files are taken out.
#[derive(Clone, Copy)]
pub struct ExtractOptions<'a> {
    /// Keep everything: owners, modes, times, extended attributes, hard links, special files. Else contents, and modes and times of files.
    pub archive: bool,
    /// Take out directories with everything in them.
    pub recursive: bool,
    /// Files that are there already.
    pub existing: Existing<'a>,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files made.
    pub files: u64,
    /// Directories, made or found.
    pub directories: u64,
    /// Symbolic links made.
    pub links: u64,
    /// Further names given to files.
    pub hard_links: u64,
    /// Device nodes, pipes and sockets made.
    pub special: u64,
    /// Bytes of all these files, with their holes.
    pub size_bytes: u64,
    /// Bytes that were written for them.
    pub written_bytes: u64,
    /// What could not be kept, and of how many files: "owner", an attribute's name.
    pub not_kept: Vec<(String, u64)>,
    /// Sources of which nothing was made; why was told to the monitor.
    pub left_out: Vec<String>,
}

/// Takes `sources` out of `tree`, to `target`: a directory that is there, or for one source also a new name in one.
///
/// # Errors
/// [`JobError::File`] where the target cannot be had or is full; [`JobError::Cancelled`]. What concerns single files is told to the monitor.
pub fn extract<T: Tree>(
    tree: &T,
    sources: &[Source<T::Spot>],
    target: &Path,
    options: &ExtractOptions<'_>,
    monitor: &dyn Monitor,
) -> Result<Extracted, JobError> {
    let Target { root, above, new_name } = Target::open(tree, sources, target)?;
    let job = Job {
        tree,
        options: *options,
        monitor,
        above,
        root,
        keeper: Keeper::new(options.archive),
        asking: Mutex::new(()),
        failed: Mutex::new(None),
        stop: AtomicBool::new(false),
        counts: Counts::default(),
        made: Mutex::new(HashSet::new()),
    };
    let (sender, receiver) = bounded(MOST_WAITING);
    let writers = std::thread::available_parallelism().map_or(2, usize::from).min(MOST_WRITERS);
    std::thread::scope(|scope| {
        for _ in 0..writers {
            let receiver = receiver.clone();
            let job = &job;
            scope.spawn(move || job.write_files(&receiver));
        }
        drop(receiver);
        let mut walker = Walker::new(&job, sender);
        for source in sources {
            let name = new_name.as_deref().unwrap_or(&source.name);
            if job.is_stopped() {
                break;
            }
            walker.take(source, name);
        }
    });
    job.finish(sources)
}

#[derive(Default)]
struct Counts {
    files: AtomicU64,
    directories: AtomicU64,
    links: AtomicU64,
    hard_links: AtomicU64,
    special: AtomicU64,
    size_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

/// What all threads share.
struct Job<'a, T: Tree> {
    tree: &'a T,
    options: ExtractOptions<'a>,
    monitor: &'a dyn Monitor,
    /// The path of `root`.
    above: PathBuf,
    root: Arc<Directory>,
    keeper: Keeper,
    /// Held while somebody is asked, so that questions come one by one.
    asking: Mutex<()>,
    failed: Mutex<Option<JobError>>,
    stop: AtomicBool,
    counts: Counts,
    /// The sources of which something was made.
    made: Mutex<HashSet<Vec<u8>>>,
}

/// A file to be written.
struct FileToWrite<S> {
    found: Found<S>,
    name: Vec<u8>,
    directory: Arc<Directory>,
}

impl<T: Tree> Job<'_, T> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.monitor.cancelled()
    }

    /// Counts something that was made.
    fn count(&self, counter: &AtomicU64, found: &Found<T::Spot>) {
        self.add(counter, 1);
        self.note_made(found);
    }

    fn note_made(&self, found: &Found<T::Spot>) {
        if found.depth == 0 {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(found.path.clone());
        }
    }

    fn add(&self, counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    fn write_files(&self, receiver: &Receiver<FileToWrite<T::Spot>>) {
        for file in receiver {
            if !self.is_stopped() {
                self.write_file(&file);
            }
            self.release(file.directory);
        }
    }

    fn write_file(&self, file: &FileToWrite<T::Spot>) {
        let made = self.with_place(&file.directory, &file.name, &file.found.path, |place| {
            let data = self.tree.open(&file.found.spot).map_err(Failure::source)?;
            let extended = self.extended(&file.found.spot)?;
            file::regular(place, data.as_ref(), &file.found.attributes, &extended, &self.keeper, self.monitor)
        });
        if let Some(written) = made {
            self.count(&self.counts.files, &file.found);
            self.add(&self.counts.size_bytes, file.found.attributes.size_bytes);
            self.add(&self.counts.written_bytes, written);
        }
    }

    /// Makes something under a name, if that may be. A failure is told.
    fn with_place<R>(
        &self,
        directory: &Directory,
        name: &[u8],
        path: &[u8],
        make: impl FnOnce(&Place<'_>) -> Result<R, Failure>,
    ) -> Option<R> {
        let made = directory.handle().map_err(Failure::target).and_then(|handle| {
            let there = file::existing(handle.as_fd(), name)?;
            if there.is_some_and(|kind| kind.is_dir()) {
                return Err(Failure::This("a directory is in its place".to_owned()));
            }
            if there.is_some() {
                self.check_replaceable(directory, name)?;
            }
            make(&Place { directory: handle.as_fd(), name, replaces: there.is_some() })
        });
        made.map_err(|failure| self.fail(path, failure)).ok()
    }

    /// Whether a file that is there may be replaced; why not, if not.
    fn check_replaceable(&self, directory: &Directory, name: &[u8]) -> Result<(), Failure> {
        let Existing::Ask(ask) = self.options.existing else {
            return match self.options.existing {
                Existing::Replace => Ok(()),
                _ => Err(Failure::This("exists already; --overwrite replaces it".to_owned())),
            };
        };
        let _one_by_one = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        match !self.is_stopped() && ask(&self.host_path(directory, name)) {
            true => Ok(()),
            false => Err(Failure::This("stays as it is".to_owned())),
        }
    }

    /// A path of this computer, for a person.
    fn host_path(&self, directory: &Directory, name: &[u8]) -> PathBuf {
        let names = directory.names();
        names.iter().map(Vec::as_slice).chain([name]).fold(self.above.clone(), |path, name| path.join(OsStr::from_bytes(name)))
    }

    fn extended(&self, spot: &T::Spot) -> Result<Vec<keep::Extended>, Failure> {
        if !self.options.archive {
            return Ok(Vec::new());
        }
        self.tree.extended_attributes(spot).map_err(Failure::source)
    }

    fn fail(&self, path: &[u8], failure: Failure) {
        let error = match failure {
            Failure::This(message) => return self.problem(path, message),
            Failure::Target(source) => {
                let path = Path::new(OsStr::from_bytes(path)).to_owned();
                JobError::File { what: "the file", path, doing: "cannot be written, and nothing after it", source }
            }
            Failure::Cancelled => JobError::Cancelled,
        };
        self.stop.store(true, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn problem(&self, path: &[u8], message: String) {
        self.monitor.problem(Problem { subject: name_for_person(path), message });
    }

    /// Lets go of a directory; who is last gives it its times and mode.
    fn release(&self, directory: Arc<Directory>) {
        Directory::release(directory, |last| {
            let Some(finish) = &last.finish else { return };
            let set = last.handle().and_then(|handle| Ok(self.keeper.finish_open(handle.as_fd(), &finish.known, &finish.extended)?));
            if let Err(error) = set {
                self.problem(&finish.path, format!("its mode and times cannot be set: {error}"));
            }
        });
    }

    fn finish(self, sources: &[Source<T::Spot>]) -> Result<Extracted, JobError> {
        if let Some(error) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let made = self.made.into_inner().unwrap_or_else(PoisonError::into_inner);
        let left_out = sources.iter().filter(|source| !made.contains(&source.path));
        Ok(Extracted {
            files: self.counts.files.into_inner(),
            directories: self.counts.directories.into_inner(),
            links: self.counts.links.into_inner(),
            hard_links: self.counts.hard_links.into_inner(),
            special: self.counts.special.into_inner(),
            size_bytes: self.counts.size_bytes.into_inner(),
            written_bytes: self.counts.written_bytes.into_inner(),
            not_kept: self.keeper.into_lost(),
            left_out: left_out.map(|source| name_for_person(&source.path)).collect(),
        })
    }
}
