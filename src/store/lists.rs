//! The lists that a writer reads under its lease: packs, condemned packs, damaged slots.

use std::collections::HashSet;

use super::known::DamagedSlots;
use super::{StoreError, Vault, object};
use crate::format::FormatError;
use crate::format::control::{Condemned, Damaged};
use crate::format::envelope::ObjectKind;
use crate::format::names::{CONDEMNED, DAMAGED, ObjectName, PACKS};
use crate::units::PackId;

/// All packs of the vault by name and size, condemned or not.
pub(crate) fn all_packs(vault: &Vault) -> Result<Vec<(PackId, u64)>, StoreError> {
    let listed = vault.backend().list(PACKS)?;
    let pack = |name: &str| if let Some(ObjectName::Pack(pack)) = ObjectName::parse(name) { Some(pack) } else { None };
    Ok(listed.iter().filter_map(|object| Some((pack(&object.name)?, object.size_bytes))).collect())
}

/// The packs that new points may refer to: those that are there and that no collection is about to delete.
///
/// Condemned packs are listed first: their list stays until they are deleted, so a pack that was still there a moment ago is then
/// either condemned or gone. The other way round it could be seen just before its deletion, and its list no more.
pub(crate) fn usable_packs(vault: &Vault) -> Result<HashSet<PackId>, StoreError> {
    let condemned = each_list(vault, CONDEMNED, ObjectKind::Condemned, Condemned::decode)?;
    let condemned: HashSet<PackId> = condemned.into_iter().flat_map(|list| list.packs).collect();
    Ok(all_packs(vault)?.into_iter().map(|(pack, _)| pack).filter(|pack| !condemned.contains(pack)).collect())
}

/// The lists below a prefix. One that is removed meanwhile is left out: what it was for is done.
fn each_list<T>(
    vault: &Vault,
    prefix: &str,
    kind: ObjectKind,
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
) -> Result<Vec<T>, StoreError> {
    let mut lists = Vec::new();
    for listed in vault.backend().list(prefix)? {
        match object::get(vault.backend().as_ref(), vault.keys(), kind, &listed.name, &decode) {
            Ok(list) => lists.push(list),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lists)
}

/// Slots that verification found damaged.
pub(crate) fn damaged_slots(vault: &Vault) -> Result<DamagedSlots, StoreError> {
    let mut slots = DamagedSlots::new();
    for damaged in each_list(vault, DAMAGED, ObjectKind::Damaged, Damaged::decode)? {
        for (first, count) in damaged.slots {
            slots.entry(first.pack).or_default().push((first.slot, count));
        }
    }
    Ok(slots)
}
