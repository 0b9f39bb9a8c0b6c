//! The processes that do the jobs of a scheduler.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use crossbeam_channel::{Receiver, Sender, unbounded};
use jiff::Timestamp;

use super::super::process::Process;
use super::super::record::JobKind;
use super::Work;

/// How a job is started: this program again, with what it was told of the vault.
#[derive(Debug, Clone)]
pub struct Program {
    /// The vault that its jobs work on, as their entries in the record name it.
    pub vault: String,
    /// The program.
    pub path: PathBuf,
    /// Global options.
    pub globals: Vec<OsString>,
    /// Variables of its environment besides those of this process.
    pub environment: Vec<(OsString, OsString)>,
    /// What to type for each kind of upkeep, its command first. Backups need no entry.
    pub commands: Vec<(JobKind, Vec<OsString>)>,
}

impl Program {
    fn command(&self, work: &Work) -> Command {
        let mut command = Command::new(&self.path);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).args(&self.globals);
        match &work.machine {
            Some(machine) => command.arg(work.kind.word()).arg(machine.as_str()),
            None => command.args(self.commands.iter().filter(|(kind, _)| *kind == work.kind).flat_map(|(_, words)| words)),
        };
        command
    }
}

/// A job that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) work: Work,
    pub(super) began: Timestamp,
    pub(super) status: io::Result<ExitStatus>,
}

/// What the thread that waits for a process tells.
type End = (Work, io::Result<ExitStatus>);

/// The jobs that run.
pub(super) struct Children {
    running: BTreeMap<Work, (Timestamp, io::Result<Process>)>,
    ended: (Sender<End>, Receiver<End>),
    news: (Sender<()>, Receiver<()>),
}

impl Default for Children {
    fn default() -> Self {
        Self { running: BTreeMap::new(), ended: unbounded(), news: unbounded() }
    }
}

impl Children {
    /// Starts a job. Its messages go where this process's go.
    pub(super) fn start(&mut self, program: &Program, work: &Work) -> io::Result<()> {
        let mut command = program.command(work);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut child = command.spawn()?;
        let process = Process::of(child.id());
        self.running.insert(work.clone(), (Timestamp::now(), process));
        let (ended, news, work) = (self.ended.0.clone(), self.news.0.clone(), work.clone());
        std::thread::Builder::new().name("job".into()).spawn(move || {
            let status = child.wait();
            // Nobody listens any more where the scheduler has gone; then nobody needs to know.
            let _ = ended.send((work, status));
            let _ = news.send(());
        })?;
        Ok(())
    }

    /// Something has ended.
    pub(super) fn news(&self) -> &Receiver<()> {
        &self.news.1
    }

    /// The jobs that ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        while let Ok((work, status)) = self.ended.1.try_recv() {
            if let Some((began, _)) = self.running.remove(&work) {
                all.push(Ended { work, began, status });
            }
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn has(&self, work: &Work) -> bool {
        self.running.contains_key(work)
    }

    /// Asks all to end cleanly; gives those that cannot be asked.
    pub(super) fn ask_to_end(&self) -> Vec<(Work, io::Error)> {
        let ask = |process: &io::Result<Process>| match process {
            Ok(process) => process.ask_to_end().map(drop),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        self.running.iter().filter_map(|(work, (_, process))| ask(process).err().map(|error| (work.clone(), error))).collect()
    }
}
