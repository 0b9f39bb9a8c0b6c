//! `cairn jobs`: what is recorded of the commands that do something, and how they are ended.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{CHUNK, Ended, Place, noise};

/// A vault and a disk image that takes long to back up at the highest level.
fn place() -> (Place, String) {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 128 * CHUNK)));
    (place, disk)
}

/// Starts a backup that takes long, and waits until it is recorded; gives its job.
fn long_backup(place: &Place, disk: &str) -> (Child, Value) {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    place.environment(&mut command).args(["backup", "web01", "--compression", "19", "--disk", disk]);
    let mut child = command.spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        let jobs = place.json(&["jobs", "--state", "in_progress"]);
        if let Some(job) = jobs.as_array().unwrap().first() {
            return (child, job.clone());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the backup ended before it was seen in the record");
}

fn settings(place: &Place, text: &str) {
    fs::create_dir_all(place.path("CAIRN_CONFIG_DIR")).unwrap();
    fs::write(place.path("CAIRN_CONFIG_DIR").join("host.toml"), text).unwrap();
}

#[test]
fn what_was_done_is_told_with_what_came_of_it() {
    let place = Place::with_vault();
    assert_eq!(place.json(&["jobs"]), json!([]));
    let disk = format!("vda={}", place.image("d.img", &noise(1, 2 * CHUNK)));
    let point = place.json(&["backup", "web01", "--disk", &disk]);
    place.ok(&["backup", "web01", "--disk", &disk, "--dry-run"]);
    place.in_vault("", &["backup", "db01", "--disk", "vda=/nonexistent"]).failed(1, "nonexistent");
    place.ok(&["restore", "web01@latest", "--to", &place.text_path("out")]);
    place.ok(&["verify", "--all"]);
    let jobs = place.json(&["jobs"]);
    let told: Vec<_> = jobs.as_array().unwrap().iter().map(|job| [&job["kind"], &job["machine"], &job["state"]]).collect();
    let expected =
        [["verify", "", "completed"], ["restore", "web01", "completed"], ["backup", "db01", "failed"], ["backup", "web01", "completed"]];
    let expected =
        expected.map(|[kind, machine, state]| [json!(kind), if machine.is_empty() { Value::Null } else { json!(machine) }, json!(state)]);
    assert_eq!(told, expected.iter().map(|[kind, machine, state]| [kind, machine, state]).collect::<Vec<_>>());
    let first = place.json(&["jobs", "show", "1"]);
    assert_eq!((&first["result"], &first["scheduled"], &first["warning_count"]), (&point["name"], &json!(false), &json!(0)));
    assert_eq!((&first["done_bytes"], &first["new_bytes"]), (&json!(2 * CHUNK), &json!(2 * CHUNK)));
    let tasks: Vec<_> = first["tasks"].as_array().unwrap().iter().map(|task| &task["state"]).collect();
    assert!(tasks.len() >= 3 && tasks.iter().all(|state| *state == "completed"), "{first}");
    let failed = place.json(&["jobs", "show", "2"]);
    assert!(failed["messages"][0]["message"].as_str().unwrap().contains("nonexistent"), "{failed}");
    assert!(place.ok(&["jobs", "show", "2"]).contains("State:    Failed"));
    assert_eq!(place.json(&["jobs", "--machine", "db01"]).as_array().unwrap().len(), 1);
    assert!(place.ok(&["jobs", "--state", "failed"]).contains("db01"));
    place.in_vault("", &["jobs", "show", "9"]).failed(1, "there is no job 9");
    place.in_vault("", &["jobs", "cancel", "1"]).failed(1, "its state is 'completed'");
}

#[test]
fn a_backup_that_is_cancelled_ends_cleanly_and_says_so() {
    let (place, disk) = place();
    let (child, job) = long_backup(&place, &disk);
    let id = job["id"].to_string();
    assert_eq!(job["process"], json!(child.id()));
    place
        .in_vault("", &["backup", "web01", "--disk", &disk])
        .failed(1, &format!("a backup of web01 is running already (process {})", child.id()));
    assert_eq!(place.json(&["jobs", "cancel", &id])["cancel_requested"], json!(true));
    let watched = place.in_vault("", &["jobs", "watch", &id]);
    assert_eq!(watched.code, Some(130), "{}", watched.errors);
    assert!(watched.output.lines().last().unwrap().contains("Cancelled"), "{}", watched.output);
    let ended = Ended::of(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    let job = place.json(&["jobs", "show", &id]);
    assert_eq!((&job["state"], &job["cancel_requested"]), (&json!("cancelled"), &json!(true)));
    assert_eq!(place.json(&["points", "--all"]), json!([]));
    assert_eq!(place.json(&["jobs"]).as_array().unwrap().len(), 1, "a backup that was refused was recorded as a job");
}

#[test]
fn a_backup_that_was_killed_has_failed() {
    let (place, disk) = place();
    let (mut child, job) = long_backup(&place, &disk);
    child.kill().unwrap();
    child.wait().unwrap();
    let job = place.json(&["jobs", "show", &job["id"].to_string()]);
    assert_eq!(job["state"], "failed");
    assert!(job["last_message"].as_str().unwrap().contains("ended without a word"), "{job}");
    // Nothing of it is in the way of the next one.
    place.ok(&["backup", "web01", "--disk", &disk, "--compression", "1"]);
}

#[test]
fn hooks_are_told_how_jobs_end() {
    let place = Place::with_vault();
    let told = place.text_path("told");
    settings(&place, &format!("[[hook]]\non = [\"failure\"]\ncommand = [\"/usr/bin/tee\", \"{told}\"]\n"));
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    place.ok(&["backup", "web01", "--disk", &disk]);
    assert!(!place.path("told").exists());
    place.in_vault("", &["backup", "web01", "--disk", "vda=/nonexistent"]).failed(1, "nonexistent");
    let document: Value = serde_json::from_slice(&fs::read(place.path("told")).unwrap()).unwrap();
    assert_eq!((&document["event"], &document["job"]["machine"], &document["job"]["id"]), (&json!("failure"), &json!("web01"), &json!(2)));
    assert!(document["job"]["messages"][0]["message"].as_str().unwrap().contains("nonexistent"), "{document}");
    // A hook that fails is a remark: the backup was made.
    settings(&place, "[[hook]]\non = [\"success\"]\ncommand = [\"/bin/false\"]\n");
    let ended = place.in_vault("", &["backup", "web01", "--disk", &disk]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("the hook '/bin/false' failed"), "{}", ended.errors);
}

#[test]
fn a_record_that_cannot_be_written_fails_no_job() {
    let place = Place::with_vault();
    let state = place.path("CAIRN_STATE_DIR");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("jobs.db"), [b'x'; 8192]).unwrap();
    let told = place.text_path("told");
    settings(&place, &format!("[[hook]]\non = [\"success\"]\ncommand = [\"/usr/bin/tee\", \"{told}\"]\n"));
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    let ended = place.in_vault("", &["backup", "web01", "--disk", &disk]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("the job goes on, unrecorded"), "{}", ended.errors);
    assert_eq!(place.json(&["points", "--all"]).as_array().unwrap().len(), 1);
    let document: Value = serde_json::from_slice(&fs::read(place.path("told")).unwrap()).unwrap();
    assert_eq!(document["event"], "success", "hooks are told all the same");
    place.in_vault("", &["jobs"]).failed(1, "it is never needed to restore: move it away");
}
