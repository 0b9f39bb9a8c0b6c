//! A job as a JSON document: what `cairn jobs --json` says and what hooks are given. `docs/json.md` tells what the fields mean.

use jiff::Timestamp;
use serde::Serialize;

use super::record::{Job, JobDetails};

/// A job.
#[derive(Debug, Clone, Serialize)]
pub struct JobDocument {
    id: i64,
    kind: &'static str,
    machine: Option<String>,
    vault: String,
    scheduled: bool,
    state: &'static str,
    cancel_requested: bool,
    start: Timestamp,
    end: Option<Timestamp>,
    elapsed_seconds: Option<f64>,
    planned_bytes: u64,
    done_bytes: u64,
    read_bytes: u64,
    changed_bytes: u64,
    new_bytes: u64,
    written_bytes: u64,
    result: Option<String>,
    warning_count: u64,
    last_message: Option<String>,
    process: u32,
}

/// A job with its parts and messages.
#[derive(Debug, Clone, Serialize)]
pub struct JobDetailsDocument {
    #[serde(flatten)]
    job: JobDocument,
    tasks: Vec<TaskDocument>,
    messages: Vec<MessageDocument>,
}

#[derive(Debug, Clone, Serialize)]
struct TaskDocument {
    name: String,
    state: &'static str,
    start: Timestamp,
    end: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
struct MessageDocument {
    time: Timestamp,
    severity: &'static str,
    subject: String,
    message: String,
}

impl From<&Job> for JobDocument {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id,
            kind: job.kind.word(),
            machine: job.machine.as_ref().map(ToString::to_string),
            vault: job.vault.clone(),
            scheduled: job.scheduled,
            state: job.state.word(),
            cancel_requested: job.cancel_requested,
            start: job.start,
            end: job.end,
            elapsed_seconds: job.end.map(|end| end.duration_since(job.start).as_secs_f64()),
            planned_bytes: job.progress.planned_bytes,
            done_bytes: job.progress.done_bytes,
            read_bytes: job.progress.read_bytes,
            changed_bytes: job.progress.changed_bytes,
            new_bytes: job.progress.new_bytes,
            written_bytes: job.progress.written_bytes,
            result: job.result.clone(),
            warning_count: job.warning_count,
            last_message: job.last_message.clone(),
            process: job.process.pid,
        }
    }
}

impl From<&JobDetails> for JobDetailsDocument {
    fn from(details: &JobDetails) -> Self {
        let task = |task: &super::record::Task| TaskDocument {
            name: task.name.clone(),
            state: task.state.word(),
            start: task.start,
            end: task.end,
        };
        let message = |message: &super::record::Message| MessageDocument {
            time: message.time,
            severity: message.severity.word(),
            subject: message.subject.clone(),
            message: message.text.clone(),
        };
        Self {
            job: JobDocument::from(&details.job),
            tasks: details.tasks.iter().map(task).collect(),
            messages: details.messages.iter().map(message).collect(),
        }
    }
}
