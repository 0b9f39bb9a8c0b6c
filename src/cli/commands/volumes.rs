//! `cairn volumes`: the partitions, volumes and filesystems of a recovery point's disks.

use cairn::tree::FoundVolume;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::look::{Look, LookArgs};
use super::super::render::{Align, Table, size};

/// Options of `cairn volumes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Says what is on a point's disks, under which name its files are below POINT:files, and why something cannot be opened.

Examples:
  cairn volumes web01@latest
  cairn volumes web01@latest --json
  cairn volumes web01@latest --guest-passphrase-file secret")]
pub(crate) struct VolumesArgs {
    /// The point
    point: String,

    #[command(flatten)]
    look: LookArgs,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct VolumesDocument {
    point: String,
    volumes: Vec<VolumeDocument>,
    closed: Vec<ClosedDocument>,
    /// What the guest's own tree is made of where it has an fstab: problems with putting it together.
    root_notes: Vec<String>,
}

/// A volume.
#[derive(Debug, Serialize)]
struct VolumeDocument {
    /// Its directory below `files`.
    name: Option<String>,
    disk: Option<String>,
    partition: Option<u32>,
    partition_type: Option<String>,
    partition_name: Option<String>,
    partition_uuid: Option<String>,
    filesystem: Option<&'static str>,
    label: Option<String>,
    uuid: Option<String>,
    size_bytes: u64,
    used_bytes: Option<u64>,
    found: String,
    notes: Vec<String>,
    problem: Option<String>,
}

/// Something that cannot be opened.
#[derive(Debug, Serialize)]
struct ClosedDocument {
    found: String,
    problem: String,
}

/// Shows them.
pub(crate) fn run(context: &Context, args: &VolumesArgs) -> anyhow::Result<Exit> {
    let look = Look::open(context, &args.look, &args.point)?;
    let document = VolumesDocument {
        point: look.name.clone(),
        volumes: look.tree.volumes().iter().map(describe).collect(),
        closed: look
            .tree
            .closed()
            .iter()
            .map(|closed| ClosedDocument { found: closed.found.clone(), problem: closed.error.to_string() })
            .collect(),
        root_notes: look.tree.root_notes().to_vec(),
    };
    context.output.result(&document, || text(&document, context.output.width()))?;
    Ok(Exit::done(look.monitor.finish().warning_count))
}

fn describe(volume: &FoundVolume) -> VolumeDocument {
    let mut notes = volume.volume.notes.clone();
    let mut problem = volume.problem.clone();
    let mut used_bytes = None;
    if volume.has_files() {
        match volume.filesystem() {
            Ok(filesystem) => {
                let about = filesystem.about();
                used_bytes = about.used_bytes;
                notes.extend(about.notes.iter().cloned());
            }
            Err(error) => problem = Some(error.to_string()),
        }
    }
    let identity = volume.identity.as_ref();
    VolumeDocument {
        name: volume.name.clone(),
        disk: volume.volume.disk.clone(),
        partition: volume.volume.partition,
        partition_type: volume.volume.partition_type.clone(),
        partition_name: volume.volume.partition_name.clone(),
        partition_uuid: volume.volume.partition_uuid.clone(),
        filesystem: identity.map(|identity| identity.kind),
        label: identity.and_then(|identity| identity.label.clone()),
        uuid: identity.and_then(|identity| identity.uuid.clone()),
        size_bytes: volume.volume.layer.size_bytes(),
        used_bytes,
        found: volume.volume.found.clone(),
        notes,
        problem,
    }
}

fn text(document: &VolumesDocument, width: Option<u16>) -> String {
    let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("FOUND", Align::Wrap),
        ("FILESYSTEM", Align::Left),
        ("LABEL", Align::Left),
        ("UUID", Align::Wrap),
        ("SIZE", Align::Right),
        ("USED", Align::Right),
    ]);
    for volume in &document.volumes {
        table.row([
            dash(volume.name.as_deref()),
            volume.found.clone(),
            dash(volume.filesystem),
            dash(volume.label.as_deref()),
            dash(volume.uuid.as_deref()),
            size(volume.size_bytes),
            volume.used_bytes.map_or_else(|| "-".to_owned(), size),
        ]);
    }
    let mut text = table.render(width);
    let mut remark = |subject: &str, what: &str| {
        text.push_str(&format!("{}: {}\n", super::super::render::safe(subject), super::super::render::safe(what)))
    };
    for volume in &document.volumes {
        let subject = volume.name.as_deref().unwrap_or(&volume.found);
        volume.notes.iter().for_each(|note| remark(subject, note));
        volume.problem.iter().for_each(|problem| remark(subject, problem));
    }
    document.closed.iter().for_each(|closed| remark(&closed.found, &closed.problem));
    document.root_notes.iter().for_each(|note| remark("root", note));
    text
}
