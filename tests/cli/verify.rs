//! `cairn verify` and `cairn index` on whole and on damaged vaults.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::place::{CHUNK, Ended, Place, noise};

/// Two points of web01; the second has one chunk of its own.
fn place() -> Place {
    let place = Place::with_vault();
    let mut bytes = noise(1, 4 * CHUNK);
    let disk = format!("vda={}", place.image("d.img", &bytes));
    place.ok(&["backup", "web01", "--disk", &disk, "--time", "2026-11-20T20:00:00Z"]);
    bytes[CHUNK..2 * CHUNK].copy_from_slice(&noise(2, CHUNK));
    place.image("d.img", &bytes);
    place.ok(&["backup", "web01", "--disk", &disk, "--time", "2026-11-21T20:00:00Z"]);
    place
}

fn packs(place: &Place) -> Vec<PathBuf> {
    let directories = fs::read_dir(place.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
    let mut packs: Vec<PathBuf> = directories.flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())).collect();
    packs.sort_by_key(|path| path.metadata().unwrap().len());
    packs
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.output).unwrap()
}

#[test]
fn a_whole_vault_is_whole() {
    let place = place();
    let all = place.json(&["verify", "--all"]);
    assert_eq!((&all["whole"], &all["objects"], all["points"].as_array().map(Vec::len)), (&json!(true), &json!([]), Some(2)));
    assert_eq!(all["bytes_read"].as_u64(), Some(5 * CHUNK as u64));
    let one = place.json(&["verify", "web01@latest~1"]);
    assert_eq!((&one["points"][0]["name"], one["points"].as_array().map(Vec::len)), (&json!("web01@2026-11-20T20:00:00Z"), Some(1)));
    assert!(place.ok(&["verify", "--all"]).starts_with("All is whole: 2 points; "));
    assert!(
        place
            .ok(&["verify", "--all", "--sample", "50%", "--seed", "7"])
            .starts_with("No damage was found in 2 points. The sample was 50%, seed 7")
    );
    let quick = place.json(&["verify", "--quick"]);
    assert_eq!((&quick["whole"], quick["packs"].as_u64()), (&json!(true), Some(packs(&place).len() as u64)));
}

#[test]
fn damage_is_named_by_point_disk_and_range() {
    let place = place();
    // The largest pack has the first point's four chunks, and its first frame three of those that both points have.
    flip(packs(&place).last().unwrap(), 5000);
    let ended = place.in_vault("", &["verify", "--all", "--json"]);
    assert_eq!(ended.code, Some(4), "{}", ended.errors);
    let told = document(&ended);
    assert_eq!(told["whole"], false);
    let first = &told["points"][0]["damaged"][0];
    assert_eq!((&first["disk"], first["offset_bytes"].as_u64()), (&json!("vda"), Some(0)));
    assert!(told["points"].as_array().unwrap().iter().all(|point| point["whole"] == false), "{told}");
    assert!(told["damaged_blocks"].as_u64() > Some(0), "{told}");
    let text = place.in_vault("", &["verify", "web01@latest"]);
    assert_eq!(text.code, Some(4));
    assert!(text.output.contains("web01@2026-11-21T20:00:00Z  vda") && text.output.contains("DAMAGE: 1 of 1 points"), "{}", text.output);
    for said in [&ended.output, &ended.errors, &text.output, &text.errors] {
        assert!(!said.contains("cairn verify"), "who runs verify is told to run verify: {said}");
    }
    let restore = place.in_vault("", &["restore", "web01@latest", "--disk", "vda", "--to", &place.text_path("out.img")]);
    restore.failed(4, "`cairn verify --all` names every recovery point that the damage touches");
    assert_eq!(restore.errors.matches("cairn verify").count(), 1, "{}", restore.errors);

    let quick = place.in_vault("", &["verify", "--quick", "--json"]);
    assert_eq!(quick.code, Some(4), "{}", quick.errors);
    let name = packs(&place).last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(document(&quick)["damaged"][0]["object"].as_str().unwrap().ends_with(&name), "{}", quick.output);
}

#[test]
fn a_quick_check_needs_no_passphrase() {
    let place = Place::new();
    place.with_key_file();
    assert_eq!(place.run(&[], &["--vault", &place.vault(), "verify", "--quick"]).code, Some(0));
    place.run(&[], &["--vault", &place.vault(), "verify", "--all"]).failed(1, "no terminal to ask on");
}

#[test]
fn something_must_be_named() {
    let place = Place::with_vault();
    place.in_vault("", &["verify"]).failed(2, "nothing is named");
    place.in_vault("", &["verify", "--all", "web01@latest"]).failed(2, "cannot be used with");
    place.in_vault("", &["verify", "--quick", "--all"]).failed(2, "cannot be used with");
    place.in_vault("", &["verify", "web01@latest"]).failed(1, "no recovery point of this machine");
}

#[test]
fn the_index_is_made_anew() {
    let place = place();
    let before = place.json(&["index", "rebuild"]);
    assert_eq!(before["blocks"].as_u64(), Some(5 * 64));
    fs::remove_dir_all(place.path("vault/cache")).unwrap();
    assert_eq!(place.json(&["index", "rebuild"])["blocks"], before["blocks"]);
    let disk = format!("vda={}", place.text_path("d.img"));
    assert_eq!(place.json(&["backup", "db01", "--disk", &disk])["bytes_new"], 0);
}
