//! What a collection has to know of packs: which are there, and what their tables of contents say.

use std::collections::HashMap;

use crate::format::marked::PackTable;
use crate::store::{PackReader, StoreError, Vault, lists};
use crate::units::PackId;

/// All packs that are there, with their sizes in bytes.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn packs_present(vault: &Vault) -> Result<HashMap<PackId, u64>, StoreError> {
    Ok(lists::all_packs(vault)?.into_iter().collect())
}

/// What a pack's table of contents says.
///
/// # Errors
/// [`StoreError`] where it cannot be read.
pub fn read_table(reader: &PackReader, pack: PackId) -> Result<PackTable, StoreError> {
    let info = reader.info(pack)?;
    Ok(PackTable { pack, kind: info.toc.kind, slots: info.toc.slot_count, births: info.toc.births.clone() })
}
