//! What the global options mean.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use cairn::backend::Rates;
use cairn::catalogue::points::Listing;
use cairn::crypt::slot::Unlock;
use cairn::host::{FileLock, HostError, JobKind, Machines, NewJob, machine_lock};
use cairn::jobs::vault::{FoundVault, Limits};
use cairn::jobs::{JobError, points};
use cairn::quiesce::{Helper, Options, Setup};
use cairn::store::{StoreError, Vault};
use cairn::units::MachineName;

use super::args::Globals;
use super::exit::Exit;
use super::fault::usage;
use super::homes::Homes;
use super::output::{Form, Output};
use super::progress::{ProgressChoice, TerminalMonitor};
use super::recording::{self, Recording};
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
    job: Mutex<CurrentJob>,
    /// Set by the first signal, once a job has begun.
    cancel: Arc<AtomicBool>,
    handles_signals: Mutex<bool>,
}

/// The job that this process does, if it does one that is recorded.
#[derive(Debug, Default)]
struct CurrentJob {
    recording: Option<Arc<Recording>>,
    _machine: Option<FileLock>,
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
        let (job, cancel, handles_signals) = Default::default();
        Self { output, vault: globals.vault, secrets: globals.secrets, progress: globals.progress, rates, job, cancel, handles_signals }
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
    pub(crate) fn memory_directory(&self) -> anyhow::Result<PathBuf> {
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
        self.find_vault_at(&self.vault_location()?)
    }

    /// A vault at another place, not opened.
    pub(crate) fn find_vault_at(&self, location: &str) -> anyhow::Result<FoundVault> {
        Ok(FoundVault::find(&not_empty(location)?, &self.cache_directory()?)?.limited(&self.limits()))
    }

    /// How many bytes a second may go to a vault and come from it.
    pub(crate) fn limits(&self) -> Limits {
        Limits { rates: self.rates, cancelled: Arc::clone(&self.cancel) }
    }

    /// Whether the vault can be opened without asking a person.
    pub(crate) fn can_unlock_unasked(&self, found: &FoundVault) -> bool {
        !found.is_encrypted() || self.secret_source() != SecretSource::Prompt
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

    /// Does something that takes the vault's secret.
    pub(crate) fn unlock<T>(&self, found: &FoundVault, open: impl FnMut(&Unlock) -> Result<T, JobError>) -> anyhow::Result<T> {
        self.unlock_with(found, &self.secret_source(), open)
    }

    /// Does something that takes a vault's secret, which comes from `source`. A person may mistype it.
    pub(crate) fn unlock_with<T>(
        &self,
        found: &FoundVault,
        source: &SecretSource,
        mut open: impl FnMut(&Unlock) -> Result<T, JobError>,
    ) -> anyhow::Result<T> {
        if !found.is_encrypted() {
            return Ok(open(&Unlock::Nothing)?);
        }
        let mut left = if *source == SecretSource::Prompt { PROMPT_TRIES } else { 1 };
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
        self.cancel_on_signal()?;
        Ok(TerminalMonitor::start(self.progress, &self.output, Arc::clone(&self.cancel), self.recording()))
    }

    /// Signals set the flag from now on.
    fn cancel_on_signal(&self) -> anyhow::Result<()> {
        let mut handles = self.handles_signals.lock().unwrap_or_else(PoisonError::into_inner);
        if !*handles {
            signals::cancel_on_signal(&self.cancel).context("the signal handlers cannot be installed")?;
            *handles = true;
        }
        Ok(())
    }

    /// The directory of what this host keeps of what it did.
    pub(crate) fn state_directory(&self) -> anyhow::Result<PathBuf> {
        Homes::from_environment()
            .state()
            .ok_or_else(|| usage("there is no place for the record of jobs; set HOME, XDG_STATE_HOME or CAIRN_STATE_DIR"))
    }

    /// The directory of what people told this host.
    pub(crate) fn configuration_directory(&self) -> anyhow::Result<PathBuf> {
        let directory = Homes::from_environment().configuration();
        directory.ok_or_else(|| usage("there is no place for definitions of machines; set HOME, XDG_CONFIG_HOME or CAIRN_CONFIG_DIR"))
    }

    /// The machines that this host knows.
    pub(crate) fn machines(&self) -> anyhow::Result<Machines> {
        Ok(Machines::below(&self.configuration_directory()?))
    }

    /// What the command does from here on is a job: it is recorded, and hooks are told how it ended. One backup of a machine runs at a
    /// time. Where there is no place for records or locks, the job goes on without.
    pub(crate) fn begin_job(&self, kind: JobKind, machine: Option<&MachineName>) -> anyhow::Result<()> {
        let places = self.state_directory().and_then(|state| Ok((state, self.configuration_directory()?)));
        let (state, configuration) = match places {
            Ok(places) => places,
            Err(error) => {
                self.output.warning(&format!("{error}; the job goes on, unrecorded"));
                return Ok(());
            }
        };
        let lock = match machine.filter(|_| kind == JobKind::Backup) {
            Some(machine) => self.lock_machine(&state, machine)?,
            None => None,
        };
        let scheduled = std::env::var_os(recording::SCHEDULED).is_some();
        // Whoever sees the entry may ask for its end; at a prompt the system's own handling of signals is the right one.
        if self.secret_source() != SecretSource::Prompt || !std::io::stdin().is_terminal() {
            self.cancel_on_signal()?;
        }
        let job = NewJob { kind, machine: machine.cloned(), vault: recording::place(&self.vault_location()?), scheduled };
        let recording = Recording::begin(&state, &configuration, job, &self.output);
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = CurrentJob { recording: Some(Arc::new(recording)), _machine: lock };
        Ok(())
    }

    fn lock_machine(&self, state: &Path, machine: &MachineName) -> anyhow::Result<Option<FileLock>> {
        match FileLock::take(&machine_lock(state, machine), &format!("a backup of {machine}")) {
            Ok(lock) => Ok(Some(lock)),
            Err(error @ HostError::Locked { .. }) => Err(error.into()),
            Err(error) => {
                self.output.warning(&format!("{error}; nothing keeps a second backup of {machine} from running beside this one"));
                Ok(None)
            }
        }
    }

    /// What came of the job, for its entry in the record.
    pub(crate) fn job_result(&self, result: &str) {
        if let Some(recording) = self.recording() {
            recording.result(result);
        }
    }

    /// The command ends like this, and so does its job, if it has one.
    pub(crate) fn end_job(&self, exit: Exit, errors: &[String]) {
        if let Some(recording) = self.recording() {
            recording.end(exit, errors);
        }
    }

    fn recording(&self) -> Option<Arc<Recording>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).recording.clone()
    }

    /// The global options for another process that works on the same vault, and variables that say the same where there is no option.
    pub(crate) fn for_another_process(&self) -> anyhow::Result<Vec<OsString>> {
        let mut options = vec!["--vault".into(), self.vault_location()?.into()];
        let rates = [("--limit-upload", self.rates.upload), ("--limit-download", self.rates.download)];
        for (option, rate) in rates.into_iter().filter_map(|(option, rate)| Some((option, rate?))) {
            options.extend([option.into(), rate.to_string().into()]);
        }
        options.extend(self.secrets.options());
        Ok(options)
    }
}

fn not_empty(location: &str) -> anyhow::Result<String> {
    if location.is_empty() {
        return Err(usage("the vault's place is empty; give a path or a URL, or unset CAIRN_VAULT"));
    }
    Ok(location.to_owned())
}
