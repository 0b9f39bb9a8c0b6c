//! A job's progress as the person or the script wants it: a bar, plain lines, JSON events, or nothing.
//!
//! The job's threads only add to counters. One thread of this room looks at them every so often and shows what it sees, so that
//! showing costs the job nothing, however many bytes it counts.

mod counts;
mod show;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cairn::monitor::{Counter, Monitor, Problem};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

pub(crate) use counts::{Counts, Snapshot};
use show::Show;

use super::output::Output;
use super::recording::Recording;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ProgressChoice {
    /// A bar on a terminal, else lines; nothing with --quiet
    #[default]
    Auto,
    /// A bar that is drawn in place
    Bar,
    /// A line every few seconds
    Lines,
    /// One line of JSON for each event, on standard output (implies --json)
    Json,
    /// Nothing
    Off,
}

/// How often the record is told how far a job is.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// Warnings kept for the report. More are counted, and shown as they happen.
const KEPT_PROBLEMS: usize = 1000;

/// A problem as reports tell it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Warning {
    /// Machine, disk, object or file that it concerns.
    pub(crate) subject: String,
    /// What is wrong and what was done about it.
    pub(crate) message: String,
}

#[derive(Debug, Default)]
struct Problems {
    kept: Vec<Warning>,
    total: u64,
}

struct Shared {
    counts: Counts,
    show: Mutex<Show>,
    problems: Mutex<Problems>,
    cancel: Arc<AtomicBool>,
    recording: Option<Arc<Recording>>,
}

impl Shared {
    /// Shows something. Whoever shows holds the lock, so lines never mix.
    fn show(&self, act: impl FnOnce(&mut Show)) {
        act(&mut self.show.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Follows one job; shows nothing more once dropped or finished.
pub(crate) struct TerminalMonitor {
    shared: Arc<Shared>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What is left to say when a job has ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The first warnings.
    pub(crate) warnings: Vec<Warning>,
    /// All warnings.
    pub(crate) warning_count: u64,
    /// How long the job took.
    pub(crate) elapsed: Duration,
}

impl TerminalMonitor {
    /// Begins to show. `cancel` is the flag that signals set; `recording` is the job's entry in the record, if it has one.
    pub(crate) fn start(choice: ProgressChoice, output: &Output, cancel: Arc<AtomicBool>, recording: Option<Arc<Recording>>) -> Self {
        let show = Show::new(choice, output.clone());
        let interval = show.interval().or(recording.as_ref().map(|_| RECORD_INTERVAL));
        let shared = Arc::new(Shared { counts: Counts::start(), show: Mutex::new(show), problems: Mutex::default(), cancel, recording });
        let ticker = interval.and_then(|interval| ticker(Arc::clone(&shared), interval));
        Self { shared, ticker }
    }

    /// Does something on the terminal, with the display out of its way.
    pub(crate) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        self.shared.show.lock().unwrap_or_else(PoisonError::into_inner).aside(act)
    }

    /// Ends the display and gives what was noted.
    pub(crate) fn finish(mut self) -> Ended {
        self.stop();
        if let Some(recording) = &self.shared.recording {
            recording.progress(&self.shared.counts.snapshot());
        }
        let problems = std::mem::take(&mut *self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner));
        Ended { warnings: problems.kept, warning_count: problems.total, elapsed: self.shared.counts.elapsed() }
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A panic of the display is no reason to lose the job's result.
            let _ = thread.join();
        }
        self.shared.show(Show::clear);
    }
}

impl Drop for TerminalMonitor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ticker(shared: Arc<Shared>, interval: Duration) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = bounded::<()>(0);
    let run = move || {
        let mut told = false;
        let mut recorded = Instant::now();
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            if !told && shared.cancel.load(Ordering::Relaxed) {
                told = true;
                shared.show(|show| show.note("ending cleanly; press Ctrl-C again to stop at once"));
            }
            shared.show(|show| show.tick(&shared.counts));
            if let Some(recording) = shared.recording.as_ref().filter(|_| recorded.elapsed() >= RECORD_INTERVAL) {
                recording.progress(&shared.counts.snapshot());
                recorded = Instant::now();
            }
        }
    };
    // Without the thread there is no display, and the job goes on.
    std::thread::Builder::new().name("progress".into()).spawn(run).ok().map(|thread| (stop, thread))
}

impl Monitor for TerminalMonitor {
    fn count(&self, counter: Counter, amount: u64) {
        self.shared.counts.add(counter, amount);
    }

    fn step(&self, name: &str) {
        self.shared.show(|show| show.step(name));
        if let Some(recording) = &self.shared.recording {
            recording.step(name);
        }
    }

    fn problem(&self, problem: Problem) {
        let warning = Warning { subject: problem.subject, message: problem.message };
        self.shared.show(|show| show.warning(&warning));
        if let Some(recording) = &self.shared.recording {
            recording.warning(&warning);
        }
        let mut problems = self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.total += 1;
        if problems.kept.len() < KEPT_PROBLEMS {
            problems.kept.push(warning);
        }
    }

    fn cancelled(&self) -> bool {
        self.shared.cancel.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::{ColorChoice, Form};
    use super::*;

    #[test]
    fn problems_are_kept_up_to_a_bound_and_counted_beyond_it() {
        let cancel = Arc::new(AtomicBool::new(false));
        let output = Output::new(Form::Text, ColorChoice::Never, true, false);
        let monitor = TerminalMonitor::start(ProgressChoice::Off, &output, Arc::clone(&cancel), None);
        assert!(!monitor.cancelled());
        cancel.store(true, Ordering::Relaxed);
        assert!(monitor.cancelled());
        for number in 0..KEPT_PROBLEMS + 5 {
            monitor.problem(Problem { subject: "vda".into(), message: format!("unreadable at {number}") });
        }
        let ended = monitor.finish();
        assert_eq!((ended.warnings.len(), ended.warning_count), (KEPT_PROBLEMS, KEPT_PROBLEMS as u64 + 5));
        assert_eq!(ended.warnings[7], Warning { subject: "vda".into(), message: "unreadable at 7".into() });
    }
}
