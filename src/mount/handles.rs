//! What is open: files, and directories with the entries that they had when they were opened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Open things by handle.
pub(super) struct Handles<T: ?Sized> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T: ?Sized> Default for Handles<T> {
    fn default() -> Self {
        Self { open: RwLock::default(), next: AtomicU64::new(1) }
    }
}

impl<T: ?Sized> Handles<T> {
    /// A handle for something.
    pub(super) fn open(&self, thing: Arc<T>) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(handle, thing);
        handle
    }

    /// What a handle stands for.
    pub(super) fn get(&self, handle: u64) -> Option<Arc<T>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&handle).map(Arc::clone)
    }

    /// Ends a handle.
    pub(super) fn close(&self, handle: u64) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }
}
