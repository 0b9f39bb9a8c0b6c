//! `cairn copy`: recovery points into another vault.

use std::sync::Arc;

use anyhow::Context as _;
use cairn::catalogue::points::Listing;
use cairn::host::JobKind;
use cairn::jobs::copy::{CopiedPoint, CopyReport, CopyRequest, FailedPoint, copy};
use cairn::jobs::points;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::moment::{End, range_end};
use super::super::progress::{Ended, Warning};
use super::super::render::{Align, Table, duration, safe, size};
use super::super::secret::{SecretSource, TO, ToSecretArgs};

/// Options of `cairn copy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without MACHINE or POINT all points are copied that the other vault does not have yet, each machine's oldest first. Only what
is missing there is read here and travels; the two vaults may have different keys, encryption, frames and places. A copy that was
interrupted is completed by the same command. A point keeps its machine, time, tags and contents, and its id where that is free; pins
are not copied. A point that was deleted in the other vault comes back only if it is named.

Examples:
  cairn copy --to /mnt/usb/vault
  cairn copy --to s3://bucket/vault --to-passphrase-file /etc/cairn/offsite --latest
  cairn copy --to /mnt/usb/vault web01 db01@latest
  cairn copy --to /mnt/usb/vault --since 30d --dry-run")]
pub(crate) struct CopyArgs {
    /// Machines (web01) and points (web01@latest); all points without any
    #[arg(value_name = "MACHINE|POINT")]
    what: Vec<String>,

    /// The vault to copy to: a directory, s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or gs://BUCKET/PREFIX
    #[arg(long, value_name = "PATH|URL")]
    to: String,

    /// Only points that are not older: a day, a time, or an age such as 36h or 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only the newest point of each machine
    #[arg(long)]
    latest: bool,

    /// Compression in the other vault: a zstd level, 1 to 19 [default: that vault's]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: Option<i32>,

    /// Find out which points would be copied; write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    secret: ToSecretArgs,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct CopyDocument {
    to: String,
    dry_run: bool,
    copied: Vec<CopiedDocument>,
    present: u64,
    damaged: Vec<DamagedDocument>,
    bytes_read: u64,
    bytes_new: u64,
    bytes_stored: u64,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// A point that was copied.
#[derive(Debug, Serialize)]
struct CopiedDocument {
    id: String,
    source_id: String,
    name: String,
    bytes_read: u64,
    bytes_new: u64,
    bytes_stored: u64,
}

/// A point that was not.
#[derive(Debug, Serialize)]
struct DamagedDocument {
    id: String,
    name: String,
    reason: String,
}

/// Copies.
pub(crate) fn run(context: &Context, args: CopyArgs) -> anyhow::Result<Exit> {
    let since = args.since.as_deref().map(|text| range_end(text, End::Since, Timestamp::now(), &TimeZone::system())).transpose()?;
    if !args.dry_run {
        context.begin_job(JobKind::Copy, None)?;
    }
    let from = context.open_vault()?;
    let found = context.find_vault_at(&args.to)?;
    let source = SecretSource::resolve(&args.secret.into(), TO, |name| std::env::var_os(name));
    let opened = context.unlock_with(&found, &source, |unlock| found.open(unlock)).with_context(|| {
        let options = "--to-passphrase-file, --to-passphrase-command and --to-key-file say how";
        format!("the vault to copy to, {}, cannot be opened; {options}", safe(&found.location()))
    });
    let to = Arc::new(opened?);
    let monitor = context.monitor()?;
    let mut request =
        CopyRequest { since, latest: args.latest, compression_level: args.compression, dry_run: args.dry_run, ..CopyRequest::default() };
    choose(&args.what, &context.list_points(&from, &monitor)?, &mut request)?;
    let report = copy(&from, &to, &request, &monitor)?;
    let document = CopyDocument::new(&args.to, args.dry_run, &report, monitor.finish());
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(if document.damaged.is_empty() { Exit::done(document.warning_count) } else { Exit::Damage })
}

/// A name without '@' is a machine's where there is such a machine, else the start of a point's id.
fn choose(names: &[String], listing: &Listing, request: &mut CopyRequest) -> anyhow::Result<()> {
    for name in names {
        match listing.machines().into_iter().find(|machine| machine.as_str() == name) {
            Some(machine) => request.machines.push(machine.clone()),
            None => request.points.push(points::find(listing, name, &TimeZone::system())?.point()),
        }
    }
    Ok(())
}

impl CopyDocument {
    fn new(to: &str, dry_run: bool, report: &CopyReport, ended: Ended) -> Self {
        let copied = |point: &CopiedPoint| CopiedDocument {
            id: point.point.to_string(),
            source_id: point.source.to_string(),
            name: point.name.clone(),
            bytes_read: point.read_bytes,
            bytes_new: point.new_bytes,
            bytes_stored: point.stored_bytes,
        };
        let damaged = |failed: &FailedPoint| DamagedDocument {
            id: failed.point.to_string(),
            name: failed.name.clone(),
            reason: failed.error.to_string(),
        };
        let sum = |of: fn(&CopiedPoint) -> u64| report.copied.iter().map(of).sum();
        Self {
            to: to.to_owned(),
            dry_run,
            copied: report.copied.iter().map(copied).collect(),
            present: report.present,
            damaged: report.damaged.iter().map(damaged).collect(),
            bytes_read: sum(|point| point.read_bytes),
            bytes_new: sum(|point| point.new_bytes),
            bytes_stored: sum(|point| point.stored_bytes),
            elapsed_seconds: ended.elapsed.as_secs_f64(),
            warnings: ended.warnings,
            warning_count: ended.warning_count,
        }
    }
}

fn text(document: &CopyDocument, width: Option<u16>) -> String {
    let mut text = String::new();
    if !document.copied.is_empty() {
        let numbers = ["READ", "NEW", "STORED"].map(|title| (title, Align::Right));
        let mut table = Table::new(&[&[("POINT", Align::Left)][..], &numbers].concat());
        for point in &document.copied {
            table.row([point.name.clone(), size(point.bytes_read), size(point.bytes_new), size(point.bytes_stored)]);
        }
        text.push_str(&table.render(width));
        text.push('\n');
    }
    let did = if document.dry_run { "Nothing was written. This would copy" } else { "Copied" };
    let (count, present) = (document.copied.len(), document.present);
    text.push_str(&format!("{did} {count} points to {}; {present} were there already", safe(&document.to)));
    if !document.dry_run {
        let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
        text.push_str(&format!("; {} stored in {}", size(document.bytes_stored), duration(elapsed)));
    }
    text.push('\n');
    if !document.damaged.is_empty() {
        text.push_str(&format!("DAMAGE: {} points could not be copied\n", document.damaged.len()));
    }
    text
}
