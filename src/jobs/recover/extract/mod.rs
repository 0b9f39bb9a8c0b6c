//! Files out of a recovery point, to files of this computer.
//!
//! One thread walks the tree and makes directories, links and nodes; several others write files. Nothing is ever made outside of the
//! target: see `directory.rs` and `file.rs`. A file that cannot be had is a problem of its own, and the others follow; a full target ends it.

mod directory;
mod file;
mod keep;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::JobError;
use super::name_for_person;
use crate::guestfs::{Attributes, FileKind};
use crate::monitor::{Counter, Monitor, Problem};
use crate::tree::{Found, Step, Tree, Walk};
use directory::{Directory, Finish};
use file::{Failure, Place};
use keep::Keeper;

/// Files that wait for a thread to write them.
const MOST_WAITING: usize = 512;
/// Threads that write files. Each has one piece of a few MiB in memory.
const MOST_WRITERS: usize = 8;
/// Files of several names that are remembered until the last one was met.
const MOST_LINKED: usize = 1 << 20;

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
    let (root, above, new_name) = open_target(tree, sources, target)?;
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
        let mut walker = Walker { job: &job, sender, linked: HashMap::new() };
        for source in sources {
            let name = new_name.as_deref().unwrap_or(&source.name);
            if job.is_stopped() {
                break;
            }
            walker.take(source, name);
        }
    });
    job.finish()
}

/// The directory of the target, its path, and the new name in it if it is one.
fn open_target<T: Tree>(
    tree: &T,
    sources: &[Source<T::Spot>],
    target: &Path,
) -> Result<(Arc<Directory>, PathBuf, Option<Vec<u8>>), JobError> {
    let fail = |path: &Path, doing, source| JobError::File { what: "the target", path: path.to_owned(), doing, source };
    let error = match Directory::named(target) {
        Ok(directory) => return Ok((directory, target.to_owned(), None)),
        Err(error) => error,
    };
    let is_new = error.kind() == io::ErrorKind::NotFound;
    let is_file = error.kind() == io::ErrorKind::NotADirectory;
    let Some(source) = sources.first().filter(|_| sources.len() == 1 && (is_new || is_file)) else {
        return Err(fail(target, "is no directory that several files could go into", error));
    };
    let is_directory = tree.attributes(&source.spot).is_ok_and(|known| known.kind == FileKind::Directory);
    let wants_directory = target.as_os_str().as_bytes().ends_with(b"/");
    if (is_file && is_directory) || (wants_directory && !is_directory) {
        return Err(fail(target, "is no directory", error));
    }
    let Some(name) = target.file_name() else { return Err(fail(target, "cannot be made", error)) };
    let above = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above_directory = Directory::named(above).map_err(|error| fail(above, "cannot be opened", error))?;
    Ok((above_directory, above.to_owned(), Some(name.as_bytes().to_vec())))
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
            self.add(&self.counts.files, 1);
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
            if there.is_some() && !self.may_replace(directory, name) {
                return Err(Failure::This("exists already; --overwrite replaces it".to_owned()));
            }
            make(&Place { directory: handle.as_fd(), name, replaces: there.is_some() })
        });
        made.map_err(|failure| self.fail(path, failure)).ok()
    }

    fn may_replace(&self, directory: &Directory, name: &[u8]) -> bool {
        match self.options.existing {
            Existing::Keep => false,
            Existing::Replace => true,
            Existing::Ask(ask) => {
                let _one_by_one = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                !self.is_stopped() && ask(&self.host_path(directory, name))
            }
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

    fn finish(self) -> Result<Extracted, JobError> {
        if let Some(error) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        Ok(Extracted {
            files: self.counts.files.into_inner(),
            directories: self.counts.directories.into_inner(),
            links: self.counts.links.into_inner(),
            hard_links: self.counts.hard_links.into_inner(),
            special: self.counts.special.into_inner(),
            size_bytes: self.counts.size_bytes.into_inner(),
            written_bytes: self.counts.written_bytes.into_inner(),
            not_kept: self.keeper.into_lost(),
        })
    }
}

/// The first name of a file that has several.
struct FirstName {
    directory: Vec<Vec<u8>>,
    name: Vec<u8>,
    names_left: u32,
}

/// The thread that walks.
struct Walker<'a, 'b, T: Tree> {
    job: &'a Job<'b, T>,
    sender: Sender<FileToWrite<T::Spot>>,
    linked: HashMap<T::Spot, FirstName>,
}

impl<T: Tree> Walker<'_, '_, T> {
    /// Takes out one source under this name; an empty one means what is in it.
    fn take(&mut self, source: &Source<T::Spot>, name: &[u8]) {
        let mut walk = Walk::new(self.job.tree, source.spot.clone(), source.path.clone());
        // The directories that the walk is in; none for one that could not be made.
        let mut stack: Vec<Option<Arc<Directory>>> = Vec::new();
        while let Some(step) = walk.next() {
            if self.job.is_stopped() {
                break;
            }
            match step {
                Step::Found(found) => {
                    let above = if found.depth == 0 { Some(Arc::clone(&self.job.root)) } else { stack.last().cloned().flatten() };
                    let name = if found.depth == 0 { name.to_vec() } else { found.name.clone() };
                    if found.attributes.kind == FileKind::Directory {
                        let made = above.and_then(|above| self.directory(above, &name, found));
                        if made.is_none() {
                            walk.stay_out();
                        }
                        stack.push(made);
                    } else if let Some(above) = above {
                        self.object(above, name, found);
                    }
                }
                Step::Left => {
                    if let Some(directory) = stack.pop().flatten() {
                        self.job.release(directory);
                    }
                }
                Step::Problem { path, error } => self.job.problem(&path, error.to_string()),
            }
        }
        while let Some(directory) = stack.pop() {
            directory.into_iter().for_each(|directory| self.job.release(directory));
        }
    }

    fn directory(&self, above: Arc<Directory>, name: &[u8], found: Found<T::Spot>) -> Option<Arc<Directory>> {
        let job = self.job;
        if !job.options.recursive {
            job.problem(&found.path, "is a directory; -r takes it out with what is in it".to_owned());
            return None;
        }
        if name.is_empty() {
            return Some(above);
        }
        let made = job.extended(&found.spot).and_then(|extended| {
            let finish = Finish { path: found.path.clone(), known: found.attributes, extended };
            above.make(name, finish, matches!(job.options.existing, Existing::Replace)).map_err(Failure::target)
        });
        job.release(above);
        match made {
            Ok(directory) => {
                job.add(&job.counts.directories, 1);
                Some(directory)
            }
            Err(failure) => {
                job.fail(&found.path, failure);
                None
            }
        }
    }

    fn object(&mut self, directory: Arc<Directory>, name: Vec<u8>, found: Found<T::Spot>) {
        let job = self.job;
        if job.options.archive && found.attributes.links > 1 && self.further_name(&directory, &name, &found) {
            return job.release(directory);
        }
        if found.attributes.kind == FileKind::Regular {
            job.monitor.count(Counter::PlannedBytes, found.attributes.size_bytes);
            let linked = job.options.archive && found.attributes.links > 1;
            let file = FileToWrite { found, name, directory };
            if linked {
                // Written before its next name is met.
                job.write_file(&file);
                self.remember(&file.directory, &file.name, &file.found.spot, &file.found.attributes);
                return job.release(file.directory);
            }
            // Fails only where all writers are gone, which they are not before this sender is.
            let _ = self.sender.send(file);
            return;
        }
        let made = job.with_place(&directory, &name, &found.path, |place| self.named(place, &found));
        if made == Some(true) {
            self.remember(&directory, &name, &found.spot, &found.attributes);
        }
        job.release(directory);
    }

    /// Makes what is no file and no directory. `false`: it was left out.
    fn named(&self, place: &Place<'_>, found: &Found<T::Spot>) -> Result<bool, Failure> {
        let job = self.job;
        let extended = job.extended(&found.spot)?;
        if found.attributes.kind == FileKind::Link {
            let target = job.tree.link_target(&found.spot).map_err(Failure::source)?;
            file::link(place, &target, &found.attributes, &extended, &job.keeper)?;
            job.add(&job.counts.links, 1);
            return Ok(true);
        }
        let made = job.options.archive && file::special(place, &found.attributes, &extended, &job.keeper)?;
        if made {
            job.add(&job.counts.special, 1);
        } else {
            job.keeper.lose("device nodes, pipes and sockets");
        }
        Ok(made)
    }

    fn remember(&mut self, directory: &Directory, name: &[u8], spot: &T::Spot, known: &Attributes) {
        if known.links > 1 && self.linked.len() < MOST_LINKED {
            let first = FirstName { directory: directory.names(), name: name.to_vec(), names_left: known.links - 1 };
            self.linked.insert(spot.clone(), first);
        }
    }

    /// Gives a file that was made before this name too; `false` where that is not so or cannot be.
    fn further_name(&mut self, directory: &Directory, name: &[u8], found: &Found<T::Spot>) -> bool {
        let job = self.job;
        let Some(first) = self.linked.get_mut(&found.spot) else { return false };
        first.names_left = first.names_left.saturating_sub(1);
        let linked = job.with_place(directory, name, &found.path, |place| {
            let above = job.root.descend(&first.directory).map_err(Failure::target);
            Ok(above.and_then(|above| file::hard_link(place, above.as_fd(), &first.name)).is_ok())
        });
        if first.names_left == 0 {
            self.linked.remove(&found.spot);
        }
        match linked {
            Some(true) => job.add(&job.counts.hard_links, 1),
            // Its first name cannot be reached, or the target has no hard links: it becomes a file of its own.
            Some(false) => job.keeper.lose("hard links"),
            None => {}
        }
        linked != Some(false)
    }
}
