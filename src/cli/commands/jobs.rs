//! `cairn jobs`: what ran on this host, what runs, and its end.

use std::time::Duration;

use cairn::host::document::{JobDetailsDocument, JobDocument};
use cairn::host::{HostError, Job, JobDetails, JobFilter, JobKind, JobState, Record};
use cairn::units::MachineName;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::moment::{End, range_end};
use super::super::render::{Align, Details, Table, duration, local, local_minute, size};

/// Jobs that are listed unless somebody asks for more.
const LISTED: u32 = 30;
/// How often a job that is watched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Options of `cairn jobs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Every backup, restore and verification on this host is a job, by whomever it was begun. The record of them is kept in the state
directory (10,000 jobs, 400 days) and is never needed to restore.

Examples:
  cairn jobs
  cairn jobs --machine web01 --state failed --since 30d
  cairn jobs show 12
  cairn jobs watch
  cairn jobs cancel 12")]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List jobs, the latest first
    List(ListArgs),
    /// Show everything known of a job
    Show(JobArgs),
    /// Follow a job, or all that run, to their ends
    Watch(WatchArgs),
    /// Ask a job that runs to end cleanly
    Cancel(JobArgs),
}

#[derive(Debug, Default, clap::Args)]
struct ListArgs {
    /// Only of this machine
    #[arg(long, value_name = "NAME")]
    machine: Option<MachineName>,

    /// Only of this kind: backup, restore, verify, prune, collection, copy
    #[arg(long, value_name = "KIND")]
    kind: Option<JobKind>,

    /// Only in this state: in_progress, completed, completed_with_warnings, failed, cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<JobState>,

    /// Not begun before: a day, a time, or an age such as 36h or 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// All that are kept, not only the last 30
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct JobArgs {
    /// The job's number
    job: i64,
}

#[derive(Debug, clap::Args)]
struct WatchArgs {
    /// The job's number [default: all that run]
    job: Option<i64>,
}

/// Does what was asked for.
pub(crate) fn run(context: &Context, args: JobsArgs) -> anyhow::Result<Exit> {
    let record = Record::open_existing(&context.state_directory()?)?;
    match args.action {
        None => list(context, record.as_ref(), &args.list),
        Some(Action::List(args)) => list(context, record.as_ref(), &args),
        Some(Action::Show(args)) => show(context, &found(record, args.job)?.job(args.job)?),
        Some(Action::Watch(args)) => watch(context, record.as_ref(), args.job),
        Some(Action::Cancel(args)) => {
            let job = found(record, args.job)?.cancel(args.job)?;
            let text = || format!("Job {} was asked to end; `cairn jobs watch {}` follows it.\n", job.id, job.id);
            context.output.result(&JobDocument::from(&job), text)?;
            Ok(Exit::Done)
        }
    }
}

fn found(record: Option<Record>, id: i64) -> Result<Record, HostError> {
    record.ok_or(HostError::NoJob { id })
}

fn list(context: &Context, record: Option<&Record>, args: &ListArgs) -> anyhow::Result<Exit> {
    let zone = TimeZone::system();
    let since = args.since.as_deref().map(|since| range_end(since, End::Since, Timestamp::now(), &zone)).transpose()?;
    let limit = (!args.all).then_some(LISTED);
    let filter = JobFilter { machine: args.machine.clone(), kind: args.kind, state: args.state, since, limit, vault: None };
    let jobs = record.map(|record| record.jobs(&filter)).transpose()?.unwrap_or_default();
    let documents: Vec<JobDocument> = jobs.iter().map(JobDocument::from).collect();
    context.output.result(&documents, || {
        let columns = [("JOB", Align::Right), ("KIND", Align::Left), ("MACHINE", Align::Left), ("START", Align::Left)];
        let more = [("TIME", Align::Right), ("STATE", Align::Left), ("WRITTEN", Align::Right), ("SAYS", Align::Wrap)];
        let mut table = Table::new(&[columns, more].concat());
        for job in &jobs {
            table.row([
                job.id.to_string(),
                job.kind.to_string(),
                job.machine.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                local_minute(job.start, &zone),
                duration(elapsed(job)),
                state(job),
                size(job.progress.written_bytes),
                job.last_message.clone().or_else(|| job.result.clone()).unwrap_or_default(),
            ]);
        }
        table.render(context.output.width())
    })?;
    Ok(Exit::Done)
}

fn elapsed(job: &Job) -> Duration {
    let end = job.end.unwrap_or_else(|| if job.state == JobState::InProgress { Timestamp::now() } else { job.start });
    end.duration_since(job.start).max(SignedDuration::ZERO).unsigned_abs()
}

fn state(job: &Job) -> String {
    match job.state {
        JobState::InProgress if job.cancel_requested => "Cancelling".to_owned(),
        JobState::InProgress => progress(job).map_or_else(|| job.state.title().to_owned(), |share| format!("In progress ({share})")),
        _ => job.state.title().to_owned(),
    }
}

/// How much is done, where that is known.
fn progress(job: &Job) -> Option<String> {
    let (done, planned) = (job.progress.done_bytes.min(job.progress.planned_bytes), job.progress.planned_bytes);
    (planned > 0).then(|| format!("{}%", u128::from(done) * 100 / u128::from(planned)))
}

fn show(context: &Context, details: &JobDetails) -> anyhow::Result<Exit> {
    context.output.result(&JobDetailsDocument::from(details), || describe(details, &TimeZone::system()))?;
    Ok(Exit::Done)
}

fn describe(details: &JobDetails, zone: &TimeZone) -> String {
    let job = &details.job;
    let mut text = Details::new();
    text.line("Job", format!("{}, {}", job.id, job.kind));
    text.line("Machine", job.machine.as_ref().map_or("-", |machine| machine.as_str()));
    text.line("Vault", &job.vault);
    text.line("State", state(job));
    text.line("Begun", format!("{}, {}", local(job.start, zone), if job.scheduled { "by the scheduler" } else { "by hand" }));
    if let Some(end) = job.end {
        text.line("Ended", format!("{}, after {}", local(end, zone), duration(elapsed(job))));
    }
    if let Some(result) = &job.result {
        text.line("Result", result);
    }
    let bytes = &job.progress;
    text.line("Done", format!("{} of {}", size(bytes.done_bytes), size(bytes.planned_bytes)));
    text.line("Read", size(bytes.read_bytes));
    text.line("Changed", size(bytes.changed_bytes));
    text.line("New", size(bytes.new_bytes));
    text.line("Written", size(bytes.written_bytes));
    text.line("Process", job.process.pid.to_string());
    if !details.tasks.is_empty() {
        text.section("Parts");
        for task in &details.tasks {
            let took = task.end.map_or_else(String::new, |end| {
                format!(", {}", duration(end.duration_since(task.start).max(SignedDuration::ZERO).unsigned_abs()))
            });
            text.line(&task.name, format!("{}{took}", task.state.title()));
        }
    }
    if !details.messages.is_empty() {
        text.section(&format!("Messages ({} warnings)", job.warning_count));
        for message in &details.messages {
            let subject = if message.subject.is_empty() { String::new() } else { format!("{}: ", message.subject) };
            text.line(message.severity.word(), format!("{subject}{}", message.text));
        }
    }
    text.render()
}

/// Says what changes, a line each, until the jobs have ended. The exit code is that of the job, or of the worst of several.
fn watch(context: &Context, record: Option<&Record>, id: Option<i64>) -> anyhow::Result<Exit> {
    let Some(record) = record else {
        return id.map_or(Ok(Exit::Done), |id| Err(HostError::NoJob { id }.into()));
    };
    let running = JobFilter { state: Some(JobState::InProgress), ..JobFilter::default() };
    let ids = match id {
        Some(id) => vec![id],
        None => record.jobs(&running)?.iter().map(|job| job.id).collect(),
    };
    let mut said: Vec<Option<String>> = vec![None; ids.len()];
    let mut list = context.output.list();
    loop {
        let jobs = ids.iter().map(|id| record.job(*id)).collect::<Result<Vec<_>, _>>()?;
        for (details, said) in jobs.iter().zip(&mut said) {
            let line = line(details);
            let is_news = said.as_ref() != Some(&line);
            if is_news && !list.add(|| JobDocument::from(&details.job), || format!("{line}\n").into_bytes())? {
                return Ok(Exit::Done);
            }
            *said = Some(line);
        }
        if jobs.iter().all(|details| details.job.state != JobState::InProgress) {
            list.end()?;
            return Ok(worst(&jobs));
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// "12 backup of web01: In progress (30%), scanning vda, 410 MiB written".
fn line(details: &JobDetails) -> String {
    let job = &details.job;
    let of = job.machine.as_ref().map_or_else(String::new, |machine| format!(" of {machine}"));
    let mut parts = vec![state(job)];
    if job.state == JobState::InProgress {
        parts.extend(details.tasks.last().map(|task| task.name.clone()));
    } else {
        parts.extend(job.last_message.clone());
    }
    if job.progress.written_bytes > 0 {
        parts.push(format!("{} written", size(job.progress.written_bytes)));
    }
    super::super::render::safe(&format!("{} {}{of}: {}", job.id, job.kind, parts.join(", "))).into_owned()
}

fn worst(jobs: &[JobDetails]) -> Exit {
    let any = |state: JobState| jobs.iter().any(|details| details.job.state == state);
    match () {
        () if any(JobState::Failed) => Exit::Failed,
        () if any(JobState::Cancelled) => Exit::Interrupted,
        () if any(JobState::CompletedWithWarnings) => Exit::Warnings,
        () => Exit::Done,
    }
}
