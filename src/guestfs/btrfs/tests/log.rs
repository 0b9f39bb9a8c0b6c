//! The log tree: at many moments of somebody's work the image is copied as a crash would leave it, read by us, then mounted by the kernel,
//! which merges the log in its own way, and both views are compared.

use std::time::{SystemTime, UNIX_EPOCH};

use super::images::Images;
use super::writer::Writer;
use crate::guestfs::testing::{Item, Limits, Tree, differences, kernel_tree, long_tests, run, text, walk};
use crate::guestfs::{FileSystem, Timestamp};

/// Where the work is done: a directory, and a subvolume, in each of which inodes are counted anew.
pub(super) const PLACES: [&str; 2] = ["top", "subvolume"];

/// One moment: the image, what we make of it, and whether a log was merged.
pub(super) struct Moment {
    images: Images,
    found: Tree,
    pub(super) merged: bool,
    pub(super) differs_without: bool,
}

pub(super) fn look(images: Images) -> Moment {
    let fs = images.open();
    let merged = fs.about().notes.iter().any(|note| note == "the log tree was replayed in memory");
    let walked = walk(fs.as_ref(), &Limits::sound().on(&images.devices()));
    assert_eq!(walked.problems, Vec::<String>::new(), "{:?}", fs.about().notes);
    let without = images.open_with(false);
    let differs_without = merged && !differences(&walk(without.as_ref(), &Limits::sound()).tree, &walked.tree, &[]).is_empty();
    assert_eq!(merged, has_note(without.as_ref(), "what was synced after the last commit is in the log tree and is not shown"));
    Moment { images, found: walked.tree, merged, differs_without }
}

fn has_note(fs: &dyn FileSystem, expected: &str) -> bool {
    fs.about().notes.iter().any(|note| note == expected)
}

/// Times that the kernel made when it merged the log are no part of what was written.
fn forget_new_times(expected: &mut Tree, found: &Tree, since: i64) {
    for (path, item) in expected {
        let Some(other) = found.get(path) else { continue };
        let is_new = |time: Timestamp| time.seconds >= since;
        if is_new(item.modified) {
            item.modified = other.modified;
        }
        if item.changed.is_some_and(is_new) {
            item.changed = other.changed;
        }
    }
}

/// The part of a tree below a directory, as if that were the topmost one.
fn below(tree: &Tree, place: &str) -> Tree {
    let cut = |path: &[u8]| path.strip_prefix(place.as_bytes()).map(|rest| rest.strip_prefix(b"/").unwrap_or(rest).to_vec());
    let items = tree.iter().filter_map(|(path, item)| {
        let first_name = cut(&item.first_name).unwrap_or_else(|| item.first_name.clone());
        Some((cut(path)?, Item { first_name, ..item.clone() }))
    });
    items.collect()
}

pub(super) fn compare(moment: &Moment, name: &str) -> Vec<String> {
    // The clock of files runs a few milliseconds behind.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mount = moment.images.mount("noatime").expect("mounted before");
    let since = i64::try_from(since).expect("soon");
    let mut different = Vec::new();
    for place in PLACES {
        let mut expected = kernel_tree(&mount.join(place));
        let found = below(&moment.found, place);
        forget_new_times(&mut expected, &found, since);
        different.extend(differences(&expected, &found, &[]));
    }
    different.into_iter().map(|line| format!("{name}: {line}")).collect()
}

/// A round of work with `count` moments; gives those with a log, those in which it matters, and all differences.
fn round(seed: u64, count: usize) -> Option<(usize, usize, Vec<String>)> {
    let nodes = if seed.is_multiple_of(2) { "4096" } else { "16384" };
    let images = Images::made(1, 256 << 20, &["-n", nodes])?;
    let mount = images.mount("noatime,commit=300")?;
    let roots = PLACES.map(|place| mount.join(place)).to_vec();
    std::fs::create_dir(&roots[0]).expect("made");
    run("btrfs", &["subvolume", "create", text(&roots[1])])?;
    let mut writer = Writer::new(seed, roots);
    (0..60).for_each(|_| writer.step());
    writer.commit();
    let mut moments = Vec::new();
    for moment in 0..count {
        for step in 0..25 {
            writer.step();
            if step % 6 == 5 {
                writer.sync_one();
            }
        }
        writer.sync_one();
        moments.push(look(images.copied()));
        if moment % 4 == 3 {
            writer.commit();
        }
    }
    drop(mount);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let merged = moments.iter().filter(|moment| moment.merged).count();
    let mattered = moments.iter().filter(|moment| moment.differs_without).count();
    let compared = moments.iter().enumerate().flat_map(|(at, moment)| compare(moment, &format!("seed {seed}, moment {at}")));
    Some((merged, mattered, compared.collect()))
}

#[test]
fn the_log_tree_is_merged_as_the_kernel_does() {
    let (rounds, count) = if long_tests() { (25, 20) } else { (2, 10) };
    for seed in 0..rounds {
        let Some((merged, mattered, different)) = round(seed, count) else { return };
        assert!(merged > count / 2 && mattered > count / 3, "{merged} of {count} moments had a log, in {mattered} it mattered");
        assert!(different.is_empty(), "{} differences:\n{}", different.len(), different[..different.len().min(30)].join("\n"));
    }
}
