//! Index objects of a vault in a bucket: each job leaves one with the tables and fingerprints of its packs, so that a client with an empty
//! cache reads few objects instead of the end of every pack.
//!
//! They are a help only: what they do not tell is read from the packs. Which of them this machine has taken into its index stands in a
//! small file beside the index; without it they are read again.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use rayon::prelude::*;

use super::{StoreError, Vault, object};
use crate::crypt::random;
use crate::format::envelope::ObjectKind;
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::names::{INDEX, ObjectName};
use crate::io::replace_durable;
use crate::units::SegmentId;

/// Whether the vault's index must be shared through objects: it has no directory that all its clients see.
pub(crate) fn is_needed(vault: &Vault) -> bool {
    vault.backend().local_path(&ObjectName::Vault.to_string()).is_none()
}

/// Leaves an index object for packs that are durable.
pub(crate) fn leave(vault: &Vault, packs: Vec<IndexedPack>) -> Result<(), StoreError> {
    if packs.is_empty() {
        return Ok(());
    }
    let name = ObjectName::Index(SegmentId(random()?)).to_string();
    let body = IndexObject { packs }.encode();
    // The name is new, or an earlier try of this very object has it: either way it is there.
    object::create(vault.backend().as_ref(), vault.keys(), ObjectKind::Index, &name, &body).map(|_| ())
}

/// Forgets which index objects were taken in, so that all are read again.
pub(crate) fn forget(vault: &Vault) -> Result<(), StoreError> {
    let file = seen_file(vault);
    match std::fs::remove_file(&file) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Index { path: file, source }),
        _ => Ok(()),
    }
}

/// Where the names of the index objects stand that were taken in.
fn seen_file(vault: &Vault) -> PathBuf {
    vault.index_directory().join("objects")
}

/// The index objects that this machine has not yet taken into its index.
pub(crate) struct Unseen {
    file: PathBuf,
    seen: BTreeSet<String>,
    names: Vec<String>,
}

impl Unseen {
    /// Lists them.
    pub(crate) fn list(vault: &Vault) -> Result<Self, StoreError> {
        let file = seen_file(vault);
        let seen: BTreeSet<String> = match std::fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            // Whatever is wrong with this file: without it all objects are read again.
            Err(_) => BTreeSet::new(),
        };
        let listed: Vec<String> = vault.backend().list(INDEX)?.into_iter().map(|object| object.name).collect();
        let names = listed.iter().filter(|name| !seen.contains(*name)).cloned().collect();
        let still_there: HashSet<&String> = listed.iter().collect();
        let seen = seen.iter().filter(|name| still_there.contains(name)).cloned().collect();
        Ok(Self { file, seen, names })
    }

    /// Reads them, many at a time, and hands each that can be read to `take`. A damaged one is passed over: its packs tell the same.
    pub(crate) fn read(&self, vault: &Vault, mut take: impl FnMut(IndexedPack) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for names in self.names.chunks(vault.backend().parallel_requests().max(1)) {
            let read = |name: &String| object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Index, name, IndexObject::decode);
            let objects: Vec<_> = names.par_iter().map(read).collect();
            for object in objects.into_iter().flatten() {
                object.packs.into_iter().try_for_each(&mut take)?;
            }
        }
        Ok(())
    }

    /// Takes note that they were taken in.
    pub(crate) fn done(mut self) -> Result<(), StoreError> {
        if self.names.is_empty() {
            return Ok(());
        }
        self.seen.extend(self.names);
        let text = self.seen.iter().fold(String::new(), |text, name| text + name + "\n");
        replace_durable(&self.file, text.as_bytes()).map_err(|source| StoreError::Index { path: self.file, source })
    }
}
