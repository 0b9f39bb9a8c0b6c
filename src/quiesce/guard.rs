//! The dead man's switch: a process of its own that freezes filesystems and thaws them, whatever becomes of Cairn.
//!
//! It is Cairn's program, started anew before anything is frozen: a copy of a process with threads (fork alone) could hold a lock
//! for ever that some other thread had. Before it says that it is ready it opens all mount points, leaves the terminal and its
//! signals, asks the kernel never to kill it for want of memory, and locks all its memory. From then on it takes no lock, allocates nothing
//! and writes to no file: it waits for a byte or for the deadline, calls the ioctls, and answers through a pipe.
//!
//! It thaws when it is told to, when the pipe to Cairn closes, or at the deadline. Who kills it kills the switch; Cairn then thaws.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setsid;

use crate::io::{block_signals, freeze_filesystem, thaw_filesystem};

/// Cairn's word to freeze.
pub(super) const DO_FREEZE: u8 = b'F';
/// Cairn's word to thaw.
pub(super) const DO_THAW: u8 = b'T';

/// An answer, in [`ANSWER_BYTES`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// All mount points are open; nothing is frozen.
    Ready,
    /// It cannot be a guard: the system's error.
    Unfit(i32),
    /// All are frozen.
    Frozen,
    /// This one cannot be frozen, with the system's error; none is frozen any more.
    Refused(u8, i32),
    /// All were frozen until now, for so many microseconds.
    Thawed(u64),
    /// The deadline came first; they were frozen for so many microseconds.
    TooLate(u64),
    /// This one was thawed by somebody else (no error) or cannot be thawed; so many microseconds.
    NotHeld(u8, i32, u64),
}

/// Bytes of an answer: kind, number of the mount point, the system's error, microseconds.
pub(super) const ANSWER_BYTES: usize = 14;

impl Answer {
    pub(super) fn encode(self) -> [u8; ANSWER_BYTES] {
        let (kind, mount, errno, micros): (u8, u8, i32, u64) = match self {
            Self::Ready => (0, 0, 0, 0),
            Self::Unfit(errno) => (1, 0, errno, 0),
            Self::Frozen => (2, 0, 0, 0),
            Self::Refused(mount, errno) => (3, mount, errno, 0),
            Self::Thawed(micros) => (4, 0, 0, micros),
            Self::TooLate(micros) => (5, 0, 0, micros),
            Self::NotHeld(mount, errno, micros) => (6, mount, errno, micros),
        };
        let mut bytes = [0; ANSWER_BYTES];
        let [e0, e1, e2, e3] = errno.to_le_bytes();
        let [m0, m1, m2, m3, m4, m5, m6, m7] = micros.to_le_bytes();
        bytes.copy_from_slice(&[kind, mount, e0, e1, e2, e3, m0, m1, m2, m3, m4, m5, m6, m7]);
        bytes
    }

    pub(super) fn decode(bytes: [u8; ANSWER_BYTES]) -> Option<Self> {
        let [kind, mount, e0, e1, e2, e3, m0, m1, m2, m3, m4, m5, m6, m7] = bytes;
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        let micros = u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
        Some(match kind {
            0 => Self::Ready,
            1 => Self::Unfit(errno),
            2 => Self::Frozen,
            3 => Self::Refused(mount, errno),
            4 => Self::Thawed(micros),
            5 => Self::TooLate(micros),
            6 => Self::NotHeld(mount, errno, micros),
            _ => return None,
        })
    }
}

/// Watches over a freeze: the deadline in milliseconds, then of each mount point its device and its path.
pub(super) fn main(arguments: &[OsString]) -> u8 {
    match prepare(arguments) {
        Ok((mounts, limit)) => {
            tell(Answer::Ready);
            if hear(None) == Heard::Word(DO_FREEZE) {
                hold(&mounts, limit);
            }
            0
        }
        Err(error) => {
            tell(Answer::Unfit(error.raw_os_error().unwrap_or(libc::EINVAL)));
            1
        }
    }
}

fn prepare(arguments: &[OsString]) -> io::Result<(Vec<File>, Duration)> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let (limit, places) = arguments.split_first().ok_or_else(invalid)?;
    let limit = limit.to_str().and_then(|limit| limit.parse().ok()).map(Duration::from_millis).ok_or_else(invalid)?;
    let open = |place: &[OsString]| {
        let [device, path] = place else { return Err(invalid()) };
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        // What Cairn has looked at must be what is frozen.
        let same = device.to_str().is_some_and(|device| file.metadata().is_ok_and(|metadata| metadata.dev().to_string() == device));
        if same { Ok(file) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
    };
    let mounts = places.chunks(2).map(open).collect::<io::Result<Vec<_>>>()?;
    // Already the leader of a session where this fails.
    let _ = setsid();
    block_signals();
    // Not everybody may; the memory is locked all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?;
    Ok((mounts, limit))
}

/// What happened on the pipe from Cairn.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Word(u8),
    Gone,
    Nothing,
}

/// Waits for a word until a moment, or for ever.
fn hear(until: Option<Instant>) -> Heard {
    let stdin = rustix::stdio::stdin();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
        match poll(&mut [PollFd::from_borrowed_fd(stdin, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Heard::Nothing,
            Err(Errno::INTR) => continue,
            Err(_) => return Heard::Gone,
            Ok(_) => {}
        }
        let mut word = [0];
        match rustix::io::read(stdin, &mut word) {
            Ok(1) => return Heard::Word(word[0]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            _ => return Heard::Gone,
        }
    }
}

fn tell(answer: Answer) {
    // Cairn may be gone; there is nobody else to tell.
    let _ = rustix::io::write(rustix::stdio::stdout(), &answer.encode());
}

/// Freezes all, waits, thaws all.
fn hold(mounts: &[File], limit: Duration) {
    let start = Instant::now();
    let deadline = start + limit;
    for (number, mount) in mounts.iter().enumerate() {
        let refused = freeze_filesystem(mount.as_fd()).err();
        // A freeze that waited for a slow disk cannot be interrupted, but nothing more is frozen after it.
        let over = refused.is_none() && (Instant::now() >= deadline || is_gone());
        if refused.is_some() || over {
            let frozen = mounts.get(..number + usize::from(over)).unwrap_or_default();
            let _ = thaw(frozen);
            return tell(match refused {
                Some(error) => Answer::Refused(small(number), error.raw_os_error().unwrap_or(libc::EIO)),
                None => Answer::TooLate(micros(start)),
            });
        }
    }
    tell(Answer::Frozen);
    let heard = hear(Some(deadline));
    let thawed = thaw(mounts);
    let frozen_for = micros(start);
    match (heard, thawed) {
        (Heard::Word(DO_THAW), Ok(())) => tell(Answer::Thawed(frozen_for)),
        (_, Err((mount, errno))) => tell(Answer::NotHeld(mount, errno, frozen_for)),
        (_, Ok(())) => tell(Answer::TooLate(frozen_for)),
    }
}

/// Whether Cairn is gone.
fn is_gone() -> bool {
    hear(Some(Instant::now())) == Heard::Gone
}

/// Thaws in reverse, all of them whatever happens; the first that was not frozen any more (no error), or cannot be thawed.
fn thaw(mounts: &[File]) -> Result<(), (u8, i32)> {
    let mut failed = Ok(());
    for (number, mount) in mounts.iter().enumerate().rev() {
        if let Err(error) = thaw_filesystem(mount.as_fd()) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            failed = failed.and(Err((small(number), if errno == libc::EINVAL { 0 } else { errno })));
        }
    }
    failed
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_pipe() {
        for answer in [
            Answer::Ready,
            Answer::Unfit(12),
            Answer::Frozen,
            Answer::Refused(3, libc::EOPNOTSUPP),
            Answer::Thawed(1 << 40),
            Answer::TooLate(9),
            Answer::NotHeld(1, -1, 2),
        ] {
            assert_eq!(Answer::decode(answer.encode()), Some(answer));
        }
        assert_eq!(Answer::decode([9; ANSWER_BYTES]), None);
    }
}
