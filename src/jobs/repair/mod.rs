//! A vault that lost objects gets them back from its mirror: a plan, then its execution. Blocks also come back from live disks (`disk.rs`).
//!
//! Only what the vault's points need comes back: what was deleted and collected stays away, though a mirror may still have it. Every object
//! is checked with the vault's key before it is put: checksums, seal, and that it is what its name says. An object that is damaged is
//! removed only when its replacement is whole and all its bytes have been read, so that whatever fails leaves no less than was there.
//! The order of writes is that of backups: packs, moved lists, manifests, states, verdicts. Why this is safe beside readers, writers and
//! collections: `docs/decisions/0013-second-place.md`.

mod disk;
mod execute;
mod objects;
mod packs;
mod plan;
mod points;
mod slots;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::backup::host;
use super::{ErrorKind, JobError};
use crate::backend::Backend;
use crate::format::names::{KEYS, PACKS, POINTS};
use crate::monitor::Monitor;
use crate::store::{self, Lease, StoreError, Vault};
use plan::Plan;

pub use disk::{LiveDisk, repair_from_disks};
pub use plan::{Repair, Why};

/// What was done, or in a dry run would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Objects that came back, in the order in which they were put.
    pub repaired: Vec<Repair>,
    /// What stays damaged: the object, and what is wrong on both sides.
    pub lost: Vec<(String, String)>,
    /// Blocks that had been listed as damaged and are whole.
    pub cleared_blocks: u64,
}

impl RepairReport {
    /// Adds what another repair did after this one: what it brought back is lost no more.
    pub fn and_then(&mut self, after: Self) {
        let repaired = |name: &String| after.repaired.iter().any(|repair| repair.name.to_string() == *name);
        self.lost.retain(|(name, _)| !repaired(name) && !after.lost.iter().any(|(other, _)| other == name));
        self.lost.extend(after.lost);
        self.lost.sort();
        self.repaired.extend(after.repaired);
        self.cleared_blocks += after.cleared_blocks;
    }
}

/// Repairs the vault in a place from a mirror of it, which was opened with the vault's key. `cache` is where this machine keeps what can be
/// made anew.
///
/// # Errors
/// [`JobError::AnotherVault`], [`JobError::NotThisVault`]; [`JobError`] of either place: what was repaired until then stays repaired. What
/// cannot be repaired is no error: it is reported.
pub fn repair(
    mirror: &Arc<Vault>,
    to: &Arc<dyn Backend>,
    cache: &Path,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<RepairReport, JobError> {
    check_target(mirror, to.as_ref())?;
    let target = Arc::new(mirror.elsewhere(Arc::clone(to), cache));
    let lease = if dry_run {
        None
    } else {
        let holder = format!("repair by process {} on {}", std::process::id(), host());
        Some(Lease::take(&target, &[], &holder)?)
    };
    let mut plan = Plan::default();
    objects::plan_header_and_keys(mirror, &target, &mut plan)?;
    objects::plan_settings(mirror, &target, &mut plan)?;
    monitor.step("comparing recovery points");
    let roots = points::plan(mirror, &target, &mut plan, monitor)?;
    monitor.step("checking packs");
    packs::plan(mirror, &target, &roots, &mut plan, monitor)?;
    plan.sort();
    let mut report = RepairReport { lost: plan.lost, ..RepairReport::default() };
    if dry_run {
        report.repaired = plan.repairs;
        return Ok(report);
    }
    monitor.step("repairing");
    execute::run(mirror, &target, plan.repairs, &mut report, monitor)?;
    report.cleared_blocks = slots::clear(&target)?;
    drop(lease);
    report.lost.sort();
    Ok(report)
}

/// Sees that a place holds this vault, though its header may be gone.
fn check_target(mirror: &Vault, to: &dyn Backend) -> Result<(), JobError> {
    let expected = mirror.header().vault;
    let other = |found| JobError::AnotherVault { location: to.location(), expected, found };
    let error = match store::read_header(to) {
        Ok(header) if header.vault == expected => return Ok(()),
        Ok(header) => return Err(other(header.vault)),
        Err(error @ StoreError::NoVault { .. }) => JobError::from(error),
        Err(error) => JobError::from(error),
    };
    if error.kind() != ErrorKind::Damage && !matches!(error, JobError::Store(StoreError::NoVault { .. })) {
        return Err(error);
    }
    for listed in to.list(KEYS)? {
        if let Ok(slot) = crate::format::vault::KeySlot::decode(&to.get(&listed.name)?) {
            return if slot.vault == expected { Ok(()) } else { Err(other(slot.vault)) };
        }
    }
    // Ids are random: one in common is proof enough that nothing else was here.
    for prefix in [POINTS, PACKS] {
        let there = to.list(prefix)?;
        if mirror.backend().list(prefix)?.iter().any(|object| there.iter().any(|other| other.name == object.name)) {
            return Ok(());
        }
    }
    Err(JobError::NotThisVault { location: to.location() })
}
