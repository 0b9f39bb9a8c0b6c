//! Images of volumes, and mounts of them by ntfs-3g.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{XattrFlags, lsetxattr};

use crate::guestfs::testing::{run, sparse_file, text};

/// An image file in a directory of its own.
pub(super) struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    /// A new volume; `None`, said loudly, without mkfs.ntfs.
    pub(super) fn make(size_mib: u64, cluster_bytes: u32, sector_bytes: u32) -> Option<Self> {
        let image = Self { directory: tempfile::tempdir().expect("a place for an image") };
        sparse_file(&image.path(), size_mib << 20);
        let (cluster, sector) = (cluster_bytes.to_string(), sector_bytes.to_string());
        let path = image.path();
        let arguments = ["-F", "-Q", "-q", "-c", &cluster, "-s", &sector, "-L", "Data \u{17e}", text(&path)];
        run("mkfs.ntfs", &arguments).map(|_| image)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("ntfs.img")
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("the image can be read")
    }

    /// Another image with these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let image = Self { directory: tempfile::tempdir().expect("a place for an image") };
        std::fs::write(image.path(), bytes).expect("room for an image");
        image
    }

    /// Mounts it; `None`, said loudly, where that is not possible here.
    pub(super) fn mount(&self, options: &str) -> Option<Mount> {
        Mount::new(&self.path(), options)
    }
}

/// A mount by ntfs-3g. When dropped it is unmounted, and all is written.
pub(super) struct Mount {
    directory: tempfile::TempDir,
    server: Child,
}

impl Mount {
    #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
    fn new(image: &Path, options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a place to mount at");
        let options = format!("no_detach,streams_interface=xattr,noatime{options}");
        let mut command = Command::new("ntfs-3g");
        command.args(["-o", &options, text(image), text(directory.path())]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = match command.spawn() {
            Ok(server) if rustix::process::geteuid().is_root() => server,
            other => {
                eprintln!("SKIPPED: ntfs-3g cannot mount here: {other:?}");
                return None;
            }
        };
        let mut mount = Self { directory, server };
        for _ in 0..1000 {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            if mounts.contains(text(mount.path())) {
                return Some(mount);
            }
            if let Ok(Some(status)) = mount.server.try_wait() {
                panic!("ntfs-3g ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("ntfs-3g does not mount");
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..100 {
            let done = Command::new("umount").arg(self.path()).stderr(Stdio::null()).status();
            if done.is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // The server writes what it still holds before it ends.
        let _ = self.server.wait();
    }
}

/// Sets an extended attribute.
pub(super) fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{path:?} {name}: {error}"));
}
