//! A store that fails where a test wants it to: the Nth operation, operations on chosen objects, or all from a moment on.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Backend, BackendError, Created, Leftover, Listed, ObjectWriter, Operation};

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The medium or connection fails; nothing was done.
    Io,
    /// The operation is done, but the answer is lost: the caller sees a failed connection.
    Unclear,
    /// The store is full; nothing was done.
    Full,
    /// Access is refused; nothing was done.
    Denied,
    /// The object is not found; nothing was done.
    Missing,
}

/// Decides on each operation by its number (from 1, counted over all threads), kind and name.
type Judge = dyn Fn(u64, Operation, &str) -> Option<Fault> + Send + Sync;

/// Passes operations on to another store, except those that are to fail.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Arc<Faults>,
}

struct Faults {
    location: String,
    judge: Box<Judge>,
    operations: AtomicU64,
}

impl Faulty {
    /// Lets `judge` decide on each operation: its number (from 1, counted over all threads and kinds), kind, and object or prefix.
    pub fn new(inner: Arc<dyn Backend>, judge: impl Fn(u64, Operation, &str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let faults = Faults { location: inner.location(), judge: Box::new(judge), operations: AtomicU64::new(0) };
        Self { inner, faults: Arc::new(faults) }
    }

    /// Lets the operation of number `nth` (from 1) fail, and no other.
    pub fn nth(inner: Arc<dyn Backend>, nth: u64, fault: Fault) -> Self {
        Self::new(inner, move |number, _, _| (number == nth).then_some(fault))
    }

    /// Lets all operations from number `nth` (from 1) on fail: the store is lost.
    pub fn from_nth(inner: Arc<dyn Backend>, nth: u64, fault: Fault) -> Self {
        Self::new(inner, move |number, _, _| (number >= nth).then_some(fault))
    }

    /// Operations that were asked for until now, failed ones included.
    pub fn operations(&self) -> u64 {
        self.faults.operations.load(Ordering::SeqCst)
    }
}

impl Faults {
    fn pass<T>(&self, operation: Operation, name: &str, work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = (self.judge)(number, operation, name);
        if matches!(fault, None | Some(Fault::Unclear)) {
            let result = work();
            if fault.is_none() || result.is_err() {
                return result;
            }
        }
        let (location, name) = (self.location.clone(), name.to_owned());
        Err(match fault {
            Some(Fault::Full) => BackendError::Full { location, name },
            Some(Fault::Denied) => BackendError::Denied { location, name, reason: "a test wants it so".to_owned() },
            Some(Fault::Missing) => BackendError::NotFound { location, name },
            Some(Fault::Io | Fault::Unclear) | None => {
                let source = io::Error::new(io::ErrorKind::ConnectionReset, "a test wants it so");
                BackendError::Io { location, name, doing: "a faulty operation on", source }
            }
        })
    }
}

struct FaultyWriter {
    inner: Box<dyn ObjectWriter>,
    faults: Arc<Faults>,
    name: String,
}

impl ObjectWriter for FaultyWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        let inner = &mut self.inner;
        self.faults.pass(Operation::Write, &self.name, || inner.write(bytes))
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        let Self { inner, faults, name } = *self;
        faults.pass(Operation::Finish, &name, || inner.finish())
    }
}

impl Backend for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        self.faults.pass(Operation::Create, name, || self.inner.create(name, bytes))
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        let inner = self.faults.pass(Operation::Writer, name, || self.inner.writer(name))?;
        Ok(Box::new(FaultyWriter { inner, faults: Arc::clone(&self.faults), name: name.to_owned() }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        self.faults.pass(Operation::Get, name, || self.inner.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        self.faults.pass(Operation::GetRange, name, || self.inner.get_range(name, range))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.faults.pass(Operation::Size, name, || self.inner.size_bytes(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        self.faults.pass(Operation::List, prefix, || self.inner.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        self.faults.pass(Operation::Delete, name, || self.inner.delete(name))
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        self.faults.pass(Operation::SyncNames, prefix, || self.inner.sync_names(prefix))
    }

    fn leftovers(&self) -> Result<Vec<Leftover>, BackendError> {
        self.inner.leftovers()
    }

    fn remove_leftover(&self, leftover: &Leftover) -> Result<(), BackendError> {
        self.inner.remove_leftover(leftover)
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.inner.local_path(name)
    }

    fn parallel_requests(&self) -> usize {
        self.inner.parallel_requests()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryBackend;

    #[test]
    fn the_nth_operation_fails_and_only_it() {
        let memory = MemoryBackend::new();
        let store = Faulty::nth(Arc::new(memory.clone()), 2, Fault::Full);
        assert_eq!(store.create("a", b"1").unwrap(), Created::New);
        assert!(matches!(store.create("b", b"2"), Err(BackendError::Full { name, .. }) if name == "b"));
        assert_eq!(memory.size_bytes("b").unwrap(), None);
        assert_eq!(store.create("b", b"2").unwrap(), Created::New);
        assert_eq!(store.operations(), 3);
    }

    #[test]
    fn an_unclear_failure_leaves_the_work_done() {
        let memory = MemoryBackend::new();
        let store = Faulty::nth(Arc::new(memory.clone()), 1, Fault::Unclear);
        assert!(matches!(store.create("a", b"1"), Err(BackendError::Io { .. })));
        assert_eq!(memory.get("a").unwrap(), b"1");
    }

    #[test]
    fn a_lost_store_stays_lost_also_for_objects_under_way() {
        let store = Faulty::from_nth(Arc::new(MemoryBackend::new()), 3, Fault::Io);
        let mut writer = store.writer("a").unwrap();
        writer.write(b"1").unwrap();
        assert!(matches!(writer.finish(), Err(BackendError::Io { .. })));
        assert!(matches!(store.list(""), Err(BackendError::Io { .. })));
    }
}
