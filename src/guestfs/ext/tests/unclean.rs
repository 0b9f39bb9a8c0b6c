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
    let mut replayed = 0;
    for at in 0..if long_tests() { 300 } else { 20 } {
        writer.wait(60 + at * 7 % 100);
        let copy = cloner.clone("live", "copy");
        cloner.clone("copy", "before");
        let notes = opened(&copy, true).about().notes.clone();
        replayed += usize::from(notes.iter().any(|note| note.contains("replayed")));
        let found = shown(&copy);
        drop(opened(&copy, false));
        let expected = kernel_tree(Mounted::loop_mount(&copy, "ext4", "noatime")?.path());
        let mut differences = differences(&expected, &found, ignoring);
        // The kernel dates directories to which fast commits add names to the moment of its replay.
        let dated = |line: &String| line.contains("(Directory): Modified") || line.contains("(Directory): Changed");
        differences.retain(|line| !(ignoring.contains(&Field::Allocated) && dated(line)));
        if !differences.is_empty() {
            if let Some(kept) = std::env::var_os("CAIRN_KEEP") {
                std::fs::copy(cloner.join("before"), kept).expect("room");
            }
            panic!("instant {at}: {} of {} objects: {:#?}", differences.len(), expected.len(), &differences[..differences.len().min(20)]);
        }
    }
    Some(replayed)
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

/// The kernel's replay decides some things by what its allocator finds (docs/todo.md), so any instant of any work is for the long tests.
#[test]
fn ext4_with_fast_commits_at_many_instants() {
    if !long_tests() {
        return;
    }
    let Some(replayed) = instants(&["-t", "ext4", "-O", "fast_commit"], "commit=60", 2, &[Field::Allocated]) else { return };
    assert!(replayed >= 15, "only {replayed} instants had anything in the journal");
}

#[test]
fn ext4_with_fast_commits() {
    let Some(cloner) = Cloner::new() else { return };
    let image = cloner.join("live");
    sparse_file(&image, 48 << 20);
    let Some(_) = run("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "fast_commit", text(&image)]) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "ext4", "commit=60") else { return };
    let root = mounted.path();
    let synced = |name: &str, bytes: &[u8]| {
        std::fs::write(root.join(name), bytes).expect("room");
        std::fs::File::open(root.join(name)).and_then(|file| file.sync_all()).expect("a file");
    };
    synced("first", b"before all fast commits");
    for number in 0..12_u8 {
        synced(&format!("file{number}"), &vec![number; 700 * usize::from(number)]);
    }
    std::fs::rename(root.join("file3"), root.join("renamed")).expect("a name");
    std::fs::hard_link(root.join("file4"), root.join("linked")).expect("a name");
    std::fs::remove_file(root.join("file5")).expect("a name");
    synced("renamed", b"shorter");
    synced("linked", &[4; 3000]);
    synced("last", b"the end");
    let copy = cloner.clone("live", "copy");
    let notes = opened(&copy, true).about().notes.clone();
    assert!(notes.iter().any(|note| note.contains("replayed")), "{notes:?}");
    let found = shown(&copy);
    let Some(kernel) = Mounted::loop_mount(&copy, "ext4", "noatime") else { return };
    let mut differences = differences(&kernel_tree(kernel.path()), &found, &[Field::Allocated]);
    // The kernel dates directories to which fast commits add names to the moment of its replay.
    differences.retain(|line| !line.contains("(Directory): Modified") && !line.contains("(Directory): Changed"));
    assert!(differences.is_empty(), "{differences:#?}");
}
