//! Where blocks are that collection has moved: a reader that misses a pack looks here and goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backend::{Backend, BackendError};
use crate::crypt::VaultKeys;
use crate::format::control::Moved;
use crate::format::envelope::ObjectKind;
use crate::format::names::MOVED;
use crate::store::cache::Cache;
use crate::store::{StoreError, Vault, object};
use crate::units::{Address, PackId};

/// Lists of moved ranges kept at hand.
const CACHE_BYTES: usize = 4 << 20;

/// The newest `moved/<pack>/<n>` objects, loaded as they are needed.
pub(crate) struct MovedPacks {
    backend: Arc<dyn Backend>,
    keys: Arc<VaultKeys>,
    lists: Cache<PackId, Arc<Moved>>,
}

impl MovedPacks {
    pub(crate) fn new(backend: Arc<dyn Backend>, keys: Arc<VaultKeys>) -> Self {
        Self { backend, keys, lists: Cache::new(CACHE_BYTES) }
    }

    /// The pack and slot where a birth address is now, and how many of `count` consecutive slots follow it there; `None` where
    /// nobody has moved it.
    pub(crate) fn find(&self, address: Address, count: u32) -> Result<Option<(PackId, u32, u32)>, StoreError> {
        let weigh = |moved: &Arc<Moved>| 64 + moved.ranges.len() * 32;
        let moved = match self.lists.get(&address.pack, || self.load(address.pack).map(Arc::new), weigh) {
            Ok(moved) => moved,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let after = moved.ranges.partition_point(|range| range.birth_slot <= address.slot);
        let Some(range) = after.checked_sub(1).and_then(|before| moved.ranges.get(before)) else { return Ok(None) };
        let into = address.slot - range.birth_slot;
        let held = range.count.saturating_sub(into).min(count);
        Ok((held > 0).then(|| (range.pack, range.slot + into, held)))
    }

    /// Drops what is known of a pack's ranges: they were moved again.
    pub(crate) fn forget(&self, pack: PackId) {
        self.lists.forget(&pack);
    }

    fn load(&self, pack: PackId) -> Result<Moved, StoreError> {
        let missing = || BackendError::NotFound { location: self.backend.location(), name: format!("{MOVED}{pack}/") };
        let newest = self.backend.list(&format!("{MOVED}{pack}/"))?.pop().ok_or_else(missing)?;
        object::get(self.backend.as_ref(), &self.keys, ObjectKind::Moved, &newest.name, Moved::decode)
    }
}

/// The packs that hold what was moved out of a pack, by its newest list; `None` where nobody has moved it.
///
/// # Errors
/// [`StoreError`] where the list cannot be read.
pub fn moved_to(vault: &Vault, pack: PackId) -> Result<Option<BTreeSet<PackId>>, StoreError> {
    match MovedPacks::new(Arc::clone(vault.backend()), Arc::clone(vault.keys())).load(pack) {
        Ok(moved) => Ok(Some(moved.ranges.iter().map(|range| range.pack).collect())),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
