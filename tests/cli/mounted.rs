//! Filesystems made for a test: ones that share extents, ones that fill up. They need root; where they cannot be had, that is said loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted filesystem, unmounted when dropped.
pub(crate) struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// A filesystem of this kind with `mib` MiB on a loop device; `None`, said loudly, where that cannot be done here.
    pub(crate) fn make(kind: &str, mib: u64) -> Option<Self> {
        Self::prepare(|image, place| {
            format!("truncate -s {mib}M '{image}' && mkfs.{kind} -q '{image}' && mount -o loop '{image}' '{place}'")
        })
    }

    /// A filesystem in memory with `mib` MiB.
    pub(crate) fn in_memory(mib: u64) -> Option<Self> {
        Self::prepare(|_, place| format!("mount -t tmpfs -o size={mib}M tmpfs '{place}'"))
    }

    fn prepare(script: impl Fn(&str, &str) -> String) -> Option<Self> {
        let mounted = Self { directory: TempDir::new().unwrap() };
        std::fs::create_dir(mounted.place()).unwrap();
        let (image, place) = (mounted.directory.path().join("image"), mounted.place());
        let script = script(image.to_str().unwrap(), place.to_str().unwrap());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        if output.status.success() {
            return Some(mounted);
        }
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
        {
            eprintln!("SKIPPED: no filesystem can be mounted here (needs root): {script}: {}", String::from_utf8_lossy(&output.stderr));
        }
        None
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// A path on the filesystem.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    /// The same as text.
    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The names of the files in its root directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.place())
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        let _ = Command::new("umount").arg(self.place()).output();
    }
}
