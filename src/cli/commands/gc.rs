//! `cairn gc`: takes away what no recovery point needs.

use cairn::host::JobKind;
use cairn::jobs::gc::{GcReport, GcRequest, Patience, gc};
use jiff::Timestamp;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::moment::percent;
use super::super::progress::{Ended, Warning};
use super::super::render::{safe, size};

/// Options of `cairn gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Removes points whose time in soft delete is over (14 days unless `cairn policy soft-delete` says otherwise), and then everything that no point needs: blocks and maps, what killed jobs have
left, leases of holders that are dead. Packs of which only a part is needed are emptied into new ones. Backups, restores and mounts go on
meanwhile; it waits for backups that began before it, ten minutes for ones that were killed. It can be interrupted at any time: the next
one goes on.

Examples:
  cairn gc
  cairn gc --dry-run
  cairn gc --repack-below 50% --max-copy 20G
  cairn gc --json | jq .bytes_deleted")]
pub(crate) struct GcArgs {
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Empty packs of which less than this part is needed
    #[arg(long, value_name = "PERCENT", default_value = "70%", value_parser = percent)]
    repack_below: f64,

    /// Copy at most so much before what it was copied from is deleted: space that is needed meanwhile
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = bytes)]
    max_copy: u64,

    /// Remove points although this computer's clock is behind the latest time in the vault: it is right, and another clock was wrong
    #[arg(long)]
    trust_clock: bool,

    /// Go on although a point's manifest is lost, and give up what only such points need
    #[arg(long)]
    give_up_lost_points: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    super::super::size::parse(text).ok_or_else(|| format!("'{text}' is no size; write one like 500M, 4G or 1T"))
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct GcDocument {
    dry_run: bool,
    points_removed: Vec<String>,
    points_revoked: u64,
    leases_expired: u64,
    unfinished_files: u64,
    unfinished_bytes: u64,
    packs_deleted: u64,
    bytes_deleted: u64,
    packs_written: u64,
    bytes_written: u64,
    packs_left: u64,
    slots_needed: u64,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
}

/// Collects and tells.
pub(crate) fn run(context: &Context, args: &GcArgs) -> anyhow::Result<Exit> {
    if !args.dry_run {
        context.begin_job(JobKind::Collection, None)?;
    }
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let request = GcRequest {
        dry_run: args.dry_run,
        repack_below_percent: args.repack_below,
        max_copy_bytes: args.max_copy,
        trust_clock: args.trust_clock,
        give_up_lost_points: args.give_up_lost_points,
        ..GcRequest::usual(Timestamp::now())
    };
    let report = gc(&vault, &request, &Patience::default(), &monitor)?;
    let ended = monitor.finish();
    let warning_count = ended.warning_count;
    let document = GcDocument::new(report, args.dry_run, ended);
    context.output.result(&document, || text(&document))?;
    Ok(Exit::done(warning_count))
}

impl GcDocument {
    fn new(report: GcReport, dry_run: bool, ended: Ended) -> Self {
        Self {
            dry_run,
            points_removed: report.removed_points,
            points_revoked: report.revoked_points,
            leases_expired: report.expired_leases,
            unfinished_files: report.unfinished_files,
            unfinished_bytes: report.unfinished_bytes,
            packs_deleted: report.deleted_packs,
            bytes_deleted: report.deleted_bytes,
            packs_written: report.new_packs,
            bytes_written: report.new_bytes,
            packs_left: report.left_packs,
            slots_needed: report.live_slots,
            elapsed_seconds: ended.elapsed.as_secs_f64(),
            warnings: ended.warnings,
        }
    }
}

fn text(document: &GcDocument) -> String {
    let (removed, deleted, copied) = match document.dry_run {
        true => ("would be removed", "would be deleted", "would be copied"),
        false => ("removed", "deleted", "copied"),
    };
    let mut text = String::new();
    for point in &document.points_removed {
        text.push_str(&format!("{removed}: {}\n", safe(point)));
    }
    if document.points_revoked + document.leases_expired > 0 {
        let (revoked, expired) = (document.points_revoked, document.leases_expired);
        text.push_str(&format!("given up by their writers: {revoked} points, {expired} leases\n"));
    }
    if document.unfinished_files > 0 {
        text.push_str(&format!("unfinished files: {} of {}\n", document.unfinished_files, size(document.unfinished_bytes)));
    }
    let bytes = size(document.bytes_deleted);
    text.push_str(&format!(
        "{} packs of {bytes} {deleted}, {} {copied} out of them\n",
        document.packs_deleted,
        size(document.bytes_written)
    ));
    if document.packs_left > 0 {
        text.push_str(&format!("{} packs that are worth emptying are left\n", document.packs_left));
    }
    text
}
