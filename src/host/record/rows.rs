//! Rows of the record as values. A row that says what no version writes is an error, not a guess.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;

use super::super::process::Process;
use super::job::{Job, JobState, Message, Progress, Task};

/// The columns of a job, in the order in which [`job`] takes them.
pub(super) const SELECT: &str = "SELECT id, kind, machine, vault, scheduled, state, cancel_requested, start_ms, end_ms, planned, done, \
    bytes_read, bytes_changed, bytes_new, bytes_written, result, warning_count, last_message, pid, boot, start_ticks FROM job";

/// A job. One that is in progress in a process that is gone has failed, unless somebody asked for its end.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let process = Process { pid: row.get(18)?, boot: row.get(19)?, start_ticks: row.get(20)? };
    let written: JobState = word(row, 5)?;
    let is_gone = written == JobState::InProgress && !process.is_running();
    let progress = Progress {
        planned_bytes: row.get(9)?,
        done_bytes: row.get(10)?,
        read_bytes: row.get(11)?,
        changed_bytes: row.get(12)?,
        new_bytes: row.get(13)?,
        written_bytes: row.get(14)?,
    };
    let machine: Option<String> = row.get(2)?;
    let last_message: Option<String> = row.get(17)?;
    let cancel_requested = row.get(6)?;
    let state = match (is_gone, cancel_requested) {
        (false, _) => written,
        (true, true) => JobState::Cancelled,
        (true, false) => JobState::Failed,
    };
    Ok(Job {
        id: row.get(0)?,
        kind: word(row, 1)?,
        machine: machine.map(|name| parsed(&name, 2)).transpose()?,
        vault: row.get(3)?,
        scheduled: row.get(4)?,
        state,
        cancel_requested,
        start: time(row.get(7)?, 7)?,
        end: row.get::<_, Option<i64>>(8)?.map(|end| time(end, 8)).transpose()?,
        progress,
        result: row.get(15)?,
        warning_count: row.get(16)?,
        last_message: if is_gone { Some(super::GONE.to_owned()) } else { last_message },
        process,
    })
}

/// A part of a job: name, start, end, state.
pub(super) fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let end = row.get::<_, Option<i64>>(2)?.map(|end| time(end, 2)).transpose()?;
    Ok(Task { name: row.get(0)?, start: time(row.get(1)?, 1)?, end, state: word(row, 3)? })
}

/// A message: time, severity, subject, text.
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message { time: time(row.get(0)?, 0)?, severity: word(row, 1)?, subject: row.get(2)?, text: row.get(3)? })
}

fn word<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: ToString,
{
    parsed(&row.get::<_, String>(column)?, column)
}

fn parsed<T: FromStr>(text: &str, column: usize) -> rusqlite::Result<T>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| wrong(column, Type::Text, format!("'{text}': {}", error.to_string())))
}

fn time(milliseconds: i64, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| wrong(column, Type::Integer, error.to_string()))
}

fn wrong(column: usize, kind: Type, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, why.into())
}
