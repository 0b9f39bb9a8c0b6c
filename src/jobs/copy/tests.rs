//! Copies between vaults of different keys and frames, compared point by point; what travels, and what a failure leaves.

use std::path::Path;

use super::*;
use crate::backend::{Backend, Fault, Faulty, MemoryBackend, Operation, Recording};
use crate::catalogue::points::Points;
use crate::crypt::SecretBytes;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::names::PACKS;
use crate::format::point::{ConfigFile, Consistency, Manifest};
use crate::format::vault::{DedupScope, Writers};
use crate::jobs::testkit::{CHUNK, Collecting, Kit, noise};
use crate::jobs::verify::{VerifyRequest, verify};
use crate::monitor::Silent;
use crate::store::NewVault;

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
const FIRST: &str = "2026-11-20T20:00:00Z";
const SECOND: &str = "2026-11-21T20:00:00Z";

/// An empty vault in a store, with what a client keeps of it in a directory.
fn target(backend: Arc<dyn Backend>, frame_blocks: u16, dedup_scope: DedupScope, unlock: &Unlock, cache: &Path) -> Arc<Vault> {
    let new = NewVault { compression_level: 3, frame_blocks, dedup_scope, writers: Writers::Many };
    Arc::new(Vault::create(backend, new, unlock, CHEAP, cache).unwrap())
}

fn plain_target(backend: Arc<dyn Backend>, cache: &Path) -> Arc<Vault> {
    target(backend, 16, DedupScope::Vault, &Unlock::Nothing, cache)
}

fn secret(text: &[u8]) -> SecretBytes {
    SecretBytes::new(text.to_vec())
}

/// A vault with two points of web01, of which the second has one chunk of its own and another size, and one of db01 with web01's blocks.
fn source() -> (Kit, [Manifest; 3]) {
    let kit = Kit::new();
    let mut disk = noise(1, 64 * 20);
    disk[3 * CHUNK..5 * CHUNK].fill(0);
    let first = kit.backup_as("web01", FIRST, &[("vda", &disk), ("vdb", &noise(2, 70))], |request| {
        request.tags = vec!["nightly".to_owned()];
        request.consistency = Consistency::FileSystem;
        request.retain_until = Some("2030-01-01T00:00:00Z".parse().unwrap());
        request.configs = vec![ConfigFile { name: "web01.xml".to_owned(), bytes: b"<domain/>".to_vec() }];
    });
    disk[CHUNK..2 * CHUNK].copy_from_slice(&noise(3, 64));
    disk.extend_from_slice(&noise(4, 3)[..5000]);
    let second = kit.backup("web01", SECOND, &[("vda", &disk), ("vdb", &noise(2, 70))]);
    let other = kit.backup("db01", SECOND, &[("sda", &disk[4096..])]);
    (kit, [first, second, other])
}

fn points_of(vault: &Vault) -> Vec<Manifest> {
    let points = Points::new(vault.backend().as_ref(), vault.keys());
    let listing = points.list().unwrap();
    assert!(listing.problems.is_empty() && listing.pending.is_empty(), "{listing:?}");
    listing.points.iter().map(|point| points.read(point.point()).unwrap().manifest).collect()
}

fn assert_whole(vault: &Arc<Vault>) {
    let report = verify(vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

/// Checks that the target's points are these, in all that a copy keeps, and whole.
fn assert_copied(to: &Arc<Vault>, expected: &[&Manifest]) {
    assert_whole(to);
    let found = points_of(to);
    let of = |manifest: &Manifest| {
        let Manifest { point, machine, time, consistency, tags, retain_until, configs, tool_version, host, disks, .. } = manifest.clone();
        let disks: Vec<_> = disks.into_iter().map(|disk| (disk.name, disk.grid, disk.content_id, disk.source, disk.changes)).collect();
        (point, machine, time, consistency, tags, retain_until, configs, tool_version, host, disks)
    };
    let mut expected: Vec<_> = expected.iter().map(|manifest| of(manifest)).collect();
    expected.sort_by(|one, other| (&one.1, one.2).cmp(&(&other.1, other.2)));
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn points_come_over_whole_into_vaults_of_other_keys_and_frames() {
    let (kit, [first, second, other]) = source();
    let targets = [
        (16, DedupScope::Vault, Unlock::Nothing),
        (256, DedupScope::Vault, Unlock::Passphrase(secret(b"a passphrase"))),
        (1, DedupScope::Machine, Unlock::KeyFile(secret(&[7; 32]))),
    ];
    for (frame_blocks, scope, unlock) in targets {
        let cache = tempfile::tempdir().unwrap();
        let to = target(Arc::new(MemoryBackend::new()), frame_blocks, scope, &unlock, cache.path());
        let report = copy(&kit.vault, &to, &CopyRequest::default(), &Silent).unwrap();
        let order: Vec<_> = report.copied.iter().map(|copied| copied.source).collect();
        assert_eq!((order, report.present, report.damaged.len()), (vec![other.point, first.point, second.point], 0, 0));
        assert_copied(&to, &[&first, &second, &other]);
        let copies = points_of(&to);
        assert_eq!(copies.iter().map(|copy| copy.sequence).collect::<Vec<_>>(), [1, 1, 2], "each machine counts its own");
        assert_eq!((copies[1].base, copies[2].base), (None, Some(first.point)));
        assert!(to.backend().list("leases/").unwrap().is_empty() && kit.backend.list("leases/").unwrap().is_empty());
        // And back: the first vault knows its own points again.
        let back = copy(&to, &kit.vault, &CopyRequest::default(), &Silent).unwrap();
        assert_eq!((back.copied.len(), back.present), (0, 3));
    }
}

/// Bytes of packs that were read and written.
fn pack_traffic(store: &Recording) -> (u64, u64) {
    let of = |wanted: &[Operation]| {
        let of_packs = store.recorded().into_iter().filter(|one| one.name.starts_with(PACKS) && wanted.contains(&one.operation));
        of_packs.map(|one| one.amount).sum()
    };
    (of(&[Operation::Get, Operation::GetRange]), of(&[Operation::Write, Operation::Create]))
}

#[test]
fn only_what_is_missing_travels() {
    let kit = Kit::new();
    let mut disk = noise(1, 64 * 300);
    kit.backup("web01", FIRST, &[("vda", &disk)]);
    let cache = tempfile::tempdir().unwrap();
    let from_store = Arc::new(Recording::new(Arc::new(kit.backend.clone())));
    let from = Arc::new(Vault::open(Arc::clone(&from_store) as _, &Unlock::Nothing, cache.path()).unwrap());
    let to_store = Arc::new(Recording::new(Arc::new(MemoryBackend::new())));
    let to = plain_target(Arc::clone(&to_store) as _, cache.path());
    let copied = copy(&from, &to, &CopyRequest::default(), &Silent).unwrap().copied;
    assert_eq!((copied[0].read_bytes, copied[0].new_bytes), (disk.len() as u64, disk.len() as u64));
    let mut again = |changed: bool| {
        if changed {
            disk[150 * CHUNK..151 * CHUNK].copy_from_slice(&noise(9, 64));
            kit.backup("web01", SECOND, &[("vda", &disk)]);
        }
        from_store.forget();
        to_store.forget();
        let report = copy(&from, &to, &CopyRequest::default(), &Silent).unwrap();
        let bytes = report.copied.first().map(|copied| (copied.read_bytes, copied.new_bytes));
        (bytes, pack_traffic(&from_store), pack_traffic(&to_store))
    };
    assert_eq!(again(false), (None, (0, 0), (0, 0)), "an unchanged set moves no pack");
    let (bytes, (read, _), (_, written)) = again(true);
    assert_eq!(bytes, Some((CHUNK as u64, CHUNK as u64)));
    // The changed chunk, the leaf and the root above it, tables of contents.
    assert!(read < 2 * CHUNK as u64, "{read} bytes of packs were read from the source");
    assert!(written < CHUNK as u64 + 64 * 1024, "{written} bytes of packs were written to the target");
    assert_whole(&to);
}

/// Neither vault is harmed by a store that goes away at any operation, and another run completes the copy.
#[test]
fn a_target_that_is_lost_at_any_operation_stays_a_vault() {
    let kit = Kit::new();
    let mut disk = noise(1, 64);
    let first = kit.backup("web01", FIRST, &[("vda", &disk)]);
    disk[..4096].fill(9);
    let second = kit.backup("web01", SECOND, &[("vda", &disk)]);
    let (mut nth, mut failed) = (1, 0);
    loop {
        let (memory, cache) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
        let to = plain_target(Arc::new(memory.clone()), cache.path());
        drop(to);
        let open = |backend: Arc<dyn Backend>| Arc::new(Vault::open(backend, &Unlock::Nothing, cache.path()).unwrap());
        // Opening takes three operations, of which none may fail here.
        let fault = if nth % 2 == 0 { Fault::Io } else { Fault::Full };
        let faulty = Arc::new(Faulty::from_nth(Arc::new(memory.clone()), 3 + nth, fault));
        let ended = copy(&kit.vault, &open(Arc::clone(&faulty) as _), &CopyRequest::default(), &Silent);
        let to = open(Arc::new(memory.clone()));
        let points = Points::new(to.backend().as_ref(), to.keys()).list().unwrap();
        assert!(points.problems.is_empty(), "operation {nth}: {:?}", points.problems);
        assert_whole(&to);
        if faulty.operations() < 3 + nth {
            assert_copied(&to, &[&first, &second]);
            break;
        }
        failed += u32::from(ended.is_err());
        let completed = copy(&kit.vault, &to, &CopyRequest::default(), &Silent).unwrap();
        assert_eq!(completed.copied.len() as u64 + completed.present, 2);
        assert_whole(&to);
        let contents = |manifest: &Manifest| (manifest.machine.clone(), manifest.time, manifest.disks[0].content_id);
        let listing = Points::new(to.backend().as_ref(), to.keys()).list().unwrap();
        let found: Vec<_> = listing.points.iter().map(|point| contents(&point.manifest)).collect();
        assert_eq!(found, [&first, &second].map(contents), "operation {nth}");
        // Every third is enough: each copy takes a while.
        nth += 3;
    }
    assert!(failed > 10, "only {failed} copies failed: the test looks at nothing");
    assert_whole(&kit.vault);
    assert!(kit.backend.list("leases/").unwrap().is_empty());
}

/// What became durable before an interruption does not travel again.
#[test]
fn an_interrupted_copy_goes_on_with_what_is_durable() {
    let (kit, [first, second, other]) = source();
    let (memory, cache) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
    plain_target(Arc::new(memory.clone()), cache.path());
    let open = |backend: Arc<dyn Backend>| Arc::new(Vault::open(backend, &Unlock::Nothing, cache.path()).unwrap());
    let no_manifests = |_, operation, name: &str| (operation == Operation::Create && name.starts_with("points/")).then_some(Fault::Full);
    let faulty = open(Arc::new(Faulty::new(Arc::new(memory.clone()), no_manifests)));
    let error = copy(&kit.vault, &faulty, &CopyRequest::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("no space is left"), "{error}");
    let report = copy(&kit.vault, &open(Arc::new(memory.clone())), &CopyRequest::default(), &Silent).unwrap();
    assert_eq!(report.copied[0].new_bytes, 0, "db01's blocks were there already");
    assert_copied(&open(Arc::new(memory)), &[&first, &second, &other]);
}

fn flip(backend: &MemoryBackend, name: &str, at: usize) {
    let mut bytes = backend.get(name).unwrap();
    bytes[at] ^= 1;
    backend.delete(name).unwrap();
    let _ = backend.create(name, &bytes).unwrap();
}

#[test]
fn damage_to_one_point_does_not_hinder_the_others() {
    let kit = Kit::new();
    let other = kit.backup("db01", FIRST, &[("sda", &noise(5, 64 * 3))]);
    let before: Vec<String> = kit.backend.list(PACKS).unwrap().into_iter().map(|pack| pack.name).collect();
    kit.backup("web01", FIRST, &[("vda", &noise(1, 64 * 4))]);
    let pack = kit.backend.list(PACKS).unwrap().into_iter().filter(|pack| !before.contains(&pack.name)).max_by_key(|pack| pack.size_bytes);
    flip(&kit.backend, &pack.unwrap().name, 5000);
    let cache = tempfile::tempdir().unwrap();
    let to = plain_target(Arc::new(MemoryBackend::new()), cache.path());
    let monitor = Collecting::default();
    let report = copy(&kit.vault, &to, &CopyRequest::default(), &monitor).unwrap();
    assert_eq!((report.copied.len(), report.damaged.len()), (1, 1));
    assert!(report.damaged[0].error.to_string().starts_with("bytes 0 to 262144: pack "), "{}", report.damaged[0].error);
    assert!(monitor.texts()[0].contains("web01@2026-11-20T20:00:00Z: it was not copied"), "{:?}", monitor.texts());
    assert_copied(&to, &[&other]);
}

/// A manifest that names another content than its map has is not published anew.
#[test]
fn contents_are_compared_before_a_point_is_published() {
    let (kit, [first, ..]) = source();
    let mut wrong = Manifest { point: PointId([9; 16]), machine: "wrong".parse().unwrap(), ..first };
    wrong.disks[0].content_id.0[0] ^= 1;
    let points = Points::new(kit.vault.backend().as_ref(), kit.vault.keys());
    points.put(&wrong).unwrap();
    let _ = points.publish(wrong.point, crate::units::LeaseId([1; 16]), Timestamp::now()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let to = plain_target(Arc::new(MemoryBackend::new()), cache.path());
    let request = CopyRequest { points: vec![wrong.point], ..CopyRequest::default() };
    let report = copy(&kit.vault, &to, &request, &Silent).unwrap();
    assert!(matches!(report.damaged[0].error, JobError::CopyDiffers { .. }), "{}", report.damaged[0].error);
    assert!(points_of(&to).is_empty());
}

#[test]
fn points_are_chosen_by_machine_age_and_name() {
    let (kit, [first, second, other]) = source();
    let choose = |request: CopyRequest| {
        let cache = tempfile::tempdir().unwrap();
        let to = plain_target(Arc::new(MemoryBackend::new()), cache.path());
        let request = CopyRequest { dry_run: true, ..request };
        let report = copy(&kit.vault, &to, &request, &Silent).unwrap();
        assert!(to.backend().list(PACKS).unwrap().is_empty(), "a dry run wrote");
        report.copied.iter().map(|point| point.source).collect::<Vec<_>>()
    };
    let all = CopyRequest::default;
    let web01 = || vec!["web01".parse().unwrap()];
    assert_eq!(choose(CopyRequest { machines: web01(), ..all() }), [first.point, second.point]);
    assert_eq!(choose(CopyRequest { latest: true, ..all() }), [other.point, second.point]);
    assert_eq!(choose(CopyRequest { since: Some(SECOND.parse().unwrap()), machines: web01(), ..all() }), [second.point]);
    assert_eq!(choose(CopyRequest { points: vec![first.point, other.point], ..all() }), [other.point, first.point]);
    let cache = tempfile::tempdir().unwrap();
    let to = plain_target(Arc::new(MemoryBackend::new()), cache.path());
    let nowhere = CopyRequest { points: vec![PointId([8; 16])], ..all() };
    assert!(copy(&kit.vault, &to, &nowhere, &Silent).unwrap_err().to_string().contains("there is no recovery point"));
    assert!(matches!(copy(&kit.vault, &kit.vault, &all(), &Silent), Err(JobError::SameVault { .. })));
}

/// A point that was deleted in the target does not come back by itself.
#[test]
fn what_was_deleted_in_the_second_place_stays_deleted() {
    let (kit, [first, ..]) = source();
    let cache = tempfile::tempdir().unwrap();
    let to = plain_target(Arc::new(MemoryBackend::new()), cache.path());
    copy(&kit.vault, &to, &CopyRequest::default(), &Silent).unwrap();
    let later = "2031-01-01T00:00:00Z".parse().unwrap();
    Points::new(to.backend().as_ref(), to.keys()).delete_point(first.point, later).unwrap();
    assert_eq!(copy(&kit.vault, &to, &CopyRequest::default(), &Silent).unwrap().present, 3);
    // As a collection leaves it: without its manifest.
    to.backend().delete(&format!("points/{}", first.point)).unwrap();
    assert_eq!(copy(&kit.vault, &to, &CopyRequest::default(), &Silent).unwrap().present, 3);
    let named = CopyRequest { points: vec![first.point], ..CopyRequest::default() };
    let copied = copy(&kit.vault, &to, &named, &Silent).unwrap().copied;
    assert!(copied[0].point != first.point, "its tombstone has its own id");
    assert_whole(&to);
    assert_eq!(points_of(&to).len(), 3);
}

#[test]
fn another_point_of_the_same_name_is_left_alone() {
    let (kit, _) = source();
    let cache = tempfile::tempdir().unwrap();
    let to = Kit::new();
    let own = to.backup("db01", SECOND, &[("sda", &noise(77, 64))]);
    let monitor = Collecting::default();
    let report = copy(&kit.vault, &to.vault, &CopyRequest::default(), &monitor).unwrap();
    assert_eq!(report.copied.len(), 2);
    assert!(monitor.texts()[0].contains(&format!("the target has another point of this machine and time, {}", own.point)));
    drop(cache);
}

/// A distant vault is read ahead of the workers: all frames are asked for, and the steps are the same.
#[test]
fn reading_ahead_changes_nothing_but_when_frames_are_read() {
    let (kit, [first, ..]) = source();
    let store = Arc::new(Recording::new(Arc::new(kit.backend.clone())));
    let vault = Vault::open(Arc::clone(&store) as _, &Unlock::Nothing, kit.directory.path()).unwrap();
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), SOURCE_CACHE_BYTES));
    let (_, map) = crate::jobs::testing::readers(&vault, &first.disks[0]);
    let chunks = crate::units::ChunkRange { start: 0, end: map.grid().chunk_count() };
    let steps = |requests| {
        let plan = vec![crate::scan::PlanStep { kind: crate::scan::PlanKind::Read, chunks }];
        std::thread::scope(|scope| source::Steps::new(&map, plan, &packs, requests, scope, &Silent).map(Result::unwrap).collect::<Vec<_>>())
    };
    let alone = steps(1);
    store.forget();
    assert_eq!(steps(8), alone);
    assert!(store.amount(Operation::GetRange) > 17 * CHUNK as u64, "nothing was read ahead");
}
