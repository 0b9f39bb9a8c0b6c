//! `cairn prune`: what policies no longer keep goes into soft delete.

use cairn::host::JobKind;
use cairn::jobs::deletion::Deletions;
use cairn::jobs::{policies, prune};
use cairn::monitor::{Monitor, Problem};
use cairn::units::MachineName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::kept::{DecisionDocument, table};
use super::super::progress::Warning;

/// Options of `cairn prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The newest point of a machine always stays, as do pinned ones and those whose own date has not come. Deleted points can be
brought back with `cairn points undelete` until their time is over (14 days unless `cairn policy soft-delete` says otherwise);
`cairn gc` then frees the space.

Examples:
  cairn prune --dry-run
  cairn prune web01
  cairn prune --dry-run --json | jq '.points[] | select(.kept | not)'")]
pub(crate) struct PruneArgs {
    /// Only points of these machines
    machines: Vec<String>,

    /// Show what would be deleted and why the others stay; change nothing
    #[arg(long)]
    dry_run: bool,

    /// Delete although this computer's clock is behind the latest time in the vault: it is right, and another clock was wrong
    #[arg(long)]
    trust_clock: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct PruneDocument {
    dry_run: bool,
    kept: usize,
    deleted: usize,
    points: Vec<DecisionDocument>,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// Plans, and deletes unless it is a dry run.
pub(crate) fn run(context: &Context, args: &PruneArgs) -> anyhow::Result<Exit> {
    let machines = args.machines.iter().map(|name| name.parse::<MachineName>()).collect::<Result<Vec<_>, _>>();
    let machines = machines.map_err(|error| usage(error.to_string()))?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    if !args.dry_run {
        context.begin_job(JobKind::Prune, None)?;
    }
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let policies = policies::load(&vault)?;
    let deletions = Deletions::new(&policies.settings, &listing, now, args.trust_clock);
    let plan = prune::plan(&listing, &policies, &deletions, &machines, &zone, now)?;
    let points: Vec<DecisionDocument> = plan.iter().flat_map(DecisionDocument::of_machine).collect();
    let deleted = if args.dry_run {
        if let Err(error) = deletions.check_clock() {
            monitor.problem(Problem { subject: "clock".to_owned(), message: error.to_string() });
        }
        points.iter().filter(|point| !point.kept).count()
    } else {
        prune::execute(&vault, &listing, &plan, &deletions, &monitor)?.len()
    };
    let ended = monitor.finish();
    let exit = Exit::done(ended.warning_count);
    let document = PruneDocument {
        dry_run: args.dry_run,
        kept: points.len() - deleted,
        deleted,
        points,
        warnings: ended.warnings,
        warning_count: ended.warning_count,
    };
    context.output.result(&document, || text(&document, &zone, context.output.width()))?;
    Ok(exit)
}

fn text(document: &PruneDocument, zone: &TimeZone, width: Option<u16>) -> String {
    let verb = if document.dry_run { "would be deleted" } else { "deleted" };
    let sum = format!("{} {verb}, {} kept.\n", document.deleted, document.kept);
    if document.dry_run && !document.points.is_empty() { format!("{}\n{sum}", table(&document.points, zone, width)) } else { sum }
}
