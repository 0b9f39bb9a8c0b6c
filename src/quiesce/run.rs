//! Running a program from Cairn's side: under a process of its own that holds it to its time (see `supervise.rs`).

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::QuiesceError;
use super::helper::{FREEZE, MARK, SUPERVISE};
use super::supervise::{End, Report};
use crate::monitor::Monitor;

/// How often it is looked whether somebody asked for the end.
const TICK: Duration = Duration::from_millis(100);
/// No report is longer: two outputs, in which each byte may need six.
const MOST_REPORT_BYTES: u64 = 256 * 1024;

/// The program that is started once more for the work that needs a process of its own: one whose `main` calls
/// [`helper_main`](super::helper_main).
#[derive(Debug, Clone)]
pub struct Helper {
    program: PathBuf,
}

impl Helper {
    /// The running program itself, also after its file was replaced.
    pub fn this_program() -> Self {
        Self { program: "/proc/self/exe".into() }
    }

    /// Another one, for tests.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    pub(super) fn start_guard(&self, arguments: impl Iterator<Item = OsString>) -> io::Result<Child> {
        let mut command = self.command(FREEZE);
        // Its messages could be written to the filesystem that it freezes; it has none.
        command.args(arguments).stderr(Stdio::null()).spawn()
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(MARK).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A passphrase is nobody's business but Cairn's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_secret(name)) {
            command.env_remove(name);
        }
        command
    }
}

fn is_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CAIRN_") && name.contains("PASSPHRASE")
}

/// Runs a program to its end or for `limit`. Where the monitor says so, it is killed before; without one it is not.
pub(super) fn run(helper: &Helper, argv: &[OsString], limit: Duration, monitor: Option<&dyn Monitor>) -> Result<Report, QuiesceError> {
    let failed =
        |source| QuiesceError::Run { what: argv.first().map_or_else(String::new, |program| program.display().to_string()), source };
    let mut child =
        helper.command(SUPERVISE).arg(limit.as_millis().to_string()).args(argv).stderr(Stdio::null()).spawn().map_err(failed)?;
    let report = read_report(&mut child, monitor);
    // Its end follows that of its output.
    let _ = child.wait();
    let report = report.map_err(failed)?;
    if report.end == End::Abandoned && monitor.is_some_and(Monitor::cancelled) {
        return Err(QuiesceError::Cancelled);
    }
    Ok(report)
}

fn read_report(child: &mut Child, monitor: Option<&dyn Monitor>) -> io::Result<Report> {
    let mut alive = child.stdin.take();
    let mut output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    while alive.is_some() {
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)], Some(&tick)) {
            Ok(0) if monitor.is_some_and(Monitor::cancelled) => alive = None,
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut bytes = Vec::new();
    output.by_ref().take(MOST_REPORT_BYTES).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|_| io::Error::other("the process that watches over it was killed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrases_are_not_handed_on() {
        for (name, secret) in [("CAIRN_PASSPHRASE", true), ("CAIRN_NEW_PASSPHRASE_FILE", true), ("CAIRN_VAULT", false), ("PATH", false)] {
            assert_eq!(is_secret(OsStr::new(name)), secret, "{name}");
        }
    }
}
