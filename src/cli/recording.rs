//! The entry of this process's job in the record of jobs, and what hooks are told when it ends.
//!
//! The job goes before: a record that fails is one warning, and the job goes on without it. Hooks are told all the same.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn::host::{HostError, Job, JobDetails, JobState, JobWriter, Message, NewJob, Progress, Record, Settings, Severity, hooks};
use jiff::Timestamp;

use super::exit::Exit;
use super::output::Output;
use super::progress::{Snapshot, Warning};

/// Tells a process that the scheduler began it.
pub(crate) const SCHEDULED: &str = "CAIRN_SCHEDULED";

/// The entry of one job.
#[derive(Debug)]
pub(crate) struct Recording {
    writer: Mutex<Option<JobWriter>>,
    job: NewJob,
    start: Timestamp,
    state: PathBuf,
    configuration: PathBuf,
    output: Output,
}

/// A vault's place, the same however it was typed.
pub(crate) fn place(location: &str) -> String {
    let canonical = Path::new(location).canonicalize().ok();
    canonical.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| location.to_owned())
}

impl Recording {
    /// Begins the entry.
    pub(crate) fn begin(state: &Path, configuration: &Path, job: NewJob, output: &Output) -> Self {
        let start = Timestamp::now();
        let recording = Self {
            writer: Mutex::new(None),
            job,
            start,
            state: state.to_owned(),
            configuration: configuration.to_owned(),
            output: output.clone(),
        };
        match JobWriter::begin(state, &recording.job, start) {
            Ok(writer) => *recording.lock() = Some(writer),
            Err(error) => recording.lost(&error),
        }
        recording
    }

    /// A part of the job begins.
    pub(crate) fn step(&self, name: &str) {
        self.write(|writer| writer.task(name, Timestamp::now()));
    }

    /// A problem that does not end the job.
    pub(crate) fn warning(&self, warning: &Warning) {
        self.write(|writer| writer.warn(&warning.subject, &warning.message, Timestamp::now()));
    }

    /// How far the job is.
    pub(crate) fn progress(&self, counts: &Snapshot) {
        let progress = Progress {
            planned_bytes: counts.planned_bytes,
            done_bytes: counts.done_bytes,
            read_bytes: counts.read_bytes,
            changed_bytes: counts.changed_bytes,
            new_bytes: counts.new_bytes,
            written_bytes: counts.written_bytes,
        };
        self.write(|writer| writer.progress(&progress));
    }

    /// What came of it.
    pub(crate) fn result(&self, result: &str) {
        self.write(|writer| writer.result(result));
    }

    /// The job has ended. Whoever wants to know is told.
    pub(crate) fn end(&self, exit: Exit, errors: &[String]) {
        let (state, now) = (state_of(exit), Timestamp::now());
        let ended = self.lock().take().map(|writer| writer.finish(state, errors, now));
        let details = match ended {
            Some(Ok(job)) => {
                Record::open(&self.state).and_then(|record| record.job(job.id)).unwrap_or_else(|_| self.unrecorded(state, errors, now))
            }
            Some(Err(error)) => {
                self.lost(&error);
                self.unrecorded(state, errors, now)
            }
            None => self.unrecorded(state, errors, now),
        };
        tell(&self.configuration, &details, &self.output);
    }

    /// What is known of the job where the record fails.
    fn unrecorded(&self, state: JobState, errors: &[String], now: Timestamp) -> JobDetails {
        let message = |text: &String| Message { time: now, severity: Severity::Error, subject: String::new(), text: text.clone() };
        let messages = errors.iter().map(message).collect();
        JobDetails { job: Job::unrecorded(&self.job, state, self.start, now, errors.first().cloned()), tasks: Vec::new(), messages }
    }

    fn write(&self, act: impl FnOnce(&mut JobWriter) -> Result<(), HostError>) {
        let mut writer = self.lock();
        if let Some(Err(error)) = writer.as_mut().map(act) {
            *writer = None;
            drop(writer);
            self.lost(&error);
        }
    }

    fn lost(&self, error: &HostError) {
        self.output.warning(&format!("{error}; the job goes on, unrecorded"));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JobWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the hooks of this host how a job ended.
pub(crate) fn tell(configuration: &Path, details: &JobDetails, output: &Output) {
    match Settings::read(configuration) {
        Ok(settings) => {
            let failed = hooks::tell(&settings.hooks, details, &hostname());
            failed.iter().for_each(|error| output.warning(&error.to_string()));
        }
        Err(error) => output.warning(&format!("{error}; no hook was told how the job ended")),
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown host".to_owned(), |name| name.trim_end().to_owned())
}

fn state_of(exit: Exit) -> JobState {
    match exit {
        Exit::Done => JobState::Completed,
        Exit::Warnings => JobState::CompletedWithWarnings,
        Exit::Interrupted => JobState::Cancelled,
        Exit::Failed | Exit::Usage | Exit::Damage | Exit::Unprotected => JobState::Failed,
    }
}
