//! `cairn show`: everything known of one recovery point.

use cairn::catalogue::points::{Listing, PointSummary};
use cairn::format::point::{ConfigFile, Manifest};
use cairn::jobs::points;
use cairn::quiesce::Account;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::json::{DiskDocument, PointDocument};
use super::super::quiesce::{account, words};
use super::super::render::{Details, age, local, size};

/// Options of `cairn show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn show web01@latest
  cairn show 3fa85f64 --json
  cairn show web01@2026-11-21 --config web01.xml > web01.xml")]
pub(crate) struct ShowArgs {
    /// The point: web01@latest, web01@latest~2, web01@2026-11-21, web01@2026-11-22T20:30:00Z, or the start of its id
    point: String,

    /// Write this file that was kept with the point to standard output, and nothing else
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct ShowDocument {
    #[serde(flatten)]
    point: PointDocument,
    base: Option<BaseDocument>,
    predecessor: Option<String>,
    configs: Vec<ConfigDocument>,
    quiesce: Option<Account>,
    tool_version: String,
    host: String,
}

/// The point that this one was compared with.
#[derive(Debug, Serialize)]
struct BaseDocument {
    id: String,
    name: Option<String>,
}

/// A file kept with the point.
#[derive(Debug, Serialize)]
struct ConfigDocument {
    name: String,
    size_bytes: u64,
}

/// Shows it.
pub(crate) fn run(context: &Context, args: &ShowArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let ended = monitor.finish();
    let zone = TimeZone::system();
    let point = points::find(&listing, &args.point, &zone)?;
    let manifest = points::read(&vault, point.point())?;
    if let Some(name) = &args.config {
        let config = manifest.configs.iter().find(|config| config.name == *name);
        let config = config.ok_or_else(|| anyhow::anyhow!("{} has no file '{name}'; cairn show lists those that it has", point.name()))?;
        context.output.bytes(&config.bytes)?;
    } else {
        let document = document(point, &manifest, &listing);
        context.output.result(&document, || text(&document, &zone, Timestamp::now()))?;
    }
    Ok(Exit::done(ended.warning_count))
}

fn document(point: &PointSummary, manifest: &Manifest, listing: &Listing) -> ShowDocument {
    let known = || listing.points.iter().chain(&listing.deleted);
    let base = manifest
        .base
        .map(|base| BaseDocument { id: base.to_string(), name: known().find(|other| other.point() == base).map(PointSummary::name) });
    let config = |config: &ConfigFile| ConfigDocument { name: config.name.clone(), size_bytes: config.bytes.len() as u64 };
    ShowDocument {
        point: PointDocument::new(manifest, point.state.as_ref()),
        base,
        predecessor: manifest.predecessor.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()),
        configs: manifest.configs.iter().map(config).collect(),
        quiesce: account(manifest),
        tool_version: manifest.tool_version.clone(),
        host: manifest.host.clone(),
    }
}

fn text(document: &ShowDocument, zone: &TimeZone, now: Timestamp) -> String {
    let point = &document.point;
    let mut details = Details::new();
    details.line("Point", &point.name);
    details.line("Id", &point.id);
    details.line("Machine", format!("{}, its point number {}", point.machine, point.sequence));
    details.line("Time", format!("{} ({})", local(point.time, zone), age(point.time, now)));
    details.line("Consistency", point.consistency);
    for (what, how) in document.quiesce.iter().flat_map(words) {
        details.line(what, how);
    }
    details.line("Tags", if point.tags.is_empty() { "none".to_owned() } else { point.tags.join(" ") });
    if point.pinned {
        details.line("Pinned", "yes");
    }
    if let Some(until) = point.retain_until {
        details.line("Kept until", local(until, zone));
    }
    details.line("Base", document.base.as_ref().map_or("none: the machine's first", |base| base.name.as_deref().unwrap_or(&base.id)));
    details.line("Made by", format!("cairn {} on {}", document.tool_version, document.host));
    details.line("Read", size(point.bytes_read));
    details.line("Changed", size(point.bytes_changed));
    details.line("Stored", format!("{} for {} new", size(point.bytes_stored), size(point.bytes_new)));
    for config in &document.configs {
        details.line("File", format!("{} ({})", config.name, size(config.size_bytes)));
    }
    for disk in &point.disks {
        describe(&mut details, disk);
    }
    details.render()
}

fn describe(details: &mut Details, disk: &DiskDocument) {
    details.section(&format!("Disk {}", disk.name));
    details.line("Size", format!("{} ({} bytes)", size(disk.size_bytes), disk.size_bytes));
    details.line("Content id", disk.content_id.as_deref().unwrap_or("-"));
    details.line("Source", &disk.source);
    details.line("How", disk.changes.words());
    if disk.grid_offset_bytes != 0 {
        details.line("Grid", format!("shifted by {} bytes", disk.grid_offset_bytes));
    }
    details.line("Read", size(disk.bytes_read));
    details.line("Changed", size(disk.bytes_changed));
    details.line("Stored", format!("{} for {} new", size(disk.bytes_stored), size(disk.bytes_new)));
}
