//! Talking to systemd: ready, reloading, stopping, alive, by the protocol of sd_notify(3). Without systemd nobody listens and nothing is
//! said.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// It does its work from now on.
    Ready,
    /// It reads its settings again; [`Word::Ready`] follows.
    Reloading,
    /// It ends.
    Stopping,
    /// It is not stuck.
    Alive,
    /// What it does, for a person.
    Status(&'a str),
}

/// Who listens, as the environment says.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// By the variables that systemd sets.
    pub fn from_environment() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), std::env::var("WATCHDOG_USEC").ok(), std::env::var("WATCHDOG_PID").ok())
    }

    fn new(socket: Option<OsString>, watchdog: Option<String>, watchdog_pid: Option<String>) -> Self {
        let is_meant = watchdog_pid.is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = watchdog.filter(|_| is_meant).and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self { socket: socket.filter(|path| !path.is_empty()), watchdog }
    }

    /// How often [`Word::Alive`] is wanted at least: half of what systemd waits.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Says something.
    ///
    /// # Errors
    /// What the system says. Whoever calls goes on: nobody is told, that is all.
    pub fn say(&self, word: Word<'_>) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let text = match word {
            Word::Ready => "READY=1".to_owned(),
            Word::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()),
            Word::Stopping => "STOPPING=1".to_owned(),
            Word::Alive => "WATCHDOG=1".to_owned(),
            Word::Status(status) => format!("STATUS={}", status.replace('\n', " ")),
        };
        let sender = UnixDatagram::unbound()?;
        // Backups go before: nobody waits for a listener that does not listen.
        sender.set_nonblocking(true)?;
        sender.send_to_addr(text.as_bytes(), &address(socket)?).map(drop)
    }
}

/// A path, or a name in the abstract namespace where it starts with `@`.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let hidden = format!("cairn-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap();
        for (socket, at) in [(path.into_os_string(), by_path), (format!("@{hidden}").into(), by_name)] {
            let notifier = Notifier::new(Some(socket), None, None);
            let hear = || {
                let mut buffer = [0; 200];
                let length = at.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            };
            notifier.say(Word::Ready).unwrap();
            assert_eq!(hear(), "READY=1");
            notifier.say(Word::Status("two\nlines")).unwrap();
            assert_eq!(hear(), "STATUS=two lines");
            notifier.say(Word::Reloading).unwrap();
            assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        }
    }

    #[test]
    fn nobody_listens_without_systemd_and_a_watchdog_of_another_process_is_not_ours() {
        let nobody = Notifier::new(None, Some("30000000".into()), Some("1".into()));
        nobody.say(Word::Ready).unwrap();
        assert_eq!(nobody.watchdog_interval(), None);
        let ours = Notifier::new(None, Some("30000000".into()), Some(std::process::id().to_string()));
        assert_eq!(ours.watchdog_interval(), Some(Duration::from_secs(15)));
        assert_eq!(Notifier::new(None, Some("x".into()), None).watchdog_interval(), None);
    }
}
