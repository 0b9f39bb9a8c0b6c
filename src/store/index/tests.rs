//! Segments against a plain map: found, not found, merged, damaged, spilled.

use std::collections::HashMap;

use super::*;
use crate::units::Fingerprint;

fn fingerprint(number: u64) -> Fingerprint {
    let hash = blake3::hash(&number.to_le_bytes());
    Fingerprint(*hash.as_bytes().first_chunk().unwrap())
}

fn pack(number: u8) -> PackId {
    PackId([number; 16])
}

/// Adds blocks `range` as slots of one pack each thousand.
fn add(directory: &Path, range: std::ops::Range<u64>) {
    let mut fresh = FreshBlocks::default();
    for number in range {
        fresh.insert(fingerprint(number), Address { pack: pack((number / 1000) as u8), slot: number as u32 });
    }
    let (packs, entries) = fresh.take();
    Index::add(directory, &packs, entries).unwrap();
}

fn found(index: &Index, number: u64) -> Vec<Address> {
    index.find(&fingerprint(number)).collect()
}

#[test]
fn what_was_added_is_found_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    add(directory.path(), 0..5000);
    let index = Index::open(directory.path(), |_| true).unwrap();
    for number in 0..5000 {
        assert_eq!(found(&index, number), [Address { pack: pack((number / 1000) as u8), slot: number as u32 }]);
    }
    assert!((5000..50_000).all(|number| found(&index, number).is_empty()));
    assert_eq!(index.covered().len(), 5);
}

#[test]
fn the_filter_passes_few_strangers() {
    let entries: Vec<SegmentEntry> = {
        let mut all: Vec<_> = (0..100_000).map(|number| SegmentEntry { fingerprint: fingerprint(number), pack: 0, slot: 0 }).collect();
        all.sort_unstable();
        all
    };
    let mut head = crate::format::segment::SegmentHead::new(entries.len() as u32, 1);
    entries.iter().for_each(|entry| head.add(entry));
    let mut bytes = head.encode(&[pack(0)]).unwrap();
    entries.iter().for_each(|entry| entry.encode_to(&mut bytes));
    let view = crate::format::segment::SegmentView::parse(&bytes).unwrap();
    let passed = (100_000..200_000).filter(|&number| view.may_contain(&fingerprint(number))).count();
    assert!(passed < 4000, "{passed} of 100000 absent fingerprints pass the filter");
}

#[test]
fn packs_that_may_not_be_used_are_not_found() {
    let directory = tempfile::tempdir().unwrap();
    add(directory.path(), 0..3000);
    let index = Index::open(directory.path(), |id| *id != pack(1)).unwrap();
    assert_eq!(found(&index, 999).len(), 1);
    assert!(found(&index, 1000).is_empty());
    assert!(index.covered().contains(&pack(1)));
}

#[test]
fn merging_keeps_what_is_kept_and_the_number_of_segments_small() {
    let directory = tempfile::tempdir().unwrap();
    for part in 0..MERGE_WIDTH as u64 {
        add(directory.path(), part * 500..part * 500 + 1000);
    }
    Index::open(directory.path(), |_| true).unwrap().merge_tiers(|id| *id != pack(0)).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let index = Index::open(directory.path(), |_| true).unwrap();
    let expected: HashMap<u64, usize> = (0..2500).map(|number| (number, usize::from(number >= 1000))).collect();
    for (number, count) in expected {
        assert_eq!(found(&index, number).len(), count, "block {number}");
    }
    assert!(!index.covered().contains(&pack(0)));
}

/// Whatever is done to a segment's bytes, opening and searching neither fails nor panics: a bad one is not there.
#[test]
fn damaged_segments_are_as_if_they_were_not_there() {
    let directory = tempfile::tempdir().unwrap();
    add(directory.path(), 0..2000);
    let path = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&path).unwrap();
    for cut in [0, 1, 63, 64, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(Index::open(directory.path(), |_| true).unwrap().is_empty(), "{cut} bytes were taken for a segment");
    }
    for at in (0..whole.len()).step_by(97).chain(0..64) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        let index = Index::open(directory.path(), |_| true).unwrap();
        assert!(at >= 64 || index.is_empty(), "a header damaged at {at} was taken");
        (0..200).for_each(|number| drop(found(&index, number)));
    }
}
