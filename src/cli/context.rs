//! What the global options mean.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use cairn::backend::Rates;
use cairn::catalogue::points::Listing;
use cairn::crypt::slot::Unlock;
use cairn::jobs::vault::FoundVault;
use cairn::jobs::{JobError, points};
use cairn::quiesce::{Helper, Options, Setup};
use cairn::store::{StoreError, Vault};

use super::args::Globals;
use super::fault::usage;
use super::homes::Homes;
use super::output::{Form, Output};
use super::progress::{ProgressChoice, TerminalMonitor};
use super::render::safe;
use super::secret::{SecretArgs, SecretSource, UNLOCK};
use super::signals;

/// How often a person may type the passphrase.
const PROMPT_TRIES: u32 = 3;

/// Everything that a command needs besides its own options.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where results and messages go.
    pub(crate) output: Output,
    vault: Option<String>,
    secrets: SecretArgs,
    progress: ProgressChoice,
    rates: Rates,
    /// Set by the first signal, once a job has begun.
    cancel: Arc<AtomicBool>,
}

impl Context {
    /// Resolves the global options.
    pub(crate) fn new(globals: Globals) -> Self {
        let form = match (globals.progress, globals.json) {
            (ProgressChoice::Json, _) => Form::JsonLines,
            (_, true) => Form::Json,
            (_, false) => Form::Text,
        };
        let output = Output::new(form, globals.color, globals.quiet, globals.verbose);
        let rates = Rates { upload: globals.limit_upload, download: globals.limit_download };
        Self { output, vault: globals.vault, secrets: globals.secrets, progress: globals.progress, rates, cancel: Arc::default() }
    }

    /// The vault's place as given, or the default one.
    pub(crate) fn vault_location(&self) -> anyhow::Result<String> {
        if let Some(location) = &self.vault {
            return not_empty(location);
        }
        let path = Homes::from_environment().vault();
        let path = path.ok_or_else(|| usage("no vault is named, and without HOME there is no default one; give --vault PATH"))?;
        path.into_os_string().into_string().map_err(|_| usage("the home directory's path is not UTF-8; give --vault PATH"))
    }

    /// The same for a command that may name the place in an argument of its own.
    pub(crate) fn vault_location_or(&self, argument: Option<&str>) -> anyhow::Result<String> {
        let Some(argument) = argument else { return self.vault_location() };
        let from_environment = std::env::var("CAIRN_VAULT").ok();
        match &self.vault {
            // The variable is only a default; an option that says something else is a mistake.
            Some(option) if option != argument && Some(option) != from_environment.as_ref() => {
                Err(usage(format!("two places are named: '{argument}' and --vault '{option}'; give one")))
            }
            _ => not_empty(argument),
        }
    }

    /// The directory for what can be fetched or built again.
    pub(crate) fn cache_directory(&self) -> anyhow::Result<PathBuf> {
        Homes::from_environment().cache().ok_or_else(|| usage("there is no place for a cache; set HOME or XDG_CACHE_HOME"))
    }

    /// The directory in which this computer remembers the last points of vaults.
    fn memory_directory(&self) -> anyhow::Result<PathBuf> {
        Homes::from_environment().memory().ok_or_else(|| usage("there is no place to remember vaults in; set HOME or XDG_STATE_HOME"))
    }

    /// A file among those that this computer keeps for Cairn.
    pub(crate) fn state_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(self.memory_directory()?.join(name))
    }

    /// What is done around the moments of backups, by this program.
    pub(crate) fn quiesce(&self, options: Options) -> anyhow::Result<Setup> {
        let state = Homes::from_environment().state();
        let state = state
            .ok_or_else(|| usage("there is no place for notes of what must be undone; set HOME, XDG_STATE_HOME or CAIRN_STATE_DIR"))?;
        Ok(Setup { options, helper: Helper::this_program(), ledger: state.join("owed") })
    }

    /// Where the secret that opens the vault comes from.
    pub(crate) fn secret_source(&self) -> SecretSource {
        SecretSource::resolve(&self.secrets, UNLOCK, |name| std::env::var_os(name))
    }

    /// The vault, not opened.
    pub(crate) fn find_vault(&self) -> anyhow::Result<FoundVault> {
        Ok(FoundVault::find(&self.vault_location()?, &self.cache_directory()?)?.limited(self.rates, Arc::clone(&self.cancel)))
    }

    /// The vault, opened.
    pub(crate) fn open_vault(&self) -> anyhow::Result<Arc<Vault>> {
        let found = self.find_vault()?;
        Ok(Arc::new(self.unlock(&found, |unlock| found.open(unlock))?))
    }

    /// The points of a vault. Damage to some of them is among the monitor's problems.
    pub(crate) fn list_points(&self, vault: &Vault, monitor: &TerminalMonitor) -> anyhow::Result<Listing> {
        Ok(points::list(vault, &self.memory_directory()?, monitor)?)
    }

    /// Does something that takes the vault's secret. A person may mistype it.
    pub(crate) fn unlock<T>(&self, found: &FoundVault, mut open: impl FnMut(&Unlock) -> Result<T, JobError>) -> anyhow::Result<T> {
        if !found.is_encrypted() {
            return Ok(open(&Unlock::Nothing)?);
        }
        let source = self.secret_source();
        let mut left = if source == SecretSource::Prompt { PROMPT_TRIES } else { 1 };
        loop {
            let unlock = source.fetch(&format!("Passphrase for {}", safe(&found.location())))?;
            left -= 1;
            match open(&unlock) {
                Err(JobError::Store(StoreError::WrongKey { .. })) if left > 0 => self.output.warning("wrong passphrase, try again"),
                other => return Ok(other?),
            }
        }
    }

    /// A monitor for a job that begins now; signals cancel it.
    pub(crate) fn monitor(&self) -> anyhow::Result<TerminalMonitor> {
        signals::cancel_on_signal(&self.cancel).context("the signal handlers cannot be installed")?;
        Ok(TerminalMonitor::start(self.progress, &self.output, Arc::clone(&self.cancel)))
    }
}

fn not_empty(location: &str) -> anyhow::Result<String> {
    if location.is_empty() {
        return Err(usage("the vault's place is empty; give a path or a URL, or unset CAIRN_VAULT"));
    }
    Ok(location.to_owned())
}
