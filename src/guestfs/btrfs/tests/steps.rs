//! Single steps of the merging of a log, each with the work that needs it, compared with what the kernel makes of the same image.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, XattrFlags, fallocate, lremovexattr, lsetxattr};

use super::images::Images;
use super::log::{PLACES, compare, look};
use crate::guestfs::testing::{run, text};

/// Does `first`, commits, does `then`, which syncs something, and compares what is shown then.
fn merged_alike(first: impl Fn(&Path), then: impl Fn(&Path)) {
    let Some(images) = Images::made(1, 256 << 20, &["-n", "4096"]) else { return };
    let Some(mount) = images.mount("noatime,commit=300") else { return };
    fs::create_dir(mount.join(PLACES[0])).expect("made");
    let Some(_) = run("btrfs", &["subvolume", "create", text(&mount.join(PLACES[1]))]) else { return };
    let root = mount.join(PLACES[1]);
    first(&root);
    rustix::fs::syncfs(File::open(&root).expect("opened")).expect("synced");
    then(&root);
    let moment = look(images.copied());
    drop(mount);
    assert!(moment.merged && moment.differs_without, "there is no log, or nothing in it");
    // Times are compared by the second: those that the kernel makes now are told from those before.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let different = compare(&moment, "then");
    assert!(different.is_empty(), "{different:#?}");
}

fn sync(path: impl AsRef<Path>) {
    File::open(path).and_then(|file| file.sync_all()).expect("synced");
}

#[test]
fn an_attribute_that_was_removed() {
    let first = |root: &Path| {
        fs::write(root.join("file"), b"contents").expect("written");
        for name in ["user.kept", "user.gone", "user.changed"] {
            lsetxattr(root.join("file"), name, b"value", XattrFlags::empty()).expect("room");
        }
    };
    merged_alike(first, |root| {
        lremovexattr(root.join("file"), "user.gone").expect("it was there");
        lsetxattr(root.join("file"), "user.changed", b"another", XattrFlags::empty()).expect("room");
        sync(root.join("file"));
    });
}

#[test]
fn extents_past_the_end_that_were_dropped() {
    let first = |root: &Path| {
        let file = File::create(root.join("file")).expect("made");
        file.write_all_at(&[5; 200_000], 0).expect("written");
        fallocate(&file, FallocateFlags::KEEP_SIZE, 300_000, 1 << 20).expect("room");
    };
    merged_alike(first, |root| {
        File::options().write(true).open(root.join("file")).and_then(|file| file.set_len(50_000)).expect("cut");
        sync(root.join("file"));
    });
}

#[test]
fn names_of_a_file_that_were_removed() {
    let first = |root: &Path| {
        for directory in ["one", "two"] {
            fs::create_dir(root.join(directory)).expect("made");
        }
        fs::write(root.join("one/file"), b"contents").expect("written");
        for name in ["one/beside", "one/third", "two/elsewhere"] {
            fs::hard_link(root.join("one/file"), root.join(name)).expect("linked");
        }
    };
    merged_alike(first, |root| {
        for name in ["one/beside", "two/elsewhere"] {
            fs::remove_file(root.join(name)).expect("it was there");
        }
        sync(root.join("one/file"));
    });
}

/// A file that is in the log already loses a name: its directory is not in the log, so that the references of the file alone tell.
#[test]
fn a_name_that_was_removed_after_its_file_was_synced() {
    let first = |root: &Path| {
        for directory in ["one", "two"] {
            fs::create_dir(root.join(directory)).expect("made");
        }
        fs::write(root.join("one/file"), b"contents").expect("written");
        fs::hard_link(root.join("one/file"), root.join("one/beside")).expect("linked");
        fs::write(root.join("two/other"), b"contents").expect("written");
    };
    merged_alike(first, |root| {
        fs::write(root.join("one/file"), b"other contents").expect("written");
        sync(root.join("one/file"));
        fs::remove_file(root.join("one/beside")).expect("it was there");
        fs::write(root.join("two/other"), b"other contents").expect("written");
        sync(root.join("two/other"));
    });
}

#[test]
fn a_name_that_was_given_to_another_file() {
    let first = |root: &Path| {
        fs::create_dir(root.join("one")).expect("made");
        for name in ["first", "second", "third"] {
            fs::write(root.join("one").join(name), name).expect("written");
        }
        fs::hard_link(root.join("one/third"), root.join("one/another")).expect("linked");
    };
    merged_alike(first, |root| {
        fs::rename(root.join("one/first"), root.join("one/moved")).expect("renamed");
        fs::rename(root.join("one/second"), root.join("one/first")).expect("renamed");
        fs::rename(root.join("one/another"), root.join("one/second")).expect("renamed");
        sync(root.join("one/third"));
        sync(root.join("one/first"));
    });
}

#[test]
fn names_that_are_gone_from_a_directory() {
    let first = |root: &Path| {
        fs::create_dir(root.join("one")).expect("made");
        for name in ["kept", "gone", "moved"] {
            fs::write(root.join("one").join(name), name).expect("written");
        }
        fs::create_dir(root.join("one/empty")).expect("made");
    };
    merged_alike(first, |root| {
        fs::remove_file(root.join("one/gone")).expect("it was there");
        fs::remove_dir(root.join("one/empty")).expect("it was there");
        sync(root.join("one"));
    });
}
