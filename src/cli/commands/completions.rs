//! `cairn completions`: the script that teaches a shell the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::super::args::Cli;
use super::super::context::Context;
use super::super::exit::Exit;

/// Options of `cairn completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn completions bash > /usr/share/bash-completion/completions/cairn
  cairn completions zsh > /usr/local/share/zsh/site-functions/_cairn
  cairn completions fish > ~/.config/fish/completions/cairn.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cairn", &mut script);
    context.output.bytes(&script)?;
    Ok(Exit::Done)
}
