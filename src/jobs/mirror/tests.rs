//! Mirrors of small vaults: the same bytes, a valid vault after any interruption, nothing removed that is needed.

use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::backend::{Fault, Faulty, MemoryBackend, Operation, Recording};
use crate::catalogue::points::Points;
use crate::crypt::slot::Unlock;
use crate::format::point::Manifest;
use crate::jobs::testkit::{Collecting, Kit, noise};
use crate::jobs::verify::{VerifyRequest, verify};
use crate::monitor::Silent;

const FIRST: &str = "2026-11-20T20:00:00Z";
const SECOND: &str = "2026-11-21T20:00:00Z";
const KEYLESS: MirrorRequest<'static> = MirrorRequest { opened: None, delete: false };

/// A vault with two points, of which the first is to be kept for long.
fn vault() -> (Kit, [Manifest; 2]) {
    let kit = Kit::new();
    let mut disk = noise(1, 64 * 5);
    let first = kit.backup_as("web01", FIRST, &[("vda", &disk)], |request| {
        request.retain_until = Some("2090-01-01T00:00:00Z".parse().unwrap());
    });
    disk[4096..8192].fill(7);
    let second = kit.backup("web01", SECOND, &[("vda", &disk)]);
    (kit, [first, second])
}

fn found(backend: Arc<dyn Backend>) -> FoundVault {
    FoundVault::at(backend, Path::new("/nonexistent")).unwrap()
}

fn run(from: &MemoryBackend, to: &MemoryBackend, request: MirrorRequest<'_>) -> Result<MirrorReport, JobError> {
    mirror(&found(Arc::new(from.clone())), &(Arc::new(to.clone()) as _), request, &Silent)
}

/// What both must have: all but what tells of work under way and of one place's own medium.
fn contents(backend: &MemoryBackend) -> BTreeMap<String, Vec<u8>> {
    let mirrored = |name: &str| !["leases/", "collections/", "condemned/", "damaged/"].iter().any(|prefix| name.starts_with(prefix));
    let names = backend.list("").unwrap().into_iter().map(|object| object.name).filter(|name| mirrored(name));
    names.map(|name| (name.clone(), backend.get(&name).unwrap())).collect()
}

/// The points of a place, which must be a vault of which everything that it shows is whole.
fn whole_points(backend: &MemoryBackend) -> Vec<PointId> {
    let cache = tempfile::tempdir().unwrap();
    let vault = Arc::new(Vault::open(Arc::new(backend.clone()), &Unlock::Nothing, cache.path()).unwrap());
    let report = verify(&vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
    assert!(report.is_whole(), "{report:?}");
    report.points.iter().map(|point| point.point).collect()
}

#[test]
fn a_mirror_has_the_same_bytes_and_is_a_vault() {
    let (kit, [first, second]) = vault();
    let to = MemoryBackend::new();
    let report = run(&kit.backend, &to, KEYLESS).unwrap();
    assert_eq!(contents(&to), contents(&kit.backend));
    assert_eq!((report.copied_points, report.damaged.len(), report.present_objects > 0), (2, 0, false));
    assert_eq!(report.copied_bytes, contents(&to).values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!(whole_points(&to), [first.point, second.point]);
}

#[test]
fn a_second_run_reads_and_writes_nothing_but_names_and_the_header() {
    let (kit, _) = vault();
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    let (from_store, to_store) = (Arc::new(Recording::new(Arc::new(kit.backend.clone()))), Arc::new(Recording::new(Arc::new(to.clone()))));
    let report = mirror(&found(Arc::clone(&from_store) as _), &(Arc::clone(&to_store) as _), KEYLESS, &Silent).unwrap();
    assert_eq!((report.copied_objects, report.copied_bytes), (0, 0));
    let beside = |store: &Recording| -> Vec<String> {
        let all = store.recorded().into_iter().filter(|one| one.operation != Operation::List && one.name != "vault");
        all.map(|one| one.name).collect()
    };
    assert_eq!((beside(&from_store), beside(&to_store)), (vec![], vec![]));
}

/// A mirror that is lost at any operation is a valid vault, or no vault yet; the next run completes it.
#[test]
fn a_mirror_is_valid_after_every_operation() {
    let (kit, [first, second]) = vault();
    let (mut nth, mut with_points) = (1, 0);
    loop {
        let to = MemoryBackend::new();
        let fault = [Fault::Io, Fault::Full, Fault::Unclear][nth as usize % 3];
        let faulty = Arc::new(Faulty::from_nth(Arc::new(to.clone()), nth, fault));
        let ended = mirror(&found(Arc::new(kit.backend.clone())), &(Arc::clone(&faulty) as _), KEYLESS, &Silent);
        if faulty.operations() < nth {
            ended.unwrap();
            break;
        }
        assert!(ended.is_err(), "operation {nth} failed unnoticed");
        if to.size_bytes("vault").unwrap().is_some() {
            with_points += usize::from(!whole_points(&to).is_empty());
        }
        run(&kit.backend, &to, KEYLESS).unwrap();
        assert_eq!(contents(&to), contents(&kit.backend), "operation {nth}");
        nth += 1;
    }
    assert!(nth > 20 && with_points > 0, "{nth} operations, {with_points} with points: the test looks at nothing");
    assert_eq!(whole_points(&kit.backend), [first.point, second.point]);
}

/// The order of what is put: all that a point refers to, its manifest, its states, its verdict.
#[test]
fn a_verdict_is_the_last_of_its_point() {
    let (kit, [first, _]) = vault();
    let points = Points::new(kit.vault.backend().as_ref(), kit.vault.keys());
    points
        .change_state(first.point, Timestamp::now(), |state| {
            state.pinned = true;
            Ok(())
        })
        .unwrap();
    let to = Arc::new(Recording::new(Arc::new(MemoryBackend::new())));
    mirror(&found(Arc::new(kit.backend.clone())), &(Arc::clone(&to) as _), KEYLESS, &Silent).unwrap();
    let made = to.recorded().into_iter().filter(|one| matches!(one.operation, Operation::Create | Operation::Finish));
    let mut kinds: Vec<String> = made.map(|one| one.name.split('/').next().unwrap().to_owned()).collect();
    kinds.dedup();
    assert_eq!(kinds, ["keys", "vault", "packs", "index", "points", "states", "verdicts"]);
}

/// A point that is pending when the mirror begins is not shown by it, whatever happens meanwhile.
#[test]
fn pending_points_are_left_for_the_next_run() {
    let (kit, [first, _]) = vault();
    let pending = Manifest { point: PointId([9; 16]), ..first };
    Points::new(kit.vault.backend().as_ref(), kit.vault.keys()).put(&pending).unwrap();
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    assert_eq!(to.size_bytes(&format!("points/{}", pending.point)).unwrap(), None);
}

#[test]
fn another_vault_and_other_things_are_refused() {
    let (kit, _) = vault();
    let other = Kit::new();
    let before = contents(&other.backend);
    let error = run(&kit.backend, &other.backend, KEYLESS).unwrap_err();
    assert!(matches!(error, JobError::AnotherVault { .. }), "{error}");
    assert_eq!(contents(&other.backend), before);
    let stuff = MemoryBackend::new();
    let _ = stuff.create("photos/cat", b"miau").unwrap();
    let error = run(&kit.backend, &stuff, KEYLESS).unwrap_err();
    assert!(error.to_string().contains("holds 'photos/cat' and no vault"), "{error}");
    assert_eq!(stuff.list("").unwrap().len(), 1);
    let foreign = MemoryBackend::new();
    let slot = other.backend.list(KEYS).unwrap()[0].name.clone();
    let _ = foreign.create(&slot, &other.backend.get(&slot).unwrap()).unwrap();
    assert!(matches!(run(&kit.backend, &foreign, KEYLESS), Err(JobError::NotAMirror { .. })), "another vault's unfinished mirror");
}

fn flip(backend: &MemoryBackend, name: &str, at: usize) {
    let mut bytes = backend.get(name).unwrap();
    bytes[at] ^= 1;
    backend.delete(name).unwrap();
    let _ = backend.create(name, &bytes).unwrap();
}

/// Damage does not spread: what is damaged in the vault is told of and not copied, and a good copy in the mirror is left alone.
#[test]
fn damage_is_not_mirrored() {
    let (kit, [first, second]) = vault();
    let to = MemoryBackend::new();
    let packs = kit.backend.list(PACKS).unwrap();
    let pack = packs.iter().max_by_key(|pack| pack.size_bytes).unwrap().name.clone();
    let manifest = format!("points/{}", second.point);
    flip(&kit.backend, &pack, 5000);
    flip(&kit.backend, &manifest, 100);
    let report = run(&kit.backend, &to, KEYLESS).unwrap();
    assert_eq!(report.damaged.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [pack.as_str(), &manifest]);
    assert_eq!((to.size_bytes(&pack).unwrap(), to.size_bytes(&manifest).unwrap()), (None, None));
    assert_eq!(to.size_bytes(&format!("verdicts/{}", second.point)).unwrap(), None, "a point without manifest would be damage there too");
    flip(&kit.backend, &pack, 5000);
    flip(&kit.backend, &manifest, 100);
    assert_eq!(run(&kit.backend, &to, KEYLESS).unwrap().damaged, []);
    let whole = contents(&to);
    // Truncated in the vault, the mirror keeps what it has.
    let bytes = kit.backend.get(&pack).unwrap();
    kit.backend.delete(&pack).unwrap();
    let _ = kit.backend.create(&pack, &bytes[..500]).unwrap();
    let report = run(&kit.backend, &to, KEYLESS).unwrap();
    assert!(report.damaged[0].1.contains("in the mirror, but 500 in the vault"), "{report:?}");
    assert_eq!((contents(&to) == whole, whole_points(&to)), (true, vec![first.point, second.point]));
}

/// Collections begin and packs vanish while the mirror is made: it begins again until nothing moved past it, or says so.
#[test]
fn a_collection_makes_the_walk_begin_again() {
    let (kit, _) = vault();
    let to = MemoryBackend::new();
    let collections = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = |most: u64| {
        let (inner, collections) = (kit.backend.clone(), Arc::clone(&collections));
        let judge = move |_, operation, name: &str| {
            let number = collections.load(std::sync::atomic::Ordering::SeqCst);
            if operation == Operation::List && name == MOVED && number < most {
                collections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = inner.create(&ObjectName::Collection(number + 1).to_string(), b"begun").unwrap();
            }
            None
        };
        found(Arc::new(Faulty::new(Arc::new(kit.backend.clone()), judge)))
    };
    mirror(&counting(3), &(Arc::new(to.clone()) as _), KEYLESS, &Silent).unwrap();
    assert_eq!(contents(&to), contents(&kit.backend));
    let error = mirror(&counting(100), &(Arc::new(MemoryBackend::new()) as _), KEYLESS, &Silent).unwrap_err();
    assert!(matches!(error, JobError::CollectedMeanwhile { .. }), "{error}");
}

#[test]
fn a_lease_is_held_where_the_key_is_there() {
    let (kit, _) = vault();
    let store = Arc::new(Recording::new(Arc::new(kit.backend.clone())));
    let opened = Arc::new(Vault::open(Arc::clone(&store) as _, &Unlock::Nothing, kit.directory.path()).unwrap());
    let to: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let request = MirrorRequest { opened: Some(&opened), delete: false };
    mirror(&found(Arc::clone(&store) as _), &to, request, &Silent).unwrap();
    let at = |wanted: &dyn Fn(&crate::backend::Recorded) -> bool| store.recorded().iter().position(wanted).unwrap();
    let taken = at(&|one| one.operation == Operation::Create && one.name.starts_with("leases/"));
    assert!(taken < at(&|one| one.operation == Operation::List && one.name == VERDICTS), "names were listed before the lease");
    assert!(kit.backend.list("leases/").unwrap().is_empty() && to.list("leases/").unwrap().is_empty());
}

/// As a collection takes a deleted point away: its manifest, and the packs that only it refers to.
fn collect(kit: &Kit, point: &Manifest, packs: &[String]) {
    let later = "2091-01-01T00:00:00Z".parse().unwrap();
    Points::new(kit.vault.backend().as_ref(), kit.vault.keys()).delete_point(point.point, later).unwrap();
    kit.backend.delete(&format!("points/{}", point.point)).unwrap();
    packs.iter().for_each(|pack| kit.backend.delete(pack).unwrap());
}

fn pack_names(backend: &MemoryBackend) -> Vec<String> {
    backend.list(PACKS).unwrap().into_iter().map(|pack| pack.name).collect()
}

#[test]
fn what_the_vault_deleted_is_removed_only_if_asked_for_and_only_if_nothing_needs_it() {
    let kit = Kit::new();
    let old = kit.backup("web01", FIRST, &[("vda", &noise(1, 64 * 3))]);
    let of_old = pack_names(&kit.backend);
    let new = kit.backup("db01", SECOND, &[("vda", &noise(2, 64 * 3))]);
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    collect(&kit, &old, &of_old);
    let kept = run(&kit.backend, &to, KEYLESS).unwrap();
    assert_eq!((kept.deleted_objects, to.size_bytes(&of_old[0]).unwrap().is_some()), (0, true));
    assert!(matches!(run(&kit.backend, &to, MirrorRequest { opened: None, delete: true }), Err(JobError::NeedsKey { .. })));
    let report = run(&kit.backend, &to, MirrorRequest { opened: Some(&kit.vault), delete: true }).unwrap();
    assert_eq!(report.deleted_objects, 1 + of_old.len() as u64);
    assert_eq!(contents(&to), contents(&kit.backend));
    assert_eq!(whole_points(&to), [new.point]);
}

#[test]
fn a_point_whose_time_has_not_come_stays_with_all_that_it_needs() {
    let (kit, [first, second]) = vault();
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    let packs = pack_names(&kit.backend);
    collect(&kit, &first, &packs);
    collect(&kit, &second, &[]);
    let report = run(&kit.backend, &to, MirrorRequest { opened: Some(&kit.vault), delete: true }).unwrap();
    assert_eq!(report.kept_points, [first.point]);
    // The second shares blocks with the first, but has a map of its own.
    assert!(report.deleted_objects >= 2, "{report:?}");
    let opened = Arc::new(kit.vault.elsewhere(Arc::new(to.clone()), kit.directory.path()));
    let request = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None };
    Points::new(&to, opened.keys())
        .change_state(first.point, Timestamp::now(), |state| {
            state.deleted = None;
            Ok(())
        })
        .unwrap();
    let verified = verify(&opened, &request, &Silent).unwrap();
    assert!(verified.is_whole() && verified.points.len() == 1, "{verified:?}");
}

/// What the vault has lost, the mirror keeps: it is all that is left.
#[test]
fn what_was_lost_is_not_removed() {
    let kit = Kit::new();
    let first = kit.backup("web01", FIRST, &[("vda", &noise(1, 64 * 3))]);
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    let whole = contents(&to);
    pack_names(&kit.backend).iter().for_each(|pack| kit.backend.delete(pack).unwrap());
    kit.backend.delete(&format!("points/{}", first.point)).unwrap();
    let monitor = Collecting::default();
    let place: Arc<dyn Backend> = Arc::new(to.clone());
    let request = MirrorRequest { opened: Some(&kit.vault), delete: true };
    let report = mirror(&found(Arc::new(kit.backend.clone())), &place, request, &monitor).unwrap();
    assert_eq!(report.deleted_objects, 0);
    assert!(monitor.texts()[0].contains("it was lost there, not deleted"), "{:?}", monitor.texts());
    kit.backend.delete(&format!("verdicts/{}", first.point)).unwrap();
    assert_eq!(run(&kit.backend, &to, MirrorRequest { opened: Some(&kit.vault), delete: true }).unwrap().deleted_objects, 0);
    assert_eq!(contents(&to), whole);
    let _ = to.create(&ObjectName::Collection(1).to_string(), b"its own").unwrap();
    let own = run(&kit.backend, &to, MirrorRequest { opened: Some(&kit.vault), delete: true });
    assert!(matches!(own, Err(JobError::NotOnlyAMirror { .. })));
}

#[test]
fn a_removed_key_slot_is_told_of_and_removed_with_the_rest() {
    let (kit, _) = vault();
    let to = MemoryBackend::new();
    run(&kit.backend, &to, KEYLESS).unwrap();
    let extra = "keys/0101010101010101";
    let _ = to.create(extra, b"an old slot").unwrap();
    let monitor = Collecting::default();
    let place: Arc<dyn Backend> = Arc::new(to.clone());
    mirror(&found(Arc::new(kit.backend.clone())), &place, KEYLESS, &monitor).unwrap();
    assert!(monitor.texts()[0].starts_with("keys/0101010101010101: the vault no longer has this key slot"), "{:?}", monitor.texts());
    run(&kit.backend, &to, MirrorRequest { opened: Some(&kit.vault), delete: true }).unwrap();
    assert_eq!(to.size_bytes(extra).unwrap(), None);
}
