//! The record of jobs: what ran on this host, for how long, what came of it and what it said.
//!
//! It is a database of its own in the state directory, written by every process that runs a job and read by all others at the same time
//! (`docs/decisions/0011-record-of-jobs.md` says why). Nothing depends on it but the scheduler's memory: it is never
//! needed to restore, and a job whose record fails goes on without one. A job that is in progress names its process; where that is gone,
//! the job has failed, and the first who notices writes it down.

mod job;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

pub use job::{Job, JobDetails, JobKind, JobState, Message, NewJob, Progress, Severity, Task};
pub use writer::JobWriter;

use super::HostError;
use crate::units::MachineName;

/// Jobs that are kept at most.
const KEPT_JOBS: u32 = 10_000;
/// Days for which a job is kept.
const KEPT_DAYS: i64 = 400;
/// What is said of a job whose process is gone.
const GONE: &str = "its process ended without a word: it crashed, was killed, or the system went down";

/// What a filter wants, but for the state, which the database does not know.
const WANTED: &str = "WHERE start_ms >= ?1 AND (?2 IS NULL OR machine = ?2) AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR vault = ?4)";

/// Which jobs are asked for.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this machine.
    pub machine: Option<MachineName>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// In this vault.
    pub vault: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
    /// Begun at this moment or later.
    pub since: Option<Timestamp>,
    /// At most so many, the latest; all, if nobody says.
    pub limit: Option<u32>,
}

/// The record of jobs, open.
#[derive(Debug)]
pub struct Record {
    connection: Connection,
    path: PathBuf,
}

impl Record {
    /// The record's file in a state directory.
    pub fn path_below(state: &Path) -> PathBuf {
        state.join("jobs.db")
    }

    /// Opens the record to write to it; it is made where there is none.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn open(state: &Path) -> Result<Self, HostError> {
        super::files::make_directory(state)?;
        let path = Self::path_below(state);
        let connection = schema::open(&path).map_err(|why| HostError::Record { path: path.clone(), why })?;
        Ok(Self { connection, path })
    }

    /// Opens the record only where there is one.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn open_existing(state: &Path) -> Result<Option<Self>, HostError> {
        if Self::path_below(state).exists() { Self::open(state).map(Some) } else { Ok(None) }
    }

    /// The jobs, latest first.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, HostError> {
        self.guard(|connection| {
            let query = format!("{} {WANTED} ORDER BY id DESC", rows::SELECT);
            let since = filter.since.map_or(i64::MIN, Timestamp::as_millisecond);
            let machine = filter.machine.as_ref().map(MachineName::as_str);
            let mut statement = connection.prepare(&query)?;
            let jobs = statement.query_map(params![since, machine, filter.kind.map(JobKind::word), filter.vault], rows::job)?;
            let limit = filter.limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
            // The state is that of the process, which the database does not know.
            jobs.filter(|job| job.as_ref().map_or(true, |job| filter.state.is_none_or(|state| job.state == state))).take(limit).collect()
        })
    }

    /// A job with its parts and messages.
    ///
    /// # Errors
    /// [`HostError::NoJob`]; [`HostError::Record`].
    pub fn job(&self, id: i64) -> Result<JobDetails, HostError> {
        let found = self.guard(|connection| {
            let job = connection.query_row(&format!("{} WHERE id = ?1", rows::SELECT), [id], rows::job).optional()?;
            let Some(job) = job else { return Ok(None) };
            let mut statement = connection.prepare("SELECT name, start_ms, end_ms, state FROM task WHERE job = ?1 ORDER BY number")?;
            let tasks = statement.query_map([id], rows::task)?.collect::<Result<Vec<_>, _>>()?;
            let mut statement =
                connection.prepare("SELECT time_ms, severity, subject, text FROM message WHERE job = ?1 ORDER BY number")?;
            let messages = statement.query_map([id], rows::message)?.collect::<Result<Vec<_>, _>>()?;
            Ok(Some(JobDetails { job, tasks, messages }))
        })?;
        found.ok_or(HostError::NoJob { id })
    }

    /// Writes down that jobs have failed whose processes are gone, and gives those; each is given to one caller only, whoever is first.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn settle(&self, now: Timestamp) -> Result<Vec<Job>, HostError> {
        let open = self.guard(|connection| {
            let mut statement = connection.prepare(&format!("{} WHERE state = 'in_progress' ORDER BY id", rows::SELECT))?;
            statement.query_map([], rows::job)?.collect::<Result<Vec<_>, _>>()
        })?;
        let mut settled = Vec::new();
        for job in open.into_iter().filter(|job| job.state != JobState::InProgress) {
            let (end, state) = (now.max(job.start).as_millisecond(), job.state.word());
            let taken = self.guard(|connection| {
                let sql = "UPDATE job SET state = ?4, end_ms = ?2, last_message = ?3 WHERE id = ?1 AND state = 'in_progress'";
                if connection.execute(sql, params![job.id, end, GONE, state])? == 0 {
                    return Ok(false);
                }
                connection
                    .execute("UPDATE task SET state = ?3, end_ms = ?2 WHERE job = ?1 AND end_ms IS NULL", params![job.id, end, state])?;
                writer::add_message(connection, job.id, now, Severity::Error, "", GONE)?;
                Ok(true)
            })?;
            if taken {
                settled.push(self.job(job.id)?.job);
            }
        }
        Ok(settled)
    }

    /// Asks the process of a job to end cleanly.
    ///
    /// # Errors
    /// [`HostError::NoJob`], [`HostError::Cancel`] where it runs no more or belongs to somebody else; [`HostError::Record`].
    pub fn cancel(&self, id: i64) -> Result<Job, HostError> {
        let job = self.job(id)?.job;
        let refuse = |why: String| Err(HostError::Cancel { id, why });
        if job.state != JobState::InProgress {
            return refuse(format!("it is not running; its state is '{}'", job.state.title().to_lowercase()));
        }
        // Written first: the job may end, and be looked at, before this process goes on.
        self.guard(|connection| connection.execute("UPDATE job SET cancel_requested = 1 WHERE id = ?1", [id]))?;
        match job.process.ask_to_end() {
            Ok(true) => Ok(Job { cancel_requested: true, ..job }),
            Ok(false) => refuse("it has just ended".to_owned()),
            Err(error) => {
                self.guard(|connection| connection.execute("UPDATE job SET cancel_requested = 0 WHERE id = ?1", [id]))?;
                refuse(format!("its process {} cannot be signalled: {error}", job.process.pid))
            }
        }
    }

    /// When this host began to protect a machine: at the first time of asking.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn protected_since(&self, machine: &MachineName, now: Timestamp) -> Result<Timestamp, HostError> {
        self.since(machine.as_str(), now)
    }

    /// When it began to keep the vault in order by this kind of job: at the first time of asking.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn upkeep_since(&self, kind: JobKind, now: Timestamp) -> Result<Timestamp, HostError> {
        // No machine is called so.
        self.since(&format!("/{kind}"), now)
    }

    fn since(&self, name: &str, now: Timestamp) -> Result<Timestamp, HostError> {
        let sql = "INSERT OR IGNORE INTO machine (name, since_ms) VALUES (?1, ?2)";
        self.guard(|connection| connection.execute(sql, params![name, now.as_millisecond()]))?;
        Ok(self.since_if_known(name)?.unwrap_or(now))
    }

    /// When this host began to protect a machine, if it has.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn known_since(&self, machine: &MachineName) -> Result<Option<Timestamp>, HostError> {
        self.since_if_known(machine.as_str())
    }

    fn since_if_known(&self, name: &str) -> Result<Option<Timestamp>, HostError> {
        let sql = "SELECT since_ms FROM machine WHERE name = ?1";
        let since = self.guard(|connection| connection.query_row(sql, [name], |row| row.get::<_, i64>(0)).optional())?;
        Ok(since.and_then(|since| Timestamp::from_millisecond(since).ok()))
    }

    /// Forgets jobs beyond the bounds. A clock that was ahead does not forget what it should not: the number is bounded in any case.
    fn forget_old(&self, now: Timestamp) -> Result<(), HostError> {
        let oldest =
            now.as_millisecond().saturating_sub(SignedDuration::from_hours(24 * KEPT_DAYS).as_millis().try_into().unwrap_or(i64::MAX));
        self.guard(|connection| {
            let sql = "DELETE FROM job WHERE state <> 'in_progress' AND (start_ms < ?1 OR id <= (SELECT MAX(id) FROM job) - ?2)";
            connection.execute(sql, params![oldest, KEPT_JOBS])
        })?;
        Ok(())
    }

    fn guard<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, HostError> {
        work(&self.connection).map_err(|error| HostError::Record { path: self.path.clone(), why: error.to_string() })
    }
}
