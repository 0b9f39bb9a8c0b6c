//! `cairn versions`: in which recovery points a path exists, and where its content changed.

use cairn::catalogue::points::PointSummary;
use cairn::jobs::recover::{Version, VersionState, versions};
use cairn::units::MachineName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::look::{LookArgs, moment};
use super::super::render::{Align, Table, local_minute, size};

/// Options of `cairn versions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Contents are compared by where they lie in the vault; they are read only where that cannot decide.

Examples:
  cairn versions web01 /etc/passwd
  cairn versions web01 /srv/data/report.ods --changes
  cairn versions web01 /etc/fstab --json")]
pub(crate) struct VersionsArgs {
    /// The machine
    machine: MachineName,

    /// The path, as the guest has it: /etc/passwd
    path: std::ffi::OsString,

    /// Show only the points in which it changed
    #[arg(long)]
    changes: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// What `--json` says of one point.
#[derive(Debug, Serialize)]
struct VersionDocument {
    point: String,
    id: String,
    time: Timestamp,
    state: &'static str,
    problem: Option<String>,
    size_bytes: Option<u64>,
    modified: Option<Timestamp>,
    contents_read: bool,
}

/// Shows them.
pub(crate) fn run(context: &Context, args: &VersionsArgs) -> anyhow::Result<Exit> {
    let path = args.path.as_encoded_bytes();
    if !path.starts_with(b"/") {
        return Err(usage("the path must begin with a slash, as the guest has it: /etc/passwd"));
    }
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let mut points: Vec<&PointSummary> = listing.points.iter().filter(|point| point.manifest.machine == args.machine).collect();
    points.sort_by_key(|point| point.manifest.time);
    if points.is_empty() {
        anyhow::bail!("the vault has no points of '{}'; cairn points lists those that it has", args.machine);
    }
    let recovery = args.look.recovery(context, &vault)?;
    let mut documents = Vec::new();
    versions(&recovery, &points, path, &monitor, |point, version| {
        let quiet = matches!(version.state, VersionState::Same | VersionState::Missing);
        if !(args.changes && quiet) {
            documents.push(document(point, &version));
        }
    })?;
    let unreadable = documents.iter().filter(|document| document.problem.is_some()).count();
    context.output.result(&documents, || table(&documents, context.output.width()))?;
    Ok(Exit::done(monitor.finish().warning_count + unreadable as u64))
}

fn document(point: &PointSummary, version: &Version) -> VersionDocument {
    let (state, problem) = match &version.state {
        VersionState::Missing => ("missing", None),
        VersionState::New => ("new", None),
        VersionState::Changed => ("changed", None),
        VersionState::Same => ("same", None),
        VersionState::Unreadable(problem) => ("unreadable", Some(problem.clone())),
    };
    VersionDocument {
        point: point.name(),
        id: point.point().to_string(),
        time: point.manifest.time,
        state,
        problem,
        size_bytes: version.attributes.as_ref().map(|known| known.size_bytes),
        modified: version.attributes.as_ref().and_then(|known| moment(known.modified)),
        contents_read: version.was_read,
    }
}

fn table(documents: &[VersionDocument], width: Option<u16>) -> String {
    let zone = TimeZone::system();
    let mut table = Table::new(&[
        ("POINT", Align::Left),
        ("TIME", Align::Left),
        ("STATE", Align::Wrap),
        ("SIZE", Align::Right),
        ("MODIFIED", Align::Left),
    ]);
    for document in documents {
        table.row([
            document.point.clone(),
            local_minute(document.time, &zone),
            document.problem.as_ref().map_or_else(|| document.state.to_owned(), |problem| format!("{}: {problem}", document.state)),
            document.size_bytes.map_or_else(|| "-".to_owned(), size),
            document.modified.map_or_else(|| "-".to_owned(), |time| local_minute(time, &zone)),
        ]);
    }
    table.render(width)
}
