//! Damage to a vault, kind by kind: the points that it touches are named, all others come back, and the next backup makes good what the
//! disk still has.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::{CHUNK, Ended, Place, noise};

/// Two points of web01, of which the second has one chunk of its own, and one of db01, which shares nothing with them.
struct Scene {
    place: Place,
    /// Point and content.
    points: Vec<(&'static str, Vec<u8>)>,
}

const FIRST: &str = "web01@2026-11-20T20:00:00Z";
const SECOND: &str = "web01@2026-11-21T20:00:00Z";
const OTHER: &str = "db01@2026-11-21T21:00:00Z";

impl Scene {
    fn new() -> Self {
        let place = Place::with_vault();
        let first = noise(1, 6 * CHUNK);
        let mut second = first.clone();
        second[CHUNK..2 * CHUNK].copy_from_slice(&noise(2, CHUNK));
        let points = vec![(FIRST, first), (SECOND, second), (OTHER, noise(3, 3 * CHUNK))];
        for (point, bytes) in &points {
            let (machine, time) = point.split_once('@').unwrap();
            let disk = format!("vda={}", place.image(&format!("{machine}.img"), bytes));
            place.ok(&["backup", machine, "--disk", &disk, "--time", time]);
        }
        Self { place, points }
    }

    /// The data packs, the largest first: of the first point, of the other machine, of the second point; then those of maps.
    fn packs(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let directories = fs::read_dir(self.place.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
        let mut packs: Vec<PathBuf> = directories.flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())).collect();
        packs.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        packs.into_iter().partition(|path| fs::metadata(path).unwrap().len() > CHUNK as u64 / 2)
    }

    fn data(&self, which: usize) -> PathBuf {
        self.packs().0[which].clone()
    }

    fn point_file(&self, point: &str) -> PathBuf {
        let listed = self.place.json(&["points", "--all"]);
        let found = listed.as_array().unwrap().iter().find(|listed| listed["name"] == point).unwrap();
        self.place.path(&format!("vault/points/{}", found["id"].as_str().unwrap()))
    }

    /// What verification of all says; it must find damage.
    fn verify(&self) -> Value {
        let ended = self.place.in_vault("", &["verify", "--all", "--json"]);
        assert_eq!(ended.code, Some(4), "{}", ended.errors);
        serde_json::from_str(&ended.output).unwrap()
    }

    /// Checks that verification names exactly these points, and `object` in each reason.
    fn check_named(&self, touched: &[&str], object: &Path) {
        let told = self.verify();
        let object = object.file_name().unwrap().to_str().unwrap();
        for (name, _) in &self.points {
            let point = told["points"].as_array().unwrap().iter().find(|point| point["name"] == *name).unwrap();
            assert_eq!(point["whole"] == false, touched.contains(name), "{name}: {told}");
            for range in point["damaged"].as_array().unwrap() {
                assert_eq!(range["disk"], "vda");
                assert!(range["reason"].as_str().unwrap().contains(object), "{object} is not named: {range}");
            }
        }
    }

    /// Restores a point; true if all of it came back. Never may there be a file with other bytes.
    fn restores(&self, point: &str) -> bool {
        let target = self.place.path("restored.raw");
        let _ = fs::remove_file(&target);
        let ended = self.place.in_vault("", &["restore", point, "--disk", "vda", "--to", target.to_str().unwrap()]);
        let bytes = self.points.iter().find(|(name, _)| *name == point).map(|(_, bytes)| bytes).unwrap();
        match ended.code {
            Some(0 | 3) => assert!(fs::read(&target).unwrap() == *bytes, "{point} came back with other bytes"),
            code => {
                assert!(matches!(code, Some(1 | 4)) && !ended.errors.is_empty(), "{code:?}: {}", ended.errors);
                assert!(!target.exists(), "{point}: a part of a disk has the name of the whole");
            }
        }
        matches!(ended.code, Some(0 | 3))
    }

    /// Checks that exactly these points cannot be restored.
    fn check_lost(&self, lost: &[&str]) {
        for (point, _) in &self.points {
            assert_eq!(self.restores(point), !lost.contains(point), "{point}");
        }
    }

    /// Backs up web01 as it was at its second point, and checks that the new point is whole.
    fn check_healed(&mut self, warned: bool) -> Ended {
        let disk = format!("vda={}", self.place.text_path("web01.img"));
        let ended = self.place.in_vault("", &["backup", "web01", "--disk", &disk, "--time", "2026-11-22T20:00:00Z", "--json"]);
        assert_eq!(ended.code, Some(if warned { 3 } else { 0 }), "{}", ended.errors);
        let bytes = self.points[1].1.clone();
        self.points.push(("web01@2026-11-22T20:00:00Z", bytes));
        assert!(self.restores("web01@2026-11-22T20:00:00Z"), "the new point refers to what is lost: {}", ended.errors);
        self.place.ok(&["verify", "web01@latest"]);
        ended
    }
}

/// Objects are never written in place, which a cache may rely on: damage is a new file.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    replace(path, &bytes);
}

#[test]
fn a_flipped_bit_in_a_pack() {
    let mut scene = Scene::new();
    let pack = scene.data(0);
    flip(&pack, 5000);
    scene.check_named(&[FIRST, SECOND], &pack);
    scene.check_lost(&[FIRST, SECOND]);
    let healed = scene.check_healed(true);
    assert!(
        healed.errors.contains("are damaged or gone from the vault, first those at offset 0; they are stored anew"),
        "{}",
        healed.errors
    );
    // What was made good once is no warning the next time.
    scene.points.pop();
    let disk = format!("vda={}", scene.place.text_path("web01.img"));
    scene.place.ok(&["backup", "web01", "--disk", &disk]);
}

#[test]
fn a_truncated_pack() {
    let mut scene = Scene::new();
    let pack = scene.data(0);
    let bytes = fs::read(&pack).unwrap();
    replace(&pack, &bytes[..bytes.len() / 2]);
    scene.check_named(&[FIRST, SECOND], &pack);
    scene.check_lost(&[FIRST, SECOND]);
    scene.check_healed(true);
}

/// Nobody verified: the backup sees by itself that a pack is not there.
#[test]
fn a_missing_pack() {
    let mut scene = Scene::new();
    let pack = scene.data(0);
    fs::remove_file(&pack).unwrap();
    let healed = scene.check_healed(true);
    let told: Value = serde_json::from_str(&healed.output).unwrap();
    assert_eq!(told["bytes_new"].as_u64(), Some(5 * CHUNK as u64), "the chunk that only the second point has is still there");
    scene.check_lost(&[FIRST, SECOND]);
    let told = scene.verify();
    assert!(told.to_string().contains(pack.file_name().unwrap().to_str().unwrap()), "{told}");
}

#[test]
fn packs_in_each_others_place() {
    let mut scene = Scene::new();
    let (one, other) = (scene.data(0), scene.data(1));
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
    replace(&one, &second);
    replace(&other, &first);
    let told = scene.verify();
    assert!(told["points"].as_array().unwrap().iter().all(|point| point["whole"] == false), "{told}");
    scene.check_lost(&[FIRST, SECOND, OTHER]);
    scene.check_healed(true);
}

#[test]
fn hints_do_not_carry_damage_on() {
    let mut scene = Scene::new();
    flip(&scene.data(0), 5000);
    scene.verify();
    let hints = format!("vda={}", scene.place.image("hints.json", b"[]"));
    let disk = format!("vda={}", scene.place.text_path("web01.img"));
    let arguments = ["backup", "web01", "--disk", &disk, "--changed", &hints, "--verify-hints", "0", "--json"];
    let ended = scene.place.in_vault("", &[&arguments[..], &["--time", "2026-11-22T20:00:00Z"]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    let told: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(told["disks"][0]["changes"]["how"], "hints", "{told}");
    // A frame has four chunks, of which the second point shares three.
    assert!(told["bytes_read"].as_u64() > Some(0) && told["bytes_read"].as_u64() < Some(6 * CHUNK as u64), "{told}");
    let bytes = scene.points[1].1.clone();
    scene.points.push(("web01@2026-11-22T20:00:00Z", bytes));
    assert!(scene.restores("web01@2026-11-22T20:00:00Z"));
}

#[test]
fn damaged_truncated_and_missing_maps() {
    let change: [fn(&Path); 3] =
        [|path| flip(path, 60), |path| replace(path, &fs::read(path).unwrap()[..100]), |path| fs::remove_file(path).unwrap()];
    for change in change {
        let mut scene = Scene::new();
        // Which of the three packs of maps is web01's latest shows in what is lost.
        let maps = scene.packs().1;
        assert_eq!(maps.len(), 3);
        change(&maps[0]);
        let lost: Vec<&str> = scene.points.iter().map(|(point, _)| *point).filter(|point| !scene.restores(point)).collect();
        assert_eq!(lost.len(), 1, "one map is of one point: {lost:?}");
        scene.check_named(&lost, &maps[0]);
        scene.check_healed(lost == [SECOND]);
    }
}

#[test]
fn damaged_truncated_missing_and_swapped_manifests() {
    let scene = Scene::new();
    let (first, second) = (scene.point_file(FIRST), scene.point_file(SECOND));
    let (whole, other) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let id = first.file_name().unwrap().to_str().unwrap().to_owned();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [Some(&flipped[..]), Some(&whole[..50]), Some(&[][..]), Some(&other[..]), None] {
        fs::remove_file(&first).unwrap();
        bytes.inspect(|bytes| fs::write(&first, bytes).unwrap());
        let told = scene.verify();
        assert!(told["objects"][0].as_str().unwrap().contains(&id), "{told}");
        scene.check_lost(&[FIRST]);
        // A listing may show what this computer remembers; who asks for the point is told.
        let target = scene.place.text_path("never.raw");
        let ended = scene.place.in_vault("", &["restore", FIRST, "--disk", "vda", "--to", &target]);
        assert!(ended.errors.contains(&id), "{id} is not named: {}", ended.errors);
        if bytes.is_none() {
            fs::write(&first, b"").unwrap();
        }
    }
    fs::remove_file(&first).unwrap();
    fs::write(&first, &whole).unwrap();
    scene.check_lost(&[]);
}

/// The index is a help only, and mends itself.
#[test]
fn a_damaged_truncated_or_missing_index() {
    let change: [fn(&Path); 4] = [
        |segment| flip(segment, 300),
        |segment| replace(segment, &fs::read(segment).unwrap()[..70]),
        |segment| replace(segment, b""),
        |segment| fs::remove_file(segment).unwrap(),
    ];
    for (number, change) in change.into_iter().enumerate() {
        let scene = Scene::new();
        let segments: Vec<PathBuf> =
            fs::read_dir(scene.place.path("vault/cache/index")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!segments.is_empty());
        segments.iter().for_each(|segment| change(segment));
        let disk = format!("vda={}", scene.place.text_path("web01.img"));
        let told = scene.place.json(&["backup", "web02", "--disk", &disk]);
        assert_eq!(told["warnings"], serde_json::json!([]), "{told}");
        // A flipped bit in a fingerprint costs a block that is stored twice, no more.
        let most = if number == 0 { 4096 } else { 0 };
        assert!(told["bytes_new"].as_u64().unwrap() <= most, "{told}");
        scene.check_lost(&[]);
    }
}

#[test]
fn the_vaults_own_header_and_keys() {
    let scene = Scene::new();
    let points = || scene.place.in_vault("", &["points", "--all"]);
    let header = scene.place.path("vault/vault");
    let whole = fs::read(&header).unwrap();
    flip(&header, 60);
    points().failed(4, "the vault header is damaged");
    fs::remove_file(&header).unwrap();
    points().failed(1, "is no vault");
    fs::write(&header, whole).unwrap();
    let slot = fs::read_dir(scene.place.path("vault/keys")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&slot).unwrap();
    flip(&slot, whole.len() / 2);
    let ended = points();
    assert!(matches!(ended.code, Some(1 | 4)) && ended.errors.contains("key"), "{:?}: {}", ended.code, ended.errors);
    fs::remove_file(&slot).unwrap();
    points().failed(1, "has no key slot");
    fs::write(&slot, whole).unwrap();
    scene.check_lost(&[]);
}

/// A disk that fails in the middle of a pack gives an error of reading, and no other point is touched by it.
#[test]
fn zeros_where_a_disk_lost_sectors() {
    let scene = Scene::new();
    let pack = scene.data(2);
    let whole = fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[4096..8192].fill(0);
    replace(&pack, &bytes);
    scene.check_named(&[SECOND], &pack);
    scene.check_lost(&[SECOND]);
    // Put back from a copy, all is whole again.
    replace(&pack, &whole);
    scene.check_lost(&[]);
    assert_eq!(scene.place.json(&["verify", "--all"])["whole"], true);
}

/// What is whole comes back, what is not is named and left alone, in a new file and in one that is there.
#[test]
fn a_restore_goes_on_past_damage() {
    let scene = Scene::new();
    flip(&scene.data(2), 5000);
    let lost = CHUNK..2 * CHUNK;
    let mut expected = scene.points[1].1.clone();
    expected[lost.clone()].fill(0);
    let restore = |target: &str, more: &[&str]| {
        let arguments = ["restore", SECOND, "--disk", "vda", "--to", target, "--skip-damaged", "--json"];
        let ended = scene.place.in_vault("", &[&arguments[..], more].concat());
        assert_eq!(ended.code, Some(4), "{}", ended.errors);
        let told: Value = serde_json::from_str(&ended.output).unwrap();
        assert_eq!(told["whole"], false);
        let range = &told["disks"][0]["damaged"][0];
        assert_eq!((range["offset_bytes"].as_u64(), range["length_bytes"].as_u64()), (Some(CHUNK as u64), Some(CHUNK as u64)), "{told}");
        assert_eq!(told["disks"][0]["damaged"].as_array().map(Vec::len), Some(1), "{told}");
    };
    let fresh = scene.place.text_path("fresh.raw");
    restore(&fresh, &["--read-back"]);
    assert!(fs::read(&fresh).unwrap() == expected);
    let there = scene.place.image("there.raw", &vec![7; expected.len()]);
    restore(&there, &["--overwrite"]);
    expected[lost].fill(7);
    assert!(fs::read(&there).unwrap() == expected);
    let ended = scene.place.in_vault("", &["restore", SECOND, "--to", &scene.place.text_path("all"), "--skip-damaged"]);
    assert_eq!(ended.code, Some(4));
    assert!(ended.output.contains("DAMAGE: 256 KiB could not be restored"), "{}", ended.output);
    let ended = scene.place.in_vault("", &["restore", OTHER, "--to", &scene.place.text_path("other"), "--skip-damaged", "--json"]);
    assert_eq!(ended.json()["whole"], true);
}

/// Under a damaged map, all that it describes is left out; other disks of the point come back.
#[test]
fn a_restore_goes_on_past_a_damaged_map() {
    let scene = Scene::new();
    scene.packs().1.iter().for_each(|map| flip(map, 60));
    let ended = scene.place.in_vault("", &["restore", OTHER, "--to", &scene.place.text_path("all"), "--skip-damaged", "--json"]);
    assert_eq!(ended.code, Some(4), "{}", ended.errors);
    let told: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(told["disks"][0]["damaged"][0]["length_bytes"].as_u64(), Some(3 * CHUNK as u64), "{told}");
    assert!(fs::read(scene.place.path("all/vda.raw")).unwrap() == vec![0; 3 * CHUNK]);
}
