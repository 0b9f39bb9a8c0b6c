//! `cairn init`: makes a vault.

use cairn::crypt::slot::Unlock;
use cairn::format::vault::{DedupScope, Writers};
use cairn::jobs::vault::{DEFAULT_COMPRESSION_LEVEL, NewPlace, VaultOptions};

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::json::VaultDocument;
use super::super::render::{Details, safe};
use super::super::secret::SecretSource;

/// Options of `cairn init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A passphrase comes from --passphrase-file, --passphrase-command or CAIRN_PASSPHRASE, or is asked for twice. Without it (or the
key file) nothing in the vault can ever be read again: keep a copy elsewhere, or add a second key slot with 'cairn key add'.

Examples:
  cairn init /srv/vault
  cairn init s3://backups/site-a --passphrase-file /etc/cairn/passphrase
  cairn init /srv/vault --encryption keyfile --key-file /etc/cairn/vault.key
  cairn init /mnt/scratch/vault --encryption none --compression 1")]
pub(crate) struct InitArgs {
    /// Where: an empty or new directory, or a URL; as --vault
    #[arg(value_name = "VAULT")]
    place: Option<String>,

    /// What unlocks the vault
    #[arg(long, value_enum, value_name = "KIND", default_value_t)]
    encryption: EncryptionChoice,

    /// Compression: a zstd level, 1 (fastest) to 19 (smallest)
    #[arg(long, value_name = "LEVEL", default_value_t = DEFAULT_COMPRESSION_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,

    /// Which machines share equal data: all in the vault, or each only with itself (where they must not trust each other's writers)
    #[arg(long, value_enum, value_name = "SCOPE", default_value_t)]
    dedup_scope: ScopeChoice,

    /// Take a store that ignores create-if-absent, for one writer at a time
    ///
    /// Some S3 servers do. Without this option such a store is refused, because two writers would destroy each other's backups.
    #[arg(long)]
    single_writer: bool,
}

/// `--encryption`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum EncryptionChoice {
    /// A passphrase
    #[default]
    Passphrase,
    /// A key file (--key-file); it is made if there is none
    Keyfile,
    /// Nothing: whoever reads the vault's files reads the disks
    None,
}

/// `--dedup-scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ScopeChoice {
    /// All machines of the vault
    #[default]
    Vault,
    /// Each machine only with itself
    Machine,
}

/// Makes the vault.
pub(crate) fn run(context: &Context, args: &InitArgs) -> anyhow::Result<Exit> {
    let location = context.vault_location_or(args.place.as_deref())?;
    let source = secret_source(args.encryption, context.secret_source())?;
    let place = NewPlace::take(&location)?;
    let unlock = match source {
        None => Unlock::Nothing,
        Some(source) => source.fetch_new(&format!("New passphrase for {}", safe(&location)))?,
    };
    let options = VaultOptions {
        compression_level: args.compression,
        dedup_scope: match args.dedup_scope {
            ScopeChoice::Vault => DedupScope::Vault,
            ScopeChoice::Machine => DedupScope::Machine,
        },
        single_writer: args.single_writer,
    };
    let vault = place.make(options, &unlock, &context.cache_directory()?)?;
    let single_writer = vault.header().writers == Writers::One;
    if single_writer {
        context.output.warning("this store ignores create-if-absent: never let two processes write to this vault at the same time");
    }
    let document = VaultDocument::new(&vault.backend().location(), vault.header());
    context.output.result(&document, || text(&document))?;
    Ok(Exit::done(u64::from(single_writer)))
}

/// Where the secret for this kind of encryption comes from; `None` where there is none.
fn secret_source(encryption: EncryptionChoice, source: SecretSource) -> anyhow::Result<Option<SecretSource>> {
    match (encryption, source) {
        (EncryptionChoice::None, _) => Ok(None),
        (EncryptionChoice::Keyfile, source @ SecretSource::KeyFile(_)) => Ok(Some(source)),
        (EncryptionChoice::Keyfile, _) => Err(usage("--encryption keyfile needs --key-file FILE")),
        (EncryptionChoice::Passphrase, SecretSource::KeyFile(path)) => {
            let path = path.display();
            Err(usage(format!("the key file '{path}' is given, but the vault would have a passphrase; add --encryption keyfile")))
        }
        (EncryptionChoice::Passphrase, source) => Ok(Some(source)),
    }
}

fn text(document: &VaultDocument) -> String {
    let mut details = Details::new();
    document.describe(&mut details);
    format!("The vault is made.\n\n{}", details.render())
}
