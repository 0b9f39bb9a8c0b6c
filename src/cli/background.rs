//! Going on in the background: the command starts itself once more and returns when that one says that it is ready.
//!
//! The child has the terminal until then, so that it can ask for a passphrase and say what is wrong.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::exit::Exit;

/// Tells the child that it is one.
const MARK: &str = "CAIRN_BACKGROUND_CHILD";
/// What the child says when it is ready.
const READY: &str = "ready";

/// Whether this process is to go on in the background.
pub(crate) fn is_child() -> bool {
    env::var_os(MARK).is_some()
}

/// Starts the same command once more and waits until it is ready; what it ends with before that is this command's end.
pub(crate) fn start() -> anyhow::Result<Exit> {
    let program = env::current_exe().context("the program's own file cannot be found")?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).env(MARK, "1").stdout(Stdio::piped());
    let mut child = command.spawn().context("a process for the background cannot be started")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).context("the process in the background says nothing")?;
    }
    if line.trim_end() == READY {
        return Ok(Exit::Done);
    }
    // It has said on standard error why.
    let status = child.wait().context("the process in the background cannot be waited for")?;
    Ok(match status.code() {
        Some(2) => Exit::Usage,
        Some(4) => Exit::Damage,
        Some(130) => Exit::Interrupted,
        _ => Exit::Failed,
    })
}

/// Says that this process is ready, and leaves the terminal: what it says from now on goes to the log.
pub(crate) fn tell_ready(log: &Path) -> io::Result<()> {
    if let Some(directory) = log.parent().filter(|directory| *directory != Path::new("")) {
        std::fs::create_dir_all(directory)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    // Not the leader of a group of processes, since it was started by one that is.
    rustix::process::setsid().map(drop).or_else(|error| if error == rustix::io::Errno::PERM { Ok(()) } else { Err(error) })?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    rustix::stdio::dup2_stdout(nothing.as_fd())?;
    rustix::stdio::dup2_stderr(log.as_fd())?;
    Ok(())
}
