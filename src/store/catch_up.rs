//! Brings the index up to what the vault has: reads the fingerprints of packs that no segment knows.
//!
//! After a crash, after another host's backup, after the index was thrown away: the index mends itself at the next backup.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::index::Index;
use super::pack::PackReader;
use super::{StoreError, Vault, lists, shared_index};
use crate::format::pack::PackKind;
use crate::format::segment::SegmentEntry;
use crate::units::{Fingerprint, PackId};

/// Entries gathered before a segment is written: 24 MiB of them.
const SEGMENT_ENTRIES: usize = 1 << 20;
/// Packs read at a time.
const BATCH_PACKS: usize = 32;

/// Indexes the packs of `packs` that the index does not know. Gives those that are there and cannot be read: their blocks are stored
/// again.
pub(crate) fn index_missing(vault: &Vault, reader: &Arc<PackReader>, packs: &HashSet<PackId>) -> Result<HashSet<PackId>, StoreError> {
    let covered = Index::open(vault.index_directory(), |_| true)?.covered();
    let mut missing: BTreeSet<PackId> = packs.iter().filter(|pack| !covered.contains(pack)).copied().collect();
    if missing.is_empty() {
        return Ok(HashSet::new());
    }
    let mut gathered = Gathered { directory: vault.index_directory(), packs: Vec::new(), entries: Vec::new() };
    if shared_index::is_needed(vault) {
        let unseen = shared_index::Unseen::list(vault)?;
        unseen.read(vault, |pack| match missing.remove(&pack.trailer.pack) {
            true => gathered.add(pack.trailer.pack, pack.fingerprints),
            false => Ok(()),
        })?;
        gathered.write()?;
        unseen.done()?;
    }
    let missing: Vec<PackId> = missing.into_iter().collect();
    let mut unreadable = HashSet::new();
    for batch in missing.chunks(BATCH_PACKS) {
        let read: Vec<_> = batch.par_iter().map(|&pack| (pack, fingerprints(reader, pack))).collect();
        for (pack, fingerprints) in read {
            match fingerprints {
                Ok(fingerprints) => gathered.add(pack, fingerprints)?,
                // It was removed since it was listed.
                Err(error) if error.is_missing() => {}
                Err(_) => unreadable.extend([pack]),
            }
        }
    }
    gathered.write()?;
    Ok(unreadable)
}

/// Throws the index away and makes it anew from all packs that are there.
///
/// # Errors
/// [`StoreError`] of the vault's place or of the index's directory.
pub fn rebuild_index(vault: &Vault, reader: &Arc<PackReader>) -> Result<Index, StoreError> {
    Index::open(vault.index_directory(), |_| true)?.clear()?;
    shared_index::forget(vault)?;
    index_missing(vault, reader, &lists::usable_packs(vault)?)?;
    Index::open(vault.index_directory(), |_| true)
}

/// Entries on their way into a segment.
struct Gathered<'a> {
    directory: &'a Path,
    packs: Vec<PackId>,
    entries: Vec<SegmentEntry>,
}

impl Gathered<'_> {
    fn add(&mut self, pack: PackId, fingerprints: Vec<Fingerprint>) -> Result<(), StoreError> {
        let number = self.packs.len() as u32;
        self.packs.push(pack);
        let entry = |(slot, fingerprint)| SegmentEntry { fingerprint, pack: number, slot };
        self.entries.extend((0_u32..).zip(fingerprints).map(entry));
        if self.entries.len() >= SEGMENT_ENTRIES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        Index::add(self.directory, &std::mem::take(&mut self.packs), std::mem::take(&mut self.entries))
    }
}

fn fingerprints(reader: &PackReader, pack: PackId) -> Result<Vec<Fingerprint>, StoreError> {
    match reader.info(pack)?.toc.kind {
        PackKind::Map => Ok(Vec::new()),
        PackKind::Data => reader.fingerprints(pack).map(|fingerprints| fingerprints.to_vec()),
    }
}
