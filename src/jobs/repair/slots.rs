//! The lists of damaged slots after a repair: what is whole again must not keep backups from referring to it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::catalogue::points::Points;
use crate::crypt::Fingerprinter;
use crate::format::vault::DedupScope;
use crate::jobs::JobError;
use crate::store::{PackReader, Vault, clear_damaged};
use crate::units::{Address, BLOCK_BYTES};

/// Decompressed frames kept at hand: listed slots lie together.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// Takes those slots off the lists whose blocks have the fingerprints that their packs name; says how many.
pub(super) fn clear(vault: &Vault) -> Result<u64, JobError> {
    let packs = PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES);
    let fingerprinters = match vault.header().dedup_scope {
        DedupScope::Vault => vec![vault.keys().fingerprinter(None)],
        DedupScope::Machine => {
            let listing = Points::new(vault.backend().as_ref(), vault.keys()).list()?;
            listing.machines().into_iter().map(|machine| vault.keys().fingerprinter(Some(machine))).collect()
        }
    };
    let is_whole = |address: Address| is_whole(&packs, &fingerprinters, address).unwrap_or(false);
    Ok(clear_damaged(vault, &is_whole, Timestamp::now())?)
}

/// Whether a block can be read and has its fingerprint: `None` where it cannot be read.
fn is_whole(packs: &PackReader, fingerprinters: &[Fingerprinter], address: Address) -> Option<bool> {
    let piece = packs.locate(address, 1).ok()?.pop()?;
    let first_slot = packs.info(piece.place.pack).ok()?.frame_slots(piece.place.frame).start;
    let expected = *packs.fingerprints(piece.place.pack).ok()?.get((first_slot + piece.first) as usize)?;
    let frame = packs.frame(piece.place).ok()?;
    let start = piece.first as usize * BLOCK_BYTES;
    let block = frame.get(start..start + BLOCK_BYTES)?;
    Some(fingerprinters.iter().any(|fingerprinter| fingerprinter.fingerprint(block) == expected))
}
