//! `cairn mirror`: the same objects in a second place.

use std::sync::Arc;

use cairn::host::JobKind;
use cairn::jobs::mirror::{MirrorReport, MirrorRequest, mirror, open_or_make_place};
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::progress::{Ended, Warning};
use super::super::render::{duration, safe, size};

/// Options of `cairn mirror`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A mirror holds the same objects byte for byte, and the same secrets open it. It needs no passphrase; where one is given (or the vault is
not encrypted) a lease makes collections wait meanwhile. Objects are checked on the way, so damage does not spread: what is damaged is
named, and the exit code is 4. An interrupted run is completed by the next.

Nothing is removed from the mirror without --delete. With it, recovery points go that were deleted in the vault, except those whose time
to be kept has not come, and packs that no point of either needs; that takes the passphrase.

What is there already is compared by name and size; `verify --quick` reads the mirror itself.
Do not back up to a mirror: use it to restore from, as --vault, and to repair from.

Examples:
  cairn mirror --to s3://other-region/vault
  cairn mirror --to /mnt/second/vault --delete
  cairn verify --quick --vault /mnt/second/vault
  cairn points --all --vault /mnt/second/vault
  cairn repair --from /mnt/second/vault")]
pub(crate) struct MirrorArgs {
    /// The mirror: a directory, new or not, s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or gs://BUCKET/PREFIX
    #[arg(long, value_name = "PATH|URL")]
    to: String,

    /// Remove from the mirror what the vault deleted and nothing needs
    #[arg(long)]
    delete: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct MirrorDocument {
    to: String,
    whole: bool,
    objects_copied: u64,
    bytes_copied: u64,
    points_copied: u64,
    objects_present: u64,
    objects_deleted: u64,
    bytes_deleted: u64,
    points_kept: Vec<String>,
    damaged: Vec<ObjectDocument>,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// An object that could not be mirrored.
#[derive(Debug, Serialize)]
struct ObjectDocument {
    object: String,
    reason: String,
}

/// Mirrors.
pub(crate) fn run(context: &Context, args: &MirrorArgs) -> anyhow::Result<Exit> {
    let found = context.find_vault()?;
    if args.to == found.location() {
        return Err(usage("the mirror is the vault itself; name another place"));
    }
    context.begin_job(JobKind::Copy, None)?;
    let opened = match args.delete || context.can_unlock_unasked(&found) {
        true => Some(Arc::new(context.unlock(&found, |unlock| found.open(unlock))?)),
        false => None,
    };
    let to = open_or_make_place(&args.to, &context.limits())?;
    let monitor = context.monitor()?;
    let report = mirror(&found, &to, MirrorRequest { opened: opened.as_ref(), delete: args.delete }, &monitor)?;
    let document = MirrorDocument::new(&args.to, &report, monitor.finish());
    context.output.result(&document, || text(&document))?;
    Ok(if document.whole { Exit::done(document.warning_count) } else { Exit::Damage })
}

impl MirrorDocument {
    fn new(to: &str, report: &MirrorReport, ended: Ended) -> Self {
        let object = |(object, reason): &(String, String)| ObjectDocument { object: object.clone(), reason: reason.clone() };
        Self {
            to: to.to_owned(),
            whole: report.damaged.is_empty(),
            objects_copied: report.copied_objects,
            bytes_copied: report.copied_bytes,
            points_copied: report.copied_points,
            objects_present: report.present_objects,
            objects_deleted: report.deleted_objects,
            bytes_deleted: report.deleted_bytes,
            points_kept: report.kept_points.iter().map(ToString::to_string).collect(),
            damaged: report.damaged.iter().map(object).collect(),
            elapsed_seconds: ended.elapsed.as_secs_f64(),
            warnings: ended.warnings,
            warning_count: ended.warning_count,
        }
    }
}

fn text(document: &MirrorDocument) -> String {
    let mut text = String::new();
    for object in &document.damaged {
        text.push_str(&format!("Damaged: {}: {}\n", safe(&object.object), safe(&object.reason)));
    }
    let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let (objects, bytes) = (document.objects_copied, size(document.bytes_copied));
    text.push_str(&format!(
        "{} has {} new points; {objects} objects, {bytes}, in {}\n",
        safe(&document.to),
        document.points_copied,
        duration(elapsed)
    ));
    if document.objects_deleted > 0 {
        text.push_str(&format!("Removed {} objects, {}\n", document.objects_deleted, size(document.bytes_deleted)));
    }
    if !document.points_kept.is_empty() {
        let count = document.points_kept.len();
        text.push_str(&format!("Kept {count} points that the vault no longer has: their time has not come\n"));
    }
    if !document.whole {
        let count = document.damaged.len();
        text.push_str(&format!(
            "DAMAGE: {count} objects could not be mirrored; `cairn repair --from` brings an object back from the side that has it whole\n"
        ));
    }
    text
}
