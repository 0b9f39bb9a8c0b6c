//! The objects by which collections are seen: records, lists of condemned packs, lists of moved ranges.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::backend::Created;
use crate::format::control::{Collection, Condemned, Moved};
use crate::format::envelope::ObjectKind;
use crate::format::names::{CONDEMNED, MOVED, ObjectName};
use crate::store::{StoreError, Vault, lease, object};
use crate::units::{LeaseId, PackId};

/// How often a list is looked for that is superseded just when it is read.
const ATTEMPTS: u32 = 64;

/// The newest collection: its number, and its record; none where it cannot be read, as if its collector were gone.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn newest_collection(vault: &Vault) -> Result<(u64, Option<Collection>), StoreError> {
    let number = lease::newest_number(vault)?;
    if number == 0 {
        return Ok((0, None));
    }
    let name = ObjectName::Collection(number).to_string();
    match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Collection, &name, Collection::decode) {
        Ok(collection) => Ok((number, Some(collection))),
        Err(error) if error.is_damage() => Ok((number, None)),
        Err(error) => Err(error),
    }
}

/// Creates the record of a collection, durable when this returns; false where somebody else was first.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn claim_collection(vault: &Vault, number: u64, lease: LeaseId, time: Timestamp) -> Result<bool, StoreError> {
    let name = ObjectName::Collection(number).to_string();
    let body = Collection { number, lease, time }.encode();
    Ok(object::create(vault.backend().as_ref(), vault.keys(), ObjectKind::Collection, &name, &body)? == Created::New)
}

/// The numbers of all lists of condemned packs, ascending.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn condemned_lists(vault: &Vault) -> Result<Vec<u64>, StoreError> {
    let number = |name: &str| if let Some(ObjectName::Condemned(number)) = ObjectName::parse(name) { Some(number) } else { None };
    Ok(vault.backend().list(CONDEMNED)?.iter().filter_map(|object| number(&object.name)).collect())
}

/// All packs that lists name as condemned.
///
/// # Errors
/// [`StoreError`] of the vault's place, or of a list that cannot be read.
pub fn pending_condemned(vault: &Vault) -> Result<BTreeSet<PackId>, StoreError> {
    let mut packs = BTreeSet::new();
    for number in condemned_lists(vault)? {
        let name = ObjectName::Condemned(number).to_string();
        match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Condemned, &name, Condemned::decode) {
            Ok(list) => packs.extend(list.packs),
            // Another collector, stopped and gone on, has just done what it was for.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packs)
}

/// Writes the list of condemned packs of a collection, durable when this returns.
///
/// # Errors
/// [`StoreError`] of the vault's place; [`StoreError::Overtaken`] where there is one already.
pub fn condemn(vault: &Vault, collection: u64, packs: &BTreeSet<PackId>) -> Result<(), StoreError> {
    let name = ObjectName::Condemned(collection).to_string();
    let body = Condemned { collection, packs: packs.iter().copied().collect() }.encode()?;
    match object::create(vault.backend().as_ref(), vault.keys(), ObjectKind::Condemned, &name, &body)? {
        Created::New => Ok(()),
        Created::Exists => Err(StoreError::Overtaken { collection }),
    }
}

/// The highest number of each pack's lists of moved ranges.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn moved_lists(vault: &Vault) -> Result<BTreeMap<PackId, u64>, StoreError> {
    let name = |name: &str| if let Some(ObjectName::Moved(pack, number)) = ObjectName::parse(name) { Some((pack, number)) } else { None };
    // Ascending by name, so the highest number of each comes last.
    Ok(vault.backend().list(MOVED)?.iter().filter_map(|object| name(&object.name)).collect())
}

/// The newest list of moved ranges of a pack; none where there is none.
///
/// # Errors
/// [`StoreError`] of the vault's place, or of a list that cannot be read.
pub fn read_moved(vault: &Vault, pack: PackId) -> Result<Option<Moved>, StoreError> {
    let prefix = format!("{MOVED}{pack}/");
    for _ in 0..ATTEMPTS {
        let Some(newest) = vault.backend().list(&prefix)?.pop() else { return Ok(None) };
        match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Moved, &newest.name, Moved::decode) {
            Err(error) if error.is_missing() => {}
            other => return other.map(Some),
        }
    }
    Err(StoreError::Restless { name: prefix })
}

/// Writes a list of moved ranges, durable when this returns; false where its number is taken.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn put_moved(vault: &Vault, moved: &Moved) -> Result<bool, StoreError> {
    let name = ObjectName::Moved(moved.pack, moved.number).to_string();
    Ok(object::create(vault.backend().as_ref(), vault.keys(), ObjectKind::Moved, &name, &moved.encode()?)? == Created::New)
}

/// Deletes an object.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn remove_object(vault: &Vault, name: ObjectName) -> Result<(), StoreError> {
    Ok(vault.backend().delete(&name.to_string())?)
}
