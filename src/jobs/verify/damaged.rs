//! The list of damaged slots: what no later backup may refer to.

use jiff::Timestamp;

use super::Slots;
use crate::jobs::JobError;
use crate::store::{Vault, list_damaged, merge_slots};

/// Lists slots that are not listed yet; says how many.
pub(super) fn list(vault: &Vault, slots: &[Slots]) -> Result<u64, JobError> {
    Ok(list_damaged(vault, &merge_slots(slots.to_vec()), Timestamp::now())?)
}
