//! `cairn policy list` and `show`.

use cairn::format::settings::PolicyRecord;
use cairn::jobs::policies::{self, Policies};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::super::context::Context;
use super::super::super::exit::Exit;
use super::super::super::render::{Align, Table, local_minute};
use super::name;

/// Options of `cairn policy show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn policy show default")]
pub(crate) struct ShowArgs {
    /// The policy
    name: String,
}

/// A policy.
#[derive(Debug, Serialize)]
pub(super) struct PolicyDocument {
    name: String,
    default: bool,
    schedule: Option<String>,
    keep: String,
    mirror: Option<String>,
    scrub_percent: Option<f64>,
    machines: Vec<String>,
    /// In words; what is wrong where this computer does not understand it.
    description: String,
    next_run: Option<Timestamp>,
}

/// All policies, and what counts for the whole vault.
#[derive(Debug, Serialize)]
pub(super) struct ListDocument {
    policies: Vec<PolicyDocument>,
    soft_delete_days: u16,
}

impl PolicyDocument {
    pub(super) fn new(policies: &Policies, record: &PolicyRecord) -> Self {
        let policy = policies.get(&record.name);
        let assigned = policies.settings.assignments.iter().filter(|(_, policy)| *policy == record.name);
        let description = match &policy {
            Ok(policy) => {
                let schedule = policy.schedule.as_ref().map_or_else(|| "never by itself".to_owned(), cairn::policy::Schedule::describe);
                format!("{schedule}; keeps {}", policy.retention.describe())
            }
            Err(error) => error.to_string(),
        };
        let timetable = policy.ok().and_then(|policy| policy.schedule).map(|schedule| schedule.timetable(&TimeZone::system()));
        Self {
            name: record.name.to_string(),
            default: record.name == policies.settings.default_policy,
            schedule: record.schedule.clone(),
            keep: record.retention.clone(),
            mirror: record.mirror.clone(),
            scrub_percent: record.scrub_millionths.map(|millionths| f64::from(millionths) / 10_000.0),
            machines: assigned.map(|(machine, _)| machine.to_string()).collect(),
            description,
            next_run: timetable.and_then(|timetable| timetable.next_after(Timestamp::now())),
        }
    }

    /// The policy as a person would say it.
    pub(super) fn in_words(&self) -> &str {
        &self.description
    }

    fn machines(&self) -> String {
        let default = self.default.then(|| "all others".to_owned());
        self.machines.iter().cloned().chain(default).collect::<Vec<_>>().join(" ")
    }
}

impl ListDocument {
    pub(super) fn new(policies: &Policies) -> Self {
        let documents = policies.settings.policies.iter().map(|record| PolicyDocument::new(policies, record));
        Self { policies: documents.collect(), soft_delete_days: policies.settings.soft_delete_days }
    }
}

pub(super) fn list(context: &Context) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let document = ListDocument::new(&policies::load(&vault)?);
    context.output.result(&document, || table(&document, context.output.width()))?;
    Ok(Exit::Done)
}

fn table(document: &ListDocument, width: Option<u16>) -> String {
    let columns = ["NAME", "SCHEDULE", "KEEPS", "MACHINES"].map(|title| (title, if title == "NAME" { Align::Left } else { Align::Wrap }));
    let mut table = Table::new(&columns);
    for policy in &document.policies {
        let schedule = policy.schedule.clone().unwrap_or_else(|| "none".to_owned());
        table.row([policy.name.clone(), schedule, policy.keep.clone(), policy.machines()]);
    }
    table.render(width)
}

pub(super) fn show(context: &Context, args: &ShowArgs) -> anyhow::Result<Exit> {
    let policy = name(&args.name)?;
    let vault = context.open_vault()?;
    let policies = policies::load(&vault)?;
    let document = PolicyDocument::new(&policies, policies.record(&policy)?);
    context.output.result(&document, || details(&document))?;
    Ok(Exit::Done)
}

fn details(policy: &PolicyDocument) -> String {
    let none = || "none".to_owned();
    let next = policy.next_run.map_or_else(none, |time| local_minute(time, &TimeZone::system()));
    let scrub = policy.scrub_percent.map_or_else(none, |percent| format!("{percent}% of the data a day"));
    let mut table = Table::new(&[("POLICY", Align::Left), (policy.name.as_str(), Align::Wrap)]);
    for (title, value) in [
        ("schedule", policy.schedule.clone().unwrap_or_else(none)),
        ("keeps", policy.keep.clone()),
        ("in words", policy.description.clone()),
        ("next run", next),
        ("machines", policy.machines()),
        ("mirror", policy.mirror.clone().unwrap_or_else(none)),
        ("scrub", scrub),
    ] {
        table.row([title.to_owned(), value]);
    }
    table.render(None)
}
