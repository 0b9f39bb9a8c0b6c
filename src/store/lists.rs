//! The lists that a writer reads under its lease: packs, condemned packs, damaged slots.

use std::collections::HashSet;

use super::known::DamagedSlots;
use super::{StoreError, Vault, object};
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
pub(crate) fn usable_packs(vault: &Vault) -> Result<HashSet<PackId>, StoreError> {
    let mut packs: HashSet<PackId> = all_packs(vault)?.into_iter().map(|(pack, _)| pack).collect();
    for list in vault.backend().list(CONDEMNED)? {
        let condemned = object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Condemned, &list.name, Condemned::decode)?;
        for pack in &condemned.packs {
            packs.remove(pack);
        }
    }
    Ok(packs)
}

/// Slots that verification found damaged.
pub(crate) fn damaged_slots(vault: &Vault) -> Result<DamagedSlots, StoreError> {
    let mut slots = DamagedSlots::new();
    for list in vault.backend().list(DAMAGED)? {
        let damaged = object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Damaged, &list.name, Damaged::decode)?;
        for (first, count) in damaged.slots {
            slots.entry(first.pack).or_default().push((first.slot, count));
        }
    }
    Ok(slots)
}
