//! One job's own entry in the record, written by the process that does it.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::super::HostError;
use super::super::process::Process;
use super::Record;
use super::job::{Job, JobState, NewJob, Progress, Severity};

/// Messages kept of one job. More are counted.
const KEPT_MESSAGES: u32 = 100;
/// Parts kept of one job.
const KEPT_TASKS: u32 = 200;

/// Writes the entry of a job that runs in this process.
#[derive(Debug)]
pub struct JobWriter {
    record: Record,
    id: i64,
    tasks: u32,
}

impl JobWriter {
    /// Enters a job that begins now, and forgets those that are too old.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn begin(state: &Path, job: &NewJob, now: Timestamp) -> Result<Self, HostError> {
        let record = Record::open(state)?;
        let process = Process::own().map_err(HostError::file("/proc/self/stat", "read"))?;
        let id = record.guard(|connection| {
            connection.execute(
                "INSERT INTO job (kind, machine, vault, scheduled, state, start_ms, pid, boot, start_ticks) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    job.kind.word(),
                    job.machine.as_ref().map(|machine| machine.as_str()),
                    job.vault,
                    job.scheduled,
                    JobState::InProgress.word(),
                    now.as_millisecond(),
                    process.pid,
                    process.boot,
                    process.start_ticks
                ],
            )?;
            Ok(connection.last_insert_rowid())
        })?;
        record.forget_old(now)?;
        Ok(Self { record, id, tasks: 0 })
    }

    /// The job's number.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// A part begins, and the one before it has ended well.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn task(&mut self, name: &str, now: Timestamp) -> Result<(), HostError> {
        self.end_task(JobState::Completed, now)?;
        if self.tasks >= KEPT_TASKS {
            return Ok(());
        }
        self.tasks += 1;
        let values = params![self.id, self.tasks, name, now.as_millisecond(), JobState::InProgress.word()];
        self.record.guard(|connection| {
            connection.execute("INSERT INTO task (job, number, name, start_ms, state) VALUES (?1, ?2, ?3, ?4, ?5)", values)
        })?;
        Ok(())
    }

    fn end_task(&self, state: JobState, now: Timestamp) -> Result<(), HostError> {
        let values = params![self.id, now.as_millisecond(), state.word()];
        self.record
            .guard(|connection| connection.execute("UPDATE task SET end_ms = ?2, state = ?3 WHERE job = ?1 AND end_ms IS NULL", values))?;
        Ok(())
    }

    /// A warning that did not end the job.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn warn(&self, subject: &str, text: &str, now: Timestamp) -> Result<(), HostError> {
        self.record.guard(|connection| {
            connection.execute("UPDATE job SET warning_count = warning_count + 1 WHERE id = ?1", [self.id])?;
            add_message(connection, self.id, now, Severity::Warning, subject, text)
        })
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn progress(&self, progress: &Progress) -> Result<(), HostError> {
        let now = progress;
        let values =
            params![self.id, now.planned_bytes, now.done_bytes, now.read_bytes, now.changed_bytes, now.new_bytes, now.written_bytes];
        self.record.guard(|connection| {
            let sql = "UPDATE job SET planned = ?2, done = ?3, bytes_read = ?4, bytes_changed = ?5, bytes_new = ?6, bytes_written = ?7 \
                       WHERE id = ?1";
            connection.execute(sql, values)
        })?;
        Ok(())
    }

    /// What came of it.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn result(&self, result: &str) -> Result<(), HostError> {
        self.record.guard(|connection| connection.execute("UPDATE job SET result = ?2 WHERE id = ?1", params![self.id, result]))?;
        Ok(())
    }

    /// The job has ended, for this reason if it has not done what it was asked for. Gives the entry.
    ///
    /// # Errors
    /// [`HostError::Record`].
    pub fn finish(self, state: JobState, errors: &[String], now: Timestamp) -> Result<Job, HostError> {
        self.end_task(if state.is_success() { JobState::Completed } else { state }, now)?;
        for error in errors {
            self.record.guard(|connection| add_message(connection, self.id, now, Severity::Error, "", error))?;
        }
        self.record.guard(|connection| {
            connection.execute("UPDATE job SET state = ?2, end_ms = ?3 WHERE id = ?1", params![self.id, state.word(), now.as_millisecond()])
        })?;
        Ok(self.record.job(self.id)?.job)
    }
}

/// Adds a message, as long as there are not too many; the first error of a job is the one that is shown with it.
pub(super) fn add_message(
    connection: &Connection,
    job: i64,
    now: Timestamp,
    severity: Severity,
    subject: &str,
    text: &str,
) -> rusqlite::Result<()> {
    let shown = if subject.is_empty() { text.to_owned() } else { format!("{subject}: {text}") };
    let is_first_error = "NOT EXISTS (SELECT 1 FROM message WHERE job = ?1 AND severity = 'error')";
    connection.execute(&format!("UPDATE job SET last_message = ?2 WHERE id = ?1 AND {is_first_error}"), params![job, shown])?;
    // Errors come last and are few: they always find room.
    let room = if severity == Severity::Error { KEPT_MESSAGES * 2 } else { KEPT_MESSAGES };
    connection.execute(
        "INSERT INTO message (job, number, time_ms, severity, subject, text) \
         SELECT ?1, 1 + COUNT(*), ?2, ?3, ?4, ?5 FROM message WHERE job = ?1 HAVING COUNT(*) < ?6",
        params![job, now.as_millisecond(), severity.word(), subject, text, room],
    )?;
    Ok(())
}
