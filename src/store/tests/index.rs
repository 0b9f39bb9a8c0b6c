//! Whatever happens to the index, nothing wrong is referred to, and it mends itself.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::format::segment::SegmentEntry;
use crate::store::Index;
use crate::units::SegmentId;

fn segments(kit: &Kit) -> Vec<PathBuf> {
    let paths = fs::read_dir(kit.vault.index_directory()).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<SegmentId>().is_ok();
    let mut paths: Vec<PathBuf> = paths.filter(is_segment).collect();
    paths.sort();
    paths
}

fn blocks(count: u64) -> u64 {
    count * BLOCK_BYTES as u64
}

#[test]
fn an_index_that_is_gone_is_made_anew() {
    for place in PLACES {
        let kit = Kit::new(place);
        let all = [chunk(0..64), chunk(64..128)];
        kit.store(&all[..1]);
        kit.store(&all[1..]);
        fs::remove_dir_all(kit.vault.index_directory()).unwrap();
        assert_eq!(kit.new_bytes(&all), 0);
    }
}

#[test]
fn another_machine_s_packs_are_found() {
    let kit = Kit::new(Place::Memory);
    kit.store(&[chunk(0..64)]);
    let elsewhere = tempfile::tempdir().unwrap();
    let vault = Vault::open(Arc::clone(kit.backend()), &Unlock::Nothing, elsewhere.path()).unwrap();
    let other = Kit { vault: Arc::new(vault), directory: elsewhere, place: Place::Memory };
    assert_eq!(other.new_bytes(&[chunk(32..96)]), blocks(32));
    assert_eq!(kit.new_bytes(&[chunk(32..96)]), 0);
}

#[test]
fn a_truncated_segment_is_made_anew() {
    let kit = Kit::new(Place::Local);
    kit.store(&[chunk(0..64)]);
    let [path] = segments(&kit).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 63, 64, 100, whole.len() - 24, whole.len() - 1] {
        segments(&kit).iter().for_each(|path| fs::remove_file(path).unwrap());
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(kit.new_bytes(&[chunk(0..64)]), 0, "cut to {length} bytes");
    }
}

/// Flips bits all over a segment: a hit may then be missed, but never be a wrong one.
#[test]
fn a_damaged_segment_costs_at_most_space() {
    let kit = Kit::new(Place::Memory);
    kit.store(&[chunk(0..64)]);
    // Backwards, so that each block is looked up by itself rather than found behind the last.
    let backwards: Vec<u8> = (0..64).rev().flat_map(|number| chunk(number..number + 1)).collect();
    let [path] = segments(&kit).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(5) {
        let copy = kit.behind(copy_of(kit.backend().as_ref()));
        let (lease, mut session) = {
            segments(&kit).iter().for_each(|path| fs::remove_file(path).unwrap());
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 6);
            fs::write(&path, &damaged).unwrap();
            begin(&copy, &HashSet::new()).unwrap()
        };
        let stored = put(&copy, &mut session, &backwards, &mut DiskAccount::default()).unwrap();
        session.flush().unwrap();
        drop(lease);
        assert!(read(&reader(&copy), &stored).unwrap() == backwards, "byte {at} damaged");
    }
}

/// Entries that are well formed and all wrong: other slots, slots that do not exist, packs that do not exist.
#[test]
fn an_index_that_lies_is_not_believed() {
    for place in PLACES {
        let kit = Kit::new(place);
        let stored = kit.store(&[chunk(0..64)]);
        let [path] = segments(&kit).try_into().unwrap();
        fs::remove_file(&path).unwrap();
        let fingerprinter = kit.vault.keys().fingerprinter(None);
        let lie = |(block, slot): (&[u8], u32)| SegmentEntry {
            fingerprint: fingerprinter.fingerprint(block),
            pack: slot % 2,
            slot: if slot < 32 { 63 - slot } else { slot + 40 },
        };
        let entries = stored[0].bytes.chunks(BLOCK_BYTES).zip(0..).map(lie).collect();
        let packs = [addresses(&stored[0])[0].pack, PackId([9; 16])];
        Index::add(kit.vault.index_directory(), &packs, entries).unwrap();
        let (again, new_bytes) = kit.try_store(&[chunk(0..64)], &HashSet::new()).unwrap();
        assert_eq!(new_bytes, blocks(64));
        assert_reads(&kit.reader(), &again);
    }
}

#[test]
fn an_index_removed_in_mid_session_is_made_anew_by_the_next() {
    let kit = Kit::new(Place::Local);
    kit.store(&[chunk(0..64)]);
    let (lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
    let stored = put(&kit.vault, &mut session, &chunk(0..128), &mut DiskAccount::default()).unwrap();
    fs::remove_dir_all(kit.vault.index_directory()).unwrap();
    session.flush().unwrap();
    assert_eq!(session.vanished().unwrap(), []);
    let error = session.finish().unwrap_err();
    assert!(matches!(error, StoreError::Index { .. }), "{error}");
    drop(lease);
    assert_reads(&kit.reader(), &[stored]);
    assert_eq!(kit.new_bytes(&[chunk(0..128)]), 0);
}

#[test]
fn many_sessions_leave_few_segments() {
    let kit = Kit::new(Place::Local);
    for n in 0..20 {
        kit.store(&[chunk(n * 10..n * 10 + 10)]);
    }
    let count = segments(&kit).len();
    assert!(count < 4, "{count} segments");
    assert_eq!(kit.new_bytes(&[chunk(0..200)]), 0);
}
