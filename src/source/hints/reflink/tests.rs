//! Tests of reflink hints: the comparison on made-up extents, and the whole on real filesystems that share extents.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::source::testing::{run, text};

/// An extent of (start, end, place, flags).
fn extents(list: &[(u64, u64, u64, u32)]) -> impl Iterator<Item = Result<FileExtent, HintError>> {
    list.iter().map(|&(start, end, physical_bytes, flags)| Ok(FileExtent { logical: Extent::between(start, end), physical_bytes, flags }))
}

fn set(ranges: &[(u64, u64)]) -> ExtentSet {
    ExtentSet::from_unsorted(ranges.iter().map(|&(start, end)| Extent::between(start, end)).collect())
}

#[test]
fn extents_of_one_place_are_the_same_and_all_others_changed() {
    let copy = [(0, 100, 1000, 0), (100, 200, 5000, 0), (300, 400, 9000, 0x2000)];
    let current = [
        (0, 50, 1000, 0x2000),   // the first half, still shared
        (50, 60, 7000, 0),       // written since
        (60, 100, 1060, 0x2000), // the rest, shared
        (150, 250, 5050, 0),     // 100..150 became a hole, 150..200 is shared, the rest is new
        (300, 310, 9000, 0x800), // freed and preallocated since
        (310, 320, 9010, 0x8),   // compressed now
        (320, 330, 9020, 0x1),   // the last extent by its flag, shared
    ];
    let (changed, zeroed) = compare(extents(&current), extents(&copy), 400, 500).expect("extents");
    assert_eq!(changed, set(&[(50, 60), (200, 250), (310, 320), (400, 500)]));
    assert_eq!(zeroed, set(&[(100, 150), (300, 310), (330, 400)]));
}

#[test]
fn preallocated_extents_are_holes() {
    let copy = [(0, 10, 1000, 0x800), (10, 20, 1010, 0x800)];
    // The first was written in place, the second not, the third is new and not written.
    let current = [(0, 10, 1000, 0), (10, 20, 1010, 0x800), (20, 30, 5000, 0x800)];
    let (changed, zeroed) = compare(extents(&current), extents(&copy), 40, 40).expect("extents");
    assert_eq!((changed, zeroed), (set(&[(0, 10)]), set(&[])));
}

#[test]
fn extents_past_the_disk_and_empty_files_are_no_trouble() {
    let (changed, zeroed) = compare(extents(&[(0, 4096, 0, 0)]), extents(&[(0, 4096, 0, 0)]), 1000, 700).expect("extents");
    assert_eq!((changed, zeroed), (set(&[]), set(&[])));
    let (changed, zeroed) = compare(extents(&[]), extents(&[(0, 4096, 0, 0)]), 1000, 700).expect("extents");
    assert_eq!((changed, zeroed), (set(&[]), set(&[(0, 700)])));
    let (changed, zeroed) = compare(extents(&[]), extents(&[(0, 4096, 0, 0)]), 1000, 2000).expect("extents");
    assert_eq!((changed, zeroed), (set(&[(1000, 2000)]), set(&[(0, 1000)])));
    let (changed, zeroed) = compare(extents(&[(0, 4096, 0, 0)]), extents(&[]), 0, 2000).expect("extents");
    assert_eq!((changed, zeroed), (set(&[(0, 2000)]), set(&[])));
}

/// A filesystem made for a test, unmounted when dropped.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    /// Makes and mounts a filesystem of 400 MiB; `None`, said loudly, where that cannot be done here.
    fn make(kind: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("image");
        File::create(&image).and_then(|file| file.set_len(400 << 20)).expect("an image");
        fs::create_dir(directory.path().join("mnt")).expect("a directory");
        let mount = format!("mkfs.{kind} -q '{0}' && mount -o loop '{0}' '{1}'", image.display(), directory.path().join("mnt").display());
        let output = std::process::Command::new("sh").args(["-c", &mount]).output().expect("a shell");
        if output.status.success() {
            return Some(Self { directory });
        }
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
        {
            eprintln!(
                "SKIPPED: {kind} cannot be made and mounted here (needs root and its tools): {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("mnt").join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[text(&self.path(""))]);
    }
}

/// Writes, punches and grows a file at known places after a copy, and compares the hints with what was done, byte for byte.
fn hints_name_what_was_written(kind: &str) {
    const BLOCK: u64 = 4096;
    let Some(mounted) = Mounted::make(kind) else { return };
    let disk = File::options().read(true).write(true).create_new(true).open(mounted.path("disk")).expect("a file");
    let noise: Vec<u8> = (0..16_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    disk.write_all_at(&noise, 0).expect("a write");
    disk.set_len(24 << 20).expect("a size");
    assert!(may_share_extents(&disk));
    let copy_path = mounted.path("copy");
    assert!(clone_file(&disk, &copy_path).expect("a clone"), "{kind} shares no extents");
    assert_eq!(clone_file(&disk, &copy_path).expect_err("the target exists").kind(), io::ErrorKind::AlreadyExists);
    let copy = File::open(&copy_path).expect("the copy");
    assert_eq!(copy.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);

    let unchanged = reflink_hints(&disk, &copy, 24 << 20).expect("hints");
    assert_eq!((unchanged.changed, unchanged.zeroed), (set(&[]), set(&[])), "{kind}");

    for block in [0_u64, 77, 78, 1000, 4095, 5000] {
        disk.write_all_at(&[block.to_le_bytes()[0]; 4096], block * BLOCK).expect("a write");
    }
    crate::io::punch_hole(&disk, 2000 * BLOCK, 50 * BLOCK).expect("a hole");
    disk.set_len(25 << 20).expect("a size");
    let hints = reflink_hints(&disk, &copy, 25 << 20).expect("hints");
    let blocks = |first: u64, count: u64| (first * BLOCK, (first + count) * BLOCK);
    let expected = [blocks(0, 1), blocks(77, 2), blocks(1000, 1), blocks(4095, 1), blocks(5000, 1), (24 << 20, 25 << 20)];
    assert_eq!(hints.changed, set(&expected), "{kind}");
    assert_eq!(hints.zeroed, set(&[blocks(2000, 50)]), "{kind}");

    let error = reflink_hints(&disk, &disk, 25 << 20).expect_err("one file").to_string();
    assert!(error.contains("the two are one file"), "{error}");
}

#[test]
fn xfs_names_what_was_written() {
    hints_name_what_was_written("xfs");
}

#[test]
fn btrfs_names_what_was_written() {
    hints_name_what_was_written("btrfs");
}

#[test]
fn a_filesystem_without_sharing_says_so() {
    // Memory filesystems share no extents.
    let directory = tempfile::tempdir_in("/dev/shm").expect("a memory filesystem");
    let disk = File::create_new(directory.path().join("disk")).expect("a file");
    disk.write_all_at(b"x", 0).expect("a write");
    assert!(!may_share_extents(&disk));
    let source = File::open(directory.path().join("disk")).expect("the file");
    assert!(!clone_file(&source, &directory.path().join("copy")).expect("an answer"));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "a failed clone left a file");
}
