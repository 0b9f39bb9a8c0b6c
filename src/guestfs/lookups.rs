//! Looking up names in directories that can only be listed: the names of those that were looked into lately are kept by a keyed hash,
//! as many as fit, so that looking up every name of a directory takes no quadratic time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, GuestResult, Node};

/// Names of all directories that are kept, at 16 bytes each.
const MOST_KEPT_NAMES: usize = 1 << 20;

type Names = Arc<HashMap<u64, Node>>;

/// The names of directories that were looked into lately, as hashes that nobody outside can foresee.
#[derive(Default)]
pub(super) struct Lookups {
    hasher: RandomState,
    kept: Mutex<Vec<(Node, Names)>>,
}

impl Lookups {
    /// The node that a name leads to; `list` lists the directory, if it must be.
    pub(super) fn find(
        &self,
        directory: Node,
        name: &[u8],
        list: impl FnOnce(&mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()>,
    ) -> GuestResult<Option<Node>> {
        if let Some(names) = self.known(directory) {
            return Ok(names.get(&self.hasher.hash_one(name)).copied());
        }
        let mut names = HashMap::new();
        let mut found = None;
        let listed = list(&mut |entry| {
            if entry.name == name {
                found.get_or_insert(entry.node);
            }
            names.entry(self.hasher.hash_one(entry.name.as_slice())).or_insert(entry.node);
            if names.len() > MOST_KEPT_NAMES && found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if listed.is_ok() && names.len() <= MOST_KEPT_NAMES {
            self.keep(directory, Arc::new(names));
        }
        if found.is_some() { Ok(found) } else { listed.map(|()| None) }
    }

    fn known(&self, directory: Node) -> Option<Names> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == directory)?;
        let found = kept.remove(at);
        let names = Arc::clone(&found.1);
        kept.push(found);
        Some(names)
    }

    /// Keeps the names of one directory more, and those used longest ago no longer.
    fn keep(&self, directory: Node, names: Names) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != directory);
        kept.push((directory, names));
        let mut total = 0;
        let fitting = kept.iter().rev().take_while(|(_, names)| {
            total += names.len();
            total <= MOST_KEPT_NAMES
        });
        let surplus = kept.len() - fitting.count().clamp(1, 64);
        kept.drain(..surplus);
    }
}
