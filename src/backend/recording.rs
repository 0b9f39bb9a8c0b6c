//! A store that remembers what was asked of it: tests count the I/O, not the time, and see the order of writes.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Backend, BackendError, Created, Leftover, Listed, ObjectWriter, Operation};

/// One operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked.
    pub operation: Operation,
    /// The object, or the prefix of a list.
    pub name: String,
    /// Bytes written or read; for a list, the objects found; else 0.
    pub amount: u64,
    /// When it began, in steps of the recording's own clock, which moves with every begin and end. One operation came after
    /// another, rather than beside it, if its `begun` is greater than the other's `ended`.
    pub begun: u64,
    /// When it ended, on the same clock.
    pub ended: u64,
    /// Whether it gave an error.
    pub failed: bool,
}

/// Records what passes through to another store.
pub struct Recording {
    inner: Arc<dyn Backend>,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log(Mutex<(u64, Vec<Recorded>)>);

impl Log {
    fn tick(&self) -> u64 {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.0 += 1;
        log.0
    }

    fn record<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce() -> Result<T, BackendError>,
        amount: impl FnOnce(&T) -> u64,
    ) -> Result<T, BackendError> {
        let begun = self.tick();
        let result = work();
        let (amount, failed) = result.as_ref().map_or((0, true), |value| (amount(value), false));
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.0 += 1;
        let ended = log.0;
        log.1.push(Recorded { operation, name: name.to_owned(), amount, begun, ended, failed });
        result
    }
}

impl Recording {
    /// Records what is asked of `inner` through this.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, log: Arc::default() }
    }

    /// All operations that have ended, in the order in which they did.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// How many of these operations have ended.
    pub fn count(&self, operation: Operation) -> usize {
        let log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.1.iter().filter(|recorded| recorded.operation == operation).count()
    }

    /// The sum of the amounts of these operations.
    pub fn amount(&self, operation: Operation) -> u64 {
        let log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.1.iter().filter(|recorded| recorded.operation == operation).map(|recorded| recorded.amount).sum()
    }

    /// Forgets what was recorded; the clock goes on.
    pub fn forget(&self) {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }
}

struct RecordingWriter {
    inner: Box<dyn ObjectWriter>,
    log: Arc<Log>,
    name: String,
}

impl ObjectWriter for RecordingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        let inner = &mut self.inner;
        self.log.record(Operation::Write, &self.name, || inner.write(bytes), |()| bytes.len() as u64)
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        let Self { inner, log, name } = *self;
        log.record(Operation::Finish, &name, || inner.finish(), |_| 0)
    }
}

impl Backend for Recording {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        self.log.record(Operation::Create, name, || self.inner.create(name, bytes), |_| bytes.len() as u64)
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        let inner = self.log.record(Operation::Writer, name, || self.inner.writer(name), |_| 0)?;
        Ok(Box::new(RecordingWriter { inner, log: Arc::clone(&self.log), name: name.to_owned() }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        self.log.record(Operation::Get, name, || self.inner.get(name), |bytes| bytes.len() as u64)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        self.log.record(Operation::GetRange, name, || self.inner.get_range(name, range), |bytes| bytes.len() as u64)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.log.record(Operation::Size, name, || self.inner.size_bytes(name), |_| 0)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        self.log.record(Operation::List, prefix, || self.inner.list(prefix), |found| found.len() as u64)
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        self.log.record(Operation::Delete, name, || self.inner.delete(name), |()| 0)
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        self.log.record(Operation::SyncNames, prefix, || self.inner.sync_names(prefix), |()| 0)
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
    fn counts_amounts_and_order() {
        let store = Recording::new(Arc::new(MemoryBackend::new()));
        assert_eq!(store.create("a", b"12345").unwrap(), Created::New);
        let mut writer = store.writer("b").unwrap();
        writer.write(b"123").unwrap();
        writer.write(b"45").unwrap();
        assert_eq!(writer.finish().unwrap(), Created::New);
        assert_eq!(store.get_range("b", 1..4).unwrap(), b"234");
        assert!(store.get("c").is_err());
        assert_eq!(store.list("").unwrap().len(), 2);
        let operations: Vec<_> = store.recorded().iter().map(|one| (one.operation, one.name.clone(), one.amount, one.failed)).collect();
        let expected = [
            (Operation::Create, "a", 5, false),
            (Operation::Writer, "b", 0, false),
            (Operation::Write, "b", 3, false),
            (Operation::Write, "b", 2, false),
            (Operation::Finish, "b", 0, false),
            (Operation::GetRange, "b", 3, false),
            (Operation::Get, "c", 0, true),
            (Operation::List, "", 2, false),
        ];
        assert_eq!(operations, expected.map(|(operation, name, amount, failed)| (operation, name.to_owned(), amount, failed)));
        let recorded = store.recorded();
        assert!(recorded.windows(2).all(|pair| pair[0].begun < pair[0].ended && pair[0].ended < pair[1].begun));
        assert_eq!((store.count(Operation::Write), store.amount(Operation::Write)), (2, 5));
        store.forget();
        assert!(store.recorded().is_empty());
    }
}
