//! Running mounts for tests, by root and by a user without any rights.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;

/// Whether anything can be mounted here; said loudly where not.
pub(crate) fn can_mount() -> bool {
    let can = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    if !can {
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
        {
            eprintln!("SKIPPED: there is no FUSE here");
        }
    }
    can
}

/// A running `cairn mount`, ended and taken away when dropped.
pub(crate) struct Mount {
    pub(crate) child: Child,
    pub(crate) place: PathBuf,
}

impl Mount {
    /// Mounts on the directory `mnt` and waits until it answers.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        let at = place.path("mnt");
        // It may be there, with a dead mount on it that no question reaches.
        let _ = fs::create_dir(&at);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
        place.environment(&mut command).arg("mount").arg(&at).args(arguments);
        Self::spawn(command, at)
    }

    pub(crate) fn spawn(mut command: Command, place: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        while !is_mounted(&place) {
            if let Some(status) = child.try_wait().unwrap() {
                let mut errors = String::new();
                child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("it ended with {status}: {errors}");
            }
            assert!(started.elapsed() < Duration::from_secs(60), "it is not mounted");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, place }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it by SIGTERM; gives its exit code and what it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        detach(&self.place);
    }
}

pub(crate) fn detach(place: &Path) {
    for words in [&["umount", "-l"][..], &["fusermount3", "-u", "-z"]] {
        let _ = Command::new(words[0]).args(&words[1..]).arg(place).output();
    }
}

pub(crate) fn is_mounted(place: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == place.to_str())
}

/// Mounts as nobody; `None`, said loudly, where that cannot be tried.
pub(crate) fn as_nobody(place: &Place, arguments: &[&str]) -> Option<Command> {
    let is_root = rustix::process::getuid().is_root();
    let has_helper = Path::new("/usr/bin/fusermount3").exists();
    if !is_root || !has_helper || !can_mount() {
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
        {
            eprintln!("SKIPPED: needs root to become another user, and fusermount3 (package fuse3)");
        }
        return None;
    }
    let given = Command::new("chown").args(["-R", "-h", "65534:65534", &place.text_path("")]).status().unwrap();
    assert!(given.success());
    fs::copy(assert_cmd::cargo::cargo_bin("cairn"), place.path("cairn")).unwrap();
    let binary = place.text_path("cairn");
    Some(nobody(place, &[&[binary.as_str(), "mount"], arguments].concat()))
}

/// A command as a user without any rights.
pub(crate) fn nobody(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    place.environment(&mut command).env("PATH", "/usr/bin:/bin");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(words);
    command
}
