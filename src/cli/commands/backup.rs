//! `cairn backup`: one recovery point with all disks of a machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn::host::JobKind;
use cairn::jobs::backup::{BackupReport, BackupRequest, DiskRequest, backup};
use cairn::jobs::sources;
use cairn::quiesce::Account;
use cairn::source::SourceSpec;
use cairn::store::Vault;
use cairn::units::MachineName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::definition;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::json::{ConsistencyChoice, PointDocument};
use super::super::moment::{future, moment, percent};
use super::super::progress::{Ended, Warning};
use super::super::quiesce::{QuiesceArgs, account, words};
use super::super::render::{Align, Table, duration, rate, safe, size};

/// How much of what hints call unchanged is read all the same, unless somebody says, in percent.
pub(crate) const PERCENT_OF_HINTS: f64 = 1.0;

/// Options of `cairn backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The machine's latest point is the base: what is as it was there is not stored again. Without --disk, the
disks and all else come from the machine's definition (`cairn machine`); tags and files are added to its own.

A source is a raw image, a block device, or a qcow2, VHD, VHDX or VMDK image with what it rests on.
The format is recognised; FORMAT:PATH says it (raw, qcow2, vhd, vhdx, vmdk). It must be said for an
image that names other files and whose name does not end in its format. The same disk is the same
in every format.

Disks of a running machine should be read from a snapshot: taken by a command, by Cairn itself
(--snapshot clone), or with --keep-clone, which reads a reflink clone of a raw image and keeps it
beside the image as .NAME.cairn-... Scripts and freezes bring the machine to rest around it, and
earn the point its label; docs/consistency.md tells how.

Examples:
  cairn backup web01 --disk vda=/var/lib/libvirt/images/web01.qcow2
  cairn backup db01 --disk sda=/dev/vg0/db01-snap --disk sdb=/dev/vg1/data-snap --consistency filesystem --tag nightly
  cairn backup web01                       (as `cairn machine add web01` says)
  cairn backup web01 --disk vda=web01.qcow2 --changed vda=changes.json --verify-hints 5%
  cairn backup web01 --disk vda=web01.img --keep-clone
  cairn backup web01 --disk vda=web01.img --scripts /etc/azure/VMSnapshotScriptPluginConfig.json --snapshot clone
  cairn backup db01 --disk sda=/dev/vg0/db01 --freeze /srv/db --snapshot-command 'snap-db01 {id}' --snapshot-remove 'lvremove -fq vg0/s-{id}'
  cairn backup web01 --disk vda=web01.img --tag before-upgrade --retain-until 90d
  cairn backup web01 --disk vda=raw:/srv/web01.img --config /etc/libvirt/qemu/web01.xml
  cairn backup web01 --disk vda=web01.img --dry-run")]
pub(crate) struct BackupArgs {
    /// The machine's name: letters, digits, '.', '_', '-'
    machine: String,

    /// A disk: its name and where to read it; once for each disk [default: those of the machine's definition]
    #[arg(long = "disk", value_name = "NAME=SOURCE")]
    pub(crate) disks: Vec<OsString>,

    /// Tag the point; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,

    /// How far the machine was at rest when the disks were as they are read, where Cairn does not see to it
    #[arg(long, value_enum, value_name = "KIND", default_value_t, conflicts_with_all = ["scripts", "freeze"])]
    consistency: ConsistencyChoice,

    /// When the disks were as they are read, if not now: 2026-11-21T20:30:00Z, or without Z in local time
    #[arg(long, value_name = "TIME")]
    time: Option<String>,

    /// Keep the point at least until then, whatever the policy says: a day, a time, or 90d from now
    #[arg(long, value_name = "DATE")]
    retain_until: Option<String>,

    /// Keep a file with the point, a machine's configuration for example; may be given several times
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) configs: Vec<PathBuf>,

    /// What has changed on a disk since the base, from qemu-img map, nbdinfo, rbd diff, thin_delta or in Cairn's own JSON
    #[arg(long = "changed", value_name = "NAME=FILE")]
    pub(crate) changed: Vec<OsString>,

    /// How much of what --changed or a clone calls unchanged is read and compared all the same [default: 1%]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) verify_hints: Option<f64>,

    /// On XFS and btrfs, read a reflink clone of each raw image, and keep it beside the image: the next backup then reads only what changed
    #[arg(long)]
    pub(crate) keep_clone: bool,

    /// Compression for this backup: a zstd level, 1 to 19 [default: the vault's]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) compression: Option<i32>,

    /// Find out what would be stored; write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    quiesce: QuiesceArgs,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct BackupDocument {
    #[serde(flatten)]
    point: PointDocument,
    quiesce: Option<Account>,
    dry_run: bool,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// Names of a disk, as typed.
struct NamedPath {
    name: MachineName,
    path: PathBuf,
}

/// Makes the point.
pub(crate) fn run(context: &Context, mut args: BackupArgs) -> anyhow::Result<Exit> {
    let machine: MachineName = name(&args.machine)?;
    let definition = definition::fill(context, &machine, &mut args)?;
    let disks = args.disks.iter().map(|disk| named_path("--disk", disk)).collect::<anyhow::Result<Vec<_>>>()?;
    let changed = args.changed.iter().map(|changed| named_path("--changed", changed)).collect::<anyhow::Result<Vec<_>>>()?;
    check_names(&disks, &changed)?;
    let options = definition::consistency(args.quiesce.options(args.keep_clone)?, definition.as_ref());
    options.check(args.keep_clone).map_err(|error| usage(error.to_string()))?;
    let time = args.time.as_deref().map(|time| moment(time, &TimeZone::system())).transpose()?;
    let now = Timestamp::now();
    let retain_until = args.retain_until.as_deref().map(|text| future(text, now, &TimeZone::system())).transpose()?;
    if !args.dry_run {
        context.begin_job(JobKind::Backup, Some(&machine))?;
    }
    let vault = context.open_vault()?;
    let request = BackupRequest {
        machine,
        disks: open_disks(&vault, &disks, &changed, args.keep_clone)?,
        configs: definition::configs(&args, definition)?,
        tags: args.tags,
        consistency: args.consistency.into(),
        quiesce: Some(context.quiesce(options)?),
        time,
        retain_until,
        verify_hints_percent: args.verify_hints.unwrap_or(PERCENT_OF_HINTS),
        compression_level: args.compression,
        dry_run: args.dry_run,
    };
    let monitor = context.monitor()?;
    let report = backup(&vault, &request, &monitor)?;
    let ended = monitor.finish();
    let exit = Exit::done(ended.warning_count);
    let document = document(&report, ended);
    context.job_result(&document.point.name);
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(exit)
}

fn name(text: &str) -> anyhow::Result<MachineName> {
    text.parse::<MachineName>().map_err(|error| usage(error.to_string()))
}

/// Splits `NAME=PATH`. The path may be anything, also what is not UTF-8.
fn named_path(option: &str, text: &OsStr) -> anyhow::Result<NamedPath> {
    let bytes = text.as_bytes();
    let shown = || text.to_string_lossy();
    let split = bytes.iter().position(|&byte| byte == b'=').and_then(|equals| bytes.split_at_checked(equals));
    match split {
        Some((disk, [b'=', path @ ..])) if !path.is_empty() => {
            let disk = std::str::from_utf8(disk).map_err(|_| usage(format!("{option} {}: the name is not UTF-8", shown())))?;
            Ok(NamedPath { name: name(disk)?, path: OsStr::from_bytes(path).into() })
        }
        _ => Err(usage(format!("{option} '{}': expected NAME=PATH, such as vda=/srv/web01.img", shown()))),
    }
}

fn check_names(disks: &[NamedPath], changed: &[NamedPath]) -> anyhow::Result<()> {
    for (nth, disk) in disks.iter().enumerate() {
        if disks.iter().skip(nth + 1).any(|other| other.name == disk.name) {
            return Err(usage(format!("two disks are called {}; give each its own name", disk.name)));
        }
    }
    for (nth, hints) in changed.iter().enumerate() {
        if !disks.iter().any(|disk| disk.name == hints.name) {
            return Err(usage(format!("--changed names the disk {}, which no --disk names", hints.name)));
        }
        if changed.iter().skip(nth + 1).any(|other| other.name == hints.name) {
            return Err(usage(format!("two files say what changed on {}; give one", hints.name)));
        }
    }
    Ok(())
}

fn open_disks(vault: &Vault, disks: &[NamedPath], changed: &[NamedPath], keep_clone: bool) -> anyhow::Result<Vec<DiskRequest>> {
    let open = |disk: &NamedPath| {
        let hints: Option<&Path> = changed.iter().find(|hints| hints.name == disk.name).map(|hints| hints.path.as_path());
        let spec = SourceSpec::parse(disk.path.as_os_str());
        let request = sources::open_disk(vault, disk.name.clone(), &spec, hints)?;
        Ok(DiskRequest { keep_clone: keep_clone.then_some(spec.path), ..request })
    };
    disks.iter().map(open).collect()
}

fn document(report: &BackupReport, ended: Ended) -> BackupDocument {
    let mut point = PointDocument::new(&report.manifest, None);
    if !report.published {
        // A dry run writes no map, so it does not learn the contents' ids.
        point.disks.iter_mut().for_each(|disk| disk.content_id = None);
    }
    BackupDocument {
        point,
        quiesce: account(&report.manifest),
        dry_run: !report.published,
        elapsed_seconds: ended.elapsed.as_secs_f64(),
        warnings: ended.warnings,
        warning_count: ended.warning_count,
    }
}

fn text(document: &BackupDocument, width: Option<u16>) -> String {
    let point = &document.point;
    let done = if document.dry_run { "Nothing was written. The point would be" } else { "The recovery point is" };
    let mut text = format!("{done} {} ({}).\n\n", safe(&point.name), point.id.get(..8).unwrap_or(&point.id));
    let columns = [("DISK", Align::Left), ("SIZE", Align::Right), ("READ", Align::Right), ("CHANGED", Align::Right)];
    let mut table = Table::new(&[&columns[..], &[("NEW", Align::Right), ("STORED", Align::Right), ("HOW", Align::Wrap)]].concat());
    for disk in &point.disks {
        table.row([
            disk.name.clone(),
            size(disk.size_bytes),
            size(disk.bytes_read),
            size(disk.bytes_changed),
            size(disk.bytes_new),
            size(disk.bytes_stored),
            disk.changes.words(),
        ]);
    }
    text.push_str(&table.render(width));
    if let Some(account) = &document.quiesce {
        text.push_str(&format!("\nConsistency: {}\n", point.consistency));
        words(account).into_iter().for_each(|(what, how)| text.push_str(&format!("{what}: {how}\n")));
    }
    let elapsed = Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let read = rate(point.bytes_read, document.elapsed_seconds);
    text.push_str(&format!("\n{} in {}, {read} read\n", size(point.size_bytes), duration(elapsed)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_name_and_any_path() {
        let disk = named_path("--disk", OsStr::from_bytes(b"vda=/a=b/\xff.img")).unwrap();
        assert_eq!((disk.name.as_str(), disk.path.as_os_str().as_bytes()), ("vda", &b"/a=b/\xff.img"[..]));
        for wrong in ["vda", "vda=", "=x", "a/b=x", "\u{1b}=x"] {
            assert!(named_path("--disk", OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
    }
}
