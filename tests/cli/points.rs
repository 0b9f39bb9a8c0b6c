//! `cairn points`, `show`, `diff` and `stats` on a vault whose points are known.

use serde_json::json;

use crate::place::{CHUNK, Place, noise};

/// Two points of web01, the second with one block changed, and one of db01 that shares half of it.
fn place() -> Place {
    let place = Place::with_vault();
    let mut bytes = noise(1, 4 * CHUNK);
    let backup = |machine: &str, time: &str, bytes: &[u8], more: &[&str]| {
        let disk = format!("vda={}", place.image("d.img", bytes));
        place.ok(&[&["backup", machine, "--disk", &disk, "--time", time], more].concat());
    };
    let config = place.image("web01.xml", b"<domain/>\n");
    backup("web01", "2026-11-20T20:00:00Z", &bytes, &["--tag", "nightly", "--config", &config]);
    bytes[2 * CHUNK] ^= 1;
    backup("web01", "2026-11-21T20:00:00Z", &bytes, &["--tag", "esc\u{1b}[31m", "--consistency", "application"]);
    backup("db01", "2026-11-21T21:00:00Z", &bytes[..2 * CHUNK], &[]);
    place
}

fn names(place: &Place, arguments: &[&str]) -> Vec<String> {
    let points = place.json(&[&["points"], arguments].concat());
    points.as_array().unwrap().iter().map(|point| point["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn points_are_listed_with_the_fields_that_scripts_rely_on() {
    let place = place();
    let points = place.json(&["points", "--all"]);
    let first = &points[1];
    assert_eq!(first["id"].as_str().map(str::len), Some(32));
    assert_eq!((&first["machine"], &first["time"]), (&json!("web01"), &json!("2026-11-20T20:00:00Z")));
    assert_eq!((&first["consistency"], &first["tags"]), (&json!("crash"), &json!(["nightly"])));
    let disk = &first["disks"][0];
    assert_eq!((&disk["name"], disk["size_bytes"].as_u64()), (&json!("vda"), Some(4 * CHUNK as u64)));
    assert_eq!(disk["content_id"].as_str().map(str::len), Some(64));
    for (field, expected) in [("bytes_read", 4 * CHUNK), ("bytes_changed", 4 * CHUNK), ("bytes_new", 4 * CHUNK)] {
        assert_eq!(first[field].as_u64(), Some(expected as u64), "{field}");
    }
    assert!(first["bytes_stored"].as_u64() >= Some(4 * CHUNK as u64));
    assert_eq!(points[2]["bytes_new"].as_u64(), Some(4096));
    assert_eq!(points[0]["bytes_new"].as_u64(), Some(0));
}

#[test]
fn points_are_filtered() {
    let place = place();
    let (db, first, second) = ("db01@2026-11-21T21:00:00Z", "web01@2026-11-20T20:00:00Z", "web01@2026-11-21T20:00:00Z");
    assert_eq!(names(&place, &["--all"]), [db, first, second]);
    assert_eq!(names(&place, &["web01", "--all"]), [first, second]);
    assert_eq!(names(&place, &["--since", "2026-11-21"]), [db, second]);
    assert_eq!(names(&place, &["--until", "2026-11-20"]), [first]);
    assert_eq!(names(&place, &["--since", "2026-11-21T20:00:00Z", "--until", "2026-11-21T20:30"]), [second]);
    assert_eq!(names(&place, &["--all", "--consistency", "application"]), [second]);
    assert_eq!(names(&place, &["--all", "--tag", "nightly"]), [first]);
    assert!(names(&place, &["nobody", "--all"]).is_empty());
    place.in_vault("", &["points", "--since", "soon"]).failed(2, "'soon' is no time");
    place.in_vault("", &["points", "--all", "--since", "3d"]).failed(2, "cannot be used with");
}

#[test]
fn old_points_are_not_shown_but_mentioned() {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 4096)));
    place.ok(&["backup", "web01", "--disk", &disk, "--time", "2001-01-01T00:00:00Z"]);
    let listed = place.in_vault("", &["points"]);
    assert_eq!(listed.output.lines().count(), 1, "{}", listed.output);
    assert_eq!(listed.errors, "1 older than 30 days not shown; --all shows them\n");
}

#[test]
fn the_table_is_harmless_and_one_line_a_point() {
    let place = place();
    let table = place.ok(&["points", "--all"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("esc\\u{1b}[31m") && !table.contains('\u{1b}'), "{table:?}");
    assert!(table.lines().nth(2).unwrap().contains("web01    2026-11-20 20:00 UTC  crash        vda    1.0 MiB"), "{table}");
}

#[test]
fn show_tells_all_of_one_point() {
    let place = place();
    let shown = place.json(&["show", "web01@latest"]);
    assert_eq!(shown["base"]["name"], "web01@2026-11-20T20:00:00Z");
    assert_eq!((&shown["sequence"], &shown["configs"]), (&json!(2), &json!([])));
    let text = place.ok(&["show", "web01@2026-11-20"]);
    for part in ["web01@2026-11-20T20:00:00Z", "none: the machine's first", "web01.xml (10 B)", "Disk vda", "first backup, all read"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let id = shown["id"].as_str().unwrap();
    assert_eq!(place.json(&["show", &id[..8]])["id"], id);
    assert_eq!(place.ok(&["show", "web01@latest~1", "--config", "web01.xml"]), "<domain/>\n");
    place.in_vault("", &["show", "web01@latest", "--config", "web01.xml"]).failed(1, "has no file 'web01.xml'");
    place.in_vault("", &["show", "web01@latest~2"]).failed(1, "the machine does not have so many");
    place.in_vault("", &["show", "web02@latest"]).failed(1, "Perhaps:\n    web01@latest\n");
    place.in_vault("", &["show", "nonsense!"]).failed(1, "does not name a recovery point");
}

#[test]
fn diff_tells_ranges_and_bytes() {
    let place = place();
    let diff = place.json(&["diff", "web01@latest~1", "web01@latest"]);
    let chunk = CHUNK as u64;
    assert_eq!(diff["from"]["name"], "web01@2026-11-20T20:00:00Z");
    assert_eq!(diff["changed_bytes"].as_u64(), Some(chunk));
    assert_eq!(diff["disks"][0]["ranges"], json!([{ "offset_bytes": 2 * chunk, "length_bytes": chunk }]));
    let text = place.ok(&["diff", "web01@latest", "db01@latest"]);
    assert!(text.contains("1.0 MiB -> 512 KiB") && text.contains("50.0%"), "{text}");
    let same = place.json(&["diff", "web01@latest", "web01@latest"]);
    assert_eq!((same["changed_bytes"].as_u64(), &same["disks"][0]["ranges"]), (Some(0), &json!([])));
}

#[test]
fn many_ranges_are_shown_when_asked_for() {
    let place = Place::with_vault();
    let mut bytes = noise(1, 30 * CHUNK);
    let disk = format!("vda={}", place.image("d.img", &bytes));
    place.ok(&["backup", "web01", "--disk", &disk]);
    (0..15).for_each(|nth| bytes[2 * nth * CHUNK] ^= 1);
    place.image("d.img", &bytes);
    place.ok(&["backup", "web01", "--disk", &disk]);
    let few = place.ok(&["diff", "web01@latest~1", "web01@latest"]);
    assert!(few.ends_with("(5 more ranges; --ranges shows all)\n"), "{few}");
    let all = place.ok(&["diff", "web01@latest~1", "web01@latest", "--ranges"]);
    assert_eq!(all.lines().count(), few.lines().count() + 4, "{all}");
}

#[test]
fn stats_add_up() {
    let place = place();
    let stats = place.json(&["stats"]);
    let (chunk, block) = (CHUNK as u64, 4096);
    assert_eq!(stats["unique_bytes"].as_u64(), Some(4 * chunk + block));
    assert_eq!(stats["referenced_bytes"], stats["unique_bytes"]);
    assert_eq!(stats["logical_bytes"].as_u64(), Some(10 * chunk));
    assert_eq!((&stats["points"], &stats["cipher"]), (&json!(3), &json!("none")));
    let web = &stats["machines"][1];
    assert_eq!((&web["machine"], web["unique_bytes"].as_u64()), (&json!("web01"), Some(2 * chunk + block)));
    assert_eq!(web["shared_bytes"].as_u64(), Some(2 * chunk));
    let text = place.ok(&["stats"]);
    assert!(text.contains("3 of 2 machines") && text.contains("MACHINE") && !text.contains("Unfinished"), "{text}");
    std::fs::write(place.path("vault/packs/.tmp-killed-1"), [0; 2048]).unwrap();
    let stats = place.json(&["stats"]);
    assert_eq!((stats["unfinished_files"].as_u64(), stats["unfinished_bytes"].as_u64()), (Some(1), Some(2048)));
    let text = place.ok(&["stats"]);
    assert!(text.contains("2.0 KiB in 1 files of jobs that run now or were killed"), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = place();
    let script = format!("{} points --all | :; exit ${{PIPESTATUS[0]}}", assert_cmd::cargo::cargo_bin("cairn").display());
    let mut bash = assert_cmd::Command::new("bash");
    bash.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", place.text_path("")).env("CAIRN_VAULT", place.vault());
    bash.envs(place.variables());
    let ended = crate::place::Ended::of(&bash.args(["-c", &script]).output().unwrap());
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
}
