//! The thread that walks the tree: it makes directories, links and nodes, and hands files on to those that write them.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::directory::{Directory, Finish};
use super::file::{self, Failure, Place};
use super::{Existing, FileToWrite, Job, Source};
use crate::guestfs::{Attributes, FileKind};
use crate::monitor::Counter;
use crate::tree::{Found, Step, Tree, Walk};

/// Files of several names that are remembered until the last one was met.
const MOST_LINKED: usize = 1 << 20;

/// The first name of a file that has several.
struct FirstName {
    directory: Vec<Vec<u8>>,
    name: Vec<u8>,
    names_left: u32,
}

/// The thread that walks.
pub(super) struct Walker<'a, 'b, T: Tree> {
    job: &'a Job<'b, T>,
    sender: Sender<FileToWrite<T::Spot>>,
    linked: HashMap<T::Spot, FirstName>,
}

impl<'a, 'b, T: Tree> Walker<'a, 'b, T> {
    pub(super) fn new(job: &'a Job<'b, T>, sender: Sender<FileToWrite<T::Spot>>) -> Self {
        Self { job, sender, linked: HashMap::new() }
    }

    /// Takes out one source under this name; an empty one means what is in it.
    pub(super) fn take(&mut self, source: &Source<T::Spot>, name: &[u8]) {
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
            job.note_made(&found);
            return Some(above);
        }
        let made = job.extended(&found.spot).and_then(|extended| {
            let finish = Finish { path: found.path.clone(), known: found.attributes.clone(), extended };
            above.make(name, finish, matches!(job.options.existing, Existing::Replace)).map_err(Failure::target)
        });
        job.release(above);
        match made {
            Ok(directory) => {
                job.count(&job.counts.directories, &found);
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
            job.count(&job.counts.links, found);
            return Ok(true);
        }
        let made = job.options.archive && file::special(place, &found.attributes, &extended, &job.keeper)?;
        if made {
            job.count(&job.counts.special, found);
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
            Some(true) => job.count(&job.counts.hard_links, found),
            // Its first name cannot be reached, or the target has no hard links: it becomes a file of its own.
            Some(false) => job.keeper.lose("hard links"),
            None => {}
        }
        linked != Some(false)
    }
}
