//! `cairn backup`: what it keeps, what it says, what it refuses.

use std::fs;

use serde_json::json;

use crate::place::{CHUNK, Place, noise};

#[test]
fn a_second_backup_stores_only_what_is_new() {
    let place = Place::with_vault();
    let mut bytes = noise(1, 8 * CHUNK);
    let disk = format!("vda={}", place.image("d.img", &bytes));
    let first = place.json(&["backup", "web01", "--disk", &disk, "--tag", "nightly", "--time", "2026-11-20T20:00:00Z"]);
    assert_eq!((first["name"].as_str(), first["sequence"].as_u64()), (Some("web01@2026-11-20T20:00:00Z"), Some(1)));
    assert_eq!((&first["tags"], &first["consistency"]), (&json!(["nightly"]), &json!("crash")));
    assert_eq!(first["bytes_new"].as_u64(), Some(8 * CHUNK as u64));
    assert_eq!(first["disks"][0]["changes"], json!({ "how": "first" }));
    assert_eq!((&first["warnings"], &first["dry_run"]), (&json!([]), &json!(false)));

    bytes[3 * CHUNK..3 * CHUNK + 4096].fill(7);
    place.image("d.img", &bytes);
    let second = place.json(&["backup", "web01", "--disk", &disk, "--consistency", "filesystem"]);
    assert_eq!((second["bytes_changed"].as_u64(), second["bytes_new"].as_u64()), (Some(CHUNK as u64), Some(4096)));
    assert_eq!((&second["consistency"], &second["disks"][0]["changes"]["how"]), (&json!("filesystem"), &json!("scan")));
    assert_ne!(first["disks"][0]["content_id"], second["disks"][0]["content_id"]);
}

#[test]
fn a_dry_run_says_what_would_be_stored_and_writes_nothing() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 2 * CHUNK)));
    let told = place.json(&["backup", "web01", "--disk", &disk, "--dry-run"]);
    assert_eq!((told["dry_run"].as_bool(), told["bytes_new"].as_u64()), (Some(true), Some(2 * CHUNK as u64)));
    assert!(told["disks"][0]["content_id"].is_null());
    assert!(place.ok(&["backup", "web01", "--disk", &disk, "--dry-run"]).starts_with("Nothing was written."));
    assert_eq!(place.json(&["points", "--all"]), json!([]));
}

#[test]
fn hints_are_followed_or_found_out() {
    let place = Place::with_vault();
    let mut bytes = noise(1, 8 * CHUNK);
    let disk = format!("vda={}", place.image("d.img", &bytes));
    place.ok(&["backup", "web01", "--disk", &disk]);
    bytes[..4096].fill(1);
    place.image("d.img", &bytes);
    let changed = |length: usize| {
        let ranges = json!([
            { "start": 0, "length": length, "depth": 0, "present": true, "zero": false, "data": true, "offset": 0 },
            { "start": length, "length": 8 * CHUNK - length, "depth": 1, "present": true, "zero": false, "data": true, "offset": 0 },
        ]);
        format!("vda={}", place.image("hints.json", ranges.to_string().as_bytes()))
    };
    let hints = changed(CHUNK);
    let told = place.json(&["backup", "web01", "--disk", &disk, "--changed", &hints, "--verify-hints", "0"]);
    assert_eq!(told["disks"][0]["changes"], json!({ "how": "hints", "origin": "qemu-img map", "sampled_chunks": 0 }));
    assert_eq!(told["bytes_read"].as_u64(), Some(CHUNK as u64));

    bytes[5 * CHUNK..].fill(2);
    place.image("d.img", &bytes);
    let hints = changed(CHUNK);
    let arguments = ["backup", "web01", "--disk", &disk, "--changed", &hints, "--verify-hints", "100%", "--json"];
    let warned = place.in_vault("", &arguments);
    assert_eq!(warned.code, Some(3), "{}", warned.errors);
    assert!(warned.errors.starts_with("warning: "), "{}", warned.errors);
    let told: serde_json::Value = serde_json::from_str(&warned.output).unwrap();
    assert_eq!(told["disks"][0]["changes"]["how"], "hints_refused");
    assert_eq!(told["warning_count"], 1);
    assert_eq!(told["bytes_changed"].as_u64(), Some(3 * CHUNK as u64));
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let place = Place::with_vault();
    let image = place.image("d.img", &noise(1, 4096));
    let disk = format!("vda={image}");
    let run = |arguments: &[&str]| place.in_vault("", &[&["backup"], arguments].concat());
    run(&["web01"]).failed(2, "--disk");
    run(&["web/01", "--disk", &disk]).failed(2, "\"web/01\" cannot be a name");
    run(&["web\u{1b}[31m", "--disk", &disk]).failed(2, "\\u{1b}[31m");
    run(&["web01", "--disk", &image]).failed(2, "expected NAME=PATH");
    run(&["web01", "--disk", &disk, "--disk", &disk]).failed(2, "two disks are called vda");
    run(&["web01", "--disk", &disk, "--changed", &disk.replace("vda", "vdb")]).failed(2, "which no --disk names");
    run(&["web01", "--disk", &disk, "--time", "yesterday"]).failed(2, "'yesterday' is no time");
    run(&["web01", "--disk", &disk, "--verify-hints", "101%"]).failed(2, "0% to 100%");
    run(&["web01", "--disk", &disk, "--consistency", "perfect"]).failed(2, "perfect");
    assert_eq!(place.json(&["points", "--all"]), json!([]));
}

#[test]
fn what_cannot_be_backed_up_is_named_and_leaves_no_point() {
    let place = Place::with_vault();
    let run = |source: &str| place.in_vault("", &["backup", "web01", "--disk", &format!("vda={source}")]);
    run(&place.text_path("absent.img")).failed(1, "there is no such file");
    run(&place.image("empty.img", b"")).failed(1, "is empty");
    run(&place.text_path("")).failed(1, "is a directory");
    run(&place.text_path("vault/vault")).failed(1, "lies in the vault");
    let hostile = place.text_path("evil\u{1b}[2J\u{202e}.img");
    let refused = run(&hostile);
    refused.failed(1, "evil\\u{1b}[2J\\u{202e}.img");
    assert!(!refused.errors.contains('\u{1b}'), "{:?}", refused.errors);
    place.image("d.img", &noise(1, 4096));
    let hints = format!("vda={}", place.image("hints", b"nonsense"));
    let disk = format!("vda={}", place.text_path("d.img"));
    place.in_vault("", &["backup", "web01", "--disk", &disk, "--changed", &hints]).failed(1, "they start with 'nonsense'");
    place.in_vault("", &["backup", "web01", "--disk", &disk, "--config", "/no/such/file"]).failed(1, "the configuration file");
    assert_eq!(place.json(&["points", "--all"]), json!([]));
}

#[test]
fn events_come_one_a_line_and_the_document_last() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    let output = place.ok(&["backup", "web01", "--disk", &disk, "--progress", "json"]);
    let lines: Vec<serde_json::Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (document, events) = lines.split_last().unwrap();
    assert_eq!(document["machine"], "web01");
    assert!(events.iter().any(|event| event["event"] == "step" && event["name"].is_string()), "{events:?}");
    assert!(events.iter().all(|event| event["event"].is_string()), "{events:?}");
}

#[test]
fn a_damaged_vault_is_told_as_damage() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    let point = place.json(&["backup", "web01", "--disk", &disk])["id"].as_str().unwrap().to_owned();
    let manifest = place.path(&format!("vault/points/{point}"));
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, bytes).unwrap();
    let listed = place.in_vault("", &["points", "--all", "--json"]);
    assert_eq!((listed.code, listed.output.trim()), (Some(3), "[]"), "{}", listed.errors);
    assert!(listed.errors.contains(&point), "{}", listed.errors);
}

/// How slow a limit makes a backup is tested where the clock is the test's own; here that it is taken, everywhere, and bounded.
#[test]
fn rates_are_limited_by_global_options() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    place.ok(&["backup", "web01", "--disk", &disk, "--limit-upload", "1G", "--limit-download", "1G"]);
    place.ok(&["verify", "--all", "--limit-download", "500M"]);
    place.in_vault("", &["points", "--limit-upload", "10K"]).failed(2, "at least 64K");
    place.in_vault("", &["points", "--limit-download", "fast"]).failed(2, "expected bytes per second");
}
