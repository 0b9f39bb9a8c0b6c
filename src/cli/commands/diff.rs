//! `cairn diff`: what differs between two recovery points.

use std::collections::HashMap;

use cairn::jobs::diff::{DiskDiff, diff};
use cairn::jobs::points;
use cairn::units::{Extent, MachineName};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::render::{Align, Table, safe, size};

/// Ranges of a disk that are shown unless all are asked for.
const FEW_RANGES: usize = 10;

/// Options of `cairn diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compares the disks of the same names, chunk by chunk of 256 KiB, from the vault's maps alone: no data is read. The points may be of two
machines.

Examples:
  cairn diff web01@latest~1 web01@latest
  cairn diff web01@2026-11-01 web01@latest --ranges
  cairn diff web01@latest web02@latest --json")]
pub(crate) struct DiffArgs {
    /// The first point
    from: String,

    /// The second point
    to: String,

    /// Show all changed ranges, not only the first ten of each disk
    #[arg(long)]
    ranges: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct DiffDocument {
    from: PointName,
    to: PointName,
    changed_bytes: u64,
    disks: Vec<DiskDiffDocument>,
}

/// One of the points.
#[derive(Debug, Serialize)]
struct PointName {
    id: String,
    name: String,
}

/// A disk in both points.
#[derive(Debug, Serialize)]
struct DiskDiffDocument {
    name: String,
    from_size_bytes: Option<u64>,
    to_size_bytes: Option<u64>,
    changed_bytes: u64,
    changed_ranges: u64,
    ranges: Vec<RangeDocument>,
}

/// A changed range.
#[derive(Debug, Serialize)]
struct RangeDocument {
    offset_bytes: u64,
    length_bytes: u64,
}

/// Compares them.
pub(crate) fn run(context: &Context, args: &DiffArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let zone = TimeZone::system();
    let from = points::find(&listing, &args.from, &zone)?;
    let to = points::find(&listing, &args.to, &zone)?;
    // Only what is shown is kept: a pair of large disks may have millions of ranges.
    let keep = if args.ranges || context.output.is_json() { usize::MAX } else { FEW_RANGES };
    let mut ranges: HashMap<MachineName, Vec<RangeDocument>> = HashMap::new();
    let mut on_range = |disk: &MachineName, extent: Extent| {
        let kept = ranges.entry(disk.clone()).or_default();
        if kept.len() < keep {
            kept.push(RangeDocument { offset_bytes: extent.offset(), length_bytes: extent.length() });
        }
    };
    let disks = diff(&vault, &from.manifest, &to.manifest, &mut on_range, &monitor)?;
    let ended = monitor.finish();
    let named = |point: &cairn::catalogue::points::PointSummary| PointName { id: point.point().to_string(), name: point.name() };
    let document = DiffDocument {
        from: named(from),
        to: named(to),
        changed_bytes: disks.iter().map(|disk| disk.changed_bytes).sum(),
        disks: disks.iter().map(|disk| DiskDiffDocument::new(disk, ranges.remove(&disk.name).unwrap_or_default())).collect(),
    };
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(Exit::done(ended.warning_count))
}

impl DiskDiffDocument {
    fn new(disk: &DiskDiff, ranges: Vec<RangeDocument>) -> Self {
        Self {
            name: disk.name.to_string(),
            from_size_bytes: disk.from_size_bytes,
            to_size_bytes: disk.to_size_bytes,
            changed_bytes: disk.changed_bytes,
            changed_ranges: disk.changed_ranges,
            ranges,
        }
    }

    fn sizes(&self) -> String {
        match (self.from_size_bytes, self.to_size_bytes) {
            (Some(from), Some(to)) if from == to => size(from),
            (Some(from), Some(to)) => format!("{} -> {}", size(from), size(to)),
            (Some(from), None) => format!("{}, not in the second", size(from)),
            (None, Some(to)) => format!("{}, not in the first", size(to)),
            (None, None) => String::new(),
        }
    }

    fn share(&self) -> String {
        let whole = self.from_size_bytes.max(self.to_size_bytes).unwrap_or(0);
        if whole == 0 { "-".to_owned() } else { format!("{:.1}%", self.changed_bytes as f64 * 100.0 / whole as f64) }
    }
}

fn text(document: &DiffDocument, width: Option<u16>) -> String {
    let mut text = format!("{} -> {}\n\n", safe(&document.from.name), safe(&document.to.name));
    let columns =
        [("DISK", Align::Left), ("SIZE", Align::Left), ("CHANGED", Align::Right), ("SHARE", Align::Right), ("RANGES", Align::Right)];
    let mut disks = Table::new(&columns);
    for disk in &document.disks {
        disks.row([disk.name.clone(), disk.sizes(), size(disk.changed_bytes), disk.share(), disk.changed_ranges.to_string()]);
    }
    text.push_str(&disks.render(width));
    if document.changed_bytes == 0 {
        return text;
    }
    let mut ranges = Table::new(&[("DISK", Align::Left), ("OFFSET", Align::Right), ("LENGTH", Align::Right)]);
    let mut left_out = 0;
    for disk in &document.disks {
        for range in &disk.ranges {
            ranges.row([disk.name.clone(), range.offset_bytes.to_string(), range.length_bytes.to_string()]);
        }
        left_out += disk.changed_ranges.saturating_sub(disk.ranges.len() as u64);
    }
    text.push('\n');
    text.push_str(&ranges.render(width));
    if left_out > 0 {
        text.push_str(&format!("({left_out} more ranges; --ranges shows all)\n"));
    }
    text
}
