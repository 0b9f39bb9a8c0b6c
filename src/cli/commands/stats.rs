//! `cairn stats`: what a vault holds, and what deduplication and compression save.

use cairn::jobs::stats::{MachineStats, VaultStats, stats};
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::json::VaultDocument;
use super::super::progress::Warning;
use super::super::render::{Align, Details, Table, ratio, size};

/// Options of `cairn stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
DATA is what all points of a machine would be, each kept alone, without holes and zeros. UNIQUE is what only this machine has in the
vault, SHARED what others have too, both before compression; STORED is what both take compressed.

Examples:
  cairn stats
  cairn stats --json | jq '.machines[] | {machine, unique_bytes}'")]
pub(crate) struct StatsArgs {}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct StatsDocument {
    #[serde(flatten)]
    vault: VaultDocument,
    vault_bytes: u64,
    objects: u64,
    unfinished_bytes: u64,
    unfinished_files: u64,
    packs: u64,
    points: u64,
    logical_bytes: u64,
    unique_bytes: u64,
    referenced_bytes: u64,
    stored_bytes: u64,
    map_bytes: u64,
    dedup_ratio: Option<f64>,
    compression_ratio: Option<f64>,
    machines: Vec<MachineDocument>,
    warnings: Vec<Warning>,
}

/// What a vault holds of one machine.
#[derive(Debug, Serialize)]
struct MachineDocument {
    machine: String,
    points: u64,
    disk_bytes: u64,
    logical_bytes: u64,
    unique_bytes: u64,
    shared_bytes: u64,
    stored_bytes: u64,
    dedup_ratio: Option<f64>,
    compression_ratio: Option<f64>,
}

/// Counts and shows.
pub(crate) fn run(context: &Context, _args: &StatsArgs) -> anyhow::Result<Exit> {
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let counted = stats(&vault, &listing, &monitor)?;
    let ended = monitor.finish();
    let header = VaultDocument::new(&vault.backend().location(), vault.header());
    let document = StatsDocument::new(header, &counted, ended.warnings);
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(Exit::done(ended.warning_count))
}

impl StatsDocument {
    fn new(vault: VaultDocument, stats: &VaultStats, warnings: Vec<Warning>) -> Self {
        Self {
            vault,
            vault_bytes: stats.vault_bytes,
            objects: stats.objects,
            unfinished_bytes: stats.unfinished_bytes,
            unfinished_files: stats.unfinished_files,
            packs: stats.packs,
            points: stats.machines.iter().map(|machine| machine.points).sum(),
            logical_bytes: stats.logical_bytes(),
            unique_bytes: stats.unique_bytes,
            referenced_bytes: stats.referenced_bytes,
            stored_bytes: stats.stored_bytes,
            map_bytes: stats.map_bytes,
            dedup_ratio: quotient(stats.logical_bytes(), stats.referenced_bytes),
            compression_ratio: quotient(stats.unique_bytes, stats.stored_bytes),
            machines: stats.machines.iter().map(MachineDocument::new).collect(),
            warnings,
        }
    }
}

impl MachineDocument {
    fn new(stats: &MachineStats) -> Self {
        let kept = stats.unique_bytes + stats.shared_bytes;
        Self {
            machine: stats.machine.to_string(),
            points: stats.points,
            disk_bytes: stats.disk_bytes,
            logical_bytes: stats.logical_bytes,
            unique_bytes: stats.unique_bytes,
            shared_bytes: stats.shared_bytes,
            stored_bytes: stats.stored_bytes,
            dedup_ratio: quotient(stats.logical_bytes, kept),
            compression_ratio: quotient(kept, stats.stored_bytes),
        }
    }
}

/// `None` where there is nothing to divide by.
fn quotient(large: u64, small: u64) -> Option<f64> {
    (small > 0).then(|| large as f64 / small as f64)
}

fn text(document: &StatsDocument, width: Option<u16>) -> String {
    let mut details = Details::new();
    document.vault.describe(&mut details);
    details.line("Points", format!("{} of {} machines", document.points, document.machines.len()));
    details.line("Size", format!("{} in {} objects, {} of them packs", size(document.vault_bytes), document.objects, document.packs));
    details.line("Data", format!("{}, if every point were kept alone", size(document.logical_bytes)));
    details.line(
        "Unique",
        format!("{} of that (deduplicated {})", size(document.referenced_bytes), ratio(document.logical_bytes, document.referenced_bytes)),
    );
    details.line("Stored", format!("{} (compressed {})", size(document.stored_bytes), ratio(document.unique_bytes, document.stored_bytes)));
    details.line("Maps", size(document.map_bytes));
    let unreferenced = document.unique_bytes.saturating_sub(document.referenced_bytes);
    if unreferenced > 0 {
        details.line("Unreferenced", format!("{} before compression: no point needs it any more", size(unreferenced)));
    }
    if document.unfinished_files > 0 {
        let what = "of jobs that run now or were killed";
        details.line("Unfinished", format!("{} in {} files {what}", size(document.unfinished_bytes), document.unfinished_files));
    }
    let mut text = details.render();
    if document.machines.is_empty() {
        return text;
    }
    let left = [("MACHINE", Align::Left)];
    let right = ["POINTS", "DISKS", "DATA", "UNIQUE", "SHARED", "STORED", "DEDUP", "COMPRESSION"].map(|title| (title, Align::Right));
    let mut table = Table::new(&[&left[..], &right].concat());
    for machine in &document.machines {
        let kept = machine.unique_bytes + machine.shared_bytes;
        table.row([
            machine.machine.clone(),
            machine.points.to_string(),
            size(machine.disk_bytes),
            size(machine.logical_bytes),
            size(machine.unique_bytes),
            size(machine.shared_bytes),
            size(machine.stored_bytes),
            ratio(machine.logical_bytes, kept),
            ratio(kept, machine.stored_bytes),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(width));
    text
}
