//! What is kept of a job.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::super::process::Process;
use crate::units::MachineName;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// A recovery point is made.
    Backup,
    /// Disks are written from a point.
    Restore,
    /// Points are read again.
    Verify,
    /// Points that no policy keeps are deleted.
    Prune,
    /// What nobody refers to is collected.
    Collection,
    /// Points travel to another vault.
    Copy,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It runs.
    InProgress,
    /// It did what it was asked for.
    Completed,
    /// It did, and had something to say.
    CompletedWithWarnings,
    /// It did not, or nobody knows: its process ended without a word.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// Gives the words that the database, documents and command lines use, both ways.
macro_rules! words {
    ($name:ident, $($variant:ident => $word:literal),+) => {
        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.word() == text).ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|one| one.word()).collect();
                    format!("expected one of {}", words.join(", "))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(JobKind, Backup => "backup", Restore => "restore", Verify => "verify", Prune => "prune", Collection => "collection", Copy => "copy");
words!(
    JobState,
    InProgress => "in_progress",
    Completed => "completed",
    CompletedWithWarnings => "completed_with_warnings",
    Failed => "failed",
    Cancelled => "cancelled"
);

impl JobState {
    /// In words for a person.
    pub fn title(self) -> &'static str {
        match self {
            Self::InProgress => "In progress",
            Self::Completed => "Completed",
            Self::CompletedWithWarnings => "Completed with warnings",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether it did what it was asked for.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithWarnings)
    }
}

/// What is known when a job begins.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// For which machine; `None` for all that a vault holds.
    pub machine: Option<MachineName>,
    /// In which vault.
    pub vault: String,
    /// Whether the scheduler began it.
    pub scheduled: bool,
}

/// Bytes that a job has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it will look at.
    pub planned_bytes: u64,
    /// What it has looked at.
    pub done_bytes: u64,
    /// Read.
    pub read_bytes: u64,
    /// Found changed.
    pub changed_bytes: u64,
    /// New to the vault.
    pub new_bytes: u64,
    /// Written.
    pub written_bytes: u64,
}

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It did not end the job.
    Warning,
    /// It did.
    Error,
}

words!(Severity, Warning => "warning", Error => "error");

/// Something that a job said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When.
    pub time: Timestamp,
    /// How grave.
    pub severity: Severity,
    /// What it concerns; empty for the job itself.
    pub subject: String,
    /// In words for a person.
    pub text: String,
}

/// A part of a job: from its beginning to that of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name for a person.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// How it ended.
    pub state: JobState,
}

/// A job, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// What it does.
    pub kind: JobKind,
    /// For which machine.
    pub machine: Option<MachineName>,
    /// In which vault.
    pub vault: String,
    /// Whether the scheduler began it.
    pub scheduled: bool,
    /// How far it is. A job whose process is gone is failed, whether or not somebody has written that down yet.
    pub state: JobState,
    /// Whether a person has asked for its end.
    pub cancel_requested: bool,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// What it counted.
    pub progress: Progress,
    /// What came of it: the name of a recovery point.
    pub result: Option<String>,
    /// Warnings, all that were said.
    pub warning_count: u64,
    /// The last error, else the last warning.
    pub last_message: Option<String>,
    /// The process that does it.
    pub process: Process,
}

impl Job {
    /// A job as far as its own process knows it, where the record does not work. Its number is 0, which no entry has.
    pub fn unrecorded(job: &NewJob, state: JobState, start: Timestamp, end: Timestamp, last_message: Option<String>) -> Self {
        let nobody = || Process { pid: std::process::id(), boot: String::new(), start_ticks: 0 };
        Self {
            id: 0,
            kind: job.kind,
            machine: job.machine.clone(),
            vault: job.vault.clone(),
            scheduled: job.scheduled,
            state,
            cancel_requested: false,
            start,
            end: Some(end),
            progress: Progress::default(),
            result: None,
            warning_count: 0,
            last_message,
            process: Process::own().unwrap_or_else(|_| nobody()),
        }
    }
}

/// A job with all that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDetails {
    /// The job.
    pub job: Job,
    /// Its parts, in order.
    pub tasks: Vec<Task>,
    /// What it said, in order; the first of each.
    pub messages: Vec<Message>,
}
