//! `cairn machine`: what this host knows of its machines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use cairn::host::{Disk, DiskUse, Machine, Machines};
use cairn::policy::Schedule;
use cairn::quiesce::Options;
use cairn::units::MachineName;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::moment::percent;
use super::super::quiesce::QuiesceArgs;
use super::super::render::{Align, Details, Table, safe};

/// Options of `cairn machine`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A definition is a file that you may edit yourself: NAME.toml in /etc/cairn/machines for root, in ~/.config/cairn/machines for
others. It is followed only while nobody but its owner and root can write it. A disk with --temporary or --exclude is never opened,
and is told as left out by every point (`cairn show`).

Examples:
  cairn machine add web01 --disk vda=/var/lib/libvirt/images/web01.qcow2 --config /etc/libvirt/qemu/web01.xml
  cairn machine add db01 --disk sda=/dev/vg0/db01 --temporary sdb=/dev/vg0/db01-scratch --tag nightly
  cairn backup web01
  cairn machine edit web01 --disk vdb=/srv/web01-data.img --remove-tag nightly
  cairn machine edit web01              (opens its file in $VISUAL or $EDITOR)
  cairn machine list")]
pub(crate) struct MachineArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Define a machine
    Add(AddArgs),
    /// Change a definition, by options or in an editor
    Edit(EditArgs),
    /// List the machines of this host
    List,
    /// Show a definition
    Show(NameArgs),
    /// Forget a machine; its recovery points stay
    Remove(NameArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// The machine's name
    machine: MachineName,
}

/// What both a new definition and a change of one may say.
#[derive(Debug, clap::Args)]
struct Parts {
    /// A disk to back up: its name and where to read it; once for each disk
    #[arg(long = "disk", value_name = "NAME=SOURCE", value_parser = disk)]
    disks: Vec<Disk>,

    /// A disk that is left out
    #[arg(long = "exclude", value_name = "NAME=SOURCE", value_parser = disk)]
    excluded: Vec<Disk>,

    /// A disk with nothing worth keeping, which is left out
    #[arg(long = "temporary", value_name = "NAME=SOURCE", value_parser = disk)]
    temporary: Vec<Disk>,

    /// What has changed on a disk since the last backup is in this file when a backup begins
    #[arg(long = "changed", value_name = "NAME=FILE", value_parser = disk)]
    changed: Vec<Disk>,

    /// Tag its points; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Keep a file with its points; may be given several times
    #[arg(long = "config", value_name = "FILE")]
    configs: Vec<PathBuf>,

    /// Read reflink clones of its raw images, and keep them beside the images
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    keep_clone: Option<bool>,

    /// Compression: a zstd level, 1 to 19 [default: the vault's]
    #[arg(long, value_name = "LEVEL")]
    compression: Option<i32>,

    /// How much of what hints or a clone call unchanged is read and compared all the same
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    verify_hints: Option<f64>,

    /// When it is backed up, instead of when its policy says: 'daily 20:30', 'every 4h from 08:00 to 20:00', 'weekly mon,thu 03:00'
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<Schedule>,

    #[command(flatten)]
    quiesce: QuiesceArgs,
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The machine's name: letters, digits, '.', '_', '-'
    machine: MachineName,

    #[command(flatten)]
    parts: Parts,
}

#[derive(Debug, clap::Args)]
struct EditArgs {
    /// The machine's name
    machine: MachineName,

    /// Take a disk out
    #[arg(long = "remove-disk", value_name = "NAME")]
    removed_disks: Vec<MachineName>,

    /// Take a tag out
    #[arg(long = "remove-tag", value_name = "TAG")]
    removed_tags: Vec<String>,

    /// Keep a file no more
    #[arg(long = "remove-config", value_name = "FILE")]
    removed_configs: Vec<PathBuf>,

    /// Back it up when its policy says
    #[arg(long, conflicts_with = "schedule")]
    remove_schedule: bool,

    /// Do nothing around the moments of its backups
    #[arg(long)]
    remove_consistency: bool,

    #[command(flatten)]
    parts: Parts,
}

/// What `--json` says of a machine.
#[derive(Debug, Serialize)]
struct MachineDocument {
    name: String,
    file: String,
    tags: Vec<String>,
    configs: Vec<PathBuf>,
    keep_clone: bool,
    compression: Option<i32>,
    verify_hints_percent: Option<f64>,
    schedule: Option<String>,
    consistency: Option<Options>,
    disks: Vec<DiskDocument>,
}

#[derive(Debug, Serialize)]
struct DiskDocument {
    name: String,
    source: String,
    changed: Option<PathBuf>,
    #[serde(rename = "use")]
    usage: &'static str,
}

/// Does what was asked for.
pub(crate) fn run(context: &Context, args: MachineArgs) -> anyhow::Result<Exit> {
    let machines = context.machines()?;
    match args.action {
        Action::Add(args) => {
            let mut machine = Machine::new(args.machine);
            args.parts.apply(&mut machine)?;
            machines.add(&machine)?;
            done(context, &machines, &machine, "defined")
        }
        Action::Edit(args) if args.says_nothing() => edit_by_hand(context, &machines, &args.machine),
        Action::Edit(args) => {
            let name = args.machine.clone();
            let machine = machines.change(&name, |machine| args.apply(machine))?;
            done(context, &machines, &machine, "changed")
        }
        Action::List => list(context, &machines),
        Action::Show(args) => {
            let machine = machines.find(&args.machine)?.ok_or(cairn::host::HostError::NoMachine { machine: args.machine })?;
            let document = MachineDocument::new(&machines, &machine);
            context.output.result(&document, || document.text())?;
            Ok(Exit::Done)
        }
        Action::Remove(args) => {
            machines.remove(&args.machine)?;
            let text = format!("{} is forgotten; its recovery points stay.\n", args.machine);
            context.output.result(&serde_json::json!({ "name": args.machine.as_str(), "removed": true }), || text)?;
            Ok(Exit::Done)
        }
    }
}

fn done(context: &Context, machines: &Machines, machine: &Machine, what: &str) -> anyhow::Result<Exit> {
    let document = MachineDocument::new(machines, machine);
    context.output.result(&document, || format!("{} is {what}; `cairn backup {}` backs it up now.\n", machine.name, machine.name))?;
    Ok(Exit::Done)
}

fn list(context: &Context, machines: &Machines) -> anyhow::Result<Exit> {
    let known = machines.all()?;
    known.problems.iter().for_each(|problem| context.output.warning(&problem.to_string()));
    let documents: Vec<_> = known.machines.iter().map(|machine| MachineDocument::new(machines, machine)).collect();
    context.output.result(&documents, || {
        let mut table = Table::new(&[("MACHINE", Align::Left), ("DISKS", Align::Wrap), ("LEFT OUT", Align::Wrap), ("TAGS", Align::Wrap)]);
        for machine in &documents {
            let names = |included: bool| {
                let disks = machine.disks.iter().filter(|disk| (disk.usage == DiskUse::Include.word()) == included);
                disks.map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(" ")
            };
            table.row([machine.name.clone(), names(true), names(false), machine.tags.join(" ")]);
        }
        table.render(context.output.width())
    })?;
    Ok(Exit::done(known.problems.len() as u64))
}

/// Opens the definition in an editor. What comes back is taken only if it can be meant; else it stays where the editor left it.
fn edit_by_hand(context: &Context, machines: &Machines, name: &MachineName) -> anyhow::Result<Exit> {
    let path = machines.path(name);
    if machines.find(name).is_ok_and(|machine| machine.is_none()) {
        return Err(cairn::host::HostError::NoMachine { machine: name.clone() }.into());
    }
    let set = |variable: &str| std::env::var_os(variable).filter(|editor| !editor.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR"));
    let editor = editor.ok_or_else(|| {
        usage(format!("nothing says what to change, and neither VISUAL nor EDITOR is set to open '{}' with", path.display()))
    })?;
    let draft = path.with_file_name(format!(".{name}.draft"));
    std::fs::copy(&path, &draft).with_context(|| format!("'{}' cannot be copied for the editor", path.display()))?;
    // The variable may hold options, as everywhere: a shell takes it apart, and the file's name is no part of its text.
    let status =
        Command::new("/bin/sh").arg("-c").arg("exec $CAIRN_EDITOR \"$1\"").arg("sh").arg(&draft).env("CAIRN_EDITOR", &editor).status();
    let status = status.context("the editor cannot be started")?;
    anyhow::ensure!(status.success(), "the editor ended with {status}; '{}' is as it was", path.display());
    let text = std::fs::read_to_string(&draft).with_context(|| format!("'{}' cannot be read", draft.display()))?;
    let machine =
        machines.replace(name, &text).with_context(|| format!("nothing was changed; what you wrote is in '{}'", draft.display()))?;
    std::fs::remove_file(&draft).with_context(|| format!("'{}' cannot be removed", draft.display()))?;
    done(context, machines, &machine, "changed")
}

impl Parts {
    /// Adds what was said; a disk of a name that is there takes its place.
    fn apply(self, machine: &mut Machine) -> anyhow::Result<()> {
        let all = [(DiskUse::Include, self.disks), (DiskUse::Exclude, self.excluded), (DiskUse::Temporary, self.temporary)];
        for (usage, disk) in all.into_iter().flat_map(|(usage, disks)| disks.into_iter().map(move |disk| (usage, disk))) {
            match machine.disks.iter_mut().find(|old| old.name == disk.name) {
                Some(old) => (old.source, old.usage) = (disk.source, usage),
                None => machine.disks.push(Disk { usage, ..disk }),
            }
        }
        for hints in self.changed {
            let disk = machine.disks.iter_mut().find(|disk| disk.name == hints.name);
            disk.ok_or_else(|| usage(format!("--changed names the disk {}, which the machine does not have", hints.name)))?.changed =
                Some(hints.source.into());
        }
        machine.tags.extend(self.tags);
        machine.configs.extend(self.configs);
        machine.keep_clone = self.keep_clone.unwrap_or(machine.keep_clone);
        machine.compression = self.compression.or(machine.compression);
        machine.verify_hints_percent = self.verify_hints.or(machine.verify_hints_percent);
        machine.schedule = self.schedule.or(machine.schedule.take());
        let options = self.quiesce.options(machine.keep_clone)?;
        if !options.is_empty() {
            machine.consistency = Some(options);
        }
        Ok(())
    }

    fn says_nothing(&self) -> bool {
        let lists =
            self.disks.len() + self.excluded.len() + self.temporary.len() + self.changed.len() + self.tags.len() + self.configs.len();
        let consistency = self.quiesce.options(false).is_ok_and(|options| options.is_empty());
        lists == 0
            && consistency
            && self.keep_clone.is_none()
            && self.compression.is_none()
            && self.verify_hints.is_none()
            && self.schedule.is_none()
    }
}

impl EditArgs {
    fn says_nothing(&self) -> bool {
        let removed = self.removed_disks.len() + self.removed_tags.len() + self.removed_configs.len();
        removed == 0 && !self.remove_schedule && !self.remove_consistency && self.parts.says_nothing()
    }

    fn apply(self, machine: &mut Machine) -> anyhow::Result<()> {
        for name in &self.removed_disks {
            take_out(&mut machine.disks, "disk", &name.to_string(), |disk| disk.name == *name)?;
        }
        for tag in &self.removed_tags {
            take_out(&mut machine.tags, "tag", tag, |other| other == tag)?;
        }
        for path in &self.removed_configs {
            take_out(&mut machine.configs, "file", &path.display().to_string(), |other| other == path)?;
        }
        if self.remove_schedule {
            machine.schedule = None;
        }
        if self.remove_consistency {
            machine.consistency = None;
        }
        self.parts.apply(machine)
    }
}

fn take_out<T>(list: &mut Vec<T>, what: &str, name: &str, is_meant: impl Fn(&T) -> bool) -> anyhow::Result<()> {
    let before = list.len();
    list.retain(|one| !is_meant(one));
    if list.len() == before { Err(usage(format!("it has no {what} '{name}'"))) } else { Ok(()) }
}

fn disk(text: &str) -> Result<Disk, String> {
    let (name, source) =
        text.split_once('=').filter(|(_, source)| !source.is_empty()).ok_or("expected NAME=SOURCE, such as vda=/srv/web01.img")?;
    let name: MachineName = name.parse().map_err(|error: cairn::units::NameError| error.to_string())?;
    Ok(Disk { name, source: source.to_owned(), changed: None, usage: DiskUse::Include })
}

impl MachineDocument {
    fn new(machines: &Machines, machine: &Machine) -> Self {
        let disk = |disk: &Disk| DiskDocument {
            name: disk.name.to_string(),
            source: disk.source.clone(),
            changed: disk.changed.clone(),
            usage: disk.usage.word(),
        };
        Self {
            name: machine.name.to_string(),
            file: machines.path(&machine.name).display().to_string(),
            tags: machine.tags.clone(),
            configs: machine.configs.clone(),
            keep_clone: machine.keep_clone,
            compression: machine.compression,
            verify_hints_percent: machine.verify_hints_percent,
            schedule: machine.schedule.as_ref().map(ToString::to_string),
            consistency: machine.consistency.clone(),
            disks: machine.disks.iter().map(disk).collect(),
        }
    }

    fn text(&self) -> String {
        let mut details = Details::new();
        details.line("Machine", &self.name);
        details.line("Defined in", &self.file);
        details.line("Schedule", self.schedule.as_deref().unwrap_or("that of its policy"));
        details.line("Tags", if self.tags.is_empty() { "none".to_owned() } else { self.tags.join(" ") });
        for config in &self.configs {
            details.line("File", config.display().to_string());
        }
        if let Some(options) = &self.consistency {
            let mounts: Vec<String> = options.freeze.iter().map(|mount| mount.display().to_string()).collect();
            let scripts = options.scripts.as_ref().map(|path| format!("scripts of {}", path.display()));
            let freeze = (!mounts.is_empty()).then(|| format!("freezes {}", mounts.join(" ")));
            let snapshot = options.snapshot.as_ref().map(|_| "reads a snapshot".to_owned());
            details.line("At rest", [scripts, freeze, snapshot].into_iter().flatten().collect::<Vec<_>>().join(", "));
        }
        if self.keep_clone {
            details.line("Clones", "kept beside its raw images");
        }
        if let Some(level) = self.compression {
            details.line("Compression", format!("zstd level {level}"));
        }
        for disk in &self.disks {
            details.line(&format!("Disk {}", safe(&disk.name)), format!("{}{}", disk.source, left_out_mark(disk.usage)));
        }
        details.render()
    }
}

fn left_out_mark(usage: &str) -> String {
    if usage == DiskUse::Include.word() { String::new() } else { format!(" (left out: {usage})") }
}
