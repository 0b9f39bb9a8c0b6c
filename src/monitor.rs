//! What long work tells its caller: progress, counts, problems that do not end it; and whether it should end.
//!
//! The library never prints. A job takes a [`Monitor`] as its last argument; the binary's draws progress bars, a test's counts.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is counted while a job runs. Bytes are added as they happen, from any thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Bytes of disk that the job will look at; added up before the work on each disk starts.
    PlannedBytes,
    /// Bytes of disk done: read, known as holes, or believed unchanged.
    DoneBytes,
    /// Bytes read from the source, the vault or the target.
    ReadBytes,
    /// Bytes of chunks that differ from the base.
    ChangedBytes,
    /// Bytes of blocks that the vault did not have yet.
    NewBytes,
    /// Bytes written: stored in the vault, or written to a target.
    WrittenBytes,
}

/// A problem that does not end the job, in words for a person: what, where, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Machine, disk, object or file that it concerns.
    pub subject: String,
    /// What is wrong and what was done about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// Follows one job. All calls are cheap and may come from many threads at once.
pub trait Monitor: Sync {
    /// Adds to a counter.
    fn count(&self, counter: Counter, amount: u64);

    /// A step begins, named for a person: "scanning vda", "writing the map".
    fn step(&self, name: &str);

    /// Takes note of a problem that does not end the job.
    fn problem(&self, problem: Problem);

    /// Whether the job should stop at the next safe place. Once true it stays true.
    fn cancelled(&self) -> bool;
}

/// A monitor that shows nothing and cancels nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn count(&self, _: Counter, _: u64) {}
    fn step(&self, _: &str) {}
    fn problem(&self, _: Problem) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// A flag that cancels the jobs that look at it; a signal handler may set it.
#[derive(Debug, Default)]
pub struct CancelFlag(AtomicBool);

impl CancelFlag {
    /// A flag that is not set.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks for the end of the jobs that look at this flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelFlag::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
