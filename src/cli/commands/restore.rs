//! `cairn restore`: a recovery point's disks as files or on block devices.

use std::path::PathBuf;

use cairn::host::JobKind;
use cairn::jobs::points;
use cairn::jobs::restore::{RestoreRequest, RestoredDisk, RestoredPoint, restore};
use cairn::restore::SkippedRange;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::progress::{Ended, Warning};
use super::super::render::{Align, Table, duration, rate, safe, size};

/// Options of `cairn restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All disks of a point go into a directory as DISK.raw, with the files kept with it; --disk restores one of them to a file or block device.
New files are sparse. What an existing target has already is left alone, so a restore that was interrupted is completed by the same
command, and going back a day writes only what changed in that day.

A restore ends at the first range that the vault has lost. With --skip-damaged it writes all that is whole and lists the
rest: these ranges are left as the target has them, holes in a new file. The exit code is then 4.

Examples:
  cairn restore web01@latest --to /srv/restored
  cairn restore web01@2026-11-21 --disk vda --to /srv/web01.raw
  cairn restore web01@latest~1 --disk vda --to /dev/vg0/web01 --overwrite --read-back
  cairn restore web01@latest --disk vda --to /srv/web01.raw --overwrite --dry-run
  cairn restore web01@latest --to /srv/rescued --skip-damaged")]
pub(crate) struct RestoreArgs {
    /// The point: web01@latest, web01@latest~2, web01@2026-11-21, web01@2026-11-22T20:30:00Z, or the start of its id
    point: String,

    /// Restore this disk only
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,

    /// A directory; with --disk also a new or existing file, or a block device
    #[arg(long, value_name = "TARGET")]
    to: PathBuf,

    /// Let what is at the target be replaced
    #[arg(long)]
    overwrite: bool,

    /// Find out what would be written; write nothing
    #[arg(long)]
    dry_run: bool,

    /// Read what was written again from the medium, and compare it
    #[arg(long, conflicts_with = "dry_run")]
    read_back: bool,

    /// Leave out what the vault has lost, and list it, instead of ending there
    #[arg(long, conflicts_with = "dry_run")]
    skip_damaged: bool,

    /// Do not wait until everything written survives a loss of power
    #[arg(long, conflicts_with_all = ["dry_run", "read_back"])]
    no_sync: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct RestoreDocument {
    id: String,
    machine: String,
    time: String,
    dry_run: bool,
    whole: bool,
    disks: Vec<DiskDocument>,
    files: Vec<String>,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// One restored disk.
#[derive(Debug, Serialize)]
struct DiskDocument {
    name: String,
    path: String,
    content_id: String,
    size_bytes: u64,
    data_bytes: u64,
    compared_bytes: u64,
    equal_bytes: u64,
    written_bytes: u64,
    zeroed_bytes: u64,
    read_back_bytes: u64,
    damaged: Vec<RangeDocument>,
}

/// A range that the vault has lost.
#[derive(Debug, Serialize)]
struct RangeDocument {
    offset_bytes: u64,
    length_bytes: u64,
    reason: String,
}

/// Restores.
pub(crate) fn run(context: &Context, args: &RestoreArgs) -> anyhow::Result<Exit> {
    let disk = args.disk.as_deref().map(str::parse).transpose();
    let disk = disk.map_err(|error: cairn::units::NameError| usage(error.to_string()))?;
    if !args.dry_run {
        // The machine of a point that is named by its id is told by its result.
        let machine = args.point.split_once('@').and_then(|(machine, _)| machine.parse().ok());
        context.begin_job(JobKind::Restore, machine.as_ref())?;
    }
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let request = RestoreRequest {
        point: points::find(&listing, &args.point, &TimeZone::system())?.point(),
        disk,
        to: args.to.clone(),
        overwrite: args.overwrite,
        dry_run: args.dry_run,
        read_back: args.read_back,
        sync: !args.no_sync,
        skip_damaged: args.skip_damaged,
    };
    let restored = restore(&vault, &request, &monitor)?;
    let ended = monitor.finish();
    let document = document(&restored, args.dry_run, ended);
    let exit = if document.whole { Exit::done(document.warning_count) } else { Exit::Damage };
    context.job_result(&format!("{}@{}", document.machine, document.time));
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(exit)
}

fn document(restored: &RestoredPoint, dry_run: bool, ended: Ended) -> RestoreDocument {
    let range = |damaged: &SkippedRange| RangeDocument {
        offset_bytes: damaged.range.offset(),
        length_bytes: damaged.range.length(),
        reason: damaged.reason.clone(),
    };
    let disk = |disk: &RestoredDisk| DiskDocument {
        name: disk.name.to_string(),
        path: disk.path.display().to_string(),
        content_id: disk.content_id.to_string(),
        size_bytes: disk.report.size_bytes,
        data_bytes: disk.report.data_bytes,
        compared_bytes: disk.report.compared_bytes,
        equal_bytes: disk.report.equal_bytes,
        written_bytes: disk.report.written_bytes,
        zeroed_bytes: disk.report.zeroed_bytes,
        read_back_bytes: disk.report.read_back_bytes,
        damaged: disk.damaged.iter().map(range).collect(),
    };
    RestoreDocument {
        id: restored.point.to_string(),
        machine: restored.machine.to_string(),
        time: restored.time.to_string(),
        dry_run,
        whole: restored.disks.iter().all(|disk| disk.damaged.is_empty()),
        disks: restored.disks.iter().map(disk).collect(),
        files: restored.configs.iter().map(|path| path.display().to_string()).collect(),
        elapsed_seconds: ended.elapsed.as_secs_f64(),
        warnings: ended.warnings,
        warning_count: ended.warning_count,
    }
}

fn text(document: &RestoreDocument, width: Option<u16>) -> String {
    let did = if document.dry_run { "Nothing was written. This would restore" } else { "Restored" };
    let mut text = format!("{did} {}@{}.\n\n", document.machine, document.time);
    let columns = [("DISK", Align::Left), ("SIZE", Align::Right), ("DATA", Align::Right), ("EQUAL", Align::Right)];
    let mut table = Table::new(&[&columns[..], &[("WRITTEN", Align::Right), ("ZEROED", Align::Right), ("TO", Align::Wrap)]].concat());
    for disk in &document.disks {
        table.row([
            disk.name.clone(),
            size(disk.size_bytes),
            size(disk.data_bytes),
            size(disk.equal_bytes),
            size(disk.written_bytes),
            size(disk.zeroed_bytes),
            disk.path.clone(),
        ]);
    }
    text.push_str(&table.render(width));
    for file in &document.files {
        text.push_str(&format!("file {}\n", safe(file)));
    }
    let data: u64 = document.disks.iter().map(|disk| disk.data_bytes).sum();
    let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    text.push_str(&format!("\n{} of data in {}, {}\n", size(data), duration(elapsed), rate(data, document.elapsed_seconds)));
    let read_back: u64 = document.disks.iter().map(|disk| disk.read_back_bytes).sum();
    if read_back > 0 {
        text.push_str(&format!("{} read back from the medium and compared\n", size(read_back)));
    }
    text.push_str(&lost(document, width));
    text
}

/// What is not in the targets.
fn lost(document: &RestoreDocument, width: Option<u16>) -> String {
    if document.whole {
        return String::new();
    }
    let (words, numbers) = (("DISK", Align::Left), [("OFFSET", Align::Right), ("LENGTH", Align::Right)]);
    let mut table = Table::new(&[&[words][..], &numbers, &[("WHY", Align::Wrap)]].concat());
    let mut bytes = 0;
    for disk in &document.disks {
        for range in &disk.damaged {
            bytes += range.length_bytes;
            table.row([disk.name.clone(), range.offset_bytes.to_string(), range.length_bytes.to_string(), range.reason.clone()]);
        }
    }
    format!("\nDAMAGE: {} could not be restored and are left as the target had them:\n\n{}", size(bytes), table.render(width))
}
