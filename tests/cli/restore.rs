//! `cairn restore`: bit for bit, and what it says.

use std::fs;

use serde_json::json;

use crate::place::{CHUNK, Place, noise};

/// Two states of a machine with two disks, of which the second grew a hole.
fn place() -> (Place, Vec<u8>, Vec<u8>) {
    let place = Place::with_vault();
    let first = noise(1, 4 * CHUNK + 1000);
    let mut second = first.clone();
    second[CHUNK..CHUNK + 5].fill(0);
    second[3 * CHUNK..].fill(0);
    let config = place.image("web01.xml", b"<domain/>\n");
    for (bytes, time) in [(&first, "2026-11-20T20:00:00Z"), (&second, "2026-11-21T20:00:00Z")] {
        let vda = format!("vda={}", place.image("a.img", bytes));
        let vdb = format!("vdb={}", place.image("b.img", &bytes[..CHUNK]));
        place.ok(&["backup", "web01", "--disk", &vda, "--disk", &vdb, "--time", time, "--config", &config]);
    }
    (place, first, second)
}

#[test]
fn a_disk_comes_back_bit_for_bit() {
    let (place, first, second) = place();
    for (point, bytes) in [("web01@latest~1", &first), ("web01@latest", &second)] {
        let target = place.text_path(&format!("{point}.img"));
        let told = place.json(&["restore", point, "--disk", "vda", "--to", &target]);
        assert!(fs::read(&target).unwrap() == **bytes, "{point} came back with other bytes");
        let disk = &told["disks"][0];
        assert_eq!((&disk["name"], &disk["path"]), (&json!("vda"), &json!(target)));
        assert_eq!((disk["size_bytes"].as_u64(), &told["dry_run"]), (Some(bytes.len() as u64), &json!(false)));
    }
}

#[test]
fn a_whole_point_comes_back_into_a_directory() {
    let (place, _, second) = place();
    let directory = place.text_path("restored");
    let told = place.json(&["restore", "web01@latest", "--to", &directory, "--read-back"]);
    assert!(fs::read(place.path("restored/vda.raw")).unwrap() == second);
    assert!(fs::read(place.path("restored/vdb.raw")).unwrap() == second[..CHUNK]);
    assert_eq!(fs::read(place.path("restored/web01.xml")).unwrap(), b"<domain/>\n");
    assert_eq!(told["files"], json!([format!("{directory}/web01.xml")]));
    assert!(told["disks"][0]["read_back_bytes"].as_u64() > Some(0), "{told}");
}

#[test]
fn only_what_differs_is_written_to_what_is_there() {
    let (place, first, second) = place();
    let target = place.image("there.img", &first);
    let restore = |more: &[&'static str]| -> Vec<&str> { [&["restore", "web01@latest", "--disk", "vda", "--to", &target], more].concat() };
    place.in_vault("", &restore(&[])).failed(1, "add --overwrite");
    assert!(fs::read(&target).unwrap() == first);
    let planned = place.json(&restore(&["--overwrite", "--dry-run"]));
    assert!(fs::read(&target).unwrap() == first);
    let done = place.json(&restore(&["--overwrite"]));
    assert!(fs::read(&target).unwrap() == second);
    assert_eq!(done["disks"][0]["written_bytes"], planned["disks"][0]["written_bytes"]);
    assert_eq!(done["disks"][0]["written_bytes"].as_u64(), Some(CHUNK as u64));
    let again = place.ok(&restore(&["--overwrite", "--dry-run"]));
    assert!(again.starts_with("Nothing was written. This would restore web01@2026-11-21T20:00:00Z.\n"), "{again}");
    assert!(again.lines().nth(3).unwrap().contains("0 B     0 B"), "{again}");
}

#[test]
fn what_cannot_be_restored_is_named() {
    let (place, ..) = place();
    let target = place.text_path("t.img");
    let restore = |arguments: &[&str]| place.in_vault("", &[&["restore"], arguments].concat());
    restore(&["web01@latest"]).failed(2, "--to");
    restore(&["web01@latest", "--disk", "v/da", "--to", &target]).failed(2, "cannot be a name");
    restore(&["web01@latest", "--disk", "vdc", "--to", &target]).failed(1, "vda, vdb");
    restore(&["web02@latest", "--disk", "vda", "--to", &target]).failed(1, "no recovery point of this machine");
    restore(&["web01@latest", "--disk", "vda", "--to", &place.text_path("vault/packs/x")]).failed(1, "inside the vault");
    restore(&["web01@latest", "--disk", "vda", "--to", &place.text_path("no/such/place")]).failed(1, "no/such");
    restore(&["web01@latest", "--disk", "vda", "--to", &target, "--dry-run", "--read-back"]).failed(2, "cannot be used with");
    assert!(!place.path("t.img").exists());
}

#[test]
fn damage_in_the_vault_ends_a_restore_with_its_own_code() {
    let (place, ..) = place();
    let packs = fs::read_dir(place.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
    let packs = packs.flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    let largest = packs.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[5000] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let target = place.text_path("t.img");
    place.in_vault("", &["restore", "web01@latest~1", "--disk", "vda", "--to", &target]).failed(4, "cannot be restored");
    assert!(!place.path("t.img").exists(), "a half-made file has the final name");
}
