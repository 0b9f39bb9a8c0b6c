//! Images of one or several devices, mounted by the kernel through loop devices.

use std::path::{Path, PathBuf};

use crate::guestfs::testing::{device, run, sparse_file, text};
use crate::guestfs::{Device, FileSystem, OpenOptions, open};

/// Image files that together are one filesystem.
pub(in crate::guestfs::btrfs) struct Images {
    _directory: tempfile::TempDir,
    pub(super) paths: Vec<PathBuf>,
}

impl Images {
    /// Empty files.
    pub(super) fn new(count: usize, size_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a place for images");
        let paths: Vec<PathBuf> = (0..count).map(|at| directory.path().join(format!("disk{at}"))).collect();
        paths.iter().for_each(|path| sparse_file(path, size_bytes));
        Self { _directory: directory, paths }
    }

    /// A filesystem on them; `None` where there is no mkfs.btrfs.
    pub(in crate::guestfs::btrfs) fn made(count: usize, size_bytes: u64, options: &[&str]) -> Option<Self> {
        let images = Self::new(count, size_bytes);
        if count == 1 {
            run("mkfs.btrfs", &[options, &["-q", text(&images.paths[0])]].concat())?;
            return Some(images);
        }
        let loops = Loops::attach(&images.paths)?;
        let devices: Vec<&str> = loops.0.iter().map(String::as_str).collect();
        run("mkfs.btrfs", &[options, &["-q"], &devices].concat())?;
        Some(images)
    }

    /// Copies of the images as they are now.
    pub(super) fn copied(&self) -> Self {
        let directory = tempfile::tempdir().expect("a place for images");
        let copy = |path: &PathBuf| {
            let to = directory.path().join(path.file_name().expect("a name"));
            run("cp", &["--sparse=always", text(path), text(&to)]).expect("cp is everywhere");
            to
        };
        let paths = self.paths.iter().map(copy).collect();
        Self { _directory: directory, paths }
    }

    /// Mounts them; `None`, said loudly, where that cannot be.
    pub(in crate::guestfs::btrfs) fn mount(&self, options: &str) -> Option<Mount> {
        Mount::new(&self.paths, options)
    }

    pub(in crate::guestfs::btrfs) fn devices(&self) -> Vec<Device> {
        self.paths.iter().map(|path| device(path)).collect()
    }

    pub(super) fn open(&self) -> Box<dyn FileSystem> {
        self.open_with(true)
    }

    pub(super) fn open_with(&self, replay: bool) -> Box<dyn FileSystem> {
        open(&self.devices(), &OpenOptions { replay, ..OpenOptions::default() }).expect("a sound filesystem")
    }
}

/// Loop devices, let go when dropped.
struct Loops(Vec<String>);

impl Loops {
    fn attach(paths: &[PathBuf]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("nothing can be mounted without root");
            return None;
        }
        let mut loops = Self(Vec::new());
        for path in paths {
            loops.0.push(run("losetup", &["--find", "--show", text(path)])?.trim().to_owned());
        }
        Some(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            // The kernel would refuse an older copy of the same filesystem later.
            let _ = std::process::Command::new("btrfs").args(["device", "scan", "--forget", device]).output();
            let _ = std::process::Command::new("losetup").args(["-d", device]).output();
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A filesystem that the kernel mounted; unmounted when dropped.
pub(in crate::guestfs::btrfs) struct Mount {
    directory: tempfile::TempDir,
    _loops: Loops,
}

impl Mount {
    fn new(paths: &[PathBuf], options: &str) -> Option<Self> {
        let loops = Loops::attach(paths)?;
        let directory = tempfile::tempdir().expect("a place to mount at");
        let others: Vec<String> = loops.0.iter().skip(1).map(|device| format!("device={device}")).collect();
        let options = [&[options.to_owned()], others.as_slice()].concat().join(",");
        run("mount", &["-t", "btrfs", "-o", options.trim_matches(','), &loops.0[0], text(directory.path())])?;
        Some(Self { directory, _loops: loops })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(in crate::guestfs::btrfs) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = text(self.directory.path());
        let plain = std::process::Command::new("umount").arg(path).output();
        if !plain.is_ok_and(|output| output.status.success()) {
            let _ = std::process::Command::new("umount").args(["-l", path]).output();
        }
    }
}
