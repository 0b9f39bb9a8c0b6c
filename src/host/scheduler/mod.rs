//! The scheduler: starts what is due, each as a process of its own, and knows how it ended.
//!
//! Its memory is the record of jobs. Where that fails, it remembers by itself what it started, so that a full disk makes it neither start
//! the same job in a loop nor none at all. Whatever it does, it can be killed at any moment: the jobs that it started go on and write
//! their own entries, the locks of their machines are theirs, and the next scheduler takes up where the record ends.

mod children;
mod history;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;

pub use children::Program;
use children::{Children, Ended};
use history::History;
pub use history::attempts;

use super::due::{self, Next};
use super::notify::{Notifier, Word};
use super::record::{Job, JobKind, Record};
use super::{FileLock, HostError, machine_lock, scheduler_lock};
use crate::monitor::{Monitor, Problem};
use crate::policy::Timetable;
use crate::units::MachineName;

/// The longest sleep: a clock that is set, and a machine that wakes up, are noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How often policies and machines are looked at again without being told to.
const REFRESH: Duration = Duration::from_secs(300);
/// How long jobs may take to end cleanly when the scheduler ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a scheduler is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Read machines and policies again.
    Reload,
    /// End, and end the jobs that run cleanly.
    Stop,
}

/// Something to do again and again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work {
    /// What.
    pub kind: JobKind,
    /// For which machine; `None` for the whole vault.
    pub machine: Option<MachineName>,
}

/// Something to do, and when.
#[derive(Debug, Clone)]
pub struct Item {
    /// What.
    pub work: Work,
    /// When.
    pub timetable: Timetable,
    /// When the latest recovery point of the machine was made, whoever made it.
    pub last_point: Option<Timestamp>,
}

/// Where a scheduler gets what there is to do; asked at its start, when it is told to, and from time to time.
pub(super) type Plan<'a> = Box<dyn FnMut() -> Result<Vec<Item>, String> + 'a>;

/// What a scheduler works with.
pub struct Scheduler<'a> {
    state: PathBuf,
    program: Program,
    most_jobs: usize,
    plan: Plan<'a>,
    /// Called with each job whose process vanished, once.
    vanished: Box<dyn FnMut(&Job) + 'a>,
    monitor: &'a dyn Monitor,
    notifier: Notifier,
    _lock: FileLock,
}

/// What is true while it runs.
struct Running {
    items: Vec<Item>,
    refreshed: Instant,
    children: Children,
    history: History,
}

impl<'a> Scheduler<'a> {
    /// The one scheduler of a state directory, which runs at most so many jobs at once.
    ///
    /// # Errors
    /// [`HostError::Locked`] where there is one already; what the system says.
    pub fn new(
        state: &Path,
        program: Program,
        most_jobs: usize,
        plan: Plan<'a>,
        vanished: Box<dyn FnMut(&Job) + 'a>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, HostError> {
        let lock = FileLock::take(&scheduler_lock(state), "a scheduler of this host")?;
        let notifier = Notifier::from_environment();
        Ok(Self { state: state.to_owned(), program, most_jobs, plan, vanished, monitor, notifier, _lock: lock })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`HostError::Plan`] where the first plan cannot be made. Later failures are problems: what was planned before stays in force.
    pub fn run(&mut self, events: &Receiver<Event>) -> Result<(), HostError> {
        let items = (self.plan)().map_err(|why| HostError::Plan { why })?;
        let mut running = Running { items, refreshed: Instant::now(), children: Children::default(), history: History::default() };
        self.say(Word::Ready);
        self.monitor.step(&format!("scheduling {} jobs", running.items.len()));
        loop {
            let sleep = self.turn(&mut running);
            self.say(Word::Alive);
            match self.wait(events, &running.children, sleep) {
                Some(Event::Stop) => break,
                Some(Event::Reload) => {
                    self.say(Word::Reloading);
                    self.refresh(&mut running);
                    self.say(Word::Ready);
                }
                None => {}
            }
        }
        self.say(Word::Stopping);
        self.stop(&mut running);
        self.settle();
        Ok(())
    }

    /// Takes notice of what ended, starts what is due, and says how long there is nothing to do.
    fn turn(&mut self, running: &mut Running) -> Duration {
        if running.refreshed.elapsed() >= REFRESH {
            self.refresh(running);
        }
        self.settle();
        self.settle_ended(running);
        let now = Timestamp::now();
        let record = self.record();
        let mut due: Vec<(Timestamp, Work)> = Vec::new();
        let mut sleep = LONGEST_SLEEP;
        for item in &running.items {
            match self.next(now, item, record.as_ref(), running) {
                Next::Due(run) => due.push((run, item.work.clone())),
                Next::At(moment) => sleep = sleep.min(moment.duration_since(now).try_into().unwrap_or(LONGEST_SLEEP)),
                Next::Running | Next::Never => {}
            }
        }
        // The longest due goes first; the name decides among equals, so that no order of a hash does.
        due.sort();
        for (_, work) in due {
            if running.children.len() >= self.most_jobs {
                break;
            }
            self.start(work, now, running);
        }
        sleep.max(Duration::from_millis(10))
    }

    fn next(&self, now: Timestamp, item: &Item, record: Option<&Record>, running: &Running) -> Next {
        if running.children.has(&item.work) {
            return Next::Running;
        }
        if item.work.machine.as_ref().is_some_and(|machine| FileLock::is_held(&machine_lock(&self.state, machine))) {
            return Next::Running;
        }
        let (since, attempts) = running.history.of(item, &self.program.vault, record, now, self.monitor);
        due::next(now, &item.timetable, since, &attempts)
    }

    fn start(&self, work: Work, now: Timestamp, running: &mut Running) {
        self.monitor.step(&format!("{work} begins"));
        if let Err(error) = running.children.start(&self.program, &work) {
            self.problem(&work.to_string(), format!("its process cannot be started: {error}"));
            running.history.remember(&work, now, now, None);
        }
    }

    /// The jobs that ended since the last look.
    fn settle_ended(&self, running: &mut Running) {
        let ended = running.children.take_ended();
        for Ended { work, began, status } in ended {
            let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
            match &status {
                Ok(status) if status.success() => self.monitor.step(&format!("{work} is done")),
                Ok(status) => self.problem(&work.to_string(), format!("its process ended with {status}; `cairn jobs` tells more")),
                Err(error) => self.problem(&work.to_string(), format!("nobody knows how its process ended: {error}")),
            }
            running.history.remember(&work, began, Timestamp::now(), code);
        }
    }

    /// Jobs whose processes vanished, of this scheduler or an earlier one, are told once.
    fn settle(&mut self) {
        let Some(record) = self.record() else { return };
        match record.settle(Timestamp::now()) {
            Ok(jobs) => jobs.iter().for_each(|job| (self.vanished)(job)),
            Err(error) => self.problem("record of jobs", error.to_string()),
        }
    }

    fn record(&self) -> Option<Record> {
        Record::open(&self.state).map_err(|error| self.problem("record of jobs", error.to_string())).ok()
    }

    fn refresh(&mut self, running: &mut Running) {
        running.refreshed = Instant::now();
        match (self.plan)() {
            Ok(items) => {
                let before: BTreeSet<&Work> = running.items.iter().map(|item| &item.work).collect();
                let after: BTreeSet<&Work> = items.iter().map(|item| &item.work).collect();
                if before != after {
                    self.monitor.step(&format!("scheduling {} jobs", items.len()));
                }
                running.items = items;
            }
            Err(why) => self.problem("schedule", format!("{why}; what was planned before stays in force")),
        }
    }

    /// Sleeps until something happens. A watchdog wants to hear of this process meanwhile.
    fn wait(&self, events: &Receiver<Event>, children: &Children, sleep: Duration) -> Option<Event> {
        let began = Instant::now();
        let most = self.notifier.watchdog_interval().unwrap_or(LONGEST_SLEEP).min(sleep);
        crossbeam_channel::select! {
            recv(events) -> event => Some(event.unwrap_or(Event::Stop)),
            recv(children.news()) -> _ => None,
            default(most.saturating_sub(began.elapsed())) => None,
        }
    }

    /// Ends the jobs that run, cleanly, and waits for them.
    fn stop(&mut self, running: &mut Running) {
        for (work, error) in running.children.ask_to_end() {
            self.problem(&work.to_string(), format!("it cannot be asked to end: {error}"));
        }
        let began = Instant::now();
        while running.children.len() > 0 && began.elapsed() < PATIENCE {
            self.say(Word::Alive);
            match running.children.news().recv_timeout(Duration::from_secs(1)) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.settle_ended(running),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if running.children.len() > 0 {
            self.problem(
                "scheduler",
                format!("{} jobs have not ended in {} s and go on alone", running.children.len(), PATIENCE.as_secs()),
            );
        }
    }

    fn say(&self, word: Word<'_>) {
        if let Err(error) = self.notifier.say(word) {
            self.problem("systemd", format!("it cannot be told anything: {error}"));
        }
    }

    fn problem(&self, subject: &str, message: String) {
        self.monitor.problem(Problem { subject: subject.to_owned(), message });
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.machine {
            Some(machine) => write!(f, "{} of {machine}", self.kind),
            None => write!(f, "{} of the vault", self.kind),
        }
    }
}
