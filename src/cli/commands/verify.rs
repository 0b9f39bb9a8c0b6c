//! `cairn verify`: is everything readable and as it was written?

use std::time::Duration;

use cairn::catalogue::points::Listing;
use cairn::host::JobKind;
use cairn::jobs::points;
use cairn::jobs::verify::{PointReport, QuickReport, VerifyReport, VerifyRequest, verify, verify_quick};
use cairn::units::PointId;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::moment::percent;
use super::super::progress::{Ended, Warning};
use super::super::render::{Align, Table, duration, rate, safe, size};

/// Options of `cairn verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every chunk is read from the vault, opened, decompressed and hashed, and compared with what the point's map says; what several points
share is read once. Nothing is repaired here: what is found damaged is noted in the vault, so that the next backup of the machine
stores it again where the disk still has it. Exit code 4 means that damage was found.

Examples:
  cairn verify web01@latest
  cairn verify --all
  cairn verify --all --sample 10%
  cairn verify --quick")]
pub(crate) struct VerifyArgs {
    /// The points
    #[arg(value_name = "POINT")]
    points: Vec<String>,

    /// All points of the vault
    #[arg(long, conflicts_with = "points")]
    all: bool,

    /// Read only this share of the chunks, drawn at random; maps are always read whole
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = percent)]
    sample: f64,

    /// Draw the same sample as an earlier run, which told its seed
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    seed: Option<u64>,

    /// Only compare the checksums of all packs: needs no passphrase, finds damage but no forgery, and cannot say which points it touches
    #[arg(long, conflicts_with_all = ["points", "all", "sample", "seed"])]
    quick: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct VerifyDocument {
    whole: bool,
    points: Vec<PointDocument>,
    objects: Vec<String>,
    bytes_read: u64,
    damaged_blocks: u64,
    sample_percent: f64,
    seed: u64,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
}

/// A point that was verified.
#[derive(Debug, Serialize)]
struct PointDocument {
    id: String,
    name: String,
    whole: bool,
    damaged: Vec<RangeDocument>,
}

/// A damaged range of a disk.
#[derive(Debug, Serialize)]
struct RangeDocument {
    disk: String,
    offset_bytes: u64,
    length_bytes: u64,
    reason: String,
}

/// What `--quick --json` says.
#[derive(Debug, Serialize)]
struct QuickDocument {
    whole: bool,
    packs: u64,
    bytes_read: u64,
    damaged: Vec<ObjectDocument>,
    elapsed_seconds: f64,
}

/// A damaged object.
#[derive(Debug, Serialize)]
struct ObjectDocument {
    object: String,
    reason: String,
}

/// Verifies and tells.
pub(crate) fn run(context: &Context, args: &VerifyArgs) -> anyhow::Result<Exit> {
    if args.quick {
        return quick(context);
    }
    if args.points.is_empty() && !args.all {
        return Err(usage("nothing is named; give one or more points (web01@latest), or --all, or --quick"));
    }
    context.begin_job(JobKind::Verify, None)?;
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    // The job lists the points itself, and tells of their damage as such.
    let points = if args.all { Vec::new() } else { named(&args.points, &context.list_points(&vault, &monitor)?)? };
    let request = VerifyRequest { points, sample_percent: args.sample, seed: args.seed };
    let report = verify(&vault, &request, &monitor)?;
    let document = VerifyDocument::new(&report, args.sample, monitor.finish());
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(exit(document.whole, document.warnings.len()))
}

fn named(names: &[String], listing: &Listing) -> anyhow::Result<Vec<PointId>> {
    let zone = TimeZone::system();
    names.iter().map(|name| Ok(points::find(listing, name, &zone)?.point())).collect()
}

fn quick(context: &Context) -> anyhow::Result<Exit> {
    context.begin_job(JobKind::Verify, None)?;
    let vault = context.find_vault()?;
    let monitor = context.monitor()?;
    let report = verify_quick(vault.backend().as_ref(), &monitor)?;
    let document = QuickDocument::new(&report, &monitor.finish());
    context.output.result(&document, || quick_text(&document))?;
    Ok(exit(document.whole, 0))
}

fn exit(whole: bool, warnings: usize) -> Exit {
    if whole { Exit::done(warnings as u64) } else { Exit::Damage }
}

impl VerifyDocument {
    fn new(report: &VerifyReport, sample_percent: f64, ended: Ended) -> Self {
        Self {
            whole: report.is_whole(),
            points: report.points.iter().map(PointDocument::new).collect(),
            objects: report.objects.clone(),
            bytes_read: report.read_bytes,
            damaged_blocks: report.damaged_slots,
            sample_percent,
            seed: report.seed,
            elapsed_seconds: ended.elapsed.as_secs_f64(),
            warnings: ended.warnings,
        }
    }
}

impl PointDocument {
    fn new(report: &PointReport) -> Self {
        let range = |damaged: &cairn::jobs::verify::DamagedRange| RangeDocument {
            disk: damaged.disk.to_string(),
            offset_bytes: damaged.extent.offset(),
            length_bytes: damaged.extent.length(),
            reason: damaged.reason.clone(),
        };
        let damaged: Vec<_> = report.damaged.iter().map(range).collect();
        Self { id: report.point.to_string(), name: report.name.clone(), whole: damaged.is_empty(), damaged }
    }
}

impl QuickDocument {
    fn new(report: &QuickReport, ended: &Ended) -> Self {
        let object = |(object, reason): &(String, String)| ObjectDocument { object: object.clone(), reason: reason.clone() };
        Self {
            whole: report.damaged.is_empty(),
            packs: report.packs,
            bytes_read: report.read_bytes,
            damaged: report.damaged.iter().map(object).collect(),
            elapsed_seconds: ended.elapsed.as_secs_f64(),
        }
    }
}

fn text(document: &VerifyDocument, width: Option<u16>) -> String {
    let damaged = document.points.iter().filter(|point| !point.whole).count();
    let mut text = String::new();
    let mut ranges = Table::new(&[
        ("POINT", Align::Left),
        ("DISK", Align::Left),
        ("OFFSET", Align::Right),
        ("LENGTH", Align::Right),
        ("WHY", Align::Wrap),
    ]);
    for point in &document.points {
        for range in &point.damaged {
            let (offset, length) = (range.offset_bytes.to_string(), range.length_bytes.to_string());
            ranges.row([point.name.clone(), range.disk.clone(), offset, length, range.reason.clone()]);
        }
    }
    if damaged > 0 {
        text.push_str(&ranges.render(width));
        text.push('\n');
    }
    for object in &document.objects {
        text.push_str(&format!("Damaged: {}\n", safe(object)));
    }
    let count = document.points.len();
    text.push_str(&match (document.whole, damaged) {
        (true, _) if document.sample_percent < 100.0 => {
            format!("No damage was found in {count} points. The sample was {}%, seed {}", document.sample_percent, document.seed)
        }
        (true, _) => format!("All is whole: {count} points"),
        (false, _) => format!("DAMAGE: {damaged} of {count} points have damaged ranges, {} objects cannot be read", document.objects.len()),
    });
    text.push_str(&format!("; {}\n", effort(document.bytes_read, document.elapsed_seconds)));
    text
}

fn quick_text(document: &QuickDocument) -> String {
    let mut text = String::new();
    for object in &document.damaged {
        text.push_str(&format!("Damaged: {}: {}\n", safe(&object.object), safe(&object.reason)));
    }
    let effort = effort(document.bytes_read, document.elapsed_seconds);
    match document.whole {
        true => text.push_str(&format!("The checksums of all {} packs are right; {effort}\n", document.packs)),
        false => text.push_str(&format!(
            "DAMAGE: {} of {} packs; 'cairn verify --all' names the points that it touches; {effort}\n",
            document.damaged.len(),
            document.packs
        )),
    }
    text
}

fn effort(bytes: u64, seconds: f64) -> String {
    let elapsed = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    format!("{} read in {}, {}", size(bytes), duration(elapsed), rate(bytes, seconds))
}
