//! `cairn status`: how machines stand, and what monitoring sees of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::place::{CHUNK, Ended, Place, noise};

fn place() -> Place {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 2 * CHUNK)));
    place.ok(&["machine", "add", "web01", "--disk", &disk]);
    place
}

fn status(place: &Place) -> (Option<i32>, serde_json::Value) {
    let ended = place.in_vault("", &["status", "--json"]);
    (ended.code, serde_json::from_str(&ended.output).unwrap())
}

fn text(place: &Place) -> Ended {
    place.in_vault("", &["status"])
}

#[test]
fn a_machine_is_pending_then_protected_then_failing() {
    let place = place();
    let (code, told) = status(&place);
    assert_eq!((code, &told["alarm"]), (Some(3), &json!("warning")));
    let machine = &told["machines"][0];
    assert_eq!(
        (&machine["protection"], &machine["last_backup_status"]),
        (&json!("initial_backup_pending"), &json!("initial_backup_pending"))
    );
    assert!(text(&place).output.contains("Warning (initial backup pending)"));
    place.ok(&["backup", "web01"]);
    let (code, told) = status(&place);
    assert_eq!((code, &told["alarm"], &told["scheduler_running"]), (Some(0), &json!("none"), &json!(false)));
    let machine = &told["machines"][0];
    assert_eq!(
        (&machine["protection"], &machine["last_backup_status"], &machine["points"]),
        (&json!("protected"), &json!("completed"), &json!(1))
    );
    assert!(machine["stored_bytes"].as_u64().unwrap() > 2 * CHUNK as u64 / 2, "{machine}");
    assert_eq!(machine["stored_bytes"], machine["stored_last_days_bytes"]);
    fs::remove_file(place.path("d.img")).unwrap();
    place.in_vault("", &["backup", "web01"]).failed(1, "d.img");
    let (code, told) = status(&place);
    assert_eq!((code, &told["machines"][0]["last_backup_status"]), (Some(5), &json!("failed")));
    let shown = text(&place);
    assert_eq!(shown.code, Some(5));
    assert!(shown.output.contains("Failed") && shown.output.contains("1 not protected as they should be"), "{}", shown.output);
}

#[test]
fn a_machine_without_a_backup_for_days_is_overdue() {
    let place = place();
    place.ok(&["backup", "web01", "--time", "2026-01-01T12:00:00Z"]);
    // Without the record only the point tells when that was.
    fs::remove_dir_all(place.path("CAIRN_STATE_DIR")).unwrap();
    let (code, told) = status(&place);
    assert_eq!((code, &told["machines"][0]["last_backup_status"]), (Some(5), &json!("overdue")));
    assert_eq!(told["machines"][0]["last_success"], "2026-01-01T12:00:00Z");
}

#[test]
fn a_machine_that_only_the_vault_knows_is_shown_and_alarms_nobody() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    place.ok(&["backup", "guest", "--disk", &disk]);
    let (code, told) = status(&place);
    let machine = &told["machines"][0];
    assert_eq!((code, &machine["defined"], &machine["protection"]), (Some(0), &json!(false), &json!("protection_stopped")));
}

#[test]
fn metrics_go_to_standard_output_or_to_a_file_that_others_read() {
    let place = place();
    place.ok(&["backup", "web01"]);
    let told = place.ok(&["status", "--prometheus"]);
    let labels = format!("{{vault=\"{}\",machine=\"web01\"", place.path("vault").canonicalize().unwrap().display());
    for line in [format!("cairn_machine_alarm{labels}}} 0"), format!("cairn_machine_last_backup_status{labels},state=\"completed\"}} 1")] {
        assert!(told.lines().any(|other| other == line), "{line} is not in\n{told}");
    }
    let file = place.text_path("cairn.prom");
    fs::write(&file, "old").unwrap();
    assert_eq!(place.ok(&["status", "--prometheus", &file]), "");
    assert!(fs::read_to_string(&file).unwrap().starts_with("# HELP cairn_status_timestamp_seconds"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
}
