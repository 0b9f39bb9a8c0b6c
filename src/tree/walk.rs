//! A walk over everything below a directory, depth first and sorted by name, of a tree that may have been made to do harm: it ends on
//! directories that lead back into themselves, keeps within a depth and a memory, and gives no name that a path could not hold.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::size_of;
use std::ops::ControlFlow;

use super::{Tree, TreeEntry, join};
use crate::guestfs::{Attributes, FileKind, GuestError};

/// Directories below each other. Deeper ones exist only where somebody made them in order to do harm: no system call takes such a path.
const MOST_DEPTH: usize = 2048;
/// Memory for the names of all directories that the walk is in.
const MOST_HELD_BYTES: usize = 128 << 20;
/// How often one directory is entered. A sound one has one name, and a few where a guest mounts it in several places.
const MOST_VISITS: u8 = 4;
/// Directories that are remembered for that.
const MOST_DIRECTORIES: usize = 1 << 22;
/// Bytes of a name: as long as the readers of filesystems let through.
const LONGEST_NAME: usize = 1024;

/// Something that a walk has found.
#[derive(Debug, Clone)]
pub struct Found<S> {
    /// Its path: the one that the walk was begun with, and the names below it.
    pub path: Vec<u8>,
    /// Its name; empty for the object that the walk began with.
    pub name: Vec<u8>,
    /// Where it is.
    pub spot: S,
    /// 0 for the object that the walk began with.
    pub depth: usize,
    /// What is known of it.
    pub attributes: Attributes,
}

/// What a walk gives.
#[derive(Debug)]
pub enum Step<S> {
    /// An object. What is in a directory follows, unless [`Walk::stay_out`] is called before the next step.
    Found(Found<S>),
    /// A directory that was found has been left; also one that was skipped or could not be read.
    Left,
    /// Something could not be read, or was left out. The walk goes on.
    Problem {
        /// Where.
        path: Vec<u8>,
        /// What.
        error: GuestError,
    },
}

struct Level<S> {
    spot: S,
    path_bytes: usize,
    entries: std::vec::IntoIter<TreeEntry<S>>,
    held_bytes: usize,
}

/// A walk under way.
pub struct Walk<'a, T: Tree> {
    tree: &'a T,
    start: Option<T::Spot>,
    /// The path of the directory that the walk is in.
    path: Vec<u8>,
    levels: Vec<Level<T::Spot>>,
    on_path: HashSet<T::Spot>,
    visits: HashMap<T::Spot, u8>,
    held_bytes: usize,
    /// The directory that was found last and is to be entered now.
    next: Option<(T::Spot, Vec<u8>)>,
    problems: VecDeque<(Vec<u8>, GuestError)>,
}

impl<'a, T: Tree> Walk<'a, T> {
    /// A walk over `spot`, which is found first, and all that is below it. `path` is what paths begin with.
    pub fn new(tree: &'a T, spot: T::Spot, path: Vec<u8>) -> Self {
        Self {
            tree,
            start: Some(spot),
            path,
            levels: Vec::new(),
            on_path: HashSet::new(),
            visits: HashMap::new(),
            held_bytes: 0,
            next: None,
            problems: VecDeque::new(),
        }
    }

    /// Does not go into the directory that was found last.
    pub fn stay_out(&mut self) {
        if let Some((spot, path)) = self.next.take() {
            self.push(spot, path, Vec::new(), 0);
        }
    }

    /// Takes the names of a directory.
    fn enter(&mut self, spot: T::Spot, path: Vec<u8>) {
        let refused = self.refusal(&spot);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        if let Some(limit) = refused {
            self.problems.push_back((path.clone(), GuestError::limit("this directory", limit)));
            return self.push(spot, path, entries, 0);
        }
        let (mut bad, mut full) = (0_u64, false);
        let free = MOST_HELD_BYTES.saturating_sub(self.held_bytes);
        let read = self.tree.entries(&spot, &mut |entry| {
            if !is_plain(&entry.name) {
                bad += 1;
                return ControlFlow::Continue(());
            }
            bytes += entry.name.len() + size_of::<TreeEntry<T::Spot>>();
            if bytes > free {
                full = true;
                return ControlFlow::Break(());
            }
            entries.push(entry);
            ControlFlow::Continue(())
        });
        let mut problem = |error| self.problems.push_back((path.clone(), error));
        if let Err(error) = read {
            problem(error);
        }
        if bad > 0 {
            problem(GuestError::damaged(
                "this directory",
                format!("{bad} of its names are none that a system would allow; they are left out"),
            ));
        }
        if full {
            problem(GuestError::limit("this directory", format!("its names take more than {} MiB", free >> 20)));
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        self.push(spot, path, entries, bytes);
    }

    /// Why a directory is not entered.
    fn refusal(&mut self, spot: &T::Spot) -> Option<String> {
        if self.levels.len() >= MOST_DEPTH {
            return Some(format!("more than {MOST_DEPTH} directories below each other"));
        }
        if self.visits.len() >= MOST_DIRECTORIES && !self.visits.contains_key(spot) {
            return Some(format!("more than {MOST_DIRECTORIES} directories"));
        }
        let visits = self.visits.entry(spot.clone()).or_default();
        *visits = visits.saturating_add(1);
        (*visits > MOST_VISITS).then(|| format!("it has more than {MOST_VISITS} names"))
    }

    fn push(&mut self, spot: T::Spot, path: Vec<u8>, entries: Vec<TreeEntry<T::Spot>>, held_bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_add(held_bytes);
        self.on_path.insert(spot.clone());
        self.levels.push(Level { spot, path_bytes: self.path.len(), entries: entries.into_iter(), held_bytes });
        self.path = path;
    }

    fn leave(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.path.truncate(level.path_bytes);
            self.on_path.remove(&level.spot);
            self.held_bytes = self.held_bytes.saturating_sub(level.held_bytes);
        }
    }

    fn found(&mut self, path: Vec<u8>, name: Vec<u8>, spot: T::Spot) -> Step<T::Spot> {
        let attributes = match self.tree.attributes(&spot) {
            Ok(attributes) => attributes,
            Err(error) => return Step::Problem { path, error },
        };
        if attributes.kind == FileKind::Directory {
            if self.on_path.contains(&spot) {
                return Step::Problem { path, error: GuestError::damaged("this directory", "it leads back into a directory above it") };
            }
            self.next = Some((spot.clone(), path.clone()));
        }
        Step::Found(Found { path, name, spot, depth: self.levels.len(), attributes })
    }
}

impl<T: Tree> Iterator for Walk<'_, T> {
    type Item = Step<T::Spot>;

    fn next(&mut self) -> Option<Step<T::Spot>> {
        if let Some(start) = self.start.take() {
            return Some(self.found(self.path.clone(), Vec::new(), start));
        }
        if let Some((spot, path)) = self.next.take() {
            self.enter(spot, path);
        }
        if let Some((path, error)) = self.problems.pop_front() {
            return Some(Step::Problem { path, error });
        }
        let entry = self.levels.last_mut()?.entries.next();
        Some(match entry {
            Some(entry) => self.found(join(&self.path, &entry.name), entry.name, entry.spot),
            None => {
                self.leave();
                Step::Left
            }
        })
    }
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && name != b"." && name != b".." && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeTree;
    use super::*;

    /// Paths found, with `<` for each directory left and `!` for each problem.
    fn walked(tree: &FakeTree) -> Vec<String> {
        let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
        let step = |step| match step {
            Step::Found(found) => text(found.path),
            Step::Left => "<".to_owned(),
            Step::Problem { path, error } => format!("! {}: {error}", text(path)),
        };
        Walk::new(tree, tree.top(), Vec::new()).take(100_000).map(step).collect()
    }

    #[test]
    fn everything_is_found_in_the_order_of_names_and_each_directory_is_left() {
        let mut tree = FakeTree::new();
        let b = tree.directory(0, b"b");
        tree.file(b, b"y", b"1");
        tree.file(b, b"x", b"2");
        tree.file(0, b"a", b"3");
        tree.link(0, b"c", b"/nowhere");
        assert_eq!(walked(&tree), ["", "a", "b", "b/x", "b/y", "<", "c", "<"]);
    }

    #[test]
    fn loops_bad_names_and_damage_are_problems_and_the_walk_goes_on() {
        let mut tree = FakeTree::new();
        let a = tree.directory(0, b"a");
        tree.name(a, b"back", 0);
        tree.name(a, b"self", a);
        tree.file(a, b"..", b"");
        tree.file(a, b"x/y", b"");
        let damaged = tree.directory(0, b"damaged");
        tree.damage(damaged);
        tree.name(0, b"lost", 4242);
        tree.file(0, b"z", b"");
        assert_eq!(
            walked(&tree),
            [
                "",
                "a",
                "! a: this directory is damaged: 2 of its names are none that a system would allow; they are left out",
                "! a/back: this directory is damaged: it leads back into a directory above it",
                "! a/self: this directory is damaged: it leads back into a directory above it",
                "<",
                "damaged",
                "! damaged: the directory is damaged: as the test wishes",
                "<",
                "! lost: 4242 does not exist",
                "z",
                "<"
            ]
        );
    }

    #[test]
    fn directories_of_many_names_do_not_multiply() {
        // Each of 40 directories has the next one under two names: 2^40 paths.
        let mut tree = FakeTree::new();
        let mut at = 0;
        for _ in 0..40 {
            let next = tree.directory(at, b"one");
            tree.name(at, b"two", next);
            at = next;
        }
        let steps = walked(&tree);
        assert!(steps.len() < 2000, "{}", steps.len());
        assert!(steps.iter().any(|step| step.contains("more than 4 names")));
    }

    #[test]
    fn very_deep_directories_end() {
        let mut tree = FakeTree::new();
        let mut at = 0;
        for _ in 0..3000 {
            at = tree.directory(at, b"d");
        }
        let steps = walked(&tree);
        assert_eq!(steps.iter().filter(|step| *step == "<").count(), MOST_DEPTH + 1);
        assert_eq!(steps.iter().filter(|step| step.starts_with('!')).count(), 1);
    }

    #[test]
    fn a_skipped_directory_is_left_at_once() {
        let mut tree = FakeTree::new();
        let a = tree.directory(0, b"a");
        tree.file(a, b"x", b"");
        let mut walk = Walk::new(&tree, tree.top(), b"/top".to_vec());
        assert!(matches!(walk.next(), Some(Step::Found(found)) if found.path == b"/top"));
        assert!(matches!(walk.next(), Some(Step::Found(found)) if found.path == b"/top/a" && found.depth == 1));
        walk.stay_out();
        assert!(matches!((walk.next(), walk.next(), walk.next()), (Some(Step::Left), Some(Step::Left), None)));
    }
}
