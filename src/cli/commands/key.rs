//! `cairn key`: the ways to unlock a vault.

use anyhow::Context as _;
use cairn::format::vault::{KeySlot, SlotKind};
use cairn::jobs::keys;
use cairn::jobs::vault::FoundVault;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::render::{Align, Table, local, safe, size};
use super::super::secret::{NEW, NewSecretArgs, SecretSource};

/// Options of `cairn key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn key list
  cairn key add --label operator
  cairn key remove operator")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    action: KeyAction,
}

/// What to do with key slots.
#[derive(Debug, clap::Subcommand)]
enum KeyAction {
    /// Show the key slots
    List,
    /// Add a passphrase or a key file that unlocks the vault
    ///
    /// It takes one that unlocks it already. Nothing is encrypted anew: each slot holds the vault's one key, wrapped.
    Add(AddArgs),
    /// Remove a key slot; never the last one
    ///
    /// Whoever had unlocked the vault before may have kept its key: after a leak, make a new vault.
    Remove(RemoveArgs),
}

/// Options of `cairn key add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without an option the new passphrase comes from CAIRN_NEW_PASSPHRASE (or _FILE, _COMMAND, CAIRN_NEW_KEY_FILE), or is asked for.

Examples:
  cairn key add --label operator
  cairn key add --label recovery --new-key-file /media/usb/cairn.key")]
struct AddArgs {
    /// A name for the slot
    #[arg(long, default_value = "")]
    label: String,

    #[command(flatten)]
    secret: NewSecretArgs,
}

/// Options of `cairn key remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn key remove operator
  cairn key remove 3fa8")]
struct RemoveArgs {
    /// The slot's label, or its id or the start of it
    slot: String,
}

/// A key slot.
#[derive(Debug, Serialize)]
struct SlotDocument {
    id: String,
    label: String,
    kind: &'static str,
    created: Timestamp,
    memory_bytes: Option<u64>,
    passes: Option<u32>,
}

/// Does what is asked for.
pub(crate) fn run(context: &Context, args: KeyArgs) -> anyhow::Result<Exit> {
    let vault = context.find_vault()?;
    match args.action {
        KeyAction::List => list(context, &vault),
        KeyAction::Add(args) => add(context, &vault, args),
        KeyAction::Remove(args) => remove(context, &vault, &args),
    }
}

fn list(context: &Context, vault: &FoundVault) -> anyhow::Result<Exit> {
    let slots: Vec<_> = keys::list(vault)?.iter().map(SlotDocument::new).collect();
    context.output.result(&slots, || table(&slots, context.output.width()))?;
    Ok(Exit::Done)
}

fn add(context: &Context, vault: &FoundVault, args: AddArgs) -> anyhow::Result<Exit> {
    if args.label.len() > keys::MAX_LABEL_BYTES {
        return Err(usage(format!("the label has {} bytes; {} at most", args.label.len(), keys::MAX_LABEL_BYTES)));
    }
    let unlocked = context.unlock(vault, |unlock| keys::unlock(vault, unlock)).context("no key slot was added")?;
    let source = SecretSource::resolve(&args.secret.into(), NEW, |name| std::env::var_os(name));
    let new = source.fetch_new(&format!("New passphrase for {}", safe(&vault.location()))).context("no key slot was added")?;
    let slot = SlotDocument::new(&keys::add(vault, &unlocked, &new, &args.label)?);
    context.output.result(&slot, || format!("Key slot {} is added.\n", slot.id))?;
    Ok(Exit::Done)
}

fn remove(context: &Context, vault: &FoundVault, args: &RemoveArgs) -> anyhow::Result<Exit> {
    let slots = keys::list(vault)?;
    let slot = keys::find(&slots, &args.slot)?;
    let unlocked = context.unlock(vault, |unlock| keys::unlock(vault, unlock)).context("no key slot was removed")?;
    keys::remove(vault, &unlocked, slot.id)?;
    let document = SlotDocument::new(slot);
    context.output.result(&document, || format!("Key slot {} is removed.\n", document.id))?;
    Ok(Exit::Done)
}

impl SlotDocument {
    fn new(slot: &KeySlot) -> Self {
        let (kind, memory_bytes, passes) = match slot.kind {
            SlotKind::Plain => ("plain", None, None),
            SlotKind::Passphrase { memory_kib, passes, .. } => ("passphrase", Some(u64::from(memory_kib) * 1024), Some(passes)),
            SlotKind::KeyFile { .. } => ("keyfile", None, None),
        };
        Self { id: slot.id.to_string(), label: slot.label.clone(), kind, created: slot.created, memory_bytes, passes }
    }
}

fn table(slots: &[SlotDocument], width: Option<u16>) -> String {
    let mut table =
        Table::new(&["ID", "LABEL", "KIND", "ADDED"].map(|title| (title, if title == "LABEL" { Align::Wrap } else { Align::Left })));
    for slot in slots {
        let kind = match (slot.memory_bytes, slot.passes) {
            (Some(memory), Some(passes)) => format!("{} (Argon2id, {}, {passes} passes)", slot.kind, size(memory)),
            _ => slot.kind.to_owned(),
        };
        table.row([slot.id.clone(), slot.label.clone(), kind, local(slot.created, &TimeZone::system())]);
    }
    table.render(width)
}
