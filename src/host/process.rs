//! Which process it is: a number alone is given to another one sooner or later, so it comes with the start of the system and its own.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process of this host that cannot be mistaken for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Which start of the system it belongs to.
    pub boot: String,
    /// When it began, in ticks since that.
    pub start_ticks: u64,
}

impl Process {
    /// This process.
    ///
    /// # Errors
    /// What the system says where /proc cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this number now: meant for a child that nobody has waited for yet, whose number is its own until then.
    ///
    /// # Errors
    /// What the system says where /proc cannot be read.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let (_, start_ticks) = stat(pid)?;
        Ok(Self { pid, boot: boot()?, start_ticks })
    }

    /// Whether it still runs. One that has ended and waits for its parent to take notice does not.
    pub fn is_running(&self) -> bool {
        let same_boot = boot().is_ok_and(|boot| boot == self.boot);
        same_boot && stat(self.pid).is_ok_and(|(state, start)| start == self.start_ticks && !matches!(state, 'Z' | 'X'))
    }

    /// Asks it to end cleanly. `Ok(false)`: it has ended already.
    ///
    /// # Errors
    /// What the system says, `EPERM` above all.
    pub fn ask_to_end(&self) -> io::Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        // The handle is taken before the process is compared: from then on it stands for that one, whatever becomes of the number.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            other => other?,
        };
        if !self.is_running() {
            return Ok(false);
        }
        match pidfd_send_signal(handle, Signal::TERM) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// State and start of a process, by proc(5). The command's name may hold anything, so fields are counted from its last parenthesis.
fn stat(pid: u32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect::<Vec<_>>();
    let state = fields.first().and_then(|field| field.chars().next());
    let start = fields.get(19).and_then(|field| field.parse().ok());
    state.zip(start).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat has not the fields of proc(5)"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = Process::own().unwrap();
        assert!(own.is_running());
        assert!(!Process { start_ticks: own.start_ticks + 1, ..own.clone() }.is_running(), "its number was given to another process");
        assert!(!Process { boot: "another".into(), ..own }.is_running(), "the system was started anew");
    }

    #[test]
    fn only_the_process_itself_is_asked_to_end() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let other = Process { start_ticks: process.start_ticks + 1, ..process.clone() };
        assert!(!other.ask_to_end().unwrap());
        assert!(process.is_running(), "another process was ended");
        assert!(process.ask_to_end().unwrap());
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert!(!process.ask_to_end().unwrap());
    }
}
