//! What this host knows: its machines, the jobs that ran here, and when the next ones are due. Nothing of it is needed to restore.
//!
//! A *machine* is defined once, in a file that people read and edit ([`Machines`]). A *job* is one run of a command that backs up,
//! restores or keeps a vault in order; the process that does it writes its entry into the [`Record`]. The *scheduler* looks at machines,
//! timetables and past jobs, and starts what is due as processes of their own ([`Scheduler`]), so that one that crashes takes nobody with
//! it and a job is the same whoever began it. What is due is a pure decision ([`due`]); so is how a machine stands ([`standing`]).
//!
//! Nothing here opens a vault or knows what a backup does: policies come in as timetables.

#![deny(clippy::unwrap_used)]

pub mod document;
pub mod due;
mod error;
mod files;
pub mod hooks;
mod lock;
mod machine;
mod machines;
mod notify;
mod process;
mod record;
mod schedule_text;
mod scheduler;
mod settings;
mod standing;

use std::path::{Path, PathBuf};

pub use error::HostError;
pub use lock::FileLock;
pub use machine::{Disk, DiskUse, KEPT_NAME, Machine};
pub use machines::{Known, Machines};
pub use notify::{Notifier, Word};
pub use record::{Job, JobDetails, JobFilter, JobKind, JobState, JobWriter, Message, NewJob, Progress, Record, Severity, Task};
pub use scheduler::{Event, Item, Program, Scheduler, Work, attempts};
pub use settings::{Settings, Upkeep};
pub use standing::{Alarm, LastBackup, Protection, Standing, standing};

use crate::units::MachineName;

/// The lock that one job of a machine holds at a time.
pub fn machine_lock(state: &Path, machine: &MachineName) -> PathBuf {
    state.join("locks").join(format!("machine-{machine}"))
}

/// The lock of the one scheduler of a state directory.
pub fn scheduler_lock(state: &Path) -> PathBuf {
    state.join("locks").join("scheduler")
}
