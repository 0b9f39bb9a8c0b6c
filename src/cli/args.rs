//! The command line: global options and the list of commands. Each command's own options stand beside its code.
//!
//! Help, completions and man pages all come from this one definition.

use std::num::NonZeroU64;

use clap::{Args, Parser, Subcommand};

use super::commands;
use super::exit;
use super::output::ColorChoice;
use super::progress::ProgressChoice;
use super::secret::SecretArgs;

const ABOUT: &str = "Incremental images of machines' disks in a deduplicating vault, and any recovery point back";

const AFTER_HELP: &str = "\
Examples:
  cairn init /srv/vault
  export CAIRN_VAULT=/srv/vault
  cairn backup web01 --disk vda=/var/lib/libvirt/images/web01.qcow2
  cairn points web01
  cairn diff web01@latest~1 web01@latest
  cairn verify --all
  cairn mirror --to s3://other-region/vault
  cairn restore web01@latest --disk vda --to /srv/web01.raw
  cairn cp -a web01@latest:/etc/ssh /tmp/ssh
  cairn mount /mnt/points web01

A point is named web01@2026-11-22T20:30:00Z (UTC), and wherever a point is taken also web01@latest, web01@latest~2,
web01@2026-11-21 (the last of that day) or a unique prefix of its id.";

const ENVIRONMENT: &str = "\
Environment:
  CAIRN_VAULT               the vault, where --vault is not given
  CAIRN_PASSPHRASE          the passphrase
  CAIRN_PASSPHRASE_FILE     as --passphrase-file
  CAIRN_PASSPHRASE_COMMAND  as --passphrase-command
  CAIRN_KEY_FILE            as --key-file
  CAIRN_TO_PASSPHRASE       and the like: the same for the vault that cairn copy copies to
  CAIRN_CONFIG_DIR          definitions of machines, and host.toml [default: /etc/cairn for root, ~/.config/cairn]
  CAIRN_STATE_DIR           what this host keeps of what it did [default: /var/lib/cairn for root, ~/.local/state/cairn]
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

    /// Send at most so many bytes per second to the vault, with K, M, G or T for KiB to TiB: 50M
    ///
    /// An average: an object of a bucket, up to about 64 MiB, still goes out in one piece. Objects up to 16 KiB never wait.
    #[arg(long, global = true, value_name = "RATE", value_parser = super::rate::parse)]
    pub(crate) limit_upload: Option<NonZeroU64>,

    /// Read at most so many bytes per second from the vault
    #[arg(long, global = true, value_name = "RATE", value_parser = super::rate::parse)]
    pub(crate) limit_download: Option<NonZeroU64>,

    /// Say only warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more of what is done
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// Write the result as one JSON document to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How to show progress
    #[arg(long, global = true, value_name = "WAY", value_enum, default_value_t, hide_default_value = true)]
    pub(crate) progress: ProgressChoice,

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
    /// Back up a machine's disks as one recovery point
    Backup(commands::backup::BackupArgs),
    /// List recovery points; pin, tag, delete and undelete them
    Points(commands::points::PointsArgs),
    /// Show everything known of a recovery point
    Show(commands::show::ShowArgs),
    /// Show what differs between two recovery points
    Diff(commands::diff::DiffArgs),
    /// Restore disks to files or block devices
    Restore(commands::restore::RestoreArgs),
    /// Mount recovery points as directories
    Mount(commands::mount::MountArgs),
    /// List a directory inside a recovery point
    Ls(commands::ls::LsArgs),
    /// Show everything known of a file inside a recovery point
    Stat(commands::stat::StatArgs),
    /// Write a file inside a recovery point to standard output
    Cat(commands::cat::CatArgs),
    /// Look for files inside a recovery point by name, kind, size and time
    Find(commands::find::FindArgs),
    /// Copy files and directories out of a recovery point
    Cp(commands::cp::CpArgs),
    /// Pack files and directories of a recovery point into an archive
    Tar(commands::tar::TarArgs),
    /// Show the partitions, volumes and filesystems of a recovery point
    Volumes(commands::volumes::VolumesArgs),
    /// List the points in which a path exists, and where it changed
    Versions(commands::versions::VersionsArgs),
    /// Define machines, so that a backup needs nothing but their names
    Machine(commands::machine::MachineArgs),
    /// Show how every machine stands: the last backup, the next one, what is wrong
    Status(commands::status::StatusArgs),
    /// Show what ran, what runs, and end it
    Jobs(commands::jobs::JobsArgs),
    /// Back up the machines of this host by their policies, until told to stop
    Run(commands::run::RunArgs),
    /// Write a unit for systemd that keeps `cairn run` going to standard output
    SystemdUnit(commands::systemd_unit::SystemdUnitArgs),
    /// Read points again, hash them again, and name all damage
    Verify(commands::verify::VerifyArgs),
    /// Copy recovery points to another vault
    Copy(commands::copy::CopyArgs),
    /// Keep the same objects in a second place
    Mirror(commands::mirror::MirrorArgs),
    /// Bring back what was lost or damaged, from a mirror or from disks
    Repair(commands::repair::RepairArgs),
    /// Take away what no recovery point needs
    Gc(commands::gc::GcArgs),
    /// Say when machines are backed up and how long their points are kept
    Policy(commands::policy::PolicyArgs),
    /// Delete the points that policies no longer keep
    Prune(commands::prune::PruneArgs),
    /// Say for how long no point can be deleted
    Immutability(commands::immutability::ImmutabilityArgs),
    /// Show what the vault holds, and what deduplication and compression save
    Stats(commands::stats::StatsArgs),
    /// List, add and remove the ways to unlock a vault
    Key(commands::key::KeyArgs),
    /// Make the deduplication index anew
    Index(commands::index::IndexArgs),
    /// Measure this machine's rates, and the share of them that Cairn reaches
    Bench(commands::bench::BenchArgs),
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
