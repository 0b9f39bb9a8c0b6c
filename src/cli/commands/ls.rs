//! `cairn ls`: what is in a directory of a recovery point.

use std::ops::ControlFlow;

use cairn::guestfs::{Attributes, FileKind};
use cairn::tree::{Spot, Tree, TreeEntry, join};
use jiff::tz::TimeZone;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::look::{FileDocument, Location, LocationParser, Look, LookArgs, at, mode_letters, moment, shown};
use super::super::render::{Align, Table, local_minute, size};

/// Options of `cairn ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A path with a slash at its start is the guest's own, put together as its fstab says; without a path the point's directory is listed:
disks, files (each volume by itself), machine, and root where the guest has an fstab.

Examples:
  cairn ls web01@latest:/etc
  cairn ls -l web01@2026-11-21:/home/anna
  cairn ls web01@latest
  cairn ls web01@latest:files/data
  cairn ls --json web01@latest:/var/log")]
pub(crate) struct LsArgs {
    /// The point and the path in it: web01@latest:/etc
    #[arg(value_name = "POINT[:PATH]", value_parser = LocationParser)]
    location: Location,

    /// Show kind, mode, owner, size and time
    #[arg(short, long)]
    long: bool,

    /// List the directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// A listed file.
struct Listed {
    name: Vec<u8>,
    known: Attributes,
    target: Option<Vec<u8>>,
}

/// Lists it.
pub(crate) fn run(context: &Context, args: &LsArgs) -> anyhow::Result<Exit> {
    let look = Look::open(context, &args.look, &args.location.point)?;
    let found = look.find(&args.location.path, !args.directory)?;
    let mut warnings = 0;
    let known = look.tree.attributes(&found.spot).map_err(|error| at(&found.path, error))?;
    let mut listed = Vec::new();
    if known.kind == FileKind::Directory && !args.directory {
        let mut names: Vec<TreeEntry<Spot>> = Vec::new();
        let read = look.tree.entries(&found.spot, &mut |entry| {
            names.push(entry);
            ControlFlow::Continue(())
        });
        names.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in names {
            match describe(&look, &entry.spot) {
                Ok((known, target)) => listed.push(Listed { name: entry.name, known, target }),
                Err(error) => {
                    context.output.warning(&format!("{}: {error}", shown(&join(&found.path, &entry.name))));
                    warnings += 1;
                }
            }
        }
        if let Err(error) = read {
            context.output.warning(&format!("{}: {error}", shown(&found.path)));
            warnings += 1;
        }
    } else {
        let target = target(&look, &found.spot, known.kind)?;
        listed.push(Listed { name: found.path.clone(), known, target });
    }
    let documents: Vec<_> = listed.iter().map(|file| FileDocument::new(&file.name, &file.known, file.target.as_deref())).collect();
    context.output.result(&documents, || if args.long { table(&listed, context.output.width()) } else { names(&listed) })?;
    Ok(Exit::done(look.monitor.finish().warning_count + warnings))
}

fn describe(look: &Look, spot: &Spot) -> anyhow::Result<(Attributes, Option<Vec<u8>>)> {
    let known = look.tree.attributes(spot)?;
    let target = target(look, spot, known.kind)?;
    Ok((known, target))
}

fn target(look: &Look, spot: &Spot, kind: FileKind) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(if kind == FileKind::Link { Some(look.tree.link_target(spot)?) } else { None })
}

fn names(listed: &[Listed]) -> String {
    listed.iter().map(|file| format!("{}{}\n", shown(&file.name), if file.known.kind == FileKind::Directory { "/" } else { "" })).collect()
}

fn table(listed: &[Listed], width: Option<u16>) -> String {
    let zone = TimeZone::system();
    let mut table = Table::new(&[
        ("MODE", Align::Left),
        ("LINKS", Align::Right),
        ("UID", Align::Right),
        ("GID", Align::Right),
        ("SIZE", Align::Right),
        ("MODIFIED", Align::Left),
        ("NAME", Align::Left),
    ]);
    for file in listed {
        let known = &file.known;
        let bytes = match known.device {
            Some(device) => format!("{}, {}", device.major, device.minor),
            None => size(known.size_bytes),
        };
        let target = file.target.as_ref().map(|target| format!(" -> {}", shown(target))).unwrap_or_default();
        table.row([
            mode_letters(known.kind, known.mode),
            known.links.to_string(),
            known.uid.to_string(),
            known.gid.to_string(),
            bytes,
            moment(known.modified).map_or_else(|| "-".to_owned(), |time| local_minute(time, &zone)),
            format!("{}{target}", shown(&file.name)),
        ]);
    }
    table.render(width)
}
