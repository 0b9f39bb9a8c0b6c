//! The command line: global options and the list of commands. Each command's own options stand beside its code.
//!
//! Help, completions and man pages all come from this one definition.

use clap::{Args, Parser, Subcommand};

use super::commands;
use super::exit;
use super::output::ColorChoice;
use super::secret::SecretArgs;

const ABOUT: &str = "Incremental images of machines' disks in a deduplicating vault, and any recovery point back";

const AFTER_HELP: &str = "\
Examples:
  cairn init /srv/vault
  cairn --vault /srv/vault key list";

const ENVIRONMENT: &str = "\
Environment:
  CAIRN_VAULT               the vault, where --vault is not given
  CAIRN_PASSPHRASE          the passphrase
  CAIRN_PASSPHRASE_FILE     as --passphrase-file
  CAIRN_PASSPHRASE_COMMAND  as --passphrase-command
  CAIRN_KEY_FILE            as --key-file
  NO_COLOR                  as --color never";

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, about = ABOUT, arg_required_else_help = true, subcommand_required = true, max_term_width = 120)]
#[command(after_help = format!("{AFTER_HELP}\n\n{ENVIRONMENT}\n\n{}", exit::HELP))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The vault: a directory, s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or gs://BUCKET/PREFIX
    ///
    /// Default: ~/.local/share/cairn/vault, for root /var/lib/cairn/vault.
    #[arg(long, global = true, value_name = "PATH|URL", env = "CAIRN_VAULT", hide_env_values = true)]
    pub(crate) vault: Option<String>,

    /// Say only warnings, errors and results
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Write the result as one JSON document to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to colour messages
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorChoice,

    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a vault
    Init(commands::init::InitArgs),
    /// List, add and remove the ways to unlock a vault
    Key(commands::key::KeyArgs),
    /// Write a completion script for a shell to standard output
    Completions(commands::completions::CompletionsArgs),
    /// Write man pages into a directory
    Man(commands::man::ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
