//! `cairn points size`: what deleting points would free.

use cairn::jobs::gc::{PointsSize, size_of_points};
use cairn::jobs::points;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::super::context::Context;
use super::super::super::exit::Exit;
use super::super::super::progress::Warning;
use super::super::super::render::{Align, Table, size};

/// Options of `cairn points size`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What only these points need is freed by the collections after their time in soft delete. UNIQUE is that, SHARED what points need that stay,
both before compression.

Examples:
  cairn points size web01@2026-11-01
  cairn points size web01@latest~2 web01@latest~1 db01@latest --json")]
pub(super) struct SizeArgs {
    /// The points
    #[arg(value_name = "POINT", required = true)]
    points: Vec<String>,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct SizeDocument {
    freed_bytes: u64,
    freed_stored_bytes: u64,
    machines: Vec<MachineDocument>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
struct MachineDocument {
    machine: String,
    points: u64,
    unique_bytes: u64,
    shared_bytes: u64,
}

/// Finds out and shows.
pub(super) fn run(context: &Context, args: &SizeArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let zone = TimeZone::system();
    let named = args.points.iter().map(|name| Ok(points::find(&listing, name, &zone)?.point())).collect::<anyhow::Result<Vec<_>>>()?;
    let found = size_of_points(&vault, &listing, &named, &monitor)?;
    let ended = monitor.finish();
    let document = SizeDocument::new(&found, ended.warnings);
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(Exit::done(ended.warning_count))
}

impl SizeDocument {
    fn new(found: &PointsSize, warnings: Vec<Warning>) -> Self {
        let machines = found.machines.iter().map(|machine| MachineDocument {
            machine: machine.machine.to_string(),
            points: machine.points,
            unique_bytes: machine.unique_bytes,
            shared_bytes: machine.shared_bytes,
        });
        let machines = machines.collect();
        Self { freed_bytes: found.freed_bytes, freed_stored_bytes: found.freed_stored_bytes, machines, warnings }
    }
}

fn text(document: &SizeDocument, width: Option<u16>) -> String {
    let numbers = ["POINTS", "UNIQUE", "SHARED"].map(|title| (title, Align::Right));
    let mut table = Table::new(&[&[("MACHINE", Align::Left)], &numbers[..]].concat());
    for machine in &document.machines {
        table.row([machine.machine.clone(), machine.points.to_string(), size(machine.unique_bytes), size(machine.shared_bytes)]);
    }
    let (stored, before) = (size(document.freed_stored_bytes), size(document.freed_bytes));
    format!("{}\nDeleting them frees about {stored}, {before} before compression.\n", table.render(width))
}
