//! `cairn policy add`, `edit`, `remove`, `assign` and `soft-delete`.

use cairn::jobs::policies::{self, Edit, Policies};
use cairn::policy::{Retention, Schedule};
use jiff::Timestamp;

use super::super::super::context::Context;
use super::super::super::exit::Exit;
use super::super::super::fault::usage;
use super::super::super::moment::percent;
use super::name;
use super::show::{ListDocument, PolicyDocument};

/// Millionths in a hundredth.
const MILLIONTHS_PER_PERCENT: f64 = 10_000.0;

/// What a policy says.
#[derive(Debug, clap::Args)]
struct Parts {
    /// When machines are backed up: 'daily 20:30 in Europe/Berlin'; 'none' for never by itself
    #[arg(long, value_name = "TEXT")]
    schedule: Option<String>,

    /// What is kept: 'for 180 days', or rules such as 'daily 7 + monthly 12'; given several times, all together
    #[arg(long, value_name = "TEXT")]
    keep: Vec<String>,

    /// The place to which each backup is copied; 'none' for none
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,

    /// How much of the vault's data is read and checked each day; 0% for none
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    scrub: Option<f64>,
}

/// Options of `cairn policy add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is not said is as in every new vault: daily 20:30, for 180 days.

Examples:
  cairn policy add servers --schedule 'daily 20:30 in Europe/Berlin' --keep 'daily 14 + weekly 8 + monthly 12'
  cairn policy add hourly --schedule 'every 4h from 08:00 to 20:00' --keep 'hourly 48' --keep 'daily 30'
  cairn policy add archive --schedule 'weekly sun 03:00' --keep 'yearly 10 on last sun of dec + weekly 8'")]
pub(crate) struct AddArgs {
    /// Its name
    name: String,

    #[command(flatten)]
    parts: Parts,
}

/// Options of `cairn policy edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Longer retention counts for points that exist already, shorter retention with the next prune.

Examples:
  cairn policy edit servers --keep 'daily 30 + monthly 24'
  cairn policy edit servers --schedule none")]
pub(crate) struct EditArgs {
    /// The policy
    name: String,

    #[command(flatten)]
    parts: Parts,
}

/// Options of `cairn policy remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn policy remove servers")]
pub(crate) struct RemoveArgs {
    /// The policy
    name: String,
}

/// Options of `cairn policy assign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn policy assign servers web01 db01
  cairn policy assign servers --default")]
pub(crate) struct AssignArgs {
    /// The policy
    name: String,

    /// The machines
    #[arg(required_unless_present = "default")]
    machines: Vec<String>,

    /// All machines that have no other
    #[arg(long)]
    default: bool,
}

/// Options of `cairn policy soft-delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Counts for points that are deleted already, too. With 0 the next collection takes deleted points.

Examples:
  cairn policy soft-delete 30")]
pub(crate) struct SoftDeleteArgs {
    /// Days
    days: u16,
}

pub(super) fn add(context: &Context, args: &AddArgs) -> anyhow::Result<Exit> {
    let (policy, edit) = (name(&args.name)?, args.parts.edit()?);
    let vault = context.open_vault()?;
    let policies = policies::add(&vault, &policy, &edit, Timestamp::now())?;
    shown(context, &policies, &args.name, "added")
}

pub(super) fn edit(context: &Context, args: &EditArgs) -> anyhow::Result<Exit> {
    let (policy, edit) = (name(&args.name)?, args.parts.edit()?);
    if edit == Edit::default() {
        return Err(usage("nothing is to change; give --schedule, --keep, --mirror or --scrub"));
    }
    let vault = context.open_vault()?;
    let policies = policies::edit(&vault, &policy, &edit, Timestamp::now())?;
    shown(context, &policies, &args.name, "changed")
}

fn shown(context: &Context, policies: &Policies, policy: &str, done: &str) -> anyhow::Result<Exit> {
    let document = PolicyDocument::new(policies, policies.record(&name(policy)?)?);
    context.output.result(&document, || format!("Policy {policy} is {done}: {}\n", document.in_words()))?;
    Ok(Exit::Done)
}

pub(super) fn remove(context: &Context, args: &RemoveArgs) -> anyhow::Result<Exit> {
    let policy = name(&args.name)?;
    let vault = context.open_vault()?;
    let policies = policies::remove(&vault, &policy, Timestamp::now())?;
    context.output.result(&ListDocument::new(&policies), || format!("Policy {policy} is removed.\n"))?;
    Ok(Exit::Done)
}

pub(super) fn assign(context: &Context, args: &AssignArgs) -> anyhow::Result<Exit> {
    let policy = name(&args.name)?;
    let machines = args.machines.iter().map(|machine| name(machine)).collect::<anyhow::Result<Vec<_>>>()?;
    let vault = context.open_vault()?;
    let policies = policies::assign(&vault, &policy, &machines, args.default, Timestamp::now())?;
    let default = args.default.then_some("every machine that has no other");
    let who: Vec<&str> = args.machines.iter().map(String::as_str).chain(default).collect();
    context.output.result(&ListDocument::new(&policies), || format!("Policy {policy} counts for {}.\n", who.join(", ")))?;
    Ok(Exit::Done)
}

pub(super) fn soft_delete(context: &Context, args: &SoftDeleteArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let policies = policies::set_soft_delete_days(&vault, args.days, Timestamp::now())?;
    context.output.result(&ListDocument::new(&policies), || format!("Deleted points can be brought back for {} days.\n", args.days))?;
    Ok(Exit::Done)
}

impl Parts {
    fn edit(&self) -> anyhow::Result<Edit> {
        let schedule = self.schedule.as_deref().map(|text| not_none(text).map(parse::<Schedule>).transpose()).transpose()?;
        let retention = (!self.keep.is_empty()).then(|| parse::<Retention>(&self.keep.join(" + "))).transpose()?;
        let mirror = self.mirror.as_deref().map(|url| not_none(url).map(str::to_owned));
        let scrub_millionths = self.scrub.map(|percent| match (percent * MILLIONTHS_PER_PERCENT).round() as u32 {
            0 => None,
            millionths => Some(millionths),
        });
        Ok(Edit { schedule, retention, mirror, scrub_millionths })
    }
}

fn not_none(text: &str) -> Option<&str> {
    Some(text).filter(|text| *text != "none")
}

pub(super) fn parse<T: std::str::FromStr<Err = cairn::policy::PolicyError>>(text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|error: cairn::policy::PolicyError| usage(error.to_string()))
}
