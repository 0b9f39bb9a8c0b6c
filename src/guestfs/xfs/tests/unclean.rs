//! Logs that were not replayed: the image at many instants while it is written to, compared with what the kernel makes of it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::ioctl_ficlone;

use super::*;
use crate::guestfs::testing::{Cloner, Writer, differences, long_tests};

/// Clones files over each other, so that mappings are moved in several transactions, until told to stop.
fn clone_files(root: &Path, stop: &AtomicBool) {
    let mut at = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        at = at.wrapping_add(7);
        let name = |at: usize| root.join(format!("d{}", at % 6)).join(format!("n{}", at % 60));
        if let (Ok(from), Ok(to)) = (File::open(name(at)), File::options().write(true).open(name(at.wrapping_mul(13) + 1))) {
            let _ = ioctl_ficlone(&to, &from);
        }
        if at.is_multiple_of(5) {
            let _ = File::open(root).map(|root| root.sync_all());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Compares what is shown of a copy with what the kernel shows after its own replay; gives the notes.
fn same_after_replay(cloner: &Cloner, at: usize) -> Option<Vec<String>> {
    let copy = cloner.join("copy");
    cloner.clone("copy", "before");
    let notes = opened(&copy, true).about().notes.clone();
    let found = shown(&copy);
    // As it lies on the disk it may be in pieces, but it opens.
    drop(opened(&copy, false));
    let expected = kernel_tree(Mounted::loop_mount(&copy, "xfs", "noatime,nouuid")?.path());
    let differences = differences(&expected, &found, &[]);
    if !differences.is_empty() {
        if let Some(kept) = std::env::var_os("CAIRN_KEEP") {
            std::fs::copy(cloner.join("before"), kept).expect("room");
        }
        panic!("instant {at}: {} of {} objects: {:#?}", differences.len(), expected.len(), &differences[..differences.len().min(20)]);
    }
    Some(notes)
}

/// Compares at many instants; returns how many of them had something to replay.
fn instants(mebibytes: u64, arguments: &[&str], features: u32, options: &str, sync_every: usize) -> Option<usize> {
    let cloner = Cloner::new()?;
    let image = cloner.join("live");
    make(&image, mebibytes, arguments)?;
    add_features(&image, features);
    let mounted = Mounted::loop_mount(&image, "xfs", &format!("nouuid,{options}"))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = Writer::start(mounted.path(), 7, sync_every);
        scope.spawn(|| clone_files(mounted.path(), &stop));
        let replayed = (0..if long_tests() { 300 } else { 12 }).map(|at| {
            writer.wait(60 + at * 7 % 100);
            cloner.clone("live", "copy");
            let notes = same_after_replay(&cloner, at)?;
            Some(usize::from(notes.iter().any(|note| note.contains("replayed"))))
        });
        let replayed = replayed.sum::<Option<usize>>();
        stop.store(true, Ordering::Relaxed);
        replayed
    })
}

fn mostly_dirty(replayed: Option<usize>) {
    assert!(replayed.is_none_or(|replayed| replayed >= 8), "only {replayed:?} instants had anything in the log");
}

#[test]
fn at_many_instants() {
    mostly_dirty(instants(320, &[], 0, "noatime", 8));
}

/// A small log is soon written over from its start, in records of the largest size.
#[test]
fn a_log_that_wraps() {
    mostly_dirty(instants(64, &["-l", "size=6m", "-d", "agcount=2"], 0, "noatime,logbsize=256k", 3));
}

#[test]
fn small_blocks_in_large_sectors_with_parent_pointers() {
    let arguments = ["-b", "size=4096", "-s", "size=4096", "-m", "rmapbt=1", "-i", "nrext64=1", "-n", "size=16384"];
    mostly_dirty(instants(320, &arguments, 1 << 6 | 1 << 7, "noatime,logbsize=32k", 5));
}

#[test]
fn small_blocks() {
    mostly_dirty(instants(320, &["-b", "size=1024", "-m", "reflink=0,bigtime=0", "-i", "sparse=0"], 0, "noatime,wsync", 8));
}

/// The filesystem is stopped between two instants, as by a power failure, with what it had in memory lost.
#[test]
fn after_a_shutdown() {
    let Some(cloner) = Cloner::new() else { return };
    for at in 0..if long_tests() { 60 } else { 4 } {
        let image = cloner.join("live");
        let Some(()) = make(&image, 320, &["-m", "rmapbt=1"]) else { return };
        let Some(mounted) = Mounted::loop_mount(&image, "xfs", "nouuid,noatime") else { return };
        let writer = Writer::start(mounted.path(), at as u64, 6);
        writer.wait(400 + at * 31 % 300);
        run("xfs_io", &["-x", "-c", "shutdown", text(mounted.path())]);
        drop(writer);
        drop(mounted);
        cloner.clone("live", "copy");
        let Some(notes) = same_after_replay(&cloner, at) else { return };
        assert!(notes.iter().any(|note| note.contains("replayed")), "{notes:?}");
    }
}

/// Without replay the same image is seen as it lies there, and says so.
#[test]
fn left_alone_when_asked() {
    let Some(cloner) = Cloner::new() else { return };
    let image = cloner.join("live");
    let Some(()) = make(&image, 320, &[]) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "xfs", "nouuid,noatime") else { return };
    std::fs::write(mounted.join("new"), b"new").expect("room");
    File::open(mounted.join("new")).and_then(|file| file.sync_all()).expect("a file");
    let copy = cloner.clone("live", "copy");
    let (raw, replayed) = (opened(&copy, false), opened(&copy, true));
    assert_eq!(raw.about().notes, ["its log holds changes that are not shown"]);
    assert_eq!(raw.lookup(raw.root(), b"new").expect("sound"), None);
    assert!(replayed.lookup(replayed.root(), b"new").expect("sound").is_some());
    let before = std::fs::read(&copy).expect("readable");
    drop(shown(&copy));
    assert!(before == std::fs::read(&copy).expect("readable"), "reading changed the image");
    let expected = Mounted::loop_mount(&copy, "xfs", "noatime,nouuid,norecovery,ro");
    assert!(expected.is_none_or(|mounted| !mounted.join("new").exists()));
}
