//! Paths in a tree, with links followed as the guest would: an absolute link starts at the guest's own root, and none leads out of it.

use super::Tree;
use crate::guestfs::{FileKind, GuestError, GuestResult};

/// Links followed on one path at most, as Linux does.
const MOST_LINKS: usize = 40;
/// Parts of a path with what links add to it.
const MOST_PARTS: usize = 4096;

/// What a path leads to.
#[derive(Clone, Debug)]
pub struct Resolved<S> {
    /// The object.
    pub spot: S,
    /// Its path without links, `.` and `..`, from the directory where the walk began; no slash at its start.
    pub path: Vec<u8>,
}

/// Puts a name behind a path.
#[must_use]
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.is_empty() && !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// Follows `path` from the directory `from`, which `..` does not leave. `follow_last`: whether a link at the end is followed.
///
/// # Errors
/// [`GuestError::NotFound`] with the part that is missing; [`GuestError::WrongKind`] where a file is on the way; [`GuestError::Limit`]
/// for links without end; the tree's own.
pub fn resolve<T: Tree>(tree: &T, from: &T::Spot, path: &[u8], follow_last: bool) -> GuestResult<Resolved<T::Spot>> {
    let mut walk = Walk { tree, from, stack: Vec::new(), links: 0 };
    // Parts that are still to come, the next one last.
    let mut todo: Vec<Vec<u8>> = parts(path);
    while let Some(part) = todo.pop() {
        if todo.len() > MOST_PARTS {
            return Err(GuestError::limit(text(path), format!("its links make it more than {MOST_PARTS} parts long")));
        }
        let is_last = todo.is_empty();
        todo.extend(walk.step(&part, follow_last || !is_last)?);
    }
    Ok(Resolved { spot: walk.here().clone(), path: walk.path() })
}

/// The parts of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).rev().collect()
}

fn text(path: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(path))
}

struct Walk<'a, T: Tree> {
    tree: &'a T,
    from: &'a T::Spot,
    /// The directories entered, with their names.
    stack: Vec<(Vec<u8>, T::Spot)>,
    links: usize,
}

impl<T: Tree> Walk<'_, T> {
    fn here(&self) -> &T::Spot {
        self.stack.last().map_or(self.from, |(_, spot)| spot)
    }

    fn path(&self) -> Vec<u8> {
        self.stack.iter().fold(Vec::new(), |path, (name, _)| join(&path, name))
    }

    /// Goes one part on; gives the parts of a link that is to be followed instead.
    fn step(&mut self, part: &[u8], follow: bool) -> GuestResult<Vec<Vec<u8>>> {
        if part == b".." {
            self.stack.pop();
            return Ok(Vec::new());
        }
        let missing = || GuestError::NotFound { object: text(&join(&self.path(), part)) };
        let spot = match self.tree.lookup(self.here(), part) {
            Err(GuestError::WrongKind { .. }) => {
                return Err(GuestError::WrongKind { object: text(&self.path()), expected: "directory" });
            }
            found => found?.ok_or_else(missing)?,
        };
        if !follow || self.tree.attributes(&spot)?.kind != FileKind::Link {
            self.stack.push((part.to_vec(), spot));
            return Ok(Vec::new());
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(GuestError::limit(text(&join(&self.path(), part)), format!("more than {MOST_LINKS} links")));
        }
        let target = self.tree.link_target(&spot)?;
        if target.starts_with(b"/") {
            self.go_to_base(&spot);
        }
        Ok(parts(&target))
    }

    /// Goes back to where an absolute link starts: the guest's root if it is on the way, else where the walk began.
    fn go_to_base(&mut self, link: &T::Spot) {
        let base = self.tree.base_of(link);
        match self.stack.iter().rposition(|(_, spot)| *spot == base) {
            Some(at) => self.stack.truncate(at + 1),
            None => self.stack.clear(),
        }
    }
}
