//! Ctrl-C and SIGTERM in the middle of a backup.

use std::io::{BufRead, BufReader};
use std::process::Command;

use serde_json::json;

use crate::place::{CHUNK, Place, noise};

/// Starts a backup of a disk that takes long, waits until it has begun, and sends it a signal.
fn interrupt(signal: &str) {
    let place = Place::with_vault();
    // At this level each MiB takes a good part of a second, so the signal comes long before the end.
    let disk = place.image("d.img", &noise(1, 512 * CHUNK));
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    place.environment(&mut child);
    child.args(["backup", "web01", "--compression", "19", "--progress", "json", "--disk", &format!("vda={disk}")]);
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("\"event\":\"step\""), "{first}");
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let last = lines.map(Result::unwrap).last().unwrap();
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{errors}");
    assert!(errors.ends_with("error: interrupted; the vault is as it was\n"), "{errors}");
    let document: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(document["error"]["exit_code"], 130);
    assert_eq!(place.json(&["points", "--all"]), json!([]));
    // Its lease is given back, and no file is half-made.
    let left = Command::new("find").arg(place.vault()).args(["-name", ".tmp-*", "-o", "-path", "*/leases/*/*"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}

#[test]
fn ctrl_c_ends_a_backup_cleanly() {
    interrupt("-INT");
}

#[test]
fn sigterm_ends_a_backup_cleanly() {
    interrupt("-TERM");
}
