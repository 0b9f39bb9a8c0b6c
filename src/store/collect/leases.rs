//! Leases as a collector sees them: who holds one, and how one is taken away from a holder that seems dead.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::format::control;
use crate::format::envelope::ObjectKind;
use crate::format::names::{LEASES, ObjectName};
use crate::store::{StoreError, Vault, object};
use crate::units::LeaseId;

/// How often a lease is looked for that is renewed just when it is read.
const ATTEMPTS: u32 = 64;

/// A lease that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// What its highest number says.
    pub lease: control::Lease,
}

/// All leases. A renewal creates the next number before it removes the last, and the listing of a store may show neither when both happen
/// while it runs: so it is listed twice, and who was seen once is looked for until he is found or gone.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn held_leases(vault: &Vault) -> Result<Vec<HeldLease>, StoreError> {
    let mut found: BTreeSet<LeaseId> = BTreeSet::new();
    for _ in 0..2 {
        found.extend(listed(vault, LEASES)?.into_iter().map(|(lease, _)| lease));
    }
    let mut held = Vec::new();
    for lease in found {
        held.extend(read(vault, lease)?.map(|lease| HeldLease { lease }));
    }
    Ok(held)
}

/// Leases and numbers below a prefix.
fn listed(vault: &Vault, prefix: &str) -> Result<Vec<(LeaseId, u64)>, StoreError> {
    let lease =
        |name: &str| if let Some(ObjectName::Lease(lease, number)) = ObjectName::parse(name) { Some((lease, number)) } else { None };
    Ok(vault.backend().list(prefix)?.iter().filter_map(|object| lease(&object.name)).collect())
}

/// The highest number of a lease; `None` where it is gone.
fn read(vault: &Vault, lease: LeaseId) -> Result<Option<control::Lease>, StoreError> {
    let prefix = format!("{LEASES}{lease}/");
    let mut misses = 0;
    for _ in 0..ATTEMPTS {
        let Some(&(_, number)) = listed(vault, &prefix)?.last() else {
            misses += 1;
            if misses > 1 {
                return Ok(None);
            }
            continue;
        };
        let name = ObjectName::Lease(lease, number).to_string();
        match object::get(vault.backend().as_ref(), vault.keys(), ObjectKind::Lease, &name, control::Lease::decode) {
            Err(error) if error.is_missing() => {}
            Err(error) if error.is_damage() => return Ok(Some(unreadable(lease, number))),
            other => return other.map(Some),
        }
    }
    Err(StoreError::Restless { name: prefix })
}

/// A lease that is there and cannot be read: nobody knows what it keeps, so it is older than every collection, and waited for.
fn unreadable(lease: LeaseId, number: u64) -> control::Lease {
    let holder = format!("holder of the damaged lease {lease}");
    control::Lease { lease, number, collection: 0, base_points: Vec::new(), holder, time: Timestamp::UNIX_EPOCH }
}

/// Takes a lease away that has not moved from `number` for so long that its holder must be dead: its numbers up to that are deleted. False
/// where a higher one is there afterwards: then the holder lives.
///
/// # Errors
/// [`StoreError`] of the vault's place.
pub fn take_lease_away(vault: &Vault, lease: LeaseId, number: u64) -> Result<bool, StoreError> {
    let prefix = format!("{LEASES}{lease}/");
    for (_, found) in listed(vault, &prefix)? {
        if found > number {
            return Ok(false);
        }
        vault.backend().delete(&ObjectName::Lease(lease, found).to_string())?;
    }
    // A holder that renews puts the next number, and then misses the one that was deleted.
    Ok(listed(vault, &prefix)?.is_empty())
}
