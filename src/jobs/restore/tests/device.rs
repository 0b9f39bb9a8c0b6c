//! Restores to block devices: loop devices, where the tests run as root.

use std::process::Command;

use super::*;
use crate::jobs::testing::{disk, write_sparse};
use crate::units::CHUNK_BYTES;

/// A loop device over a file, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    /// `None`, said loudly, where loop devices cannot be had.
    #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
    fn over(file: &Path) -> Option<Self> {
        let attached = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        match attached {
            Ok(output) if output.status.success() => Some(Self(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()))),
            other => {
                eprintln!("SKIPPED: no loop device can be had here, so no restore to one is tested: {other:?}");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_gets_the_chunks_that_differ() {
    let vault = TestVault::new();
    let mut bytes = disk(16, 1);
    bytes.truncate(16 * CHUNK_BYTES);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let backing = vault.path("backing");
    let mut old = disk(24, 2);
    old.truncate(24 * CHUNK_BYTES);
    old[..3 * CHUNK_BYTES].copy_from_slice(&bytes[..3 * CHUNK_BYTES]);
    old[4 * CHUNK_BYTES + 7] = 1;
    write_sparse(&backing, &old);
    let Some(device) = LoopDevice::over(&backing) else { return };
    let read = || fs::read(&device.0).unwrap();

    let refused_without = refused(to_file(&vault, point, &device.0, false));
    assert!(matches!(refused_without, RestoreError::Exists { .. }), "{refused_without}");
    let in_use = refused(to_file(&vault, point, &backing, true));
    assert!(matches!(&in_use, RestoreError::InUse { by, .. } if by.contains(device.0.to_str().unwrap())), "{in_use}");
    assert!(read() == old);

    let request = RestoreRequest { overwrite: true, read_back: true, ..request(point, Some("vda"), &device.0) };
    let restored = restore(&vault.vault, &request, &Silent).unwrap();
    let report = restored.disks[0].report;
    assert_eq!(restored.disks[0].kind, PlaceKind::BlockDevice);
    assert!(read()[..bytes.len()] == bytes && read()[bytes.len()..] == old[bytes.len()..], "bytes past the disk were changed");
    assert_eq!((report.equal_bytes, report.zeroed_bytes), (3 * CHUNK_BYTES as u64, CHUNK_BYTES as u64));
    let again = to_file(&vault, point, &device.0, true).unwrap();
    assert_eq!((again.written_bytes, again.zeroed_bytes, again.equal_bytes), (0, 0, again.data_bytes));
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn a_block_device_that_is_too_small_or_mounted_is_refused() {
    let vault = TestVault::new();
    let point = vault.backup("m", &[("vda", &disk(40, 1))]).point;
    let backing = vault.path("backing");
    fs::File::create(&backing).unwrap().set_len(8 << 20).unwrap();
    let Some(device) = LoopDevice::over(&backing) else { return };
    let too_small = refused(to_file(&vault, point, &device.0, true));
    assert!(matches!(too_small, RestoreError::TooSmall { target_bytes, .. } if target_bytes == 8 << 20), "{too_small}");

    let small = vault.backup("small", &[("vda", &disk(4, 1))]).point;
    let place = vault.path("mounted");
    fs::create_dir(&place).unwrap();
    let run =
        |program: &str, arguments: &[&Path]| Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !run("mkfs.ext4", &[Path::new("-q"), &device.0]) || !run("mount", &[&device.0, &place]) {
        eprintln!("SKIPPED: nothing can be mounted here, so no restore to a mounted device is tested");
        return;
    }
    let mounted = refused(to_file(&vault, small, &device.0, true));
    assert!(run("umount", &[&place]));
    assert!(matches!(&mounted, RestoreError::InUse { by, .. } if by.contains(place.to_str().unwrap())), "{mounted}");
    to_file(&vault, small, &device.0, true).unwrap();
}
