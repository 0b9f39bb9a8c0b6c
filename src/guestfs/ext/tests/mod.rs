//! The family against the kernel: each set of features, unclean journals, damage.

mod copies;
mod cost;
mod damage;
mod features;
mod notes;
mod unclean;

use std::path::{Path, PathBuf};

use crate::guestfs::testing::{Field, Limits, Mounted, Population, Tree, assert_same, device, kernel_tree, populate, run, sparse_file};
use crate::guestfs::testing::{text, walk};
use crate::guestfs::{FileSystem, OpenOptions, open};

/// A place with an empty filesystem in it; `None` where mke2fs is not installed.
fn made(mebibytes: u64, arguments: &[&str]) -> Option<(tempfile::TempDir, PathBuf)> {
    let place = tempfile::tempdir().expect("a place");
    let image = place.path().join("image");
    sparse_file(&image, mebibytes << 20);
    run("mke2fs", &[&["-q", "-F"], arguments, &[text(&image)]].concat())?;
    Some((place, image))
}

/// The same with a tree in it.
fn filled(mebibytes: u64, arguments: &[&str], what: &Population) -> Option<(tempfile::TempDir, PathBuf)> {
    let (place, image) = made(mebibytes, arguments)?;
    populate(Mounted::loop_mount(&image, "ext4", "")?.path(), what);
    Some((place, image))
}

fn opened(image: &Path, replay: bool) -> Box<dyn FileSystem> {
    open(&[device(image)], &OpenOptions { replay, ..OpenOptions::default() }).unwrap_or_else(|error| panic!("{image:?}: {error}"))
}

/// What the reader shows, every place of data compared with the device.
fn shown(image: &Path) -> Tree {
    let walked = walk(opened(image, true).as_ref(), &Limits::sound().on(&[device(image)]));
    assert!(walked.problems.is_empty(), "{} problems: {:#?}", walked.problems.len(), walked.problems.iter().take(20).collect::<Vec<_>>());
    walked.tree
}

/// What the kernel shows. Its `lost+found` is read like any other.
fn truth(image: &Path) -> Option<Tree> {
    Some(kernel_tree(Mounted::loop_mount(image, "ext4", "ro,noatime")?.path()))
}

/// Compares both.
fn compare(image: &Path, ignoring: &[Field]) -> Option<Tree> {
    let found = shown(image);
    let expected = truth(image)?;
    assert_same(&expected, &found, ignoring);
    Some(found)
}
