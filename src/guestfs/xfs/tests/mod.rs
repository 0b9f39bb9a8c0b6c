//! XFS against the kernel: each set of features, unclean logs, damage. What this kernel does not mount (version 4, blocks larger than
//! memory pages) is compared with the tree that mkfs was given.

mod damage;
mod features;
mod intents;
mod old;
mod unclean;

use std::path::{Path, PathBuf};

use super::sealed::checksum;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::guestfs::testing::{Field, Limits, Mounted, Population, Tree, assert_same, device, kernel_tree, populate, run, sparse_file};
use crate::guestfs::testing::{text, walk};
use crate::guestfs::{FileSystem, OpenOptions, open};

/// Makes a filesystem in a file, also smaller than mkfs.xfs otherwise makes them: it does that for its own test suite, which says so in
/// this way. `None` where it is not installed.
fn make(image: &Path, mebibytes: u64, arguments: &[&str]) -> Option<()> {
    run("mkfs.xfs", &["-V"])?;
    sparse_file(image, mebibytes << 20);
    let test = ["TEST_DIR=x", "TEST_DEV=x", "QA_CHECK_FS=x", "mkfs.xfs", "-q", "-f"];
    run("env", &[&test, arguments, &[text(image)]].concat())?;
    Some(())
}

/// Sets incompatible features that mkfs.xfs may be too old to offer, and that need nothing else of an empty filesystem.
fn add_features(image: &Path, features: u32) {
    let mut bytes = std::fs::read(image).expect("readable");
    let sector = usize::from(u16::from_be_bytes([bytes[102], bytes[103]]));
    bytes[219] |= features as u8;
    let sum = checksum(&bytes[..sector], 224);
    bytes[224..228].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(image, &bytes).expect("writable");
}

/// A place with an empty filesystem in it.
fn made(mebibytes: u64, arguments: &[&str]) -> Option<(tempfile::TempDir, PathBuf)> {
    let place = tempfile::tempdir().expect("a place");
    let image = place.path().join("image");
    make(&image, mebibytes, arguments)?;
    Some((place, image))
}

fn opened(image: &Path, replay: bool) -> Box<dyn FileSystem> {
    open(&[device(image)], &OpenOptions { replay, ..OpenOptions::default() }).unwrap_or_else(|error| panic!("{image:?}: {error}"))
}

/// The structures of an image as they lie on it.
fn volume(image: &Path) -> Volume {
    Volume::new(Superblock::read(device(image).as_ref(), false).expect("sound"), device(image), 1 << 20)
}

/// What the reader shows, every place of data compared with the device.
fn shown(image: &Path) -> Tree {
    let walked = walk(opened(image, true).as_ref(), &Limits::sound().on(&[device(image)]));
    assert!(walked.problems.is_empty(), "{} problems: {:#?}", walked.problems.len(), walked.problems.iter().take(20).collect::<Vec<_>>());
    walked.tree
}

/// What the kernel shows.
fn truth(image: &Path) -> Option<Tree> {
    Some(kernel_tree(Mounted::loop_mount(image, "xfs", "ro,noatime,nouuid")?.path()))
}

/// Compares both.
fn compare(image: &Path, ignoring: &[Field]) -> Option<Tree> {
    let found = shown(image);
    let expected = truth(image)?;
    assert_same(&expected, &found, ignoring);
    Some(found)
}
