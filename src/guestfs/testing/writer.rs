//! A program that changes files without pause, and a place where images can be cloned in one instant while it does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{FallocateFlags, XattrFlags, fallocate, ioctl_ficlone, lsetxattr};

use super::mount::{Mounted, run, sparse_file, text};
use super::noise::Noise;

/// Writes until it is dropped.
pub(in crate::guestfs) struct Writer {
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Begins to change files below `root`; of its steps one in `sync_every` ends with a sync of the file.
    pub(in crate::guestfs) fn start(root: &Path, seed: u64, sync_every: usize) -> Self {
        let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopping, counting, root) = (Arc::clone(&stop), Arc::clone(&steps), root.to_owned());
        let thread = std::thread::spawn(move || {
            let mut noise = Noise::new(seed);
            for at in 0..6 {
                fs::create_dir_all(root.join(format!("d{at}"))).expect("room");
            }
            while !stopping.load(Ordering::Relaxed) {
                // Names are drawn from few, so that steps meet each other's files: many fail, which is no matter.
                let _ = step(&root, &mut noise, sync_every);
                counting.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, steps, thread: Some(thread) }
    }

    /// Waits until it has done so many steps more.
    pub(in crate::guestfs) fn wait(&self, steps: usize) {
        let end = self.steps.load(Ordering::Relaxed) + steps;
        while self.steps.load(Ordering::Relaxed) < end && self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn some<const N: usize>(noise: &mut Noise, sizes: [usize; N]) -> Vec<u8> {
    let size = sizes[noise.below(N)];
    noise.bytes(size)
}

fn step(root: &Path, noise: &mut Noise, sync_every: usize) -> io::Result<()> {
    let name = |noise: &mut Noise| -> PathBuf { root.join(format!("d{}", noise.below(6))).join(format!("n{}", noise.below(60))) };
    let path = name(noise);
    match noise.below(16) {
        0..=3 => File::create(&path)?.write_all(&some(noise, [0, 50, 700, 5_000, 40_000]))?,
        4..=5 => OpenOptions::new().append(true).open(&path)?.write_all(&some(noise, [10, 3_000, 9_000]))?,
        6 => OpenOptions::new().write(true).open(&path)?.write_all_at(&noise.bytes(3_000), noise.next() % 60_000)?,
        7 => OpenOptions::new().write(true).open(&path)?.set_len(noise.next() % 30_000)?,
        8..=9 => fs::rename(&path, name(noise))?,
        10 => fs::remove_file(&path)?,
        11 => fs::hard_link(&path, name(noise))?,
        12 => symlink("t".repeat([5, 70, 200][noise.below(3)]), &path)?,
        13 => {
            let file = OpenOptions::new().write(true).open(&path)?;
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, noise.next() % 20_000, 9_000)?;
        }
        14 => lsetxattr(&path, "user.x", &some(noise, [5, 150]), XattrFlags::empty())?,
        _ if noise.below(2) == 0 => fs::create_dir(path.with_extension("d"))?,
        _ => fs::remove_dir(path.with_extension("d"))?,
    }
    if noise.below(sync_every) == 0 {
        File::open(&path)?.sync_all()?;
    }
    Ok(())
}

/// A filesystem that clones files at once, for images that are mounted and written to.
pub(in crate::guestfs) struct Cloner {
    mounted: Mounted,
    _place: tempfile::TempDir,
}

impl Cloner {
    /// `None`, said loudly, where XFS cannot be made and mounted.
    pub(in crate::guestfs) fn new() -> Option<Self> {
        let place = tempfile::tempdir().expect("a place");
        let image = place.path().join("cloner");
        sparse_file(&image, 2 << 30);
        run("mkfs.xfs", &["-q", "-f", "-m", "reflink=1", text(&image)])?;
        Some(Self { mounted: Mounted::loop_mount(&image, "xfs", "nouuid")?, _place: place })
    }

    /// A path in it.
    pub(in crate::guestfs) fn join(&self, name: &str) -> PathBuf {
        self.mounted.join(name)
    }

    /// A file as it is at this instant: what a machine that lost its power would find.
    pub(in crate::guestfs) fn clone(&self, name: &str, copy: &str) -> PathBuf {
        let (from, to) = (self.join(name), self.join(copy));
        let clone = File::open(from).and_then(|from| Ok(ioctl_ficlone(File::create(&to)?, from)?));
        clone.unwrap_or_else(|error| panic!("{name} cannot be cloned: {error}"));
        to
    }
}
