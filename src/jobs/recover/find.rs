//! Files of a point by name, kind, size and time.

use super::super::JobError;
use super::Glob;
use crate::guestfs::{Attributes, FileKind, GuestError, Timestamp};
use crate::monitor::Monitor;
use crate::tree::{Found, Step, Tree, Walk};

/// How large a file is to be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeTest {
    /// More than this.
    Above(u64),
    /// Less than this.
    Below(u64),
    /// Just this.
    Exactly(u64),
}

/// Which files are wanted: those that pass all of these tests. None given: all files.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The name is of one of these patterns.
    pub names: Vec<Glob>,
    /// So is the whole path.
    pub paths: Vec<Glob>,
    /// It is one of these.
    pub kinds: Vec<FileKind>,
    /// Its size passes all of these. Only regular files have one.
    pub sizes: Vec<SizeTest>,
    /// Its contents were changed then or later.
    pub newer: Option<Timestamp>,
    /// Its contents were changed before.
    pub older: Option<Timestamp>,
    /// Anything of it, its owner or mode too, was changed then or later; where its filesystem does not keep that: its contents.
    pub changed_since: Option<Timestamp>,
    /// Directories below the first one that are gone into.
    pub most_depth: Option<usize>,
}

impl Wanted {
    fn takes<S>(&self, found: &Found<S>, name: &[u8]) -> bool {
        let known = &found.attributes;
        (self.names.is_empty() || self.names.iter().any(|glob| glob.matches(name)))
            && (self.paths.is_empty() || self.paths.iter().any(|glob| glob.matches(&found.path)))
            && (self.kinds.is_empty() || self.kinds.contains(&known.kind))
            && self.sizes.iter().all(|test| known.kind == FileKind::Regular && test.takes(known.size_bytes))
            && self.takes_times(known)
    }

    fn takes_times(&self, known: &Attributes) -> bool {
        self.newer.is_none_or(|time| known.modified >= time)
            && self.older.is_none_or(|time| known.modified < time)
            && self.changed_since.is_none_or(|time| known.changed.unwrap_or(known.modified) >= time)
    }
}

impl SizeTest {
    fn takes(self, size_bytes: u64) -> bool {
        match self {
            Self::Above(bytes) => size_bytes > bytes,
            Self::Below(bytes) => size_bytes < bytes,
            Self::Exactly(bytes) => size_bytes == bytes,
        }
    }
}

/// What a search tells.
#[derive(Debug)]
pub enum FindEvent<S> {
    /// A file that is wanted.
    Found(Found<S>),
    /// Something that could not be read; the search goes on.
    Problem {
        /// Its path.
        path: Vec<u8>,
        /// What is wrong.
        error: GuestError,
    },
}

/// Looks at `spot` and everything below it, sorted by name, and tells what is wanted; `path` is what the paths begin with.
/// Ends early where `tell` says `false`.
///
/// # Errors
/// [`JobError::Cancelled`].
pub fn find<T: Tree>(
    tree: &T,
    spot: T::Spot,
    path: Vec<u8>,
    wanted: &Wanted,
    monitor: &dyn Monitor,
    mut tell: impl FnMut(FindEvent<T::Spot>) -> bool,
) -> Result<(), JobError> {
    let mut walk = Walk::new(tree, spot, path);
    while let Some(step) = walk.next() {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let goes_on = match step {
            Step::Found(found) => {
                if wanted.most_depth.is_some_and(|most| found.depth >= most) {
                    walk.stay_out();
                }
                let last = found.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                let takes = wanted.takes(&found, last);
                !takes || tell(FindEvent::Found(found))
            }
            Step::Problem { path, error } => tell(FindEvent::Problem { path, error }),
            Step::Left => true,
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::tree::testing::FakeTree;

    fn found(tree: &FakeTree, wanted: &Wanted) -> Vec<String> {
        let mut paths = Vec::new();
        find(tree, 0, b"/".to_vec(), wanted, &Silent, |event| {
            paths.push(match event {
                FindEvent::Found(found) => String::from_utf8(found.path).expect("a path"),
                FindEvent::Problem { path, error } => format!("! {}: {error}", String::from_utf8_lossy(&path)),
            });
            true
        })
        .expect("a search");
        paths
    }

    fn sample() -> FakeTree {
        let mut tree = FakeTree::new();
        let etc = tree.directory(0, b"etc");
        tree.file(etc, b"fstab", b"12345");
        let hosts = tree.file(etc, b"hosts", b"");
        tree.known(hosts).modified.seconds = 2_000_000_000;
        let link = tree.link(0, b"link", b"/etc/hosts");
        tree.known(link).changed = None;
        tree.sparse(0, b"large", 1 << 40, &[]);
        tree
    }

    #[test]
    fn all_tests_must_pass() {
        let tree = sample();
        let glob = |pattern: &str| vec![Glob::new(pattern.as_bytes())];
        let all = ["/", "/etc", "/etc/fstab", "/etc/hosts", "/large", "/link"];
        assert_eq!(found(&tree, &Wanted::default()), all);
        assert_eq!(found(&tree, &Wanted { names: glob("*s*"), ..Wanted::default() }), ["/etc/fstab", "/etc/hosts"]);
        assert_eq!(found(&tree, &Wanted { paths: glob("/etc/h*"), ..Wanted::default() }), ["/etc/hosts"]);
        assert_eq!(found(&tree, &Wanted { kinds: vec![FileKind::Link, FileKind::Directory], ..Wanted::default() }), ["/", "/etc", "/link"]);
        assert_eq!(found(&tree, &Wanted { sizes: vec![SizeTest::Exactly(0)], ..Wanted::default() }), ["/etc/hosts"]);
        assert_eq!(found(&tree, &Wanted { sizes: vec![SizeTest::Above(4), SizeTest::Below(6)], ..Wanted::default() }), ["/etc/fstab"]);
        assert_eq!(found(&tree, &Wanted { most_depth: Some(1), ..Wanted::default() }), ["/", "/etc", "/large", "/link"]);
    }

    #[test]
    fn times_are_those_of_contents_and_of_anything() {
        let tree = sample();
        let at = |seconds| Some(Timestamp { seconds, nanoseconds: 0 });
        assert_eq!(found(&tree, &Wanted { newer: at(2_000_000_000), ..Wanted::default() }), ["/etc/hosts"]);
        let old = found(&tree, &Wanted { older: at(1_000_000_001), ..Wanted::default() });
        assert!(!old.contains(&"/etc/hosts".to_owned()) && old.len() == 5, "{old:?}");
        assert_eq!(found(&tree, &Wanted { changed_since: at(1_000_000_001), ..Wanted::default() }), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_search_goes_on() {
        let mut tree = sample();
        tree.damage(1);
        let paths = found(&tree, &Wanted { names: vec![Glob::new(b"l*")], ..Wanted::default() });
        assert_eq!(paths, ["! /etc: the directory is damaged: as the test wishes", "/large", "/link"]);
    }
}
