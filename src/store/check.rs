//! Checks that need no map: a pack's checksums without a key, and the list of damaged slots.

use jiff::Timestamp;

use super::{StoreError, Vault, lists, object};
use crate::backend::{Backend, Created};
use crate::format::control::Damaged;
use crate::format::envelope::ObjectKind;
use crate::format::names::{DAMAGED, ObjectName};
use crate::format::pack::{TAIL_READ_BYTES, Toc, Trailer};
use crate::units::{Address, PackId};

/// How often a number is drawn again when others list damage at the same time.
const ATTEMPTS: u32 = 64;

/// Reads a whole pack and compares every checksum. `read` is told of the bytes as they are done.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Frame`] for the first damage; [`StoreError::Backend`].
pub fn check_pack(backend: &dyn Backend, pack: PackId, size_bytes: u64, read: &dyn Fn(u64)) -> Result<(), StoreError> {
    let name = ObjectName::Pack(pack).to_string();
    let damaged = |source| StoreError::Damaged { name: name.clone(), source };
    let tail = backend.get_range(&name, size_bytes.saturating_sub(TAIL_READ_BYTES)..size_bytes)?;
    let trailer = Trailer::decode(&tail, size_bytes).map_err(damaged)?;
    if trailer.pack != pack {
        let reason = format!("it is another pack, {}", trailer.pack);
        return Err(StoreError::Frame { pack, frame: 0, reason });
    }
    let fingerprints = backend.get_range(&name, trailer.fingerprints_range())?;
    trailer.fingerprints.check("section of fingerprints", &fingerprints).map_err(damaged)?;
    let toc = backend.get_range(&name, trailer.toc_range())?;
    let (toc, _) = Toc::decode(&trailer, &toc).map_err(damaged)?;
    for (number, frame) in (0_u32..).zip(&toc.frames) {
        let bytes = backend.get_range(&name, frame.offset_bytes..frame.offset_bytes + u64::from(frame.stored_bytes))?;
        let crc32 = crc32fast::hash(&bytes);
        if crc32 != frame.crc32 {
            let reason = format!("its checksum is {crc32:08x}, expected {:08x}", frame.crc32);
            return Err(StoreError::Frame { pack, frame: number, reason });
        }
        read(u64::from(frame.stored_bytes));
    }
    Ok(())
}

/// Lists slots (ascending runs that do not touch) as damaged, durably, but for those that are listed already. Says how many are new.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn list_damaged(vault: &Vault, slots: &[(Address, u32)], time: Timestamp) -> Result<u64, StoreError> {
    let listed = lists::damaged_slots(vault)?;
    let known = |&(address, count): &(Address, u32)| {
        let ranges = listed.get(&address.pack).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().any(|&(first, held)| first <= address.slot && address.slot.saturating_add(count) <= first.saturating_add(held))
    };
    let slots: Vec<(Address, u32)> = slots.iter().filter(|slots| !known(slots)).copied().collect();
    if slots.is_empty() {
        return Ok(0);
    }
    let count = slots.iter().map(|&(_, count)| u64::from(count)).sum();
    let mut list = Damaged { number: 0, slots, time };
    for _ in 0..ATTEMPTS {
        let newest = vault.backend().list(DAMAGED)?.into_iter().rev().find_map(|object| match ObjectName::parse(&object.name) {
            Some(ObjectName::Damaged(number)) => Some(number),
            _ => None,
        });
        list.number = newest.unwrap_or(0) + 1;
        let name = ObjectName::Damaged(list.number).to_string();
        let body = list.encode()?;
        if object::create(vault.backend().as_ref(), vault.keys(), ObjectKind::Damaged, &name, &body)? == Created::New {
            return Ok(count);
        }
    }
    Err(StoreError::Taken { name: ObjectName::Damaged(list.number).to_string() })
}
