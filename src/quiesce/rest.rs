//! A machine at rest: what is done before its snapshot, around it and after it, in this order whatever fails.
//!
//! Look at everything that can be looked at; pre-script; freeze; snapshot; thaw; post-script; (the disks are read); remove the snapshot.
//! Without a snapshot the disks are read between the scripts. A pre-script that was started is followed by the post-script, also when the
//! backup is given up, cancelled, or fails later: whoever drops a [`Rest`] does what is left to do.

use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use super::account::{Account, FreezeAccount, ScriptsAccount};
use super::command::{CommandLine, SNAPSHOT, Values};
use super::config::ScriptsConfig;
use super::error::{Said, ScriptProblem};
use super::freeze::{Mount, freeze};
use super::options::{Options, Snapshot};
use super::owed::{COMMAND_LIMIT, Note, Owed};
use super::place::{Mounts, Protected, own_places};
use super::rules::{self, Rules};
use super::run::{Helper, run};
use super::scripts::{ending, said};
use super::{FreezeProblem, QuiesceError};
use crate::monitor::{Monitor, Problem};

/// No path is longer.
const MOST_PATH_BYTES: usize = 4096;

/// What is to be done around the moments of backups, and with which means.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What somebody wants done.
    pub options: Options,
    /// The program that helper processes are.
    pub helper: Helper,
    /// The directory for notes of what must be undone after a crash.
    pub ledger: PathBuf,
}

/// The backup that a machine is brought to rest for.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// The machine's name.
    pub machine: String,
    /// A text that no other backup has.
    pub id: String,
    /// Its disks.
    pub disks: Vec<DiskPlace>,
    /// What Cairn writes to, besides its own output.
    pub protected: Vec<Protected>,
    /// Whether clones are read that are kept.
    pub keeps_clones: bool,
}

/// A disk, as commands are told of it.
#[derive(Debug, Clone)]
pub struct DiskPlace {
    /// Its name.
    pub name: String,
    /// What it is read from.
    pub path: PathBuf,
    /// The clone that will be read instead and removed again, if one will.
    pub clone: Option<PathBuf>,
}

/// A machine that is being held at rest.
pub struct Rest<'a> {
    setup: &'a Setup,
    occasion: Occasion,
    monitor: &'a dyn Monitor,
    rules: Rules,
    scripts: Option<ScriptsConfig>,
    script_failed: bool,
    post_is_due: bool,
    mounts: Vec<Mount>,
    note: Note,
    account: Account,
}

impl<'a> Rest<'a> {
    /// Looks at everything, and runs the pre-script.
    ///
    /// # Errors
    /// [`QuiesceError`]; where the pre-script was started, the post-script has run.
    pub fn begin(setup: &'a Setup, occasion: Occasion, monitor: &'a dyn Monitor) -> Result<Self, QuiesceError> {
        setup.options.check(occasion.keeps_clones)?;
        let note = Note::new(&setup.ledger, &occasion.id, &occasion.machine);
        let mut rest = Self {
            setup,
            monitor,
            rules: Rules::DEFAULT,
            scripts: None,
            script_failed: false,
            post_is_due: false,
            mounts: Vec::new(),
            note,
            account: Account::new(rules::Label::Crash),
            occasion,
        };
        rest.look_at_scripts()?;
        rest.look_at_mounts()?;
        rest.pre_script()?;
        Ok(rest)
    }

    fn look_at_scripts(&mut self) -> Result<(), QuiesceError> {
        let Some(file) = &self.setup.options.scripts else { return Ok(()) };
        self.account.scripts = Some(ScriptsAccount { file: file.display().to_string(), ..ScriptsAccount::default() });
        let config = match ScriptsConfig::read(file) {
            Ok(config) => config,
            Err(problem) => {
                self.script_failed = true;
                self.problem(format!("{problem}; no script is run"));
                return Ok(());
            }
        };
        self.rules = Rules { continue_on_failure: config.continue_on_failure, freeze_enabled: config.freeze_enabled };
        // Neither runs where one of them cannot: nothing is stopped that nothing would start again.
        let unfit = config.pre.look().and(config.post.look()).err();
        if let Some(problem) = unfit {
            return self.script_fails(problem);
        }
        self.scripts = Some(config);
        Ok(())
    }

    fn look_at_mounts(&mut self) -> Result<(), QuiesceError> {
        let options = &self.setup.options;
        if options.freeze.is_empty() {
            return Ok(());
        }
        if !self.rules.freeze_enabled {
            self.problem("nothing is frozen, since fsFreezeEnabled is false in the file of scripts".to_owned());
            return Ok(());
        }
        let mut protected = self.occasion.protected.clone();
        protected.push(Protected { role: "the directory of Cairn's notes", path: self.setup.ledger.clone() });
        protected.extend(own_places());
        if options.snapshot == Some(Snapshot::Clone) || self.occasion.keeps_clones {
            let image = |disk: &DiskPlace| Protected { role: "an image that is to be cloned", path: disk.path.clone() };
            protected.extend(self.occasion.disks.iter().map(image));
        }
        let table = Mounts::read().map_err(|error| QuiesceError::Refused(format!("the table of mounts cannot be read: {error}")))?;
        self.mounts = table.open(&options.freeze, &protected)?;
        let mounts = self.mounts.iter().map(|mount| mount.path.display().to_string()).collect();
        self.account.freeze = Some(FreezeAccount { mounts, held: false, frozen_seconds: 0.0 });
        Ok(())
    }

    fn pre_script(&mut self) -> Result<(), QuiesceError> {
        let Some(config) = &self.scripts else { return Ok(()) };
        let file = self.setup.options.scripts.clone().unwrap_or_default();
        self.note.change(|owed| owed.push(Owed::PostScript { file }))?;
        self.monitor.step("running the pre-script");
        self.post_is_due = true;
        let outcome = config.pre.run(config, &self.setup.helper, Some(self.monitor))?;
        if let Some(scripts) = &mut self.account.scripts {
            scripts.pre = Some(outcome.account);
        }
        outcome.problem.map_or(Ok(()), |problem| self.script_fails(problem))
    }

    /// Freezes, takes the snapshot, thaws, and runs the post-script.
    ///
    /// # Errors
    /// What `take` says; [`QuiesceError`] where something failed and there is no backup then.
    pub fn hold<T, E: From<QuiesceError>>(&mut self, take: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.note_snapshots()?;
        let mounts = mem::take(&mut self.mounts);
        let taken = self.frozen(&mounts, take)?;
        self.release()?;
        Ok(taken)
    }

    fn frozen<T, E: From<QuiesceError>>(&mut self, mounts: &[Mount], take: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        if self.monitor.cancelled() {
            return Err(QuiesceError::Cancelled.into());
        }
        let mut frozen = None;
        if !mounts.is_empty() {
            self.monitor.step("freezing filesystems");
            match freeze(&self.setup.helper, mounts, Duration::from_secs(self.setup.options.freeze_timeout_seconds)) {
                Ok(held) => frozen = Some(held),
                Err(problem) => self.freeze_fails(problem)?,
            }
        }
        // Nothing is said or written until the thaw but the snapshot itself.
        let taken = take(self);
        let thawed = frozen.map(|frozen| frozen.thaw());
        let noted = self.note.save_remembered();
        if let (Some(thawed), Some(account)) = (thawed, &mut self.account.freeze) {
            account.frozen_seconds = thawed.frozen.as_secs_f64();
            account.held = thawed.problem.is_none() && taken.is_ok();
            thawed.problem.map_or(Ok(()), |problem| self.freeze_fails(problem))?;
        }
        noted?;
        taken
    }

    /// Takes the snapshot of a disk by the command, inside of [`Rest::hold`]; the path to read, if it is another.
    ///
    /// # Errors
    /// [`QuiesceError::Snapshot`], [`QuiesceError::Cancelled`], [`QuiesceError::Run`].
    pub fn take_by_command(&mut self, name: &str) -> Result<Option<PathBuf>, QuiesceError> {
        let Some(Snapshot::Command { take, .. }) = &self.setup.options.snapshot else { return Ok(None) };
        let Some(disk) = self.occasion.disks.iter().find(|disk| disk.name == name) else { return Ok(None) };
        let failed = |why: String| QuiesceError::Snapshot { disk: disk.name.clone(), why };
        let argv: Vec<_> = self.fill(take, disk)?.into_iter().map(Into::into).collect();
        let report = run(&self.setup.helper, &argv, COMMAND_LIMIT, Some(self.monitor))?;
        if let Some(end) = ending(&report.end) {
            return Err(failed(format!("the command {end}{}", Said(&said(&report)))));
        }
        let printed = report.stdout;
        self.note.remember(&disk.name, (!printed.is_empty()).then(|| printed.clone()));
        let path = PathBuf::from(&printed);
        match printed.as_str() {
            "" if self.note.needs_path(&disk.name) => Err(failed(format!("the command printed no path, which {SNAPSHOT} stands for"))),
            "" => Ok(None),
            text if text.len() <= MOST_PATH_BYTES && path.is_absolute() && !text.contains('\n') => Ok(Some(path)),
            text => Err(failed(format!("the command printed '{text}', where one absolute path or nothing is expected"))),
        }
    }

    fn fill(&self, command: &CommandLine, disk: &DiskPlace) -> Result<Vec<String>, QuiesceError> {
        let path = disk.path.to_str().ok_or_else(|| {
            let why = "its path is not UTF-8, which no command line of a snapshot can hold".to_owned();
            QuiesceError::Snapshot { disk: disk.name.clone(), why }
        })?;
        let Occasion { machine, id, .. } = &self.occasion;
        Ok(command.fill(Values { machine, disk: &disk.name, path, id }))
    }

    /// Notes all snapshots before the first of them may exist.
    fn note_snapshots(&mut self) -> Result<(), QuiesceError> {
        let mut planned: Vec<Owed> =
            self.occasion.disks.iter().filter_map(|disk| disk.clone.clone()).map(|path| Owed::Clone { path }).collect();
        self.account.snapshot = match &self.setup.options.snapshot {
            _ if self.occasion.keeps_clones => Some("kept clone".to_owned()),
            Some(Snapshot::Clone) => Some("clone".to_owned()),
            Some(Snapshot::Command { remove, .. }) => {
                for disk in remove.iter().flat_map(|remove| self.occasion.disks.iter().map(move |disk| (remove, disk))) {
                    let command = self.fill(disk.0, disk.1)?;
                    planned.push(Owed::Snapshot { disk: disk.1.name.clone(), command, taken: false, path: None });
                }
                Some("command".to_owned())
            }
            None => None,
        };
        self.note.change(|owed| owed.extend(planned))
    }

    /// Runs the post-script, if one is due.
    ///
    /// # Errors
    /// [`QuiesceError::Script`] where it failed and there is no backup then; [`QuiesceError::Run`].
    pub fn release(&mut self) -> Result<(), QuiesceError> {
        if !mem::take(&mut self.post_is_due) {
            return Ok(());
        }
        let Some(config) = &self.scripts else { return Ok(()) };
        self.monitor.step("running the post-script");
        // Also when somebody asked for the end: the application stands still.
        let outcome = config.post.run(config, &self.setup.helper, None)?;
        self.note.change(|owed| owed.retain(|owed| !matches!(owed, Owed::PostScript { .. })))?;
        if let Some(scripts) = &mut self.account.scripts {
            scripts.post = Some(outcome.account);
        }
        outcome.problem.map_or(Ok(()), |problem| self.script_fails(problem))
    }

    /// Removes the snapshots, now that they were read.
    pub fn remove_snapshots(&mut self) {
        let is_snapshot = |owed: &Owed| !matches!(owed, Owed::PostScript { .. });
        if self.note.owed().iter().any(is_snapshot) {
            self.monitor.step("removing the snapshot");
            for problem in self.note.pay(&self.setup.helper, is_snapshot) {
                self.tell(problem);
            }
        }
    }

    /// What was done, and the label that it has earned; final after [`Rest::release`].
    pub fn account(&self) -> Account {
        let scripts = match (&self.account.scripts, self.script_failed) {
            (None, _) => rules::Scripts::NotAsked,
            (Some(_), true) => rules::Scripts::Failed,
            (Some(scripts), false) => {
                let both = [&scripts.pre, &scripts.post].iter().all(|script| script.as_ref().is_some_and(|script| script.succeeded));
                if both { rules::Scripts::Succeeded } else { rules::Scripts::Failed }
            }
        };
        let freeze = match &self.account.freeze {
            None => rules::Freeze::NotAsked,
            Some(FreezeAccount { held: true, .. }) => rules::Freeze::Held,
            Some(_) => rules::Freeze::Failed,
        };
        let mut account = self.account.clone();
        account.consistency = rules::label(scripts, freeze);
        account
    }

    fn script_fails(&mut self, problem: ScriptProblem) -> Result<(), QuiesceError> {
        self.script_failed = true;
        if !self.rules.goes_on_after_script() {
            return Err(QuiesceError::Script(problem));
        }
        self.problem(problem.to_string());
        Ok(())
    }

    fn freeze_fails(&mut self, problem: FreezeProblem) -> Result<(), QuiesceError> {
        if !self.rules.goes_on_after_freeze() {
            return Err(QuiesceError::Freeze(problem));
        }
        self.problem(problem.to_string());
        Ok(())
    }

    /// Something that goes into the account and is told.
    fn problem(&mut self, message: String) {
        self.account.problems.push(message.clone());
        self.tell(message);
    }

    fn tell(&self, message: String) {
        self.monitor.problem(Problem { subject: self.occasion.machine.clone(), message });
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            self.tell(error.to_string());
        }
        self.remove_snapshots();
    }
}
