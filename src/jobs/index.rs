//! The index, made anew from nothing. Never needed by hand: what is missing or damaged the next backup makes anew by itself.

use std::sync::Arc;

use super::JobError;
use crate::monitor::Monitor;
use crate::store::{PackReader, Vault, rebuild_index};

/// What the index knows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexReport {
    /// Packs, metadata packs included.
    pub packs: u64,
    /// Blocks.
    pub blocks: u64,
}

/// Throws the index of this machine away and makes it anew from the packs.
///
/// # Errors
/// [`JobError`] of the vault's place or of the index's directory.
pub fn rebuild(vault: &Arc<Vault>, monitor: &dyn Monitor) -> Result<IndexReport, JobError> {
    monitor.step("rebuilding the index");
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), 0));
    let index = rebuild_index(vault, &packs)?;
    Ok(IndexReport { packs: index.covered().len() as u64, blocks: index.len() })
}
