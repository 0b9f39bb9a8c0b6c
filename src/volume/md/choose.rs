//! Which members make up the array: by the newest of their superblocks.

use std::cmp::Reverse;

use super::array::Slot;
use super::{Level, Member, Role};
use crate::volume::{AnyLayer, VolumeError, VolumeResult};

/// What takes part.
pub(super) struct Chosen {
    /// The newest superblock, by which the array is what it is.
    pub(super) reference: Member,
    /// By role.
    pub(super) slots: Vec<Option<Slot>>,
    /// By role: bytes of the array's data on members that are in step; `None` for members that are missing or being rebuilt.
    pub(super) whole: Vec<Option<u64>>,
    /// What was left out.
    pub(super) notes: Vec<String>,
}

/// Chooses one member for each role.
pub(super) fn choose(members: Vec<(Member, AnyLayer)>) -> VolumeResult<Chosen> {
    let newest = members.iter().max_by_key(|(member, _)| (member.events, matches!(member.role, Role::Active(_))));
    let Some(reference) = newest.map(|(member, _)| member.clone()) else {
        let missing = "all of its devices are".to_owned();
        return Err(VolumeError::Incomplete { object: "a RAID array".to_owned(), missing });
    };
    let mut notes = Vec::new();
    let mut candidates: Vec<(usize, Member, AnyLayer)> = Vec::new();
    for (member, layer) in members {
        match place(&member, &reference) {
            Ok(role) => candidates.push((role, member, layer)),
            Err(Some(note)) => notes.push(note),
            Err(None) => {}
        }
    }
    candidates.sort_by_key(|(role, member, _)| (*role, Reverse(member.trusted_bytes), member.replacement, Reverse(member.events)));
    let devices = usize::from(reference.devices);
    let mut slots: Vec<Option<Slot>> = (0..devices).map(|_| None).collect();
    let mut whole = vec![None; devices];
    for (role, member, layer) in candidates {
        let (Some(slot), Some(whole)) = (slots.get_mut(role), whole.get_mut(role)) else { continue };
        if slot.is_some() {
            if !member.replacement && member.trusted_bytes == u64::MAX {
                notes.push(format!("more than one device has role {role}; one of them is read"));
            }
            continue;
        }
        let needed = needed_bytes(&member, &reference);
        let there = layer.size_bytes().saturating_sub(member.data.offset()).min(member.data.length());
        if member.trusted_bytes >= needed {
            *whole = Some(needed);
            if there < needed {
                notes.push(format!("the device of role {role} ends after {there} of {needed} bytes"));
            }
        } else {
            notes.push(format!("the device of role {role} is being rebuilt, and holds {} of {needed} bytes", member.trusted_bytes));
        }
        let trusted_bytes = member.trusted_bytes.min(there);
        *slot = Some(Slot { layer, data_offset_bytes: member.data.offset(), trusted_bytes, bad: member.bad });
    }
    Ok(Chosen { reference, slots, whole, notes })
}

/// Bytes of a member that the array uses.
fn needed_bytes(member: &Member, reference: &Member) -> u64 {
    match reference.level {
        Level::Linear | Level::Raid0 => member.data.length(),
        _ => reference.used_bytes,
    }
}

/// The role that a member has in the array, or why it has none, where that is worth a note.
fn place(member: &Member, reference: &Member) -> Result<usize, Option<String>> {
    let Role::Active(role) = member.role else { return Err(None) };
    let fits = |member: &Member| (member.array, member.level, member.devices, member.layout, member.chunk_bytes, member.used_bytes);
    if member.events.saturating_add(1) < reference.events {
        let (events, newest) = (member.events, reference.events);
        return Err(Some(format!("the device of role {role} is stale (event count {events}, the array's is {newest}) and left out")));
    }
    if role >= reference.devices || fits(member) != fits(reference) {
        return Err(Some(format!("a device says to have role {role}, but does not fit the array, and is left out")));
    }
    // Superblocks are written one after the other: a difference of one alone does not tell that a member was put out.
    let by_newest = usize::try_from(member.number).ok().and_then(|number| reference.table.get(number)).copied();
    if member.events < reference.events && by_newest != Some(member.role) {
        return Err(Some(format!("the device of role {role} was put out of the array, and is left out")));
    }
    Ok(usize::from(role))
}
