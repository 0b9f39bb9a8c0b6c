//! `cairn index`: the index of blocks that deduplication looks into.

use cairn::jobs::index::rebuild;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;

/// Options of `cairn index`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn index rebuild")]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    action: IndexAction,
}

/// What to do with the index.
#[derive(Debug, clap::Subcommand)]
enum IndexAction {
    /// Throw the index away and make it anew from the packs
    ///
    /// Never needed for reading, and a backup mends a damaged or missing index by itself; this does it now.
    Rebuild,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct IndexDocument {
    packs: u64,
    blocks: u64,
    elapsed_seconds: f64,
}

/// Does what is asked for.
pub(crate) fn run(context: &Context, args: &IndexArgs) -> anyhow::Result<Exit> {
    let IndexAction::Rebuild = args.action;
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let report = rebuild(&vault, &monitor)?;
    let ended = monitor.finish();
    let document = IndexDocument { packs: report.packs, blocks: report.blocks, elapsed_seconds: ended.elapsed.as_secs_f64() };
    context.output.result(&document, || format!("The index knows {} blocks of {} packs.\n", document.blocks, document.packs))?;
    Ok(Exit::done(ended.warning_count))
}
