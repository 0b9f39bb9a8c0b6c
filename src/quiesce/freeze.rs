//! Freezing filesystems from Cairn's side: through the guard (see `guard.rs`), and without it only where it was killed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use super::FreezeProblem;
use super::guard::{ANSWER_BYTES, Answer, DO_FREEZE, DO_THAW};
use super::run::Helper;
use crate::io::thaw_filesystem;

/// A mount point to freeze.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) path: PathBuf,
    /// The opened directory, by which it is thawed where the guard cannot.
    pub(super) directory: File,
    /// Its `st_dev`.
    pub(super) device: u64,
}

/// A freeze that lasts until this is thawed, dropped, its time is over, or Cairn is gone.
#[derive(Debug)]
pub(super) struct Frozen<'a> {
    guard: Guard<'a>,
    since: Instant,
}

/// What a freeze was.
#[derive(Debug)]
pub(super) struct Thawed {
    /// How long it lasted.
    pub(super) frozen: Duration,
    /// Why it did not hold until now.
    pub(super) problem: Option<FreezeProblem>,
}

#[derive(Debug)]
struct Guard<'a> {
    child: Child,
    words: Option<ChildStdin>,
    answers: ChildStdout,
    mounts: &'a [Mount],
}

/// Freezes all of the mount points, in their order. After an error none is frozen.
pub(super) fn freeze<'a>(helper: &Helper, mounts: &'a [Mount], limit: Duration) -> Result<Frozen<'a>, FreezeProblem> {
    let mut guard = Guard::arm(helper, mounts, limit)?;
    let since = Instant::now();
    guard.say(DO_FREEZE);
    match guard.hear() {
        Some(Answer::Frozen) => Ok(Frozen { guard, since }),
        Some(Answer::Refused(mount, errno)) => Err(FreezeProblem::Refused { path: guard.path(mount), why: refusal(errno) }),
        Some(Answer::TooLate(micros)) => Err(FreezeProblem::Deadline { frozen_seconds: Duration::from_micros(micros).as_secs_f64() }),
        _ => Err(guard.thaw_without()),
    }
}

impl<'a> Guard<'a> {
    fn arm(helper: &Helper, mounts: &'a [Mount], limit: Duration) -> Result<Self, FreezeProblem> {
        let no_guard = |error: std::io::Error| FreezeProblem::NoGuard(error.to_string());
        let places = mounts.iter().flat_map(|mount| [mount.device.to_string().into(), mount.path.clone().into_os_string()]);
        let arguments = std::iter::once(limit.as_millis().to_string().into()).chain(places);
        let mut child = helper.start_guard(arguments).map_err(no_guard)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (words, answers) = pipes.ok_or_else(|| FreezeProblem::NoGuard("it has no pipes".to_owned()))?;
        let mut guard = Self { child, words: Some(words), answers, mounts };
        match guard.hear() {
            Some(Answer::Ready) => Ok(guard),
            Some(Answer::Unfit(errno)) => Err(no_guard(std::io::Error::from_raw_os_error(errno))),
            _ => Err(FreezeProblem::NoGuard("it ended at once".to_owned())),
        }
    }

    /// A guard that is gone is found out by its answer.
    fn say(&mut self, word: u8) {
        if let Some(words) = &mut self.words {
            let _ = words.write_all(&[word]);
        }
    }

    fn hear(&mut self) -> Option<Answer> {
        let mut bytes = [0; ANSWER_BYTES];
        self.answers.read_exact(&mut bytes).ok()?;
        Answer::decode(bytes)
    }

    fn path(&self, mount: u8) -> PathBuf {
        self.mounts.get(usize::from(mount)).map(|mount| mount.path.clone()).unwrap_or_default()
    }

    /// Thaws what a guard that is gone may have left frozen.
    fn thaw_without(&self) -> FreezeProblem {
        let mut problem = FreezeProblem::GuardDied;
        for mount in self.mounts.iter().rev() {
            match thaw_filesystem(mount.directory.as_fd()) {
                Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                    problem = FreezeProblem::NotThawed { path: mount.path.clone(), why: error.to_string() };
                }
                _ => {}
            }
        }
        problem
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // It thaws when the pipe closes, and has thawed when it is gone.
        drop(self.words.take());
        let _ = self.child.wait();
    }
}

impl Frozen<'_> {
    /// Thaws all, in reverse.
    pub(super) fn thaw(mut self) -> Thawed {
        self.guard.say(DO_THAW);
        let micros = Duration::from_micros;
        match self.guard.hear() {
            Some(Answer::Thawed(lasted)) => Thawed { frozen: micros(lasted), problem: None },
            Some(Answer::TooLate(lasted)) => {
                let frozen = micros(lasted);
                Thawed { frozen, problem: Some(FreezeProblem::Deadline { frozen_seconds: frozen.as_secs_f64() }) }
            }
            Some(Answer::NotHeld(mount, errno, lasted)) => {
                let path = self.guard.path(mount);
                let problem = match errno {
                    0 => FreezeProblem::ThawedByOthers { path },
                    _ => FreezeProblem::NotThawed { path, why: std::io::Error::from_raw_os_error(errno).to_string() },
                };
                Thawed { frozen: micros(lasted), problem: Some(problem) }
            }
            _ => {
                let problem = self.guard.thaw_without();
                Thawed { frozen: self.since.elapsed(), problem: Some(problem) }
            }
        }
    }
}

/// What the kernel means.
fn refusal(errno: i32) -> String {
    match errno {
        libc::EOPNOTSUPP | libc::ENOTTY => "filesystems of its kind cannot be".to_owned(),
        libc::EBUSY => "it is frozen already, by another program; if by none that still runs, thaw it with fsfreeze -u".to_owned(),
        libc::EPERM => "only root may do that".to_owned(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}
