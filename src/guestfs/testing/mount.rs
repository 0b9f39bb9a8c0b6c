//! Mounts by the kernel, tools of others, and images in files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::guestfs::Device;
use crate::io::FileAt;

#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Runs a tool of another project and gives what it printed; `None`, said loudly, where it is not installed.
///
/// A tool that fails fails the test.
pub(in crate::guestfs) fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match command(program).args(arguments).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!(
            "{program} {arguments:?}: {} {}",
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) => {
            skipped(&format!("{program} cannot be run ({error}); install it to test against it"));
            None
        }
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

/// A path as an argument.
pub(in crate::guestfs) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are plain")
}

/// A file of zeros that takes no space.
pub(in crate::guestfs) fn sparse_file(path: &Path, size_bytes: u64) {
    File::create(path).and_then(|file| file.set_len(size_bytes)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}

/// An image file as a device.
pub(in crate::guestfs) fn device(image: &Path) -> Device {
    Arc::new(File::open(image).and_then(FileAt::new).unwrap_or_else(|error| panic!("{image:?}: {error}")))
}

/// A filesystem that the kernel mounted; unmounted when dropped.
pub(in crate::guestfs) struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    /// Mounts an image file through a loop device with options as of mount(8) (`"ro,noatime"`, or nothing).
    ///
    /// `None`, said loudly, without root or where this kernel does not know the filesystem. Any other refusal fails the test.
    pub(in crate::guestfs) fn loop_mount(image: &Path, filesystem: &str, options: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("nothing can be mounted without root, so nothing is compared with the kernel");
            return None;
        }
        match Self::try_loop_mount(image, filesystem, options) {
            Ok(mounted) => Some(mounted),
            Err(error) if ["unknown filesystem", "loop device"].iter().any(|part| error.contains(part)) => {
                skipped(&format!("{filesystem} cannot be mounted here: {error}"));
                None
            }
            Err(error) => panic!("{image:?}: {error}"),
        }
    }

    /// The same for a test that expects a refusal: what mount(8) said.
    pub(in crate::guestfs) fn try_loop_mount(image: &Path, filesystem: &str, options: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a place to mount at");
        let options = if options.is_empty() { "loop".to_owned() } else { format!("loop,{options}") };
        let arguments = ["-t", filesystem, "-o", &options, text(image), text(directory.path())];
        let output = command("mount").args(arguments).output().map_err(|error| format!("loop device: mount cannot be run: {error}"))?;
        if output.status.success() { Ok(Self { directory }) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    /// Where.
    pub(in crate::guestfs) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it.
    pub(in crate::guestfs) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = text(self.directory.path());
        let plain = command("umount").arg(path).output();
        if !plain.is_ok_and(|output| output.status.success()) {
            let _ = command("umount").args(["-l", path]).output();
        }
    }
}
