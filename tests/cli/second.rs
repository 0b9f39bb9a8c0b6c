//! A second place from the command line: copies, mirrors, repairs, and what each refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::place::{CHUNK, Ended, Place, noise};

const FIRST: &str = "2026-11-20T20:00:00Z";
const SECOND: &str = "2026-11-21T20:00:00Z";

/// Two points of web01 and one of db01; what each one's disk holds.
fn place() -> (Place, Vec<Vec<u8>>) {
    let place = Place::with_vault();
    let first = noise(1, 4 * CHUNK);
    let mut second = first.clone();
    second[CHUNK..CHUNK + 5000].copy_from_slice(&noise(2, 5000));
    let disks = vec![noise(3, 2 * CHUNK), first, second];
    for (machine, time, bytes) in [("db01", SECOND, &disks[0]), ("web01", FIRST, &disks[1]), ("web01", SECOND, &disks[2])] {
        let disk = format!("vda={}", place.image("disk.img", bytes));
        place.ok(&["backup", machine, "--disk", &disk, "--time", time, "--tag", "nightly"]);
    }
    (place, disks)
}

/// The objects below a vault's directory, without what can be made anew.
fn objects(vault: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![vault.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(vault).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found.retain(|path, _| !path.starts_with("cache") && !path.starts_with("damaged"));
    found
}

fn document(ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.code, Some(code), "{}", ended.errors);
    serde_json::from_str(&ended.output).unwrap()
}

#[test]
fn points_are_copied_to_a_vault_with_another_secret() {
    let (place, disks) = place();
    let (other, key) = (place.text_path("other"), place.text_path("other.key"));
    assert_eq!(place.run(&[], &["init", &other, "--encryption", "keyfile", "--key-file", &key]).code, Some(0));
    let copy = |more: &[&str]| place.in_vault("", &[&["copy", "--to", &other, "--to-key-file", &key, "--json"], more].concat());
    let planned = document(&copy(&["--dry-run"]), 0);
    assert_eq!((planned["copied"].as_array().map(Vec::len), planned["bytes_stored"].as_u64()), (Some(3), Some(0)));
    let told = document(&copy(&["web01@latest~1"]), 0);
    assert_eq!((&told["copied"][0]["name"], &told["present"]), (&json!(format!("web01@{FIRST}")), &json!(0)));
    let told = document(&copy(&[]), 0);
    let names: Vec<_> = told["copied"].as_array().unwrap().iter().map(|point| point["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!((names, &told["present"]), (vec![format!("db01@{SECOND}"), format!("web01@{SECOND}")], &json!(1)));
    assert_eq!(told["copied"][1]["bytes_read"], CHUNK as u64, "an incremental point costs what changed in it");
    assert_eq!(told["copied"][1]["id"], told["copied"][1]["source_id"]);
    let there = |arguments: &[&str]| place.run(&[("CAIRN_VAULT", &other), ("CAIRN_KEY_FILE", &key)], arguments);
    let (own, theirs) = (place.json(&["points", "--all"]), there(&["points", "--all", "--json"]).json());
    for (own, theirs) in own.as_array().unwrap().iter().zip(theirs.as_array().unwrap()) {
        for field in ["id", "name", "tags", "consistency", "sequence"] {
            assert_eq!(own[field], theirs[field], "{field}");
        }
        assert_eq!(own["disks"][0]["content_id"], theirs["disks"][0]["content_id"]);
    }
    let names = [format!("db01@{SECOND}"), format!("web01@{FIRST}"), format!("web01@{SECOND}")];
    for (name, bytes) in names.iter().zip(&disks) {
        let target = place.text_path("restored.raw");
        assert_eq!(there(&["restore", name, "--disk", "vda", "--to", &target, "--overwrite", "--no-sync"]).code, Some(0));
        assert!(fs::read(&target).unwrap() == *bytes, "{name}");
    }
    assert!(copy(&["web02"]).errors.contains("web02"));
    let ended = place.in_vault("", &["copy", "--to", &other]);
    ended.failed(1, "--to-passphrase-file, --to-passphrase-command and --to-key-file say how");
    place.in_vault("", &["copy", "--to", &place.vault()]).failed(1, "is the vault that is copied from");
    place.in_vault("", &["copy", "--to", &place.text_path("nowhere")]).failed(1, "nowhere");
}

#[test]
fn a_mirror_is_made_followed_and_used() {
    let (place, disks) = place();
    let mirror = place.text_path("mirror");
    let told = place.json(&["mirror", "--to", &mirror]);
    assert_eq!((&told["whole"], &told["points_copied"]), (&json!(true), &json!(3)));
    assert_eq!(objects(Path::new(&mirror)), objects(&place.path("vault")));
    let again = place.json(&["mirror", "--to", &mirror]);
    assert_eq!((&again["objects_copied"], &again["points_copied"]), (&json!(0), &json!(0)));
    let target = place.text_path("restored.raw");
    place.ok(&["--vault", &mirror, "restore", "web01@latest", "--disk", "vda", "--to", &target]);
    assert!(fs::read(&target).unwrap() == disks[2]);
    assert!(place.ok(&["mirror", "--to", &mirror, "--delete"]).contains("has 0 new points"));
    place.ok(&["init", &place.text_path("other"), "--encryption", "none"]);
    place.in_vault("", &["mirror", "--to", &place.text_path("other")]).failed(1, "it is no mirror of this vault");
    place.in_vault("", &["mirror", "--to", &place.vault()]).failed(2, "the mirror is the vault itself");
    fs::create_dir(place.path("photos")).unwrap();
    fs::write(place.path("photos/cat.jpg"), "miau").unwrap();
    place.in_vault("", &["mirror", "--to", &place.text_path("photos")]).failed(1, "holds 'cat.jpg' and no vault");
}

/// Without any secret an encrypted vault is mirrored all the same; removing takes the key.
#[test]
fn a_mirror_needs_no_key() {
    let place = Place::new();
    let key = place.with_key_file();
    let disk = format!("vda={}", place.image("disk.img", &noise(1, CHUNK)));
    let with_key = [("CAIRN_VAULT", place.vault()), ("CAIRN_KEY_FILE", key)];
    let with_key = with_key.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(place.run(&with_key, &["backup", "web01", "--disk", &disk]).code, Some(0));
    let (mirror, vault) = (place.text_path("mirror"), place.vault());
    let keyless = place.run(&[("CAIRN_VAULT", &vault)], &["mirror", "--to", &mirror, "--json"]).json();
    assert_eq!(keyless["points_copied"], 1);
    place.run(&[("CAIRN_VAULT", &vault)], &["mirror", "--to", &mirror, "--delete"]).failed(1, "a passphrase is needed");
    assert_eq!(place.run(&with_key, &["mirror", "--to", &mirror, "--delete"]).code, Some(0));
    assert_eq!(place.run(&with_key, &["--vault", &mirror, "verify", "--all"]).code, Some(0));
}

#[test]
fn damage_is_told_of_by_the_mirror_and_repaired_from_it() {
    let (place, _) = place();
    let mirror = place.text_path("mirror");
    place.ok(&["mirror", "--to", &mirror]);
    let whole = objects(&place.path("vault"));
    let pack = whole.iter().filter(|(path, _)| path.starts_with("packs")).max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    let manifest = whole.keys().find(|path| path.starts_with("points")).unwrap();
    fs::remove_file(place.path("vault").join(pack)).unwrap();
    fs::write(place.path("vault").join(pack), &whole[pack][..5000]).unwrap();
    fs::remove_file(place.path("vault").join(manifest)).unwrap();
    fs::remove_file(place.path("vault/vault")).unwrap();
    let planned = document(&place.in_vault("", &["repair", "--from", &mirror, "--dry-run", "--json"]), 0);
    assert!(!place.path("vault/vault").exists(), "a dry run wrote");
    let told = document(&place.in_vault("", &["repair", "--from", &mirror, "--json"]), 0);
    assert_eq!(told["repaired"], planned["repaired"]);
    let names: Vec<_> = told["repaired"].as_array().unwrap().iter().map(|object| object["object"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["vault".to_owned(), pack.to_str().unwrap().to_owned(), manifest.to_str().unwrap().to_owned()]);
    assert_eq!(objects(&place.path("vault")), whole);
    place.ok(&["verify", "--all"]);
    // Damaged on both sides: told of, with the exit code of damage.
    let mut flipped = whole[pack].clone();
    flipped[5000] ^= 1;
    for side in ["vault", "mirror"] {
        fs::remove_file(place.path(side).join(pack)).unwrap();
        fs::write(place.path(side).join(pack), &flipped).unwrap();
    }
    let told = document(&place.in_vault("", &["repair", "--from", &mirror, "--json"]), 4);
    assert_eq!((&told["whole"], told["lost"].as_array().map(Vec::len)), (&json!(false), Some(1)), "{told}");
    fs::remove_file(place.path("mirror").join(pack)).unwrap();
    let told = document(&place.in_vault("", &["mirror", "--to", &mirror, "--json"]), 4);
    assert_eq!(told["damaged"][0]["object"], pack.to_str().unwrap());
    place.ok(&["init", &place.text_path("other"), "--encryption", "none"]);
    place.in_vault("", &["repair", "--from", &place.text_path("other")]).failed(1, "it is no mirror of this vault");
}

#[test]
fn lost_blocks_come_back_from_the_disk() {
    let (place, disks) = place();
    let packs = objects(&place.path("vault")).into_iter().filter(|(path, _)| path.starts_with("packs"));
    let (pack, bytes) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut flipped = bytes.clone();
    flipped[5000] ^= 1;
    fs::remove_file(place.path("vault").join(&pack)).unwrap();
    fs::write(place.path("vault").join(&pack), flipped).unwrap();
    assert_eq!(place.in_vault("", &["verify", "--all"]).code, Some(4));
    let other = format!("web01/vda={}", place.image("other.img", &disks[0]));
    let told = document(&place.in_vault("", &["repair", "--disk", &other, "--json"]), 4);
    assert_eq!(told["lost"][0]["object"], pack.to_str().unwrap());
    let disk = format!("web01/vda={}", place.image("disk.img", &disks[1]));
    let told = place.json(&["repair", "--disk", &disk]);
    assert_eq!((&told["repaired"][0]["object"], &told["from"]), (&json!(pack.to_str().unwrap()), &Value::Null));
    assert!(told["blocks_cleared"].as_u64() > Some(0), "{told}");
    place.ok(&["verify", "--all"]);
    for wrong in ["vda=x", "web01/vda", "web01/vda=", "a b/vda=x"] {
        place.in_vault("", &["repair", "--disk", wrong]).failed(2, "");
    }
    place.in_vault("", &["repair"]).failed(2, "--from");
}
