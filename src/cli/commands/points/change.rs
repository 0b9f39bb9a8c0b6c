//! `cairn points pin`, `unpin`, `tag`, `delete` and `undelete`.

use cairn::catalogue::points::{Listing, PointSummary};
use cairn::format::point::PointState;
use cairn::jobs::deletion::{self, Deletions};
use cairn::jobs::{JobError, points};
use cairn::store::Vault;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::super::context::Context;
use super::super::super::exit::Exit;
use super::super::super::fault::usage;
use super::super::super::json::PointDocument;

/// What to change about points.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ChangeAction {
    /// Keep points whatever the policy says
    Pin(NamesArgs),
    /// Leave points to the policy again
    Unpin(NamesArgs),
    /// Add tags to a point, or remove them
    Tag(TagArgs),
    /// Delete points; they can be brought back for some days
    Delete(DeleteArgs),
    /// Bring deleted points back
    Undelete(NamesArgs),
}

/// Which points.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn points pin web01@latest
  cairn points unpin web01@2026-11-21 3fa8c0d1
  cairn points undelete web01@2026-11-21T20:30:00Z")]
pub(super) struct NamesArgs {
    /// The points
    #[arg(required = true, value_name = "POINT")]
    points: Vec<String>,
}

/// Options of `cairn points delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A pinned point, one whose own date has not come, and those of an immutable vault are refused. The data stays until the time in
soft delete is over (14 days unless `cairn policy soft-delete` says otherwise) and `cairn gc` runs.

Examples:
  cairn points delete web01@2026-11-21
  cairn points --deleted
  cairn points undelete web01@2026-11-21")]
pub(super) struct DeleteArgs {
    /// The points
    #[arg(required = true, value_name = "POINT")]
    points: Vec<String>,

    /// Delete although this computer's clock is behind the latest time in the vault: it is right, and another clock was wrong
    #[arg(long)]
    trust_clock: bool,
}

/// Options of `cairn points tag`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn points tag web01@latest before-upgrade
  cairn points tag web01@latest keep --remove nightly")]
pub(super) struct TagArgs {
    /// The point
    point: String,

    /// Tags to add
    #[arg(value_name = "TAG", required_unless_present = "remove")]
    tags: Vec<String>,

    /// A tag to remove; may be given several times
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
}

/// Changes them, all or, where a name is wrong, none.
pub(super) fn run(context: &Context, action: &ChangeAction) -> anyhow::Result<Exit> {
    let names = match action {
        ChangeAction::Pin(args) | ChangeAction::Unpin(args) | ChangeAction::Undelete(args) => &args.points[..],
        ChangeAction::Delete(args) => &args.points[..],
        ChangeAction::Tag(args) => std::slice::from_ref(&args.point),
    };
    check_tags(action)?;
    let now = Timestamp::now();
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let mut listing = context.list_points(&vault, &monitor)?;
    let ended = monitor.finish();
    let deletions = match action {
        ChangeAction::Delete(args) => Some(deletions(&vault, &listing, now, args.trust_clock)?),
        _ => None,
    };
    if matches!(action, ChangeAction::Undelete(_)) {
        // Names are those of points that are there for users; here these are the deleted ones.
        listing = Listing { points: listing.deleted, ..Listing::default() };
    }
    let found = names.iter().map(|name| points::find(&listing, name, &TimeZone::system())).collect::<Result<Vec<_>, _>>()?;
    let change = |point: &PointSummary| -> Result<PointState, JobError> {
        match (action, &deletions) {
            (ChangeAction::Delete(_), Some(deletions)) => deletions.delete(&vault, point),
            (ChangeAction::Tag(args), _) => deletion::tag(&vault, point.point(), &args.tags, &args.remove, now),
            (ChangeAction::Undelete(_), _) => deletion::undelete(&vault, point.point(), now),
            _ => deletion::pin(&vault, point.point(), matches!(action, ChangeAction::Pin(_)), now),
        }
    };
    let mut documents = Vec::new();
    for point in found {
        documents.push(PointDocument::new(&point.manifest, Some(&change(point)?)));
    }
    context.output.result(&documents, || documents.iter().map(|point| format!("{} {}.\n", point.name, done(action))).collect())?;
    Ok(Exit::done(ended.warning_count))
}

fn deletions(vault: &Vault, listing: &Listing, now: Timestamp, trust_clock: bool) -> Result<Deletions, JobError> {
    Ok(Deletions::new(&cairn::jobs::policies::load(vault)?.settings, listing, now, trust_clock))
}

fn check_tags(action: &ChangeAction) -> anyhow::Result<()> {
    match action {
        ChangeAction::Tag(args) if args.tags.iter().any(String::is_empty) => Err(usage("a tag is empty")),
        _ => Ok(()),
    }
}

fn done(action: &ChangeAction) -> &'static str {
    match action {
        ChangeAction::Pin(_) => "is pinned",
        ChangeAction::Unpin(_) => "is no longer pinned",
        ChangeAction::Tag(_) => "has its new tags",
        ChangeAction::Delete(_) => "is deleted; `cairn points undelete` brings it back",
        ChangeAction::Undelete(_) => "is back",
    }
}
