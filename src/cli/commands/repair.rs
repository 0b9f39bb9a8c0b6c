//! `cairn repair`: lost objects back from a mirror, lost blocks from the disks that they came from.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use cairn::jobs::repair::{LiveDisk, Repair, RepairReport, Why, repair, repair_from_disks};
use cairn::jobs::sources;
use cairn::jobs::vault::open_place;
use cairn::source::SourceSpec;
use cairn::units::MachineName;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::progress::{Ended, Warning};
use super::super::render::{duration, safe, size};

/// Options of `cairn repair`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The vault is compared with its mirror, and all its packs are read and checked. What is missing, cut short or damaged and is needed by some
recovery point is fetched from the mirror, checked with the vault's key, and put: packs, manifests, verdicts, states, key slots, the
header. What was deleted does not come back. A damaged object goes only when its replacement is whole. Afterwards repaired blocks are no
longer listed as damaged. The mirror is only read; to repair a mirror from its vault, exchange --vault and --from.

With --disk, blocks come from the disk that was backed up, or a snapshot of it: where a chunk of it still has the hash that a map names, it
is what was lost. A pack is written again if all its blocks in use can be had so. With --from too, the mirror comes first.

The exit code is 4 if something stays damaged.

Examples:
  cairn repair --from /mnt/second/vault --dry-run
  cairn repair --from s3://other-region/vault
  cairn repair --vault /mnt/second/vault --from /srv/vault
  cairn repair --disk web01/vda=/var/lib/libvirt/images/web01.qcow2")]
pub(crate) struct RepairArgs {
    /// The mirror: a directory, s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or gs://BUCKET/PREFIX
    #[arg(long, value_name = "PATH|URL", required_unless_present = "disks")]
    from: Option<String>,

    /// A disk that was backed up, as it is now: its machine, its name, and where to read it; may be given several times
    #[arg(long = "disk", value_name = "MACHINE/NAME=SOURCE")]
    disks: Vec<OsString>,

    /// Find out what would be put; write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct RepairDocument {
    from: Option<String>,
    dry_run: bool,
    whole: bool,
    repaired: Vec<RepairedDocument>,
    lost: Vec<LostDocument>,
    blocks_cleared: u64,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// An object that came back.
#[derive(Debug, Serialize)]
struct RepairedDocument {
    object: String,
    size_bytes: u64,
    why: String,
}

/// An object that stays damaged.
#[derive(Debug, Serialize)]
struct LostDocument {
    object: String,
    reason: String,
}

/// Repairs.
pub(crate) fn run(context: &Context, args: &RepairArgs) -> anyhow::Result<Exit> {
    let disks = args.disks.iter().map(|disk| disk_name(disk)).collect::<anyhow::Result<Vec<_>>>()?;
    let (vault, mirror) = match &args.from {
        None => (context.open_vault()?, None),
        Some(from) => {
            let found = context.find_vault_at(from)?;
            let mirror = Arc::new(context.unlock(&found, |unlock| found.open(unlock))?);
            let to = open_place(&context.vault_location()?, &context.limits())?;
            (Arc::new(mirror.elsewhere(to, &context.cache_directory()?)), Some(mirror))
        }
    };
    let open = |disk: &DiskName| {
        let opened = sources::open_disk(&vault, disk.name.clone(), &SourceSpec::parse(disk.source.as_os_str()), None)?;
        Ok(LiveDisk { machine: disk.machine.clone(), name: opened.name, source: opened.source })
    };
    let disks = disks.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let monitor = context.monitor()?;
    let mut report = RepairReport::default();
    if let Some(mirror) = &mirror {
        report = repair(mirror, vault.backend(), &context.cache_directory()?, args.dry_run, &monitor)?;
    }
    if !disks.is_empty() {
        report.and_then(repair_from_disks(&vault, &disks, args.dry_run, &monitor)?);
    }
    let document = RepairDocument::new(args, &report, monitor.finish());
    context.output.result(&document, || text(&document))?;
    Ok(if document.whole { Exit::done(document.warning_count) } else { Exit::Damage })
}

/// A disk as typed.
struct DiskName {
    machine: MachineName,
    name: MachineName,
    source: OsString,
}

/// Splits `MACHINE/NAME=SOURCE`. The source may be anything, also what is not UTF-8.
fn disk_name(text: &OsStr) -> anyhow::Result<DiskName> {
    let wrong = || usage(format!("--disk '{}': expected MACHINE/NAME=SOURCE, such as web01/vda=/srv/web01.img", text.to_string_lossy()));
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
    let (names, source) = bytes.split_at(equals);
    let (machine, name) = std::str::from_utf8(names).ok().and_then(|names| names.split_once('/')).ok_or_else(wrong)?;
    let parse = |name: &str| name.parse::<MachineName>().map_err(|error| usage(error.to_string()));
    match source.strip_prefix(b"=") {
        Some(source) if !source.is_empty() => {
            Ok(DiskName { machine: parse(machine)?, name: parse(name)?, source: OsStr::from_bytes(source).to_owned() })
        }
        _ => Err(wrong()),
    }
}

impl RepairDocument {
    fn new(args: &RepairArgs, report: &RepairReport, ended: Ended) -> Self {
        let repaired = |repair: &Repair| RepairedDocument {
            object: repair.name.to_string(),
            size_bytes: repair.size_bytes,
            why: match &repair.why {
                Why::Missing => "missing".to_owned(),
                Why::Damaged(reason) => reason.clone(),
            },
        };
        let lost = |(object, reason): &(String, String)| LostDocument { object: object.clone(), reason: reason.clone() };
        Self {
            from: args.from.clone(),
            dry_run: args.dry_run,
            whole: report.lost.is_empty(),
            repaired: report.repaired.iter().map(repaired).collect(),
            lost: report.lost.iter().map(lost).collect(),
            blocks_cleared: report.cleared_blocks,
            elapsed_seconds: ended.elapsed.as_secs_f64(),
            warnings: ended.warnings,
            warning_count: ended.warning_count,
        }
    }
}

fn text(document: &RepairDocument) -> String {
    let mut text = String::new();
    for object in &document.repaired {
        text.push_str(&format!("{}: {}\n", safe(&object.object), safe(&object.why)));
    }
    for object in &document.lost {
        text.push_str(&format!("Lost: {}: {}\n", safe(&object.object), safe(&object.reason)));
    }
    let bytes = document.repaired.iter().map(|object| object.size_bytes).sum();
    let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let did = if document.dry_run { "Nothing was written. This would put" } else { "Repaired" };
    text.push_str(&format!("{did} {} objects, {}; looked for {}\n", document.repaired.len(), size(bytes), duration(elapsed)));
    if document.blocks_cleared > 0 {
        text.push_str(&format!("{} blocks are no longer listed as damaged\n", document.blocks_cleared));
    }
    if !document.whole {
        text.push_str(&format!("DAMAGE: {} objects are not whole and could not be repaired\n", document.lost.len()));
    }
    text
}
