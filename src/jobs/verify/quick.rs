//! The quick check: every object's checksums, without a key. It finds damage, not forgery, and cannot say which points it touches.

use std::sync::Mutex;
use std::sync::PoisonError;

use rayon::prelude::*;

use crate::backend::{Backend, Listed};
use crate::format::names::{ObjectName, PACKS};
use crate::jobs::JobError;
use crate::monitor::{Counter, Monitor};
use crate::store::check_pack;

/// What a quick check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuickReport {
    /// Packs that were read.
    pub packs: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// What is damaged: the object and what is wrong with it.
    pub damaged: Vec<(String, String)>,
}

/// Reads every pack and compares its checksums.
///
/// # Errors
/// [`JobError`] where the vault cannot be listed, or somebody asked for the end. Damage is no error: it is reported.
pub fn verify_quick(backend: &dyn Backend, monitor: &dyn Monitor) -> Result<QuickReport, JobError> {
    let packs = backend.list(PACKS)?;
    let planned = packs.iter().map(|pack| pack.size_bytes).sum();
    monitor.count(Counter::PlannedBytes, planned);
    let damaged = Mutex::new(Vec::new());
    let check = |listed: &Listed| {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let found = match ObjectName::parse(&listed.name) {
            Some(ObjectName::Pack(pack)) => check_pack(backend, pack, listed.size_bytes, &|bytes| monitor.count(Counter::DoneBytes, bytes)),
            _ => return Ok(()),
        };
        // A collection deletes packs beside this: one that is gone was needed by nothing, or is told of by a check that reads maps.
        if let Err(error) = found
            && !error.is_missing()
        {
            damaged.lock().unwrap_or_else(PoisonError::into_inner).push((listed.name.clone(), error.to_string()));
        }
        Ok(())
    };
    packs.par_iter().try_for_each(check)?;
    let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    damaged.sort();
    Ok(QuickReport { packs: packs.len() as u64, read_bytes: planned, damaged })
}
