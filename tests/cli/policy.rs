//! `cairn policy`, `prune`, `immutability`, and what changes about points: as a person or a script uses them.

use serde_json::{Value, json};

use crate::place::{Place, noise};

/// Three points of web01 and one of db01.
fn place() -> Place {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 4096)));
    for (machine, time) in [("web01", "20"), ("web01", "21"), ("web01", "22"), ("db01", "22")] {
        place.ok(&["backup", machine, "--disk", &disk, "--time", &format!("2026-01-{time}T20:30:00Z")]);
    }
    place
}

fn names(points: &Value) -> Vec<&str> {
    points.as_array().unwrap().iter().map(|point| point["name"].as_str().unwrap()).collect()
}

const FIRST: &str = "web01@2026-01-20T20:30:00Z";
const SECOND: &str = "web01@2026-01-21T20:30:00Z";
const THIRD: &str = "web01@2026-01-22T20:30:00Z";
const DB: &str = "db01@2026-01-22T20:30:00Z";

#[test]
fn policies_are_shown_changed_and_assigned() {
    let place = Place::with_vault();
    let first = place.json(&["policy", "list"]);
    assert_eq!((&first["soft_delete_days"], &first["policies"][0]["schedule"]), (&json!(14), &json!("daily 20:30")));
    assert_eq!(first["policies"][0]["description"], "every day at 20:30, local time; keeps every point for 180 days");

    let added = place.ok(&[
        "policy",
        "add",
        "servers",
        "--schedule",
        "weekly sun,wed 20:30 in Europe/Berlin",
        "--keep",
        "daily 7",
        "--keep",
        "monthly 12 on first sun",
        "--mirror",
        "s3://second/vault",
        "--scrub",
        "0.5%",
    ]);
    assert!(added.starts_with("Policy servers is added: every Wednesday and Sunday at 20:30, Europe/Berlin time"), "{added}");
    place.ok(&["policy", "assign", "servers", "web01", "db01"]);
    let list = place.ok(&["policy", "list"]);
    assert!(list.contains("weekly wed,sun 20:30 in Europe/Berlin") && list.contains("db01 web01") && list.contains("all others"), "{list}");
    let shown = place.json(&["policy", "show", "servers"]);
    assert_eq!((&shown["scrub_percent"], &shown["mirror"]), (&json!(0.5), &json!("s3://second/vault")));
    place.ok(&["policy", "edit", "servers", "--schedule", "none", "--mirror", "none", "--scrub", "0%"]);
    let shown = place.json(&["policy", "show", "servers"]);
    assert_eq!(
        (&shown["scrub_percent"], &shown["mirror"], &shown["schedule"], &shown["next_run"]),
        (&json!(null), &json!(null), &json!(null), &json!(null))
    );
    place.in_vault("", &["policy", "remove", "servers"]).failed(1, "the policy servers is that of db01, web01");
    place.ok(&["policy", "assign", "servers", "--default"]);
    assert_eq!(place.json(&["policy", "list"])["policies"][1]["default"], true);
    place.ok(&["policy", "soft-delete", "30"]);
    assert_eq!(place.json(&["policy", "list"])["soft_delete_days"], 30);
}

#[test]
fn nonsense_is_refused_before_anything_is_done() {
    let place = Place::with_vault();
    let add = |parts: &[&str]| place.in_vault("", &[&["policy", "add", "p"], parts].concat());
    add(&["--schedule", "daily 25:00"]).failed(2, "no time of a day");
    add(&["--schedule", "daily 20:30 in Mars/Olympus"]).failed(2, "no time zone is called");
    add(&["--schedule", "calendar *-02-30"]).failed(2, "nothing would ever run");
    add(&["--keep", ""]).failed(2, "keep nothing");
    add(&["--keep", "daily 7", "--keep", "daily 8"]).failed(2, "say different things");
    add(&["--schedule", "weekly mon 20:30", "--keep", "weekly 4 on sun"]).failed(1, "never runs");
    place.in_vault("", &["policy", "edit", "default"]).failed(2, "nothing is to change");
    place.in_vault("", &["policy", "edit", "nobody", "--keep", "last 1"]).failed(1, "there is no policy nobody");
    place.in_vault("", &["policy", "assign", "default"]).failed(2, "required");
    place.in_vault("", &["policy", "simulate", "--keep", "last 1", "--schedule", "calendar minutely"]).failed(2, "fewer years");
    let disk = format!("vda={}", place.image("d.img", &noise(1, 4096)));
    place.in_vault("", &["backup", "web01", "--disk", &disk, "--retain-until", "2001-01-01"]).failed(2, "lies in the past");
    assert!(names(&place.json(&["points", "--all"])).is_empty());
}

#[test]
fn explain_prune_and_undelete_say_and_do_the_same() {
    let place = place();
    place.ok(&["policy", "edit", "default", "--keep", "last 2"]);
    let explained = place.json(&["policy", "explain", "web01"]);
    assert_eq!(names(&explained), [THIRD, SECOND, FIRST]);
    assert_eq!(explained[0]["reasons"][1], json!({ "why": "last 1 of 2", "until": null, "until_newer_points": 2 }));
    assert_eq!((&explained[2]["kept"], &explained[2]["policy"]), (&json!(false), &json!("default")));

    let dry = place.ok(&["prune", "--dry-run"]);
    assert!(dry.contains("nothing keeps it") && dry.ends_with("1 would be deleted, 3 kept.\n"), "{dry}");
    assert_eq!(names(&place.json(&["points", "--all"])).len(), 4);
    assert_eq!(place.ok(&["prune"]), "1 deleted, 3 kept.\n");
    assert_eq!(names(&place.json(&["points", "--all"])), [DB, SECOND, THIRD]);
    let deleted = place.json(&["points", "--deleted"]);
    assert_eq!((names(&deleted), deleted[0]["removed_after"].is_string()), (vec![FIRST], true));
    place.in_vault("", &["points", "pin", FIRST]).failed(1, "there is no recovery point");
    place.ok(&["points", "undelete", "web01@2026-01-20"]);
    assert_eq!(names(&place.json(&["points", "web01", "--all"])), [FIRST, SECOND, THIRD]);
    assert!(names(&place.json(&["points", "--deleted"])).is_empty());
}

#[test]
fn pinned_points_and_those_with_their_own_date_stay() {
    let place = place();
    place.ok(&["policy", "edit", "default", "--keep", "last 1"]);
    place.ok(&["points", "pin", FIRST]);
    place.ok(&["points", "tag", FIRST, "keep", "audit"]);
    place.ok(&["points", "tag", FIRST, "keep", "--remove", "audit"]);
    let disk = format!("vda={}", place.image("d.img", &noise(1, 4096)));
    place.ok(&["backup", "db01", "--disk", &disk, "--time", "2026-01-01T00:00:00Z", "--retain-until", "90d"]);
    assert_eq!(place.ok(&["prune"]), "1 deleted, 4 kept.\n");
    let points = place.json(&["points", "--all"]);
    assert_eq!(names(&points), ["db01@2026-01-01T00:00:00Z", DB, FIRST, THIRD]);
    assert_eq!((&points[2]["pinned"], &points[2]["tags"]), (&json!(true), &json!(["keep"])));
    place.in_vault("", &["points", "delete", FIRST]).failed(1, "it is pinned");
    place.in_vault("", &["points", "delete", "db01@2026-01-01T00:00:00Z"]).failed(1, "it is to be kept until");
    place.in_vault("", &["points", "delete", THIRD, "web01@1999-01-01"]).failed(1, "web01@1999-01-01");
    assert_eq!(names(&place.json(&["points", "web01", "--all"])), [FIRST, THIRD], "one wrong name, and nothing was done");
    place.ok(&["points", "unpin", FIRST]);
    place.ok(&["points", "delete", FIRST, THIRD]);
    assert!(names(&place.json(&["points", "web01", "--all"])).is_empty(), "a person may delete the newest");
}

#[test]
fn an_immutable_vault_refuses_and_a_locked_one_for_ever() {
    let place = place();
    assert_eq!(place.json(&["immutability", "show"]), json!({ "state": "disabled", "days": 0, "enforced_by_store": false }));
    let enabled = place.ok(&["immutability", "enabled", "--days", "36500"]);
    assert!(enabled.contains("The store itself enforces nothing"), "{enabled}");
    place.in_vault("", &["points", "delete", FIRST]).failed(1, "the vault is immutable");
    place.in_vault("", &["policy", "edit", "default", "--keep", "last 1"]).failed(1, "`cairn immutability disabled` ends that");
    place.in_vault("", &["policy", "soft-delete", "1"]).failed(1, "would keep less");
    place.ok(&["immutability", "locked", "--days", "36500"]);
    place.in_vault("", &["immutability", "disabled"]).failed(1, "immutability is locked for 36500 days");
    place.in_vault("", &["immutability", "locked", "--days", "1"]).failed(1, "only lengthened");
    place.in_vault("", &["policy", "edit", "default", "--keep", "last 1"]).failed(1, "for ever");
    assert_eq!(place.ok(&["prune"]), "0 deleted, 4 kept.\n");
    assert_eq!(place.json(&["policy", "explain", "db01"])[0]["reasons"][0]["why"], "immutable");
}

#[test]
fn simulation_shows_what_will_be_held() {
    let place = Place::with_vault();
    let found = place.json(&["policy", "simulate", "--years", "2", "--keep", "daily 7 + monthly 12"]);
    assert_eq!((found["points"][0]["kept"].as_bool(), found["months"].as_array().unwrap().len() >= 24), (Some(true), true));
    let held = found["points"].as_array().unwrap().len();
    assert!((17..=19).contains(&held), "{held}");
    let text = place.ok(&["policy", "simulate", "--schedule", "weekly sun 03:00", "--keep", "last 3"]);
    assert!(text.contains("3 points on") && text.contains("last 3 of 3"), "{text}");
}
