//! What ran before, from the record and from the scheduler's own memory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::due::{Attempt, Outcome};
use super::super::record::{Job, JobFilter, JobState, Record};
use super::super::{HostError, JobKind};
use super::{Item, Work};
use crate::monitor::{Monitor, Problem};
use crate::units::MachineName;

/// Past jobs of one kind and machine that are looked at: more than a run is tried, by far.
const LOOKED_AT: u32 = 50;
/// Jobs remembered for each kind and machine.
const REMEMBERED: usize = 20;

/// What this scheduler itself knows, for the case that the record does not.
#[derive(Debug, Default)]
pub(super) struct History {
    remembered: BTreeMap<Work, Vec<Attempt>>,
    since: std::cell::RefCell<BTreeMap<Work, Timestamp>>,
}

impl History {
    /// Remembers how a job ended, by its exit code; `None`: it was killed, or never began.
    pub(super) fn remember(&mut self, work: &Work, start: Timestamp, end: Timestamp, code: Option<i32>) {
        let outcome = match code {
            Some(0) => Outcome::Succeeded,
            Some(3) => Outcome::Warned,
            Some(130) => Outcome::Interrupted,
            _ => Outcome::Failed,
        };
        let attempts = self.remembered.entry(work.clone()).or_default();
        attempts.push(Attempt { start, end, outcome });
        let excess = attempts.len().saturating_sub(REMEMBERED);
        attempts.drain(..excess);
    }

    /// Since when something is done here, and its past jobs.
    pub(super) fn of(
        &self,
        item: &Item,
        vault: &str,
        record: Option<&Record>,
        now: Timestamp,
        monitor: &dyn Monitor,
    ) -> (Timestamp, Vec<Attempt>) {
        let first_seen = *self.since.borrow_mut().entry(item.work.clone()).or_insert(now);
        let read = record.map(|record| from_record(record, vault, &item.work, now)).transpose();
        let (since, mut attempts) = match read {
            Ok(read) => read.unwrap_or_else(|| (first_seen, Vec::new())),
            Err(error) => {
                monitor.problem(Problem { subject: "record of jobs".to_owned(), message: error.to_string() });
                (first_seen, Vec::new())
            }
        };
        attempts.extend(item.last_point.map(Attempt::point));
        for own in self.remembered.get(&item.work).into_iter().flatten() {
            // The record tells the same, and more exactly, where it works.
            if !attempts.iter().any(|attempt| (own.start..=own.end).contains(&attempt.start)) {
                attempts.push(*own);
            }
        }
        (since, attempts)
    }
}

fn from_record(record: &Record, vault: &str, work: &Work, now: Timestamp) -> Result<(Timestamp, Vec<Attempt>), HostError> {
    let since = match &work.machine {
        Some(machine) => record.protected_since(machine, now)?,
        None => record.upkeep_since(work.kind, now)?,
    };
    Ok((since, attempts(record, vault, work.kind, work.machine.as_ref())?))
}

/// The past jobs of a kind on a vault, for a machine or for the whole of it.
///
/// # Errors
/// [`HostError::Record`].
pub fn attempts(record: &Record, vault: &str, kind: JobKind, machine: Option<&MachineName>) -> Result<Vec<Attempt>, HostError> {
    let filter = JobFilter {
        machine: machine.cloned(),
        kind: Some(kind),
        vault: Some(vault.to_owned()),
        limit: Some(LOOKED_AT),
        ..JobFilter::default()
    };
    Ok(record.jobs(&filter)?.iter().filter(|job| machine.is_some() || job.machine.is_none()).map(attempt).collect())
}

fn attempt(job: &Job) -> Attempt {
    let outcome = match job.state {
        JobState::InProgress => Outcome::Running,
        JobState::Completed => Outcome::Succeeded,
        JobState::CompletedWithWarnings => Outcome::Warned,
        JobState::Failed => Outcome::Failed,
        JobState::Cancelled if job.cancel_requested => Outcome::Cancelled,
        JobState::Cancelled => Outcome::Interrupted,
    };
    Attempt { start: job.start, end: job.end.unwrap_or(job.start), outcome }
}
