//! `cairn points`: the recovery points of a vault.

mod change;
mod size;

use cairn::catalogue::points::PointSummary;
use cairn::jobs::deletion::Deletions;
use cairn::jobs::points::Filter;
use cairn::units::MachineName;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::json::{ConsistencyChoice, PointDocument};
use super::super::moment::{End, range_end};
use super::super::render::{Align, Table, local_minute, size};
use change::ChangeAction;
use size::SizeArgs;

/// How far back points are shown unless somebody says.
const DEFAULT_DAYS: i64 = 30;
/// Digits of an id in the table.
const ID_DIGITS: usize = 8;

/// Options of `cairn points`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the last 30 days unless --all, --since or --until says otherwise. Times are local; names and --json are UTC.

Examples:
  cairn points
  cairn points web01 --all
  cairn points --since 2026-11-01 --until 2026-11-15 --tag nightly
  cairn points --since 36h --consistency application
  cairn points --deleted
  cairn points pin web01@latest
  cairn points delete web01@2026-11-21
  cairn points size web01@2026-11-01 web01@2026-11-02
  cairn points web01 --all --json | jq '.[].name'")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PointsArgs {
    #[command(subcommand)]
    action: Option<PointsAction>,

    /// Only of this machine
    machine: Option<String>,

    /// All, however old
    #[arg(long, conflicts_with_all = ["since", "until"])]
    all: bool,

    /// Deleted ones that can be brought back
    #[arg(long)]
    deleted: bool,

    /// Not before: a day, a time, or an age such as 36h or 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Not after
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only of this consistency
    #[arg(long, value_enum, value_name = "KIND")]
    consistency: Option<ConsistencyChoice>,

    /// Only with this tag; given several times, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// What to do with points, other than to list them.
#[derive(Debug, clap::Subcommand)]
enum PointsAction {
    #[command(flatten)]
    Change(ChangeAction),
    /// Show exactly what deleting points would free
    Size(SizeArgs),
}

/// Shows them.
pub(crate) fn run(context: &Context, args: PointsArgs) -> anyhow::Result<Exit> {
    match &args.action {
        None => list(context, &args),
        Some(PointsAction::Size(args)) => size::run(context, args),
        Some(PointsAction::Change(action)) => change::run(context, action),
    }
}

fn list(context: &Context, args: &PointsArgs) -> anyhow::Result<Exit> {
    let zone = TimeZone::system();
    let mut filter = filter(args, Timestamp::now(), &zone)?;
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let ended = monitor.finish();
    if args.deleted {
        let deleted: Vec<_> = listing.deleted.iter().filter(|point| filter.admits(point)).collect();
        show_deleted(context, &deleted, &Deletions::read(&vault, &listing, Timestamp::now())?)?;
        return Ok(Exit::done(ended.warning_count));
    }
    let points: Vec<_> = listing.points.iter().filter(|point| filter.admits(point)).collect();
    let documents: Vec<_> = points.iter().map(|point| PointDocument::new(&point.manifest, point.state.as_ref())).collect();
    context.output.result(&documents, || table(&documents, &zone, context.output.width()))?;
    if filter.since.take().is_some() && args.since.is_none() {
        let older = listing.points.iter().filter(|point| filter.admits(point)).count().saturating_sub(points.len());
        if older > 0 {
            context.output.note(&format!("{older} older than {DEFAULT_DAYS} days not shown; --all shows them"));
        }
    }
    Ok(Exit::done(ended.warning_count))
}

fn filter(args: &PointsArgs, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Filter> {
    let machine = args.machine.as_deref().map(|name| name.parse::<MachineName>().map_err(|error| usage(error.to_string()))).transpose()?;
    let since = args.since.as_deref().map(|text| range_end(text, End::Since, now, zone)).transpose()?;
    let until = args.until.as_deref().map(|text| range_end(text, End::Until, now, zone)).transpose()?;
    let by_default = (!args.all && !args.deleted && until.is_none()).then(|| now - SignedDuration::from_hours(24 * DEFAULT_DAYS));
    Ok(Filter { machine, since: since.or(by_default), until, consistency: args.consistency.map(Into::into), tags: args.tags.clone() })
}

/// A deleted point, and how long it can be brought back.
#[derive(Debug, Serialize)]
struct DeletedDocument {
    #[serde(flatten)]
    point: PointDocument,
    deleted: Option<Timestamp>,
    removed_after: Option<Timestamp>,
}

fn show_deleted(context: &Context, points: &[&PointSummary], deletions: &Deletions) -> anyhow::Result<()> {
    let document = |point: &&PointSummary| DeletedDocument {
        point: PointDocument::new(&point.manifest, point.state.as_ref()),
        deleted: point.state.as_ref().and_then(|state| state.deleted),
        removed_after: deletions.ends(point.manifest.time, point.state.as_ref()),
    };
    let documents: Vec<DeletedDocument> = points.iter().map(document).collect();
    context.output.result(&documents, || {
        let zone = TimeZone::system();
        let mut table = Table::new(&["ID", "MACHINE", "TIME", "DELETED", "REMOVED AFTER"].map(|title| (title, Align::Left)));
        let time = |time: Option<Timestamp>| time.map_or_else(|| "never: pinned".to_owned(), |time| local_minute(time, &zone));
        for DeletedDocument { point, deleted, removed_after } in &documents {
            let id = point.id.get(..ID_DIGITS).unwrap_or(&point.id).to_owned();
            table.row([id, point.machine.clone(), local_minute(point.time, &zone), time(*deleted), time(*removed_after)]);
        }
        table.render(context.output.width())
    })
}

fn table(points: &[PointDocument], zone: &TimeZone, width: Option<u16>) -> String {
    let words = ["ID", "MACHINE", "TIME", "CONSISTENCY"].map(|title| (title, Align::Left));
    let numbers = ["SIZE", "CHANGED", "STORED"].map(|title| (title, Align::Right));
    let mut table = Table::new(&[&words[..], &[("DISKS", Align::Wrap)], &numbers, &[("TAGS", Align::Wrap)]].concat());
    for point in points {
        table.row([
            point.id.get(..ID_DIGITS).unwrap_or(&point.id).to_owned(),
            point.machine.clone(),
            local_minute(point.time, zone),
            point.consistency.to_owned(),
            point.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(" "),
            size(point.size_bytes),
            size(point.bytes_changed),
            size(point.bytes_stored),
            point.tags.join(" "),
        ]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: PointsArgs,
    }

    fn since(arguments: &[&str]) -> Option<String> {
        let typed = Typed::parse_from([&["points"], arguments].concat());
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        filter(&typed.args, now, &TimeZone::UTC).unwrap().since.map(|time| time.to_string())
    }

    #[test]
    fn the_last_thirty_days_are_shown_unless_somebody_says() {
        assert_eq!(since(&[]).as_deref(), Some("2026-10-23T12:00:00Z"));
        assert_eq!(since(&["--all"]), None);
        assert_eq!(since(&["--until", "2026-01-01"]), None);
        assert_eq!(since(&["--since", "2026-01-01"]).as_deref(), Some("2026-01-01T00:00:00Z"));
    }
}
