//! `cairn machine`, and backups by definition.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::place::{CHUNK, Ended, Place, noise};

/// A vault, an image, and a machine that is defined with it and with a disk that does not even exist.
fn place() -> Place {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, 2 * CHUNK)));
    let config = place.image("web01.xml", b"<domain/>");
    let scratch = format!("vdb={}", place.text_path("scratch"));
    place.ok(&["machine", "add", "web01", "--disk", &disk, "--temporary", &scratch, "--tag", "nightly", "--config", &config]);
    place
}

fn file(place: &Place) -> std::path::PathBuf {
    place.path("CAIRN_CONFIG_DIR").join("machines/web01.toml")
}

#[test]
fn a_machine_is_defined_once_and_backed_up_by_its_name() {
    let place = place();
    let point = place.json(&["backup", "web01", "--tag", "more"]);
    let disks: Vec<&Value> = point["disks"].as_array().unwrap().iter().map(|disk| &disk["name"]).collect();
    assert_eq!(disks, [&json!("vda")], "a temporary disk was read");
    assert_eq!(point["tags"], json!(["more", "nightly"]));
    let shown = place.json(&["show", "web01@latest"]);
    assert_eq!(shown["left_out"], json!([{ "name": "vdb", "use": "temporary", "source": place.text_path("scratch") }]));
    let names: Vec<&Value> = shown["configs"].as_array().unwrap().iter().map(|config| &config["name"]).collect();
    assert_eq!(names, [&json!("web01.xml"), &json!("cairn-machine.toml")]);
    let text = place.ok(&["show", "web01@latest"]);
    assert!(text.contains("\nLeft out:") && text.contains(&format!("  vdb (temporary): {}\n", place.text_path("scratch"))), "{text}");
    let kept = place.ok(&["show", "web01@latest", "--config", "cairn-machine.toml"]);
    assert_eq!(kept, fs::read_to_string(file(&place)).unwrap());
}

#[test]
fn what_is_done_around_a_backup_is_a_part_of_the_definition() {
    let place = place();
    place.ok(&["machine", "edit", "web01", "--scripts", "/nonexistent.json", "--snapshot-command", "/bin/false"]);
    assert_eq!(place.json(&["machine", "show", "web01"])["consistency"]["scripts"], "/nonexistent.json");
    let ended = place.in_vault("", &["backup", "web01"]);
    assert_ne!(ended.code, Some(0), "the definition's snapshot command was not run: {}", ended.errors);
    place.ok(&["machine", "edit", "web01", "--remove-consistency"]);
    place.ok(&["backup", "web01"]);
}

#[test]
fn disks_that_are_typed_leave_the_definition_alone() {
    let place = place();
    let disk = format!("sda={}", place.image("other.img", &noise(2, CHUNK)));
    let point = place.json(&["backup", "web01", "--disk", &disk]);
    assert_eq!((&point["disks"][0]["name"], &point["tags"]), (&json!("sda"), &json!([])));
    assert_eq!(place.json(&["show", "web01@latest"])["left_out"], json!([]));
}

#[test]
fn a_machine_that_nobody_defined_needs_disks() {
    let place = Place::with_vault();
    place.in_vault("", &["backup", "web02"]).failed(2, "no machine is called web02 on this host; give --disk NAME=SOURCE");
    assert_eq!(place.json(&["jobs"]), json!([]), "what was never begun is no job");
}

#[test]
fn a_definition_that_others_could_have_written_is_not_followed() {
    let place = place();
    fs::set_permissions(file(&place), fs::Permissions::from_mode(0o666)).unwrap();
    place.in_vault("", &["backup", "web01"]).failed(1, "can be written by others than its owner (mode 666)");
    let listed = place.in_vault("", &["machine", "list", "--json"]);
    assert_eq!((listed.code, listed.output.as_str()), (Some(3), "[]\n"), "{}", listed.errors);
    assert!(listed.errors.contains("mode 666"), "{}", listed.errors);
}

#[test]
fn definitions_are_changed_by_options_and_forgotten() {
    let place = place();
    place.in_vault("", &["machine", "add", "web01", "--disk", "vda=/x"]).failed(1, "a machine is called web01 already");
    let edit = ["machine", "edit", "web01", "--remove-disk", "vdb", "--remove-tag", "nightly", "--keep-clone", "--schedule", "daily 04:00"];
    let edited = place.json(&edit);
    assert_eq!((edited["disks"].as_array().unwrap().len(), &edited["tags"], &edited["keep_clone"]), (1, &json!([]), &json!(true)));
    assert_eq!(edited["consistency"], Value::Null);
    assert_eq!(place.json(&["machine", "show", "web01"]), edited);
    assert_eq!(place.json(&["machine", "list"]), json!([edited]));
    place.in_vault("", &["machine", "edit", "web01", "--remove-tag", "nightly"]).failed(2, "it has no tag 'nightly'");
    place.in_vault("", &["machine", "edit", "web01", "--remove-disk", "vda"]).failed(1, "no disk of it is backed up");
    assert_eq!(place.json(&["machine", "show", "web01"]), edited, "a change that was refused was made");
    place.in_vault("", &["machine", "edit", "web02", "--tag", "x"]).failed(1, "no machine is called web02 here");
    place.ok(&["machine", "remove", "web01"]);
    assert!(!file(&place).exists());
    place.in_vault("", &["machine", "remove", "web01"]).failed(1, "no machine is called web01 here");
}

fn edit(place: &Place, editor: &str) -> Ended {
    let environment = [("EDITOR", editor), ("PATH", "/usr/bin:/bin")];
    place.run(&environment, &["machine", "edit", "web01"])
}

#[test]
fn an_editor_changes_a_definition_and_nonsense_is_kept_for_another_try() {
    let place = place();
    place.run(&[], &["machine", "edit", "web01"]).failed(2, "neither VISUAL nor EDITOR is set");
    assert_eq!(edit(&place, "sed -i -e s/nightly/weekly/ -e 1i#\\x20Anna").code, Some(0));
    let text = fs::read_to_string(file(&place)).unwrap();
    assert!(text.starts_with("# Anna\n") && text.contains("weekly"), "{text}");
    edit(&place, "sed -i s/name/nome/").failed(1, "nothing was changed; what you wrote is in");
    assert_eq!(fs::read_to_string(file(&place)).unwrap(), text);
    assert!(file(&place).with_file_name(".web01.draft").exists());
    edit(&place, "false").failed(1, "the editor ended with exit status: 1");
    place.in_vault("", &["machine", "edit", "web01", "--tag", "x"]).failed(1, "it has comments, which an edit by options would lose");
}
