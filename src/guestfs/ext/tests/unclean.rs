//! Journals that were not replayed: the image at many instants while it is written to, compared with what the kernel makes of it.

use super::*;
use crate::guestfs::testing::{Cloner, Writer, differences, long_tests};

/// Compares what is shown at many instants; returns how many of them had something to replay.
fn instants(arguments: &[&str], options: &str, sync_every: usize, ignoring: &[Field]) -> Option<usize> {
    let cloner = Cloner::new()?;
    let image = cloner.join("live");
    sparse_file(&image, 48 << 20);
    run("mke2fs", &[&["-q", "-F"], arguments, &[text(&image)]].concat())?;
    let mounted = Mounted::loop_mount(&image, "ext4", options)?;
    let writer = Writer::start(mounted.path(), 7, sync_every);
    let count = if long_tests() { 300 } else { 20 };
    let (mut replayed, mut refused) = (0, 0);
    for at in 0..count {
        writer.wait(60 + at * 7 % 100);
        let copy = cloner.clone("live", "copy");
        cloner.clone("copy", "before");
        let notes = opened(&copy, true).about().notes.clone();
        replayed += usize::from(notes.iter().any(|note| note.contains("replayed")));
        let found = shown(&copy);
        drop(opened(&copy, false));
        let kernel = match Mounted::try_loop_mount(&copy, "ext4", "noatime") {
            // The kernel finds some fast commits of its own corrupted, and mounts nothing then: there is nothing to compare with.
            Err(error) if ignoring.contains(&Field::Allocated) && error.contains("corrupted") => {
                keep(&cloner, "refused");
                refused += 1;
                continue;
            }
            kernel => kernel.unwrap_or_else(|error| panic!("instant {at}: {error}")),
        };
        let expected = kernel_tree(kernel.path());
        let mut differences = differences(&expected, &found, ignoring);
        differences.retain(|line| !(ignoring.contains(&Field::Allocated) && is_of_replay(line)));
        if !differences.is_empty() {
            keep(&cloner, "different");
            panic!("instant {at}: {} of {} objects: {:#?}", differences.len(), expected.len(), &differences[..differences.len().min(20)]);
        }
    }
    assert!(refused * 20 <= count, "the kernel mounted {refused} of {count} instants not at all");
    Some(replayed)
}

/// Keeps an image as it was before anybody mounted it, below the path that `CAIRN_KEEP` begins with.
fn keep(cloner: &Cloner, why: &str) {
    if let Ok(kept) = std::env::var("CAIRN_KEEP") {
        std::fs::copy(cloner.join("before"), format!("{kept}.{why}")).expect("room");
    }
}

/// The kernel dates directories to which fast commits add names to the moment of its replay, and lets them grow for the names.
fn is_of_replay(difference: &str) -> bool {
    ["Modified", "Changed", "DirectorySize"].iter().any(|field| difference.contains(&format!("(Directory): {field}")))
}

#[test]
fn ext4_at_many_instants() {
    let Some(replayed) = instants(&["-t", "ext4"], "commit=60", 8, &[]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

#[test]
fn ext4_with_data_in_the_journal() {
    let Some(replayed) = instants(&["-t", "ext4", "-b", "1024"], "commit=60,data=journal", 8, &[]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

#[test]
fn ext4_without_checksums() {
    let arguments = ["-t", "ext4", "-O", "^metadata_csum,^64bit"];
    let Some(replayed) = instants(&arguments, "commit=60,data=journal", 5, &[]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

#[test]
fn ext3_at_many_instants() {
    let Some(replayed) = instants(&["-t", "ext3"], "commit=60", 8, &[]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

/// The kernel's replay decides some things by what its allocator finds, so any instant of any work is for the long tests.
#[test]
fn ext4_with_fast_commits_at_many_instants() {
    if !long_tests() {
        return;
    }
    let Some(replayed) = instants(&["-t", "ext4", "-O", "fast_commit"], "commit=60", 2, &[Field::Allocated]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

/// Does `work` on a filesystem with fast commits, lets `change` change the copy, and compares what is shown of it with what the kernel makes
/// of it.
pub(super) fn after_fast_commits<T>(work: impl Fn(&Path) -> T, change: impl Fn(&Path, T), ignoring: &[Field]) {
    let Some(cloner) = Cloner::new() else { return };
    let image = cloner.join("live");
    sparse_file(&image, 48 << 20);
    let Some(_) = run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "fast_commit", text(&image)]) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "ext4", "commit=60") else { return };
    let done = work(mounted.path());
    let copy = cloner.clone("live", "copy");
    change(&copy, done);
    let notes = opened(&copy, true).about().notes.clone();
    assert!(notes.iter().any(|note| note.contains("replayed")), "{notes:?}");
    let found = shown(&copy);
    assert!(!differences(&found, &shown_unreplayed(&copy), &[]).is_empty(), "there was nothing to replay");
    let Some(kernel) = Mounted::loop_mount(&copy, "ext4", "noatime") else { return };
    let mut differences = differences(&kernel_tree(kernel.path()), &found, ignoring);
    differences.retain(|line| !is_of_replay(line));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// What lies on the device without its journal.
fn shown_unreplayed(image: &Path) -> Tree {
    walk(opened(image, false).as_ref(), &Limits::sound()).tree
}

pub(super) fn synced(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(&path, bytes).expect("room");
    sync(path);
}

fn sync(path: impl AsRef<Path>) {
    std::fs::File::open(path).and_then(|file| file.sync_all()).expect("it is there");
}

#[test]
fn ext4_with_fast_commits() {
    let work = |root: &Path| {
        synced(root.join("first"), b"before all fast commits");
        for number in 0..12_u8 {
            synced(root.join(format!("file{number}")), &vec![number; 700 * usize::from(number)]);
        }
        std::fs::rename(root.join("file3"), root.join("renamed")).expect("a name");
        std::fs::hard_link(root.join("file4"), root.join("linked")).expect("a name");
        std::fs::remove_file(root.join("file5")).expect("a name");
        synced(root.join("renamed"), b"shorter");
        synced(root.join("linked"), &[4; 3000]);
        synced(root.join("last"), b"the end");
    };
    after_fast_commits(work, |_, ()| {}, &[Field::Allocated]);
}

/// A name that leads to another inode later, an inode that becomes another file, a directory in the place of one that is gone.
#[test]
fn ext4_with_fast_commits_that_give_names_and_inodes_again() {
    let work = |root: &Path| {
        let at = |name: &str| root.join(name);
        for name in ["first", "replaced", "other", "kept", "two", "again"] {
            std::fs::write(at(name), name.repeat(900)).expect("room");
        }
        std::fs::hard_link(at("two"), at("names")).expect("a name");
        rustix::fs::syncfs(std::fs::File::open(root).expect("it is there")).expect("synced");
        std::fs::create_dir(at("made")).expect("room");
        synced(at("made/within"), b"in a new directory");
        std::fs::rename(at("other"), at("replaced")).expect("a name");
        synced(at("replaced"), b"was the other");
        std::fs::remove_file(at("two")).expect("a name");
        synced(at("two"), b"another inode, while its first one has a name left");
        std::fs::remove_file(at("again")).expect("a name");
        synced(at("again"), &[9; 5000]);
        std::fs::remove_file(at("again")).expect("a name");
        std::fs::hard_link(at("kept"), at("again")).expect("a name");
        sync(at("kept"));
        // A sync of a directory would commit everything: that of a file commits what was done to directories as well.
        for name in ["gone", "instead", "third"] {
            std::fs::create_dir(at(name)).expect("room");
            synced(at("kept"), name.as_bytes());
            if name != "third" {
                std::fs::remove_dir(at(name)).expect("it is empty");
                synced(at("kept"), b"directory removed");
            }
        }
        synced(at("third/within"), b"in a directory whose inode was one before");
        std::fs::rename(at("names"), at("renamed")).expect("a name");
        std::fs::write(at("names"), b"a new file, in the same commit").expect("room");
        synced(at("renamed"), b"and the old one");
        synced(at("last"), b"the end");
    };
    after_fast_commits(work, |_, ()| {}, &[Field::Allocated]);
}
