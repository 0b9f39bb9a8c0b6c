//! `cairn policy explain` and `simulate`: why points are kept, and what a policy will hold.

use cairn::jobs::deletion::Deletions;
use cairn::jobs::{policies, prune};
use cairn::policy::{self, Policy, Retention, Schedule};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::super::super::context::Context;
use super::super::super::exit::Exit;
use super::super::super::fault::usage;
use super::super::super::kept::{DecisionDocument, table};
use super::super::super::render::local_minute;
use super::change::parse;
use super::name;

/// Options of `cairn policy explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
'monthly 3 of 12' is the third of twelve months that have points, counted from the newest. A date of such a rule is the
earliest one: periods without points do not count.

Examples:
  cairn policy explain
  cairn policy explain web01 --json | jq '.[] | select(.kept | not) | .name'")]
pub(crate) struct ExplainArgs {
    /// Only of these machines
    machines: Vec<String>,
}

/// Options of `cairn policy simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
As if a new machine were backed up by the policy from now on, without a failure. Options try out what is not in the vault.

Examples:
  cairn policy simulate --years 2
  cairn policy simulate servers --keep 'daily 7 + weekly 4 + monthly 12'")]
pub(crate) struct SimulateArgs {
    /// The policy [default: the vault's default]
    name: Option<String>,

    /// How many years
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50))]
    years: u8,

    /// Another schedule
    #[arg(long, value_name = "TEXT")]
    schedule: Option<String>,

    /// Other rules of what is kept
    #[arg(long, value_name = "TEXT")]
    keep: Vec<String>,
}

/// What `cairn policy simulate --json` says.
#[derive(Debug, Serialize)]
struct SimulationDocument {
    from: Timestamp,
    until: Timestamp,
    runs: usize,
    most_points: usize,
    months: Vec<MonthDocument>,
    points: Vec<DecisionDocument>,
}

#[derive(Debug, Serialize)]
struct MonthDocument {
    month: String,
    points: usize,
}

pub(super) fn explain(context: &Context, args: &ExplainArgs) -> anyhow::Result<Exit> {
    let machines = args.machines.iter().map(|machine| name(machine)).collect::<anyhow::Result<Vec<_>>>()?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let policies = policies::load(&vault)?;
    let deletions = Deletions::new(&policies.settings, &listing, now, false);
    let plan = prune::plan(&listing, &policies, &deletions, &machines, &zone, now)?;
    let ended = monitor.finish();
    let documents: Vec<DecisionDocument> = plan.iter().flat_map(DecisionDocument::of_machine).collect();
    context.output.result(&documents, || table(&documents, &zone, context.output.width()))?;
    Ok(Exit::done(ended.warning_count))
}

pub(super) fn simulate(context: &Context, args: &SimulateArgs) -> anyhow::Result<Exit> {
    let (from, zone) = (Timestamp::now(), TimeZone::system());
    let policy = policy_to_try(context, args)?;
    let end = from.to_zoned(zone.clone()).checked_add(i32::from(args.years).years());
    let until = end.map_err(|error| usage(format!("--years {}: {error}", args.years)))?.timestamp();
    let found = policy::simulate(&policy, &zone, from, until).map_err(|error| usage(error.to_string()))?;
    let document = SimulationDocument {
        from,
        until,
        runs: found.runs,
        most_points: found.most,
        months: found
            .months
            .iter()
            .map(|(day, points)| MonthDocument { month: day.strftime("%Y-%m").to_string(), points: *points })
            .collect(),
        points: found.held.iter().map(DecisionDocument::new).collect(),
    };
    context.output.result(&document, || {
        let (years, held) = (args.years, document.points.len());
        let head = format!(
            "{} runs in {years} {}; {held} points on {}, {} at most.\n\n",
            found.runs,
            if years == 1 { "year" } else { "years" },
            local_minute(until, &zone),
            found.most
        );
        head + &table(&document.points, &zone, context.output.width())
    })?;
    Ok(Exit::Done)
}

/// The vault's policy, with what options say in its place. With both given no vault is needed.
fn policy_to_try(context: &Context, args: &SimulateArgs) -> anyhow::Result<Policy> {
    let schedule = args.schedule.as_deref().map(parse::<Schedule>).transpose()?;
    let retention = (!args.keep.is_empty()).then(|| parse::<Retention>(&args.keep.join(" + "))).transpose()?;
    let policy = match (schedule, retention, &args.name) {
        (Some(schedule), Some(retention), None) => Policy { schedule: Some(schedule), retention },
        (schedule, retention, asked) => {
            let policies = policies::load(&*context.open_vault()?)?;
            let asked = asked.as_deref().map(name).transpose()?;
            let policy = policies.get(asked.as_ref().unwrap_or(&policies.settings.default_policy))?;
            Policy { schedule: schedule.or(policy.schedule), retention: retention.unwrap_or(policy.retention) }
        }
    };
    policy.check().map_err(|error| usage(error.to_string()))?;
    Ok(policy)
}
