//! Brings the index up to what the vault has: reads the fingerprints of packs that no segment knows.
//!
//! After a crash, after another host's backup, after the index was thrown away: the index mends itself at the next backup.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;

use super::index::Index;
use super::pack::PackReader;
use super::{StoreError, Vault};
use crate::format::pack::PackKind;
use crate::format::segment::SegmentEntry;
use crate::units::PackId;

/// Entries gathered before a segment is written: 24 MiB of them.
const SEGMENT_ENTRIES: usize = 1 << 20;
/// Packs read at a time.
const BATCH_PACKS: usize = 32;

/// Indexes the packs of `packs` that the index does not know. A pack that cannot be read is left out: its blocks are stored again.
pub(crate) fn index_missing(vault: &Vault, reader: &Arc<PackReader>, packs: &HashSet<PackId>) -> Result<(), StoreError> {
    let covered = Index::open(vault.index_directory(), |_| true)?.covered();
    let mut missing: Vec<PackId> = packs.iter().filter(|pack| !covered.contains(pack)).copied().collect();
    missing.sort_unstable();
    let (mut known, mut entries) = (Vec::new(), Vec::new());
    for batch in missing.chunks(BATCH_PACKS) {
        let read: Vec<_> = batch.par_iter().map(|&pack| (pack, fingerprints(reader, pack))).collect();
        for (pack, fingerprints) in read {
            let Ok(fingerprints) = fingerprints else { continue };
            let number = known.len() as u32;
            known.push(pack);
            let entry = |(slot, fingerprint)| SegmentEntry { fingerprint, pack: number, slot };
            entries.extend((0_u32..).zip(fingerprints).map(entry));
        }
        if entries.len() >= SEGMENT_ENTRIES {
            Index::add(vault.index_directory(), &std::mem::take(&mut known), std::mem::take(&mut entries))?;
        }
    }
    Index::add(vault.index_directory(), &known, entries)
}

fn fingerprints(reader: &PackReader, pack: PackId) -> Result<Vec<crate::units::Fingerprint>, StoreError> {
    match reader.info(pack)?.toc.kind {
        PackKind::Map => Ok(Vec::new()),
        PackKind::Data => reader.fingerprints(pack).map(|fingerprints| fingerprints.to_vec()),
    }
}
