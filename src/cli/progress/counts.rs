//! The counters of one job, and what they say together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn::monitor::Counter;

/// Counters that any thread adds to.
#[derive(Debug)]
pub(crate) struct Counts {
    started: Instant,
    planned: AtomicU64,
    done: AtomicU64,
    read: AtomicU64,
    changed: AtomicU64,
    new: AtomicU64,
    written: AtomicU64,
}

/// The counters at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Snapshot {
    /// What the job will look at.
    pub(crate) planned_bytes: u64,
    /// Done: read, known as holes, or believed unchanged.
    pub(crate) done_bytes: u64,
    /// Read from the source, the vault or the target.
    pub(crate) read_bytes: u64,
    /// Of chunks that differ from the base.
    pub(crate) changed_bytes: u64,
    /// Of blocks that the vault did not have.
    pub(crate) new_bytes: u64,
    /// Stored in the vault, or written to a target.
    pub(crate) written_bytes: u64,
}

impl Counts {
    /// All zero; the clock starts.
    pub(crate) fn start() -> Self {
        let zero = || AtomicU64::new(0);
        Self { started: Instant::now(), planned: zero(), done: zero(), read: zero(), changed: zero(), new: zero(), written: zero() }
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, counter: Counter, amount: u64) {
        let cell = match counter {
            Counter::PlannedBytes => &self.planned,
            Counter::DoneBytes => &self.done,
            Counter::ReadBytes => &self.read,
            Counter::ChangedBytes => &self.changed,
            Counter::NewBytes => &self.new,
            Counter::WrittenBytes => &self.written,
        };
        cell.fetch_add(amount, Ordering::Relaxed);
    }

    /// The counters now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Snapshot {
            planned_bytes: get(&self.planned),
            done_bytes: get(&self.done),
            read_bytes: get(&self.read),
            changed_bytes: get(&self.changed),
            new_bytes: get(&self.new),
            written_bytes: get(&self.written),
        }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
