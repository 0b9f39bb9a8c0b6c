//! A store that takes and gives no more than so many bytes a second.
//!
//! A token bucket for each direction: what passes is charged, and whoever charges waits until the bytes before and his own would have
//! passed at that rate. A bucket saves nothing up, so that no rush follows a pause. Only contents of objects count, not names and
//! headers. Bytes to send are charged before they are sent, received ones afterwards, when it is known how many they were.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Backend, BackendError, Created, Leftover, Listed, ObjectWriter};

/// Objects up to this size are charged but never wait: a lease must not expire because its renewal stands behind packs.
const NEVER_WAITS_BYTES: usize = 16 * 1024;

/// Bytes per second in each direction; no limit where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Into the store.
    pub upload: Option<NonZeroU64>,
    /// Out of the store.
    pub download: Option<NonZeroU64>,
}

/// Where a throttle has its time from, so that tests need not wait.
pub trait Clock: Send + Sync {
    /// The time since some moment that stays the same.
    fn now(&self) -> Duration;

    /// Returns when so much time has passed, or earlier where nobody wants to wait any longer.
    fn sleep(&self, duration: Duration);
}

/// How long it takes at most until a sleeper notices that he need not wait any longer.
const NAP: Duration = Duration::from_millis(50);

/// The system's monotonic clock, for a job that may be cancelled: then no rate is worth keeping to, and what is in flight passes at once.
#[derive(Debug)]
struct JobClock {
    start: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Clock for JobClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        let until = self.now().saturating_add(duration);
        while !self.cancelled.load(Ordering::Relaxed) {
            match until.saturating_sub(self.now()) {
                Duration::ZERO => return,
                left => std::thread::sleep(left.min(NAP)),
            }
        }
    }
}

/// One direction.
struct Bucket {
    rate: Option<NonZeroU64>,
    clock: Arc<dyn Clock>,
    /// When all that was charged so far has passed.
    clear_at: Mutex<Duration>,
}

impl Bucket {
    fn new(rate: Option<NonZeroU64>, clock: &Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { rate, clock: Arc::clone(clock), clear_at: Mutex::default() })
    }

    /// Charges bytes; how long to wait for them.
    fn charge(&self, bytes: usize) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let now = self.clock.now();
        let mut clear_at = self.clear_at.lock().unwrap_or_else(PoisonError::into_inner);
        *clear_at = (*clear_at).max(now).saturating_add(cost);
        clear_at.saturating_sub(now)
    }

    /// Charges bytes and waits for them. Others charge meanwhile, and wait for these too.
    fn pass(&self, bytes: usize) {
        let wait = self.charge(bytes);
        if !wait.is_zero() {
            self.clock.sleep(wait);
        }
    }
}

/// Limits how fast bytes go to another store and come from it.
pub struct Throttle {
    inner: Arc<dyn Backend>,
    upload: Arc<Bucket>,
    download: Arc<Bucket>,
}

impl Throttle {
    /// Limits `inner` to these rates until `cancelled` is set: whoever waits then waits no longer.
    pub fn new(inner: Arc<dyn Backend>, rates: Rates, cancelled: Arc<AtomicBool>) -> Self {
        Self::with_clock(inner, rates, Arc::new(JobClock { start: Instant::now(), cancelled }))
    }

    /// The same with a clock of the caller's.
    pub fn with_clock(inner: Arc<dyn Backend>, rates: Rates, clock: Arc<dyn Clock>) -> Self {
        Self { inner, upload: Bucket::new(rates.upload, &clock), download: Bucket::new(rates.download, &clock) }
    }
}

struct ThrottledWriter {
    inner: Box<dyn ObjectWriter>,
    upload: Arc<Bucket>,
}

impl ObjectWriter for ThrottledWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.upload.pass(bytes.len());
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        self.inner.finish()
    }
}

impl Backend for Throttle {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        match bytes.len() {
            0..=NEVER_WAITS_BYTES => drop(self.upload.charge(bytes.len())),
            many => self.upload.pass(many),
        }
        self.inner.create(name, bytes)
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        Ok(Box::new(ThrottledWriter { inner: self.inner.writer(name)?, upload: Arc::clone(&self.upload) }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        let bytes = self.inner.get(name)?;
        self.download.pass(bytes.len());
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        let bytes = self.inner.get_range(name, range)?;
        self.download.pass(bytes.len());
        Ok(bytes)
    }

    fn get_range_into(&self, name: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.get_range_into(name, range, buffer)?;
        self.download.pass(buffer.len());
        Ok(())
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.inner.size_bytes(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        self.inner.delete(name)
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        self.inner.sync_names(prefix)
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
    use proptest::prelude::*;

    use super::*;
    use crate::backend::MemoryBackend;

    /// A clock that only sleeping moves.
    #[derive(Default)]
    struct Hands(Mutex<Duration>);

    impl Clock for Hands {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    /// A store that takes 100,000 and gives 50,000 bytes a second, and its clock.
    fn store() -> (Throttle, Arc<Hands>) {
        let clock = Arc::new(Hands::default());
        let rates = Rates { upload: NonZeroU64::new(100_000), download: NonZeroU64::new(50_000) };
        (Throttle::with_clock(Arc::new(MemoryBackend::new()), rates, clock.clone()), clock)
    }

    fn milliseconds(clock: &Hands) -> u128 {
        clock.now().as_millis()
    }

    #[test]
    fn every_byte_of_every_way_is_charged() {
        let (store, clock) = store();
        assert_eq!(store.create("one", &[1; 50_000]).unwrap(), Created::New);
        assert_eq!(milliseconds(&clock), 500);
        let mut writer = store.writer("two").unwrap();
        writer.write(&[2; 10_000]).unwrap();
        assert_eq!(milliseconds(&clock), 600);
        writer.write(&[2; 10_000]).unwrap();
        assert_eq!(writer.finish().unwrap(), Created::New);
        assert_eq!(milliseconds(&clock), 700);
        store.get("one").unwrap();
        assert_eq!(milliseconds(&clock), 1700);
        store.get_range("two", 5_000..10_000).unwrap();
        assert_eq!(milliseconds(&clock), 1800);
        store.get_range_into("two", 0..5_000, &mut Vec::new()).unwrap();
        assert_eq!(milliseconds(&clock), 1900);
        assert_eq!(store.list("").unwrap().len(), 2);
        store.delete("one").unwrap();
        assert!(store.get("one").is_err());
        assert_eq!(milliseconds(&clock), 1900, "only contents count");
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let (store, clock) = store();
        clock.sleep(Duration::from_secs(3600));
        assert_eq!(store.create("one", &[1; 100_000]).unwrap(), Created::New);
        assert_eq!(milliseconds(&clock), 3_601_000);
    }

    #[test]
    fn small_objects_are_charged_but_do_not_wait() {
        let (store, clock) = store();
        for number in 0..10 {
            assert_eq!(store.create(&format!("small{number}"), &[1; 10_000]).unwrap(), Created::New);
        }
        assert_eq!(milliseconds(&clock), 0);
        assert_eq!(store.create("large", &[1; 20_000]).unwrap(), Created::New);
        assert_eq!(milliseconds(&clock), 1200);
    }

    /// At this rate the object takes three hours; who waited for them would not end.
    #[test]
    fn who_is_cancelled_waits_no_longer() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let rates = Rates { upload: NonZeroU64::new(10), download: None };
        let store = Throttle::new(Arc::new(MemoryBackend::new()), rates, Arc::clone(&cancelled));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.create("large", &[1; 100_000]));
            std::thread::sleep(2 * NAP);
            assert!(!waiting.is_finished(), "it did not wait");
            cancelled.store(true, Ordering::Relaxed);
            assert_eq!(waiting.join().unwrap().unwrap(), Created::New);
        });
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let clock = Arc::new(Hands::default());
        let store = Throttle::with_clock(Arc::new(MemoryBackend::new()), Rates::default(), clock.clone());
        assert_eq!(store.create("one", &[1; 50_000]).unwrap(), Created::New);
        store.get("one").unwrap();
        assert_eq!(milliseconds(&clock), 0);
    }

    proptest! {
        /// Whoever asks at whatever moment: in no span of time passes more than the rate allows, but for one request.
        #[test]
        fn no_span_has_more_than_the_rate(rate in 1..1_000_000_u64, requests in prop::collection::vec((0..5_000_u64, 0..100_000_usize), 1..40)) {
            let clock: Arc<dyn Clock> = Arc::new(Hands::default());
            let bucket = Bucket::new(NonZeroU64::new(rate), &clock);
            let mut passed = Vec::new();
            for (pause, bytes) in requests {
                clock.sleep(Duration::from_millis(pause));
                // Charged by one of many at this moment; the clock does not wait for him.
                passed.push((clock.now() + bucket.charge(bytes), bytes));
            }
            for (index, (begun, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (ended, bytes) in &passed[index + 1..] {
                    sum += *bytes as u128;
                    let span = (*ended - *begun).as_nanos() + passed.len() as u128;
                    prop_assert!(sum * 1_000_000_000 <= span * u128::from(rate) + 1_000_000_000, "{sum} bytes in {span} ns at {rate}");
                }
            }
        }
    }
}
