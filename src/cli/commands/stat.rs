//! `cairn stat`: everything known of a file in a recovery point.

use cairn::guestfs::FileKind;
use cairn::tree::Tree;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::look::{FileDocument, Location, LocationParser, Look, LookArgs, at, kind, mode_letters, moment, shown};
use super::super::render::{Details, local, size};

/// Options of `cairn stat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A link at the end of the path is shown, not followed.

Examples:
  cairn stat web01@latest:/etc/passwd
  cairn stat --json web01@latest:/usr/bin/sudo")]
pub(crate) struct StatArgs {
    /// The point and the path in it
    #[arg(value_name = "POINT:PATH", value_parser = LocationParser)]
    location: Location,

    #[command(flatten)]
    look: LookArgs,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct StatDocument {
    point: String,
    #[serde(flatten)]
    file: FileDocument,
    extended_attributes: Vec<AttributeDocument>,
}

/// An extended attribute.
#[derive(Debug, Serialize)]
struct AttributeDocument {
    name: String,
    /// The value's bytes in hexadecimal digits.
    value_hex: String,
}

/// Shows it.
pub(crate) fn run(context: &Context, args: &StatArgs) -> anyhow::Result<Exit> {
    let look = Look::open(context, &args.look, &args.location.point)?;
    let found = look.find(&args.location.path, false)?;
    let fail = |error| at(&found.path, error);
    let known = look.tree.attributes(&found.spot).map_err(fail)?;
    let target = if known.kind == FileKind::Link { Some(look.tree.link_target(&found.spot).map_err(fail)?) } else { None };
    let attributes = look.tree.extended_attributes(&found.spot).map_err(fail)?;
    let document = StatDocument {
        point: look.name.clone(),
        file: FileDocument::new(&found.path, &known, target.as_deref()),
        extended_attributes: attributes
            .iter()
            .map(|(name, value)| AttributeDocument { name: shown(name), value_hex: hex(value) })
            .collect(),
    };
    let zone = TimeZone::system();
    context.output.result(&document, || {
        let mut details = Details::new();
        let path = match &document.file.target {
            Some(target) => format!("{} -> {target}", document.file.path),
            None => document.file.path.clone(),
        };
        details.line("File", path);
        details.line("Point", &document.point);
        details.line("Kind", kind(known.kind));
        details.line("Size", format!("{} ({} bytes)", size(known.size_bytes), known.size_bytes));
        details.line("Allocated", size(known.allocated_bytes));
        details.line("Mode", format!("{} ({})", document.file.mode, mode_letters(known.kind, known.mode)));
        details.line("Owner", format!("uid {}, gid {}", known.uid, known.gid));
        details.line("Links", known.links.to_string());
        if let Some(device) = &document.file.device {
            details.line("Device", device);
        }
        for (name, time) in
            [("Modified", Some(known.modified)), ("Changed", known.changed), ("Accessed", known.accessed), ("Created", known.created)]
        {
            if let Some(time) = time.and_then(moment) {
                details.line(name, local(time, &zone));
            }
        }
        for attribute in &document.extended_attributes {
            details.line("Attribute", format!("{} = {}", attribute.name, short(&attribute.value_hex)));
        }
        details.render()
    })?;
    Ok(Exit::done(look.monitor.finish().warning_count))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first bytes of a long value; `--json` has all of it.
fn short(digits: &str) -> String {
    match digits.get(..64) {
        Some(start) if digits.len() > 64 => format!("{start}... ({} bytes)", digits.len() / 2),
        _ => digits.to_owned(),
    }
}
