//! Damage to packs, seen by verification: the right points, disks and ranges, and nothing else.

use super::*;
use crate::backend::{Backend, MemoryBackend};
use crate::crypt::slot::Unlock;
use crate::jobs::backup::backup;
use crate::jobs::backup::tests::{disk, request, vault};
use crate::monitor::Silent;
use crate::units::CHUNK_BYTES;

const ALL: VerifyRequest = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: Some(1) };

/// A vault with two points of one disk: the second has chunk 5 rewritten. Gives also the packs of each.
fn two_points() -> (tempfile::TempDir, Arc<MemoryBackend>, Arc<Vault>, [Vec<String>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let backend = Arc::new(MemoryBackend::new());
    let vault = vault(Arc::clone(&backend) as Arc<dyn Backend>, &Unlock::Nothing, directory.path());
    let names = || -> Vec<String> { backend.list("packs/").unwrap().into_iter().map(|listed| listed.name).collect() };
    let mut state = disk(12, 7);
    std::fs::write(&image, &state).unwrap();
    backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap();
    let first = names();
    state[5 * CHUNK_BYTES..6 * CHUNK_BYTES].copy_from_slice(&disk(1, 99)[..CHUNK_BYTES]);
    std::fs::write(&image, &state).unwrap();
    backup(&vault, &request("m", &[("vda", &image)], None), &Silent).unwrap();
    let second = names().into_iter().filter(|name| !first.contains(name)).collect();
    (directory, backend, vault, [first, second])
}

fn kind(backend: &MemoryBackend, name: &str) -> crate::format::pack::PackKind {
    let bytes = backend.get(name).unwrap();
    crate::format::pack::Trailer::decode(&bytes, bytes.len() as u64).unwrap().kind
}

/// Puts changed bytes in an object's place, as a failing disk does.
fn damage(backend: &MemoryBackend, name: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = backend.get(name).unwrap();
    change(&mut bytes);
    backend.delete(name).unwrap();
    assert_eq!(backend.create(name, &bytes).unwrap(), crate::backend::Created::New);
}

fn data_pack<'a>(backend: &MemoryBackend, names: &'a [String]) -> &'a String {
    names.iter().find(|name| kind(backend, name) == crate::format::pack::PackKind::Data).unwrap()
}

/// What this computer remembers of points hides no damage from verification.
#[test]
fn a_manifest_damaged_after_it_was_read_is_found() {
    let (_directory, backend, vault, _) = two_points();
    let listed = || crate::jobs::points::look(&vault).unwrap();
    let point = listed().points[0].point();
    damage(&backend, &format!("points/{point}"), |bytes| bytes[100] ^= 1);
    assert_eq!((listed().points.len(), listed().problems.len()), (2, 0), "not remembered: this test shows nothing");
    let report = verify(&vault, &ALL, &Silent).unwrap();
    assert!(!report.is_whole());
    assert!(report.objects[0].contains(&point.to_string()), "{:?}", report.objects);
}

#[test]
fn a_whole_vault_is_whole_and_read_once() {
    let (_directory, backend, vault, _) = two_points();
    let report = verify(&vault, &ALL, &Silent).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.points.len(), 2);
    // Twelve chunks and a bit of the first point, one more of the second.
    assert!(report.read_bytes <= 14 * CHUNK_BYTES as u64, "{} bytes were read", report.read_bytes);
    assert_eq!(verify_quick(backend.as_ref(), &Silent).unwrap().damaged, []);
    let sample = VerifyRequest { sample_percent: 20.0, ..ALL };
    assert!(verify(&vault, &sample, &Silent).unwrap().read_bytes < report.read_bytes);
}

#[test]
fn damage_to_the_second_points_data_names_its_range_only() {
    let (_directory, backend, vault, [_, second]) = two_points();
    let pack = data_pack(&backend, &second).clone();
    damage(&backend, &pack, |bytes| bytes[100] ^= 1);
    let report = verify(&vault, &ALL, &Silent).unwrap();
    assert_eq!(report.points[0].damaged, []);
    let [range] = report.points[1].damaged.as_slice() else { panic!("{report:?}") };
    assert_eq!(range.extent, Extent::between(5 * CHUNK_BYTES as u64, 6 * CHUNK_BYTES as u64));
    assert!(report.damaged_slots > 0);
    // They are listed once.
    assert_eq!(verify(&vault, &ALL, &Silent).unwrap().damaged_slots, 0);
    assert_eq!(verify_quick(backend.as_ref(), &Silent).unwrap().damaged.len(), 1);
}

#[test]
fn lost_truncated_and_swapped_packs_are_found() {
    let (_directory, backend, vault, [first, second]) = two_points();
    let (one, other) = (data_pack(&backend, &first).clone(), data_pack(&backend, &second).clone());
    let whole = backend.get(&one).unwrap();
    for change in [&(|bytes: &mut Vec<u8>| bytes.truncate(500)) as &dyn Fn(&mut Vec<u8>), &|bytes| bytes.clear(), &|bytes| {
        *bytes = backend.get(&other).unwrap();
    }] {
        damage(&backend, &one, change);
        let report = verify(&vault, &ALL, &Silent).unwrap();
        assert!(report.points.iter().all(|point| !point.damaged.is_empty()), "{report:?}");
        assert!(!verify_quick(backend.as_ref(), &Silent).unwrap().damaged.is_empty());
        damage(&backend, &one, |bytes| bytes.clone_from(&whole));
    }
    backend.delete(&other).unwrap();
    let report = verify(&vault, &ALL, &Silent).unwrap();
    assert_eq!(report.points.iter().map(|point| point.damaged.is_empty()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_damaged_map_names_all_that_lies_below_it() {
    let (_directory, backend, vault, [first, _]) = two_points();
    let map = first.iter().find(|name| kind(&backend, name) == crate::format::pack::PackKind::Map).unwrap().clone();
    damage(&backend, &map, |bytes| bytes[40] ^= 1);
    let report = verify(&vault, &ALL, &Silent).unwrap();
    assert_eq!(report.points[0].damaged[0].extent, Extent::between(0, 12 * CHUNK_BYTES as u64 + 1000));
    assert_eq!(report.points[1].damaged, [], "the second point has a map of its own");
}
