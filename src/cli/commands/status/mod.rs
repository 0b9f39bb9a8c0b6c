//! `cairn status`: the one screen to look at in the morning.

mod prometheus;

use std::path::PathBuf;

use cairn::host::{Alarm, FileLock, JobFilter, JobKind, LastBackup, Record, attempts, scheduler_lock, standing};
use cairn::jobs::policies;
use cairn::units::MachineName;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::protection::{self, Points, Protected};
use super::super::recording;
use super::super::render::{Align, Table, age, local_minute, safe, size};

/// The trend compares the last so many days with as many before.
const TREND_DAYS: i64 = 7;

/// Options of `cairn status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Last backup: Completed, Completed with warnings, In progress, Failed, Cancelled; Warning (initial backup pending) before the first
one; Missed when nothing has begun two hours after its time, Overdue when there is no point of the time before either.

Exit code, for monitoring: 0 when all is well, 3 when something wants a look (warnings, an initial backup that is pending, a backup
that was cancelled), 5 when a backup failed, was missed or is overdue; 1 when the status cannot be told.

Examples:
  cairn status
  cairn status --json | jq '.machines[] | select(.alarm == \"critical\") | .name'
  cairn status --prometheus /var/lib/prometheus/node-exporter/cairn.prom")]
pub(crate) struct StatusArgs {
    /// Write metrics for Prometheus: to standard output, or to FILE, which is replaced whole
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "json")]
    prometheus: Option<PathBuf>,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct StatusDocument {
    vault: String,
    time: Timestamp,
    alarm: &'static str,
    scheduler_running: bool,
    machines: Vec<MachineDocument>,
    stored_bytes: u64,
}

/// A machine.
#[derive(Debug, Serialize)]
struct MachineDocument {
    name: String,
    defined: bool,
    protection: &'static str,
    last_backup_status: &'static str,
    #[serde(skip)]
    last_backup: LastBackup,
    alarm: &'static str,
    last_success: Option<Timestamp>,
    next_backup: Option<Timestamp>,
    schedule: Option<String>,
    points: u64,
    stored_bytes: u64,
    stored_last_days_bytes: u64,
    stored_days_before_bytes: u64,
    last_message: Option<String>,
}

/// Shows how all machines stand.
pub(crate) fn run(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let ended = monitor.finish();
    let (machines, problems) = protection::all(&context.machines()?, &policies::load(&vault)?, &listing)?;
    problems.iter().for_each(|problem| context.output.warning(problem));
    let state = context.state_directory()?;
    let record = Record::open_existing(&state)?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let mut worst = if ended.warning_count == 0 && problems.is_empty() { Alarm::None } else { Alarm::Warning };
    let mut documents = Vec::new();
    let place = recording::place(&context.vault_location()?);
    for (name, protected) in &machines {
        let (document, alarm) = document(&place, name, protected, record.as_ref(), now)?;
        worst = worst.max(alarm);
        documents.push(document);
    }
    let status = StatusDocument {
        vault: place,
        time: now,
        alarm: word(worst),
        scheduler_running: FileLock::is_held(&scheduler_lock(&state)),
        stored_bytes: documents.iter().map(|machine| machine.stored_bytes).sum(),
        machines: documents,
    };
    match &args.prometheus {
        Some(file) => prometheus::write(context, &status, file)?,
        None => context.output.result(&status, || text(&status, &zone, context.output.width()))?,
    }
    Ok(match worst {
        Alarm::None => Exit::Done,
        Alarm::Warning => Exit::Warnings,
        Alarm::Critical => Exit::Unprotected,
    })
}

fn document(
    vault: &str,
    name: &MachineName,
    protected: &Protected,
    record: Option<&Record>,
    now: Timestamp,
) -> anyhow::Result<(MachineDocument, Alarm)> {
    let points = &protected.points;
    let mut past = record.map(|record| attempts(record, vault, JobKind::Backup, Some(name))).transpose()?.unwrap_or_default();
    // Points tell of backups that another host made, or that a lost record told of.
    past.extend(
        points
            .stored
            .iter()
            .filter(|(time, _)| !past.iter().any(|known| known.covers(*time)))
            .map(|(time, _)| cairn::host::due::Attempt::point(*time))
            .collect::<Vec<_>>(),
    );
    let first_point = points.stored.iter().map(|(time, _)| *time).min();
    let since = record.map(|record| record.known_since(name)).transpose()?.flatten().or(first_point).unwrap_or(now);
    let stands = standing(now, protected.timetable().as_ref(), since, points.count > 0, &past);
    // Of a machine that only the vault knows nobody here has said that it is to be backed up.
    let alarm = if protected.machine.is_none() && protected.schedule.is_none() { Alarm::None } else { stands.alarm };
    let filter = JobFilter {
        machine: Some(name.clone()),
        kind: Some(JobKind::Backup),
        vault: Some(vault.to_owned()),
        limit: Some(1),
        ..JobFilter::default()
    };
    let last_job = record.map(|record| record.jobs(&filter)).transpose()?.unwrap_or_default().pop();
    let (last_days, before) = trend(points, now);
    let document = MachineDocument {
        name: name.to_string(),
        defined: protected.machine.is_some(),
        protection: stands.protection.word(),
        last_backup_status: stands.last_backup.word(),
        last_backup: stands.last_backup,
        alarm: word(alarm),
        last_success: stands.last_success,
        next_backup: stands.next,
        schedule: protected.schedule.as_ref().map(ToString::to_string),
        points: points.count,
        stored_bytes: points.stored.iter().map(|(_, bytes)| bytes).sum(),
        stored_last_days_bytes: last_days,
        stored_days_before_bytes: before,
        last_message: last_job.and_then(|job| job.last_message),
    };
    Ok((document, alarm))
}

/// Bytes that were added in the last days, and in as many before.
fn trend(points: &Points, now: Timestamp) -> (u64, u64) {
    let days = |ago: i64| now.saturating_sub(SignedDuration::from_hours(24 * TREND_DAYS * ago)).unwrap_or(now);
    let sum =
        |from: Timestamp, to: Timestamp| points.stored.iter().filter(|(time, _)| *time > from && *time <= to).map(|(_, bytes)| bytes).sum();
    (sum(days(1), now), sum(days(2), days(1)))
}

fn word(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::None => "none",
        Alarm::Warning => "warning",
        Alarm::Critical => "critical",
    }
}

fn text(status: &StatusDocument, zone: &TimeZone, width: Option<u16>) -> String {
    let words = ["MACHINE", "LAST BACKUP", "LAST GOOD ONE", "NEXT"].map(|title| (title, Align::Left));
    let numbers = ["POINTS", "STORED", "7 DAYS", "7 BEFORE"].map(|title| (title, Align::Right));
    let mut table = Table::new(&[&words[..], &numbers, &[("SAYS", Align::Wrap)]].concat());
    for machine in &status.machines {
        let next = match machine.next_backup {
            Some(next) if next <= status.time => "now".to_owned(),
            Some(next) => local_minute(next, zone),
            None => "not scheduled here".to_owned(),
        };
        table.row([
            machine.name.clone(),
            machine.last_backup.title().to_owned(),
            machine.last_success.map_or_else(|| "-".to_owned(), |time| age(time, status.time)),
            next,
            machine.points.to_string(),
            size(machine.stored_bytes),
            size(machine.stored_last_days_bytes),
            size(machine.stored_days_before_bytes),
            machine.last_message.clone().unwrap_or_default(),
        ]);
    }
    let mut text = if status.machines.is_empty() {
        "No machine is defined on this host, and the vault has no points; `cairn machine add` begins.\n".to_owned()
    } else {
        table.render(width)
    };
    let count = |alarm: &str| status.machines.iter().filter(|machine| machine.alarm == alarm).count();
    let well = status.machines.len() - count("warning") - count("critical");
    text.push_str(&format!(
        "\n{}: {well} well, {} with warnings, {} not protected as they should be",
        safe(&status.vault),
        count("warning"),
        count("critical")
    ));
    text.push_str(if status.scheduler_running { "; the scheduler runs\n" } else { "; no scheduler runs on this host\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trend_has_two_weeks() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T12:00:00Z");
        let stored = [("2026-11-22T12:00:00Z", 1), ("2026-11-15T12:00:01Z", 2), ("2026-11-15T12:00:00Z", 4), ("2026-11-08T12:00:00Z", 8)];
        let points = Points { stored: stored.iter().map(|(time, bytes)| (at(time), *bytes)).collect(), ..Points::default() };
        assert_eq!(trend(&points, now), (3, 4));
    }
}
