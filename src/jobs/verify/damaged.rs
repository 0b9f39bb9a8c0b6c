//! The list of damaged slots: what no later backup may refer to.

use jiff::Timestamp;

use super::Slots;
use crate::jobs::JobError;
use crate::store::{Vault, list_damaged};

/// Lists slots that are not listed yet; says how many.
pub(super) fn list(vault: &Vault, slots: &[Slots]) -> Result<u64, JobError> {
    let mut slots: Vec<Slots> = slots.to_vec();
    slots.sort_unstable();
    slots.dedup();
    Ok(list_damaged(vault, &merged(slots), Timestamp::now())?)
}

/// Slots that touch or overlap become one run.
fn merged(sorted: Vec<Slots>) -> Vec<Slots> {
    let mut merged: Vec<Slots> = Vec::new();
    for (address, count) in sorted {
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
