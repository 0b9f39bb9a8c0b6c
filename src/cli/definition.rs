//! From a machine's definition to the options of a backup, and back from a point to what was left out of it.

use std::ffi::OsString;

use cairn::format::point::ConfigFile;
use cairn::host::{KEPT_NAME, Machine};
use cairn::jobs::sources;
use cairn::quiesce::Options;
use cairn::units::MachineName;
use serde::Serialize;

use super::commands::backup::{BackupArgs, PERCENT_OF_HINTS};
use super::context::Context;
use super::fault::usage;

/// What a backup takes from a definition besides its own options.
pub(crate) struct Definition {
    text: ConfigFile,
    consistency: Option<Options>,
}

/// A disk that a point does not have, though its machine does.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LeftOutDocument {
    name: String,
    #[serde(rename = "use")]
    usage: &'static str,
    source: String,
}

impl LeftOutDocument {
    /// In words for a person.
    pub(crate) fn words(&self) -> String {
        format!("{} ({}): {}", self.name, self.usage, self.source)
    }
}

/// Gives a backup without disks those of the machine's definition, and whatever else that says. What was typed goes before; tags and
/// files are added. Gives the rest of the definition; `None` where disks were typed.
pub(crate) fn fill(context: &Context, name: &MachineName, args: &mut BackupArgs) -> anyhow::Result<Option<Definition>> {
    if !args.disks.is_empty() {
        return Ok(None);
    }
    let machines = context.machines()?;
    let machine = machines.find(name)?.ok_or_else(|| {
        usage(format!(
            "no disk is named, and no machine is called {name} on this host; \
             give --disk NAME=SOURCE, or define it once with `cairn machine add {name} --disk NAME=SOURCE`"
        ))
    })?;
    let named = |name: &MachineName, path: OsString| [OsString::from(format!("{name}=")), path].into_iter().collect::<OsString>();
    for disk in machine.included() {
        args.disks.push(named(&disk.name, disk.source.clone().into()));
        args.changed.extend(disk.changed.iter().map(|path| named(&disk.name, path.clone().into())));
    }
    args.tags.extend(machine.tags.iter().filter(|tag| !args.tags.contains(tag)).cloned().collect::<Vec<_>>());
    args.configs.extend(machine.configs.iter().cloned());
    args.keep_clone |= machine.keep_clone;
    args.compression = args.compression.or(machine.compression);
    args.verify_hints = args.verify_hints.or(machine.verify_hints_percent).or(Some(PERCENT_OF_HINTS));
    let text = ConfigFile { name: KEPT_NAME.to_owned(), bytes: machine.to_text()?.into_bytes() };
    Ok(Some(Definition { text, consistency: machine.consistency }))
}

/// What is done around the moment of a backup: what was typed, if anything was, else what the definition says.
pub(crate) fn consistency(typed: Options, definition: Option<&Definition>) -> Options {
    match definition.and_then(|definition| definition.consistency.as_ref()) {
        Some(defined) if typed.is_empty() => defined.clone(),
        _ => typed,
    }
}

/// The files that a backup keeps: those named, and the definition.
pub(crate) fn configs(args: &BackupArgs, definition: Option<Definition>) -> anyhow::Result<Vec<ConfigFile>> {
    let mut configs = sources::read_configs(&args.configs)?;
    if definition.is_some() && configs.iter().any(|config| config.name == KEPT_NAME) {
        return Err(usage(format!("--config names a file called {KEPT_NAME}, under which the machine's definition is kept; rename it")));
    }
    configs.extend(definition.map(|definition| definition.text));
    Ok(configs)
}

/// The disks that were left out of a point, by the definition that is kept with it. A text that this version does not understand tells
/// of none: it is there to be read with `cairn show --config`.
pub(crate) fn left_out(configs: &[ConfigFile]) -> Vec<LeftOutDocument> {
    let kept = configs.iter().find(|config| config.name == KEPT_NAME);
    let machine = kept.and_then(|config| Machine::parse(std::str::from_utf8(&config.bytes).ok()?).ok());
    let document =
        |disk: &cairn::host::Disk| LeftOutDocument { name: disk.name.to_string(), usage: disk.usage.word(), source: disk.source.clone() };
    machine.iter().flat_map(Machine::left_out).map(document).collect()
}
