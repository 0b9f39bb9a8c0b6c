//! The damage matrix: every kind of object, damaged in every way, comes back from the mirror, and nothing else does.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::backend::{Created, Fault, Faulty, MemoryBackend, Operation};
use crate::catalogue::points::Points;
use crate::crypt::slot::Unlock;
use crate::format::names::ObjectName;
use crate::format::point::Manifest;
use crate::jobs::mirror::{MirrorRequest, mirror as make_mirror};
use crate::jobs::testkit::{Kit, noise};
use crate::jobs::vault::FoundVault;
use crate::jobs::verify::{VerifyRequest, verify};
use crate::monitor::Silent;

const FIRST: &str = "2026-11-20T20:00:00Z";
const SECOND: &str = "2026-11-21T20:00:00Z";
const ALL: VerifyRequest = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None };

type Objects = BTreeMap<String, Vec<u8>>;

/// A vault with two points and a state, its mirror, and what both hold.
struct Scene {
    kit: Kit,
    mirror: Arc<Vault>,
    copy: MemoryBackend,
    points: [Manifest; 2],
    whole: Objects,
}

fn contents(backend: &MemoryBackend) -> Objects {
    // Index objects are a help only, and clients pass over damaged ones: nobody repairs them.
    let names = backend.list("").unwrap().into_iter().map(|object| object.name).filter(|name| !name.starts_with("index/"));
    names.map(|name| (name.clone(), backend.get(&name).unwrap())).collect()
}

fn set(backend: &MemoryBackend, name: &str, bytes: Option<&[u8]>) {
    backend.delete(name).unwrap();
    if let Some(bytes) = bytes {
        assert_eq!(backend.create(name, bytes).unwrap(), Created::New);
    }
}

impl Scene {
    fn new() -> Self {
        let kit = Kit::new();
        let mut disk = noise(1, 64 * 3);
        let first = kit.backup("web01", FIRST, &[("vda", &disk)]);
        disk[4096..8192].copy_from_slice(&noise(9, 1));
        let second = kit.backup("web01", SECOND, &[("vda", &disk)]);
        let points = Points::new(kit.vault.backend().as_ref(), kit.vault.keys());
        let pin = |state: &mut crate::format::point::PointState| {
            state.pinned = true;
            Ok(())
        };
        points.change_state(first.point, Timestamp::now(), pin).unwrap();
        let copy = MemoryBackend::new();
        let found = FoundVault::at(Arc::new(kit.backend.clone()), kit.directory.path()).unwrap();
        let request = MirrorRequest { opened: None, delete: false };
        make_mirror(&found, &(Arc::new(copy.clone()) as _), request, &Silent).unwrap();
        let mirror = Arc::new(Vault::open(Arc::new(copy.clone()), &Unlock::Nothing, kit.directory.path()).unwrap());
        let whole = contents(&kit.backend);
        Self { kit, mirror, copy, points: [first, second], whole }
    }

    fn repair(&self, dry_run: bool) -> Result<RepairReport, JobError> {
        let to: Arc<dyn Backend> = Arc::new(self.kit.backend.clone());
        repair(&self.mirror, &to, self.kit.directory.path(), dry_run, &Silent)
    }

    fn restore(&self) {
        let now = contents(&self.kit.backend);
        now.keys().filter(|name| !self.whole.contains_key(*name)).for_each(|name| set(&self.kit.backend, name, None));
        self.whole.iter().for_each(|(name, bytes)| set(&self.kit.backend, name, Some(bytes)));
    }

    fn assert_whole(&self, said: &str) {
        assert!(contents(&self.kit.backend) == self.whole, "{said}: the vault is not as it was");
        let report = verify(&self.kit.vault, &ALL, &Silent).unwrap();
        assert!(report.is_whole() && report.points.len() == 2, "{said}: {report:?}");
    }
}

#[test]
fn every_object_comes_back_however_it_was_damaged() {
    let scene = Scene::new();
    let names: Vec<&String> = scene.whole.keys().collect();
    let kinds: std::collections::BTreeSet<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["keys", "packs", "points", "states", "vault", "verdicts"]);
    for name in names {
        let bytes = &scene.whole[name];
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let sibling = scene.whole.keys().rev().find(|other| *other != name && other.split('/').next() == name.split('/').next());
        let swapped = sibling.map(|other| scene.whole[other].clone()).unwrap_or_else(|| b"something else".to_vec());
        for (how, damage) in [
            ("missing", None),
            ("cut", Some(&bytes[..20])),
            ("empty", Some(&[][..])),
            ("flipped", Some(&flipped)),
            ("swapped", Some(&swapped)),
        ] {
            set(&scene.kit.backend, name, damage);
            let planned = scene.repair(true).unwrap();
            assert_eq!(scene.kit.backend.get(name).ok().as_deref(), damage, "a dry run changed {name}");
            let report = scene.repair(false).unwrap();
            assert_eq!((&report.repaired, &report.lost), (&planned.repaired, &planned.lost), "{name} {how}");
            let repaired: Vec<String> = report.repaired.iter().map(|repair| repair.name.to_string()).collect();
            assert_eq!(repaired, std::slice::from_ref(name), "{how}");
            assert_eq!(report.repaired[0].why == Why::Missing, damage.is_none());
            scene.assert_whole(&format!("{name} {how}"));
        }
    }
    assert_eq!(scene.repair(false).unwrap(), RepairReport::default(), "a whole vault needs nothing");
}

/// All is lost but one name: the header and the key slots come first, the verdicts last.
#[test]
fn a_vault_of_which_little_is_left_comes_back_whole() {
    let scene = Scene::new();
    let left = format!("points/{}", scene.points[0].point);
    scene.whole.keys().filter(|name| **name != left).for_each(|name| set(&scene.kit.backend, name, None));
    let report = scene.repair(false).unwrap();
    scene.assert_whole("all but a manifest");
    let kinds: Vec<_> = report.repaired.iter().map(|repair| repair.name.to_string().split('/').next().unwrap().to_owned()).collect();
    let mut order = kinds.clone();
    order.dedup();
    assert_eq!(order, ["keys", "vault", "packs", "points", "states", "verdicts"]);
}

#[test]
fn verification_and_backups_forget_what_was_repaired() {
    let scene = Scene::new();
    let data = scene.kit.backend.list(PACKS).unwrap().into_iter().max_by_key(|pack| pack.size_bytes).unwrap().name;
    let mut bytes = scene.whole[&data].clone();
    bytes[5000] ^= 1;
    set(&scene.kit.backend, &data, Some(&bytes));
    let found = verify(&scene.kit.vault, &ALL, &Silent).unwrap();
    assert!(found.damaged_slots > 0 && !scene.kit.backend.list("damaged/").unwrap().is_empty());
    let report = scene.repair(false).unwrap();
    assert_eq!(report.cleared_blocks, found.damaged_slots);
    scene.assert_whole("a data pack");
    let again = scene.kit.backup("web02", SECOND, &[("vda", &noise(1, 64 * 3))]);
    assert_eq!(again.disks[0].statistics.new_bytes, 0, "what was repaired is not referred to");
}

/// What is damaged on both sides stays listed as damaged, and is told of; all else is repaired.
#[test]
fn what_the_mirror_has_lost_too_is_told_of() {
    let scene = Scene::new();
    let mut packs = scene.kit.backend.list(PACKS).unwrap();
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.size_bytes));
    let (data, other) = (&packs[0].name, &packs[1].name);
    let mut bytes = scene.whole[data].clone();
    bytes[5000] ^= 1;
    set(&scene.kit.backend, data, Some(&bytes));
    set(&scene.kit.backend, other, None);
    set(&scene.copy, data, Some(&bytes));
    let slots = verify(&scene.kit.vault, &ALL, &Silent).unwrap().damaged_slots;
    let report = scene.repair(false).unwrap();
    assert_eq!(report.repaired.iter().map(|repair| repair.name.to_string()).collect::<Vec<_>>(), std::slice::from_ref(other));
    assert!(report.lost.len() == 1 && report.lost[0].0 == *data && report.lost[0].1.contains("in the mirror: pack"), "{report:?}");
    assert!(scene.kit.backend.get(data).unwrap() == bytes, "what can be read of a damaged pack was thrown away");
    assert_eq!(report.cleared_blocks, 1, "the block of the pack that came back");
    assert!(slots > 1, "damaged blocks are not listed any more");
    assert!(!scene.kit.backend.list("damaged/").unwrap().is_empty(), "damaged blocks are not listed any more");
    assert!(!verify(&scene.kit.vault, &ALL, &Silent).unwrap().is_whole());
}

/// A mirror keeps what the vault has deleted: it does not come back, nor do key slots that were removed.
#[test]
fn what_was_deleted_stays_away() {
    let scene = Scene::new();
    let points = Points::new(scene.kit.vault.backend().as_ref(), scene.kit.vault.keys());
    let [first, second] = &scene.points;
    let unpin = |state: &mut crate::format::point::PointState| {
        state.pinned = false;
        Ok(())
    };
    points.change_state(first.point, Timestamp::now(), unpin).unwrap();
    points.delete_point(first.point, Timestamp::now()).unwrap();
    scene.kit.backend.delete(&format!("points/{}", first.point)).unwrap();
    set(&scene.copy, "keys/0101010101010101", Some(b"an old slot"));
    let before = contents(&scene.kit.backend);
    assert_eq!(scene.repair(false).unwrap(), RepairReport::default());
    assert!(contents(&scene.kit.backend) == before);
    // A pack that only the deleted point refers to is nobody's loss.
    let _ = second;
}

#[test]
fn another_vault_and_an_empty_place_are_refused() {
    let scene = Scene::new();
    let other = Kit::new();
    let to: Arc<dyn Backend> = Arc::new(other.backend.clone());
    let error = repair(&scene.mirror, &to, other.directory.path(), false, &Silent).unwrap_err();
    assert!(matches!(error, JobError::AnotherVault { .. }), "{error}");
    other.backend.delete("vault").unwrap();
    let error = repair(&scene.mirror, &to, other.directory.path(), false, &Silent).unwrap_err();
    assert!(matches!(error, JobError::AnotherVault { .. }), "its key slots tell: {error}");
    let empty: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let error = repair(&scene.mirror, &empty, other.directory.path(), false, &Silent).unwrap_err();
    assert!(matches!(error, JobError::NotThisVault { .. }), "{error}");
    assert!(empty.list("").unwrap().is_empty());
}

/// Whatever operation the repair ends at, no sound object is gone, and another run completes it.
#[test]
fn an_interrupted_repair_loses_nothing() {
    let scene = Scene::new();
    let pack = scene.kit.backend.list(PACKS).unwrap().into_iter().max_by_key(|pack| pack.size_bytes).unwrap().name;
    let manifest = format!("points/{}", scene.points[1].point);
    let mut bytes = scene.whole[&pack].clone();
    bytes[5000] ^= 1;
    let mut nth = 1;
    loop {
        scene.restore();
        set(&scene.kit.backend, &pack, Some(&bytes));
        set(&scene.kit.backend, &manifest, Some(b"cut"));
        let fault = if nth % 2 == 0 { Fault::Io } else { Fault::Full };
        let faulty = Arc::new(Faulty::from_nth(Arc::new(scene.kit.backend.clone()), nth, fault));
        let ended = repair(&scene.mirror, &(Arc::clone(&faulty) as _), scene.kit.directory.path(), false, &Silent);
        if faulty.operations() < nth {
            assert_eq!(ended.unwrap().repaired.len(), 2);
            break;
        }
        let now = contents(&scene.kit.backend);
        for (name, whole) in scene.whole.iter().filter(|(name, _)| **name != pack && **name != manifest) {
            assert!(now.get(name) == Some(whole), "operation {nth} took {name} away");
        }
        scene.repair(false).unwrap();
        // A lease that could not be given back expires.
        scene.kit.backend.list("leases/").unwrap().iter().for_each(|lease| scene.kit.backend.delete(&lease.name).unwrap());
        assert!(contents(&scene.kit.backend) == scene.whole, "operation {nth}");
        nth += 1;
    }
    assert!(nth > 30, "only {nth} operations: the test looks at nothing");
}

/// What is damaged goes only when all of its replacement has been read and written.
#[test]
fn a_copy_that_cannot_be_read_to_its_end_replaces_nothing() {
    let scene = Scene::new();
    let pack = scene.kit.backend.list(PACKS).unwrap().into_iter().max_by_key(|pack| pack.size_bytes).unwrap().name;
    let mut bytes = scene.whole[&pack].clone();
    bytes[5000] ^= 1;
    set(&scene.kit.backend, &pack, Some(&bytes));
    let wanted = pack.clone();
    let judge = move |_, operation, name: &str| (operation == Operation::Finish && name == wanted).then_some(Fault::Full);
    let to: Arc<dyn Backend> = Arc::new(Faulty::new(Arc::new(scene.kit.backend.clone()), judge));
    assert!(repair(&scene.mirror, &to, scene.kit.directory.path(), false, &Silent).is_err());
    set(&scene.kit.backend, &pack, Some(&bytes));
    let failing =
        Faulty::new(Arc::new(scene.copy.clone()), |_, operation, _: &str| (operation == Operation::GetRange).then_some(Fault::Io));
    let mirror = Arc::new(scene.mirror.elsewhere(Arc::new(failing), scene.kit.directory.path()));
    let to: Arc<dyn Backend> = Arc::new(scene.kit.backend.clone());
    assert!(repair(&mirror, &to, scene.kit.directory.path(), false, &Silent).is_err());
    assert!(scene.kit.backend.get(&pack).unwrap() == bytes);
    let name = ObjectName::parse(&pack).unwrap();
    assert!(matches!(name, ObjectName::Pack(_)));
}

/// Live disks as images in the kit's directory.
fn live(scene: &Scene, bytes: &[u8]) -> Vec<LiveDisk> {
    let path = scene.kit.directory.path().join("live.raw");
    std::fs::write(&path, bytes).unwrap();
    let source = crate::source::open(&path, crate::source::Format::Raw).unwrap();
    vec![LiveDisk { machine: "web01".parse().unwrap(), name: "vda".parse().unwrap(), source }]
}

fn data_pack(scene: &Scene) -> String {
    scene.kit.backend.list(PACKS).unwrap().into_iter().max_by_key(|pack| pack.size_bytes).unwrap().name
}

/// A pack of which one frame is damaged, and one that is gone, come back from the disk as it was at the first point.
#[test]
fn lost_blocks_come_back_from_the_live_disk() {
    let scene = Scene::new();
    let (pack, disks) = (data_pack(&scene), live(&scene, &noise(1, 64 * 3)));
    let mut flipped = scene.whole[&pack].clone();
    flipped[5000] ^= 1;
    for damage in [Some(&flipped[..]), None, Some(&flipped[..500])] {
        scene.restore();
        set(&scene.kit.backend, &pack, damage);
        let slots = verify(&scene.kit.vault, &ALL, &Silent).unwrap().damaged_slots;
        let planned = repair_from_disks(&scene.kit.vault, &disks, true, &Silent).unwrap();
        assert_eq!(scene.kit.backend.get(&pack).ok().as_deref(), damage, "a dry run wrote");
        let report = repair_from_disks(&scene.kit.vault, &disks, false, &Silent).unwrap();
        assert_eq!(report.repaired.iter().map(|repair| repair.name.to_string()).collect::<Vec<_>>(), std::slice::from_ref(&pack));
        assert_eq!((planned.repaired.len(), report.lost, report.cleared_blocks), (1, vec![], slots));
        let verified = verify(&scene.kit.vault, &ALL, &Silent).unwrap();
        assert!(verified.is_whole() && verified.points.len() == 2, "{verified:?}");
        let again = scene.kit.backup("web02", SECOND, &[("vda", &noise(1, 64 * 3))]);
        assert_eq!(again.disks[0].statistics.new_bytes, 0);
        Points::new(scene.kit.vault.backend().as_ref(), scene.kit.vault.keys()).delete_point(again.point, Timestamp::now()).unwrap();
        assert!(scene.kit.backend.list("leases/").unwrap().is_empty());
    }
}

/// A disk that has changed where blocks were lost is of no help, and nothing that can still be read is given up for it.
#[test]
fn a_disk_that_changed_in_that_place_repairs_nothing() {
    let scene = Scene::new();
    let pack = data_pack(&scene);
    let mut flipped = scene.whole[&pack].clone();
    flipped[5000] ^= 1;
    set(&scene.kit.backend, &pack, Some(&flipped));
    let mut changed = noise(1, 64 * 3);
    changed[9000] ^= 1;
    let report = repair_from_disks(&scene.kit.vault, &live(&scene, &changed), false, &Silent).unwrap();
    assert!(report.repaired.is_empty() && report.lost.len() == 1, "{report:?}");
    assert!(report.lost[0].1.contains("of its 192 blocks in use are on no disk that was named"), "{report:?}");
    assert!(scene.kit.backend.get(&pack).unwrap() == flipped);
    // Shorter than the chunk is no disk of that content either.
    let report = repair_from_disks(&scene.kit.vault, &live(&scene, &changed[..5000]), false, &Silent).unwrap();
    assert_eq!(report.lost.len(), 1);
}

/// While a map is lost nobody knows what is needed.
#[test]
fn maps_come_before_blocks() {
    let scene = Scene::new();
    let crate::format::map::Child::Node(root) = scene.points[0].disks[0].root else { panic!("a map without nodes") };
    let map = ObjectName::Pack(root.address.pack).to_string();
    let mut bytes = scene.whole[&map].clone();
    bytes[40] ^= 1;
    set(&scene.kit.backend, &map, Some(&bytes));
    let error = repair_from_disks(&scene.kit.vault, &live(&scene, &noise(1, 192)), false, &Silent).unwrap_err();
    assert!(matches!(error, JobError::MapsLost { .. }) && error.kind() == ErrorKind::Damage, "{error}");
}
