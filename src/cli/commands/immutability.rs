//! `cairn immutability`: how long no point can be deleted.

use cairn::format::settings::{Immutability, ImmutabilityState};
use cairn::jobs::policies;
use jiff::Timestamp;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;

/// Options of `cairn immutability`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
While it is in force no point can be deleted or pruned before so many days from its time, no policy can be shortened, and
deleted points wait for their date. It binds everybody who uses Cairn; who can delete the vault's objects by other means is
bound only by the store's own locks.

Examples:
  cairn immutability show
  cairn immutability enabled --days 30
  cairn immutability locked --days 30
  cairn immutability disabled")]
pub(crate) struct ImmutabilityArgs {
    #[command(subcommand)]
    action: ImmutabilityAction,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum ImmutabilityAction {
    /// Tell whether it is in force
    Show,
    /// Switch it on; it can be switched off again
    Enabled(DaysArgs),
    /// Switch it on for ever: it can never be undone or shortened, only lengthened
    Locked(DaysArgs),
    /// Switch it off
    Disabled,
}

/// How long.
#[derive(Debug, clap::Args)]
struct DaysArgs {
    /// Days from a point's time
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=36500))]
    days: u16,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct ImmutabilityDocument {
    state: &'static str,
    days: u16,
    /// Whether the store itself keeps others from deleting objects.
    enforced_by_store: bool,
}

/// Does what is asked for.
pub(crate) fn run(context: &Context, args: &ImmutabilityArgs) -> anyhow::Result<Exit> {
    let wanted = match &args.action {
        ImmutabilityAction::Show => None,
        ImmutabilityAction::Enabled(args) => Some(Immutability { state: ImmutabilityState::Enabled, days: args.days }),
        ImmutabilityAction::Locked(args) => Some(Immutability { state: ImmutabilityState::Locked, days: args.days }),
        ImmutabilityAction::Disabled => Some(Immutability { state: ImmutabilityState::Disabled, days: 0 }),
    };
    let vault = context.open_vault()?;
    let policies = match wanted {
        None => policies::load(&vault)?,
        Some(wanted) => policies::set_immutability(&vault, wanted, Timestamp::now())?,
    };
    let Immutability { state, days } = policies.settings.immutability;
    let (word, sentence) = match state {
        ImmutabilityState::Disabled => ("disabled", "Immutability is disabled: points can be deleted at any time.".to_owned()),
        ImmutabilityState::Enabled => ("enabled", format!("Immutability is enabled: Cairn deletes no point before {days} days.")),
        ImmutabilityState::Locked => ("locked", format!("Immutability is locked: Cairn never deletes a point before {days} days.")),
    };
    let document = ImmutabilityDocument { state: word, days, enforced_by_store: false };
    context.output.result(&document, || match state {
        ImmutabilityState::Disabled => format!("{sentence}\n"),
        _ => format!("{sentence}\nThe store itself enforces nothing: who can delete its objects otherwise is not kept from it.\n"),
    })?;
    Ok(Exit::Done)
}
