//! The process between Cairn and a script: it holds the script to its time, whatever Cairn does, and kills it with everything that it
//! started. Descendants that left the script's process group become children of this process, so none gets away.
//!
//! What comes in: an end of its standard input means that nobody waits any more (Cairn gave up, or is gone). What goes out, once: a
//! [`Report`] on standard output. A script that ends by itself may leave processes behind; those are its own affair.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper, setsid, wait};
use serde::{Deserialize, Serialize};

/// How much of what a program writes is kept: its end.
pub(super) const KEPT_BYTES: usize = 8 * 1024;
/// How often the process looks for children that ended.
const TICK: Duration = Duration::from_millis(20);
/// How often it looks again for children to kill, and for how long: one that waits for a frozen filesystem dies only later.
const KILL_TICK: Duration = Duration::from_millis(5);
const KILL_ROUNDS: u32 = 2000;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed: its time was over.
    TimedOut,
    /// It was killed: nobody waits for it any more.
    Abandoned,
    /// It could not be started.
    NotStarted(String),
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) end: End,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program: its time in milliseconds, the program, its arguments.
pub(super) fn main(arguments: &[OsString]) -> u8 {
    let Some((limit, [program, arguments @ ..])) = arguments.split_first() else { return 2 };
    let Some(limit) = limit.to_str().and_then(|limit| limit.parse().ok()).map(Duration::from_millis) else { return 2 };
    // Ctrl-C and the end of the terminal are for Cairn to hear, which then closes the pipe.
    let _ = setsid();
    let report = supervise(program, arguments, limit);
    let told = serde_json::to_vec(&report).is_ok_and(|report| std::io::stdout().write_all(&report).is_ok());
    u8::from(!told)
}

fn supervise(program: &OsString, arguments: &[OsString], limit: Duration) -> Report {
    let not_started = |why: String| Report { end: End::NotStarted(why), stdout: String::new(), stderr: String::new() };
    if let Err(error) = set_child_subreaper(Some(rustix::process::getpid())) {
        return not_started(format!("its descendants cannot be watched ({error})"));
    }
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => {
            // Only now, since the script would inherit it.
            crate::io::block_signals();
            Watched::new(child, limit).run()
        }
        Err(error) => not_started(format!("{}: {error}", program.display())),
    }
}

/// A running script.
struct Watched {
    group: Option<Pid>,
    deadline: Instant,
    output: [Tail; 2],
}

impl Watched {
    fn new(mut child: Child, limit: Duration) -> Self {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let output = [Tail::of(child.stdout.take()), Tail::of(child.stderr.take())];
        Self { group, deadline: Instant::now() + limit, output }
    }

    fn run(mut self) -> Report {
        let end = loop {
            // Its end is seen before what it wrote is read for the last time, so nothing that it wrote is lost.
            let ended = self.reap();
            self.output.iter_mut().for_each(Tail::drain);
            if let Some(ended) = ended {
                break ended;
            }
            if Instant::now() >= self.deadline {
                self.kill_all();
                break End::TimedOut;
            }
            if self.wait_a_little() {
                self.kill_all();
                break End::Abandoned;
            }
        };
        let [stdout, stderr] = self.output.map(|mut tail| {
            tail.drain();
            tail.text()
        });
        Report { end, stdout, stderr }
    }

    /// Takes note of all children that ended; how the script did, if it was among them.
    fn reap(&self) -> Option<End> {
        let mut end = None;
        while let Ok(Some((child, status))) = wait(WaitOptions::NOHANG) {
            if Some(child) == self.group {
                end = status.exit_status().map(End::Exited).or_else(|| status.terminating_signal().map(End::Signal));
            }
        }
        end
    }

    /// Waits for something to happen, not for long. `true`: the other end of standard input is gone.
    fn wait_a_little(&self) -> bool {
        let stdin = std::io::stdin();
        let mut polled = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        polled.extend(self.output.iter().filter_map(Tail::descriptor).map(|output| PollFd::from_borrowed_fd(output, PollFlags::IN)));
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let _ = poll(&mut polled, Some(&tick));
        // Nothing is ever written to it, so whatever happens to it is its end.
        polled.first().is_some_and(|stdin| !stdin.revents().is_empty())
    }

    /// Kills the script, its group, and whoever left the group.
    fn kill_all(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        for _ in 0..KILL_ROUNDS {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            let children = children();
            if children.is_empty() {
                return;
            }
            for child in children {
                let _ = kill_process(child, Signal::KILL);
            }
            std::thread::sleep(KILL_TICK);
        }
    }
}

/// The children of this process, which become more when one of them dies that had some.
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let child = |name: OsString| {
        let pid = name.to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", name.to_str()?)).ok()?;
        // The name in parentheses may have anything in it; behind it stand state and parent.
        let (_, behind) = stat.rsplit_once(')')?;
        (behind.split_whitespace().nth(1)? == own).then_some(pid)
    };
    entries.filter_map(|entry| child(entry.ok()?.file_name())).collect()
}

/// One of a script's outputs, of which the end is kept.
struct Tail {
    pipe: Option<Box<dyn Pipe>>,
    kept: Vec<u8>,
}

trait Pipe: Read + AsFd {}
impl<T: Read + AsFd> Pipe for T {}

impl Tail {
    fn of<P: Pipe + 'static>(pipe: Option<P>) -> Self {
        let pipe = pipe.filter(|pipe| fcntl_setfl(pipe, OFlags::NONBLOCK).is_ok());
        Self { pipe: pipe.map(|pipe| Box::new(pipe) as Box<dyn Pipe>), kept: Vec::new() }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Reads what is there.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    self.kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
                    self.kept.drain(..surplus);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }
}
