//! What deleted packs leave behind: addresses in the index, numbered objects that later ones have superseded.

use std::collections::{HashMap, HashSet};

use crate::format::control::Damaged;
use crate::format::envelope::ObjectKind;
use crate::format::index::IndexObject;
use crate::format::names::{COLLECTIONS, DAMAGED, INDEX, MOVED, ObjectName, STATES};
use crate::store::index::Index;
use crate::store::{StoreError, Vault, object, shared_index};
use crate::units::PackId;

/// Deletes numbered objects that later numbers have superseded: states, moved lists, collection records. Says how many.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn remove_superseded(vault: &Vault) -> Result<u64, StoreError> {
    let mut removed = 0;
    for prefix in [STATES, MOVED, COLLECTIONS] {
        // Ascending by name: each is superseded by the next of the same object.
        let listed = vault.backend().list(prefix)?;
        for pair in listed.windows(2) {
            let [one, next] = pair else { continue };
            if is_superseded(&one.name, &next.name) {
                vault.backend().delete(&one.name)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn is_superseded(name: &str, next: &str) -> bool {
    match (ObjectName::parse(name), ObjectName::parse(next)) {
        // What is below a tombstone is needed until the manifest is gone, and says nothing afterwards that it does not.
        (Some(ObjectName::State(one, _)), Some(ObjectName::State(other, number))) => one == other && number != u64::MAX,
        (Some(ObjectName::Moved(one, _)), Some(ObjectName::Moved(other, _))) => one == other,
        (Some(ObjectName::Collection(_)), Some(ObjectName::Collection(_))) => true,
        _ => false,
    }
}

/// Takes deleted packs out of the index: of this machine's segments, of the objects that share it, and of lists of damaged slots. `present`
/// are the packs that are there, `named` those whose identities something still needs.
///
/// # Errors
/// [`StoreError`] of the vault's place or of the index's directory.
pub fn drop_from_index(vault: &Vault, present: &HashSet<PackId>, named: &HashSet<PackId>) -> Result<(), StoreError> {
    Index::open(vault.index_directory(), |_| true)?.drop_packs(|pack| present.contains(pack))?;
    if shared_index::is_needed(vault) {
        rewrite_shared(vault, present)?;
    }
    for listed in vault.backend().list(DAMAGED)? {
        match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Damaged, &listed.name, Damaged::decode) {
            Ok(list) if list.slots.iter().all(|(slot, _)| !present.contains(&slot.pack) && !named.contains(&slot.pack)) => {
                vault.backend().delete(&listed.name)?;
            }
            Err(error) if !error.is_damage() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Index objects without packs that are gone: what is left of one goes into a new one before it is deleted.
fn rewrite_shared(vault: &Vault, present: &HashSet<PackId>) -> Result<(), StoreError> {
    let mut told: HashMap<PackId, ()> = HashMap::new();
    for listed in vault.backend().list(INDEX)? {
        let read = object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Index, &listed.name, IndexObject::decode);
        let mut packs = match read {
            Ok(object) => object.packs,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        let before = packs.len();
        packs.retain(|pack| present.contains(&pack.trailer.pack) && told.insert(pack.trailer.pack, ()).is_none());
        if packs.len() < before {
            shared_index::leave(vault, packs)?;
            vault.backend().delete(&listed.name)?;
        }
    }
    Ok(())
}
