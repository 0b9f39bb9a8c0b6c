//! Checks that need no map: a pack's checksums without a key, and the list of damaged slots.

use jiff::Timestamp;

use super::{StoreError, Vault, lists, object};
use crate::backend::{Backend, Created};
use crate::format::FormatError;
use crate::format::control::Damaged;
use crate::format::envelope::{Envelope, ObjectKind};
use crate::format::names::{DAMAGED, ObjectName};
use crate::format::pack::{FrameEntry, TAIL_READ_BYTES, TRAILER_BYTES, Toc, Trailer};
use crate::format::vault::{KeySlot, VaultHeader};
use crate::units::{Address, PackId};

/// Bytes of frames that are read by one request: a distant store answers each one late.
const PIECE_BYTES: u64 = 8 << 20;
/// How often a number is drawn again when others list damage at the same time.
const ATTEMPTS: u32 = 64;

/// Reads a whole pack and compares every checksum. `read` is told of the bytes as they are done.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Frame`] for the first damage; [`StoreError::Backend`].
pub fn check_pack(backend: &dyn Backend, pack: PackId, size_bytes: u64, read: &dyn Fn(u64)) -> Result<(), StoreError> {
    stream_pack(backend, pack, size_bytes, &mut |bytes| {
        read(bytes.len() as u64);
        Ok(())
    })
}

/// Reads a whole pack from its first byte to its last and compares every checksum; `take` is given the bytes in parts, each one after it was
/// checked. Needs no key.
///
/// # Errors
/// As [`check_pack`]; what `take` says.
pub fn stream_pack(
    backend: &dyn Backend,
    pack: PackId,
    size_bytes: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let name = ObjectName::Pack(pack).to_string();
    let damaged = |source| StoreError::Damaged { name: name.clone(), source };
    let tail = backend.get_range(&name, size_bytes.saturating_sub(TAIL_READ_BYTES)..size_bytes)?;
    let trailer = Trailer::decode(&tail, size_bytes).map_err(damaged)?;
    if trailer.pack != pack {
        let reason = format!("it is another pack, {}", trailer.pack);
        return Err(StoreError::Frame { pack, frame: 0, reason });
    }
    let toc_bytes = backend.get_range(&name, trailer.toc_range())?;
    let (toc, _) = Toc::decode(&trailer, &toc_bytes).map_err(damaged)?;
    let mut bytes = Vec::new();
    let mut number = 0;
    for frames in pieces(&toc.frames) {
        let start = frames.first().map_or(0, |frame| frame.offset_bytes);
        let end = frames.last().map_or(start, |frame| frame.offset_bytes + u64::from(frame.stored_bytes));
        backend.get_range_into(&name, start..end, &mut bytes)?;
        let mut rest = bytes.as_slice();
        for frame in frames {
            let (stored, after) = rest.split_at_checked(frame.stored_bytes as usize).unwrap_or((rest, &[]));
            let crc32 = crc32fast::hash(stored);
            if crc32 != frame.crc32 {
                let reason = format!("its checksum is {crc32:08x}, expected {:08x}", frame.crc32);
                return Err(StoreError::Frame { pack, frame: number, reason });
            }
            (rest, number) = (after, number + 1);
        }
        take(&bytes)?;
    }
    let fingerprints = backend.get_range(&name, trailer.fingerprints_range())?;
    trailer.fingerprints.check("section of fingerprints", &fingerprints).map_err(damaged)?;
    take(&fingerprints)?;
    take(&toc_bytes)?;
    take(tail.get(tail.len().saturating_sub(TRAILER_BYTES as usize)..).unwrap_or_default())
}

/// Neighbouring frames that are read by one request.
fn pieces(frames: &[FrameEntry]) -> impl Iterator<Item = &[FrameEntry]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let start = rest.first()?.offset_bytes;
        let fits = |frame: &&FrameEntry| frame.offset_bytes + u64::from(frame.stored_bytes) - start <= PIECE_BYTES;
        let (piece, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = after;
        Some(piece)
    })
}

/// Checks what can be seen of a small object without a key: its checksum, and that it is what its name says. One of a later version is
/// whole.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn check_object(name: ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
    let checked = match name {
        ObjectName::Vault => VaultHeader::decode(bytes).map(drop),
        ObjectName::Key(_) => KeySlot::decode(bytes).map(drop),
        ObjectName::Pack(_) => Ok(()),
        ObjectName::Point(_) => Envelope::decode(ObjectKind::Manifest, bytes).map(drop),
        ObjectName::Verdict(_) => Envelope::decode(ObjectKind::Verdict, bytes).map(drop),
        ObjectName::State(..) => Envelope::decode(ObjectKind::State, bytes).map(drop),
        ObjectName::Lease(..) => Envelope::decode(ObjectKind::Lease, bytes).map(drop),
        ObjectName::Collection(_) => Envelope::decode(ObjectKind::Collection, bytes).map(drop),
        ObjectName::Condemned(_) => Envelope::decode(ObjectKind::Condemned, bytes).map(drop),
        ObjectName::Moved(..) => Envelope::decode(ObjectKind::Moved, bytes).map(drop),
        ObjectName::Damaged(_) => Envelope::decode(ObjectKind::Damaged, bytes).map(drop),
        ObjectName::Settings(_) => Envelope::decode(ObjectKind::Settings, bytes).map(drop),
        ObjectName::Index(_) => Envelope::decode(ObjectKind::Index, bytes).map(drop),
    };
    match checked {
        Ok(()) | Err(FormatError::Unsupported { .. }) => Ok(()),
        Err(source) => Err(StoreError::Damaged { name: name.to_string(), source }),
    }
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
    put_list(vault, slots, time)?;
    Ok(count)
}

/// Puts a list of damaged slots under the next number.
fn put_list(vault: &Vault, slots: Vec<(Address, u32)>, time: Timestamp) -> Result<(), StoreError> {
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
            return Ok(());
        }
    }
    Err(StoreError::Taken { name: ObjectName::Damaged(list.number).to_string() })
}

/// Takes slots off the lists of damaged ones: a new list has what is left, then the old ones are removed, so that a crash between the two
/// forgets nothing. A list that cannot be read itself is removed as well: verification makes it anew. Says how many slots were whole.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn clear_damaged(vault: &Vault, is_whole: &dyn Fn(Address) -> bool, time: Timestamp) -> Result<u64, StoreError> {
    let (mut slots, mut old, mut unreadable) = (Vec::new(), Vec::new(), false);
    for listed in vault.backend().list(DAMAGED)? {
        match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Damaged, &listed.name, Damaged::decode) {
            Ok(list) => slots.extend(list.slots),
            Err(error) if error.is_missing() => continue,
            Err(error) if error.is_damage() => unreadable = true,
            Err(error) => return Err(error),
        }
        old.push(listed.name);
    }
    let (mut cleared, mut left) = (0, Vec::new());
    for (first, count) in merge_slots(slots) {
        for slot in first.slot..first.slot.saturating_add(count) {
            let address = Address { slot, ..first };
            if is_whole(address) { cleared += 1 } else { left.push((address, 1)) }
        }
    }
    if cleared == 0 && !unreadable {
        return Ok(0);
    }
    if !left.is_empty() {
        put_list(vault, merge_slots(left), time)?;
    }
    old.iter().try_for_each(|name| vault.backend().delete(name))?;
    Ok(cleared)
}

/// Runs of slots in ascending order; those that touch or overlap become one.
pub fn merge_slots(mut slots: Vec<(Address, u32)>) -> Vec<(Address, u32)> {
    slots.sort_unstable();
    let mut merged: Vec<(Address, u32)> = Vec::new();
    for (address, count) in slots {
        match merged.last_mut() {
            Some((first, held)) if first.pack == address.pack && address.slot <= first.slot.saturating_add(*held) => {
                let end = address.slot.saturating_add(count).max(first.slot.saturating_add(*held));
                *held = end - first.slot;
            }
            _ => merged.push((address, count)),
        }
    }
    merged
}
