//! `cairn man`: one man page for the program and one for each command.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory;

use super::super::args::Cli;
use super::super::context::Context;
use super::super::exit::Exit;

/// Options of `cairn man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn man /usr/local/share/man/man1
  cairn man /tmp/man && man -l /tmp/man/cairn-backup.1")]
pub(crate) struct ManArgs {
    /// The directory; it is made if there is none, and pages of the same names in it are replaced
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the pages.
pub(crate) fn run(context: &Context, args: &ManArgs) -> anyhow::Result<Exit> {
    let shown = args.directory.display();
    fs::create_dir_all(&args.directory).with_context(|| format!("the directory '{shown}' cannot be made"))?;
    clap_mangen::generate_to(Cli::command(), &args.directory).with_context(|| format!("the pages cannot be written into '{shown}'"))?;
    context.output.note(&format!("The man pages are in {shown}."));
    Ok(Exit::Done)
}
