//! `cairn policy`: when machines are backed up, and how long their points are kept.

mod change;
mod explain;
mod show;

use cairn::units::MachineName;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;

/// Options of `cairn policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A schedule: 'daily 20:30', 'every 4h from 08:00 to 20:00', 'weekly mon,thu 20:30', or 'calendar Mon..Fri *-*-* 20:30'
as systemd writes it; behind it 'in Europe/Berlin' for a zone. A time that clocks skip runs right after the gap, one that
exists twice runs once, the first time.

What is kept: 'for 180 days', or rules: 'last 3 + daily 7 + weekly 4 on sun + monthly 12 on first sun + yearly 7 on last day of dec'.
A point stays if any rule keeps it. The newest of a machine always stays.

Examples:
  cairn policy add servers --schedule 'daily 20:30 in Europe/Berlin' --keep 'daily 14 + weekly 8 + monthly 12'
  cairn policy assign servers web01 db01
  cairn policy explain web01
  cairn policy simulate servers --years 2")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    action: PolicyAction,
}

/// What to do with policies.
#[derive(Debug, clap::Subcommand)]
enum PolicyAction {
    /// Add a policy
    Add(change::AddArgs),
    /// Change a policy
    Edit(change::EditArgs),
    /// Remove a policy that no machine has
    Remove(change::RemoveArgs),
    /// Show all policies, and which machines have them
    List,
    /// Show one policy in words
    Show(show::ShowArgs),
    /// Give machines a policy
    Assign(change::AssignArgs),
    /// Tell for each point why it is kept, and until when
    Explain(explain::ExplainArgs),
    /// Show the points that a policy will hold after years
    Simulate(explain::SimulateArgs),
    /// Say for how many days deleted points can be brought back
    SoftDelete(change::SoftDeleteArgs),
}

/// Does what is asked for.
pub(crate) fn run(context: &Context, args: PolicyArgs) -> anyhow::Result<Exit> {
    match args.action {
        PolicyAction::Add(args) => change::add(context, &args),
        PolicyAction::Edit(args) => change::edit(context, &args),
        PolicyAction::Remove(args) => change::remove(context, &args),
        PolicyAction::List => show::list(context),
        PolicyAction::Show(args) => show::show(context, &args),
        PolicyAction::Assign(args) => change::assign(context, &args),
        PolicyAction::Explain(args) => explain::explain(context, &args),
        PolicyAction::Simulate(args) => explain::simulate(context, &args),
        PolicyAction::SoftDelete(args) => change::soft_delete(context, &args),
    }
}

/// The name of a policy or machine, as typed.
fn name(text: &str) -> anyhow::Result<MachineName> {
    text.parse().map_err(|error: cairn::units::NameError| usage(error.to_string()))
}
