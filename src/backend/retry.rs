//! Trying again after failures that may pass: how often and how long, and what that means for creating objects.
//!
//! Creating is the one operation that cannot simply be repeated. When its answer is lost the object may be there, and the next
//! attempt finds the name taken - by the first one. So after such a failure a taken name is looked at: with the same bytes it
//! counts as created. Two writers that put the same bytes under the same name cannot be told apart in that case; whoever needs
//! to know that it was first puts something of its own (an id drawn at random) into the object.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Backend, BackendError, Created, Leftover, Listed, ObjectWriter};

/// How long to go on. The wait before attempt n is drawn at random between half and all of `first_wait * 2^(n-1)`, at most
/// `longest_wait`, so that clients which failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Before the second attempt.
    pub first_wait: Duration,
    /// Between two attempts, at most.
    pub longest_wait: Duration,
    /// No attempt starts later than this after the first one started.
    pub give_up_after: Duration,
    /// Attempts in all, at most; at least one is made.
    pub most_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
            give_up_after: Duration::from_secs(120),
            most_attempts: 30,
        }
    }
}

impl RetryPolicy {
    /// Calls `work` until it succeeds, fails with something other than [`BackendError::Io`], or the policy's bounds are reached.
    ///
    /// # Errors
    /// The last failure; it says how often was tried.
    pub fn run<T>(&self, mut work: impl FnMut() -> Result<T, BackendError>) -> Result<T, BackendError> {
        let start = Instant::now();
        let mut attempts = 1;
        loop {
            let error = match work() {
                Err(error @ BackendError::Io { .. }) => error,
                other => return other,
            };
            let wait = self.wait(attempts);
            if attempts >= self.most_attempts || start.elapsed().saturating_add(wait) > self.give_up_after {
                return Err(gave_up(error, attempts, start.elapsed()));
            }
            std::thread::sleep(wait);
            attempts += 1;
        }
    }

    /// Creates an object by `put`; after a failure that left its outcome unclear, `is_same` tells whether the object that has
    /// the name has the same bytes.
    ///
    /// # Errors
    /// As [`RetryPolicy::run`].
    pub(super) fn create(
        &self,
        mut put: impl FnMut() -> Result<Created, BackendError>,
        mut is_same: impl FnMut() -> Result<bool, BackendError>,
    ) -> Result<Created, BackendError> {
        let mut unclear = false;
        self.run(|| match put() {
            Ok(Created::Exists) if unclear && is_same()? => Ok(Created::New),
            Err(error @ BackendError::Io { .. }) => {
                unclear = true;
                Err(error)
            }
            other => other,
        })
    }

    /// The wait after failed attempt number `attempts`.
    fn wait(&self, attempts: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX));
        let longest = doubled.min(self.longest_wait);
        let mut random = [0_u8; 4];
        // Without random numbers the full wait is as good; it only meets more company.
        let share = getrandom::fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
        longest / 2 + (longest / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

fn gave_up(error: BackendError, attempts: u32, elapsed: Duration) -> BackendError {
    match error {
        BackendError::Io { location, name, doing, source } if attempts > 1 => {
            let text = format!("{source} (given up after {attempts} attempts in {} s)", elapsed.as_secs());
            BackendError::Io { location, name, doing, source: io::Error::new(source.kind(), text) }
        }
        other => other,
    }
}

/// Tries again what fails on another store, by a [`RetryPolicy`].
///
/// An object under way is held in memory until it is finished, since only whole objects can be tried again.
pub struct Retry {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
}

impl Retry {
    /// Tries again what fails on `inner`.
    pub fn new(inner: Arc<dyn Backend>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }
}

fn create(inner: &dyn Backend, policy: &RetryPolicy, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
    let is_same = || match inner.get(name) {
        Ok(found) => Ok(found == bytes),
        Err(BackendError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    policy.create(|| inner.create(name, bytes), is_same)
}

struct RetryWriter {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
    name: String,
    bytes: Vec<u8>,
}

impl ObjectWriter for RetryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        create(self.inner.as_ref(), &self.policy, &self.name, &self.bytes)
    }
}

impl Backend for Retry {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        create(self.inner.as_ref(), &self.policy, name, bytes)
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        super::name::check_name(&self.inner.location(), name)?;
        let (inner, policy) = (Arc::clone(&self.inner), self.policy);
        Ok(Box::new(RetryWriter { inner, policy, name: name.to_owned(), bytes: Vec::new() }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        self.policy.run(|| self.inner.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        self.policy.run(|| self.inner.get_range(name, range.clone()))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.policy.run(|| self.inner.size_bytes(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        self.policy.run(|| self.inner.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        self.policy.run(|| self.inner.delete(name))
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        self.policy.run(|| self.inner.sync_names(prefix))
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
    use crate::backend::{Fault, Faulty, MemoryBackend, Operation};

    const AT_ONCE: RetryPolicy =
        RetryPolicy { first_wait: Duration::ZERO, longest_wait: Duration::ZERO, give_up_after: Duration::MAX, most_attempts: 4 };

    /// A store in memory whose first `failures` operations fail.
    fn store(failures: u64, fault: Fault) -> (MemoryBackend, Arc<Faulty>, Retry) {
        let memory = MemoryBackend::new();
        let faulty = Arc::new(Faulty::new(Arc::new(memory.clone()), move |number, _, _| (number <= failures).then_some(fault)));
        let retry = Retry::new(Arc::<Faulty>::clone(&faulty), AT_ONCE);
        (memory, faulty, retry)
    }

    #[test]
    fn what_passes_is_tried_again() {
        let (memory, faulty, retry) = store(3, Fault::Io);
        assert_eq!(retry.create("a", b"1").unwrap(), Created::New);
        assert_eq!((faulty.operations(), memory.get("a").unwrap()), (4, b"1".to_vec()));
    }

    #[test]
    fn it_gives_up_and_says_so() {
        let (memory, faulty, retry) = store(u64::MAX, Fault::Io);
        let error = retry.list("").unwrap_err();
        assert!(error.to_string().contains("given up after 4 attempts"), "{error}");
        assert_eq!(faulty.operations(), 4);
        assert!(matches!(retry.create("a", b"1"), Err(BackendError::Io { .. })));
        assert_eq!(memory.size_bytes("a").unwrap(), None);
    }

    #[test]
    fn what_does_not_pass_is_not_tried_again() {
        for fault in [Fault::Full, Fault::Denied, Fault::Missing] {
            let (_, faulty, retry) = store(u64::MAX, fault);
            retry.get("a").unwrap_err();
            assert_eq!(faulty.operations(), 1, "{fault:?}");
        }
    }

    #[test]
    fn an_object_whose_answer_was_lost_counts_as_new() {
        let (memory, faulty, retry) = store(1, Fault::Unclear);
        assert_eq!(retry.create("a", b"1").unwrap(), Created::New);
        assert_eq!((faulty.operations(), memory.get("a").unwrap()), (3, b"1".to_vec()));
        let (memory, _, retry) = store(1, Fault::Unclear);
        let mut writer = retry.writer("b").unwrap();
        writer.write(b"1").unwrap();
        writer.write(b"2").unwrap();
        assert_eq!(writer.finish().unwrap(), Created::New);
        assert_eq!(memory.get("b").unwrap(), b"12");
    }

    #[test]
    fn an_object_of_somebody_else_does_not() {
        let (memory, _, retry) = store(1, Fault::Io);
        assert_eq!(memory.create("a", b"other").unwrap(), Created::New);
        assert_eq!(retry.create("a", b"1").unwrap(), Created::Exists);
        // Nor one with the same bytes where nothing was unclear.
        assert_eq!(retry.create("a", b"other").unwrap(), Created::Exists);
        assert_eq!(memory.get("a").unwrap(), b"other");
    }

    #[test]
    fn a_look_that_fails_is_tried_again_too() {
        let memory = MemoryBackend::new();
        let judge = |number, operation, _: &str| match (number, operation) {
            (1, _) => Some(Fault::Unclear),
            (3, Operation::Get) => Some(Fault::Io),
            _ => None,
        };
        let retry = Retry::new(Arc::new(Faulty::new(Arc::new(memory), judge)), AT_ONCE);
        assert_eq!(retry.create("a", b"1").unwrap(), Created::New);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let policy = RetryPolicy::default();
        for (attempts, at_most) in [(1, 100), (2, 200), (5, 1600), (8, 10_000), (33, 10_000), (u32::MAX, 10_000)] {
            let wait = policy.wait(attempts);
            assert!(wait >= Duration::from_millis(at_most / 2) && wait <= Duration::from_millis(at_most), "{attempts}: {wait:?}");
        }
    }
}
