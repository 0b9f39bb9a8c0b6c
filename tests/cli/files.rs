//! Files out of recovery points: listed, looked for, copied.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use super::place::{CHUNK, Place, noise};

/// A vault with one point of a disk with a hole in its middle.
fn with_point() -> (Place, Vec<u8>) {
    let place = Place::with_vault();
    let disk = [noise(1, CHUNK), vec![0; 4 * CHUNK], noise(2, CHUNK)].concat();
    let image = place.image("vda.raw", &disk);
    place.ok(&["backup", "web01", "--disk", &format!("vda={image}")]);
    (place, disk)
}

#[test]
fn disks_are_found_and_copied_as_files() {
    let (place, disk) = with_point();
    assert_eq!(place.ok(&["find", "web01@latest:disks"]), "disks\ndisks/vda.map.json\ndisks/vda.raw\n");
    assert_eq!(place.ok(&["find", "web01@latest", "--name", "*.raw", "--print0"]), "disks/vda.raw\0");
    let found = place.json(&["find", "web01@latest", "--kind", "f", "--size", "+1M"]);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((found[0]["path"].as_str(), found[0]["size_bytes"].as_u64()), (Some("disks/vda.raw"), Some(disk.len() as u64)));
    assert_eq!(place.json(&["find", "web01@latest", "--name", "no such"]), serde_json::json!([]));
    assert!(
        place.ok(&["find", "-l", "web01@latest", "--newer", "1h", "--name", "vda.raw"]).starts_with("-r--r--r--   1     0     0   1.5 MiB")
    );

    let copied = place.json(&["cp", "web01@latest:disks/vda.raw", &place.text_path("new.raw")]);
    assert_eq!((copied["files"].as_u64(), copied["size_bytes"].as_u64()), (Some(1), Some(disk.len() as u64)));
    assert_eq!(copied["written_bytes"].as_u64(), Some(2 * CHUNK as u64));
    assert_eq!(fs::read(place.path("new.raw")).unwrap(), disk);
    assert!(fs::metadata(place.path("new.raw")).unwrap().blocks() * 512 < disk.len() as u64, "the hole is a hole");
    let text = place.ok(&["cp", "-r", "web01@latest:disks", "web01@latest:machine", &place.text_path(".")]);
    assert!(text.starts_with("Copied 3 files, 2 directories to "), "{text}");
    assert_eq!(fs::read(place.path("disks/vda.raw")).unwrap(), disk);
    assert!(fs::read_to_string(place.path("machine/manifest.json")).unwrap().contains("web01"));
}

#[test]
fn what_is_there_stays_without_overwrite() {
    let (place, disk) = with_point();
    let target = place.text_path("mine");
    fs::write(&target, "mine").unwrap();
    let refused = place.in_vault("", &["cp", "web01@latest:disks/vda.raw", &target]);
    refused.failed(1, "warning: disks/vda.raw: exists already; --overwrite replaces it\nerror: not copied: disks/vda.raw\n");
    let refused = place.in_vault("", &["cp", "web01@latest:disks/vda.raw", &target, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&refused.output).unwrap();
    assert_eq!((refused.code, told["error"]["message"].as_str()), (Some(1), Some("not copied: disks/vda.raw")));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    // One of several that were named is missing in the end; the other is there.
    fs::create_dir(place.path("both")).unwrap();
    fs::write(place.path("both/vda.raw"), "mine").unwrap();
    let both = ["cp", "web01@latest:disks/vda.raw", "web01@latest:machine/manifest.json", &place.text_path("both")];
    let ended = place.in_vault("", &both);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(
        ended.output.starts_with("Copied 1 file to ") && ended.errors.ends_with("error: not copied: disks/vda.raw\n"),
        "{}",
        ended.errors
    );
    // In a directory that was named it is a warning: the directory is there.
    fs::create_dir_all(place.path("tree/disks")).unwrap();
    fs::write(place.path("tree/disks/vda.raw"), "mine").unwrap();
    let ended = place.in_vault("", &["cp", "-r", "web01@latest:disks", &place.text_path("tree")]);
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert_eq!(fs::read(place.path("tree/disks/vda.raw")).unwrap(), b"mine");
    place.ok(&["cp", "--overwrite", "web01@latest:disks/vda.raw", &target]);
    assert_eq!(fs::read(&target).unwrap(), disk);
}

/// Runs `cairn cp` on a terminal of its own, where somebody types this answer.
fn answered(place: &Place, answer: &str, words: &str) -> (Option<i32>, String) {
    let command = format!("'{}' cp {words}", assert_cmd::cargo::cargo_bin("cairn").display());
    let mut script = Command::new("script");
    place.environment(&mut script).env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1").args(["-qec", &command, "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn on_a_terminal_it_asks_before_it_replaces() {
    let (place, disk) = with_point();
    let target = place.path("mine \u{1b}[2J");
    let words = format!("web01@latest:disks/vda.raw '{}'", target.display());
    for (answer, code) in [("n\n", 1), ("\n", 1), ("whatever\n", 1), ("y\n", 0)] {
        fs::write(&target, "mine").unwrap();
        let (ended, shown) = answered(&place, answer, &words);
        assert_eq!(ended, Some(code), "{answer:?}: {shown}");
        assert!(shown.contains("replace ") && shown.contains("mine \\u{1b}[2J? [y/N] "), "{shown}");
        assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
        assert_eq!(shown.contains("warning: disks/vda.raw: stays as it is"), code == 1, "{shown}");
        let there = fs::read(&target).unwrap();
        assert!(if code == 0 { there == disk } else { there == b"mine" }, "{answer:?}");
    }
    // Nothing is asked where nothing is there, or where the answer was given.
    fs::remove_file(&target).unwrap();
    assert_eq!(answered(&place, "", &words).0, Some(0));
    let (code, shown) = answered(&place, "", &format!("--overwrite {words}"));
    assert!(code == Some(0) && !shown.contains("replace"), "{shown}");
}

#[test]
fn archives_go_to_files_and_pipes() {
    let (place, disk) = with_point();
    let archive = place.text_path("disks.tar");
    let packed = place.json(&["tar", "web01@latest:disks", "-o", &archive]);
    assert_eq!((packed["files"].as_u64(), packed["directories"].as_u64()), (Some(2), Some(1)), "{packed}");
    assert!(fs::metadata(&archive).unwrap().len() < disk.len() as u64, "the hole is left out");
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let unpacked = Command::new("tar").args(["-xf", &archive, "-C"]).arg(&out).status().unwrap();
    assert!(unpacked.success() && fs::read(out.join("disks/vda.raw")).unwrap() == disk);
    place.in_vault("", &["tar", "web01@latest:disks", "-o", &archive]).failed(1, "--overwrite replaces it");
    place.ok(&["tar", "web01@latest:disks", "-o", &archive, "--overwrite", "--zstd"]);
    assert!(fs::read(&archive).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let piped = place.command(&[("CAIRN_VAULT", &place.vault())], &["tar", "web01@latest:disks/vda.raw", "--gzip"]).output().unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(&[0x1f, 0x8b]));
    let refused = place.in_vault("", &["tar", "web01@latest:disks", "--json"]);
    assert!(refused.code == Some(2) && refused.errors.contains("give -o FILE"), "{}", refused.errors);
    place.in_vault("", &["tar", "web01@latest:disks", "-o", &archive, "--format", "zip", "--zstd"]).failed(2, "leave out --zstd");
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let (place, _) = with_point();
    let target = place.text_path("out");
    for (arguments, code, message) in [
        (&["cp", "web01@latest:disks/no such", &target][..], 1, "'disks/no such' does not exist"),
        (&["cp", "web01@latest:disks/vda.raw/x", &target], 1, "'disks/vda.raw' is no directory"),
        (&["cp", "web09@latest:disks", &target], 1, "web09"),
        (&["cp", "web01@latest:/etc/fstab", &target], 1, "no filesystem that Cairn can read"),
        (&["cp", "web01@latest:disks/vda.raw", &place.text_path("missing/out")], 1, "cannot be opened"),
        (&["cp", "web01@latest:disks/vda.raw", "web01@latest:machine", &target], 1, "is no directory that several files could go into"),
        (&["cp", "web01@latest:disks", "web02@latest:disks", &target], 2, "two points"),
        (&["cp", "web01@latest:disks"], 2, "2 values required"),
        (&["find", "web01@latest:disks", "--size", "huge"], 2, "expected +10M"),
        (&["find", "web01@latest:disks", "--kind", "x"], 2, "expected f, d, l"),
        (&["find", "web01@latest:disks", "--newer", "yesterday"], 2, "is no time"),
        (&["find", "web01@latest:missing"], 1, "no"),
    ] {
        place.in_vault("", arguments).failed(code, message);
        assert!(!place.path("out").exists(), "{arguments:?}");
    }
}
