//! Places and sources that fail or change: full disks, missing rights, disks of other sizes, hints that are not of this disk. Each is told with
//! its cure, and nothing that was there before is lost.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::mounted::Mounted;
use crate::place::{CHUNK, Ended, Place, noise};

/// The disk argument of an image with these bytes.
fn disk(place: &Place, bytes: &[u8]) -> String {
    format!("vda={}", place.image("d.img", bytes))
}

/// Restores a point and checks that it is these bytes.
#[track_caller]
fn check_restores(place: &Place, vault: &str, point: &str, bytes: &[u8]) {
    let target = place.text_path("checked.raw");
    let ended = place.run(&[("CAIRN_VAULT", vault)], &["restore", point, "--disk", "vda", "--to", &target]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(fs::read(&target).unwrap() == bytes, "{point} came back with other bytes");
    fs::remove_file(target).unwrap();
}

/// Files that a write left unfinished, anywhere in a vault.
fn unfinished(vault: &Path) -> Vec<String> {
    let found = Command::new("find").arg(vault).args(["-name", ".tmp-*"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_vault_on_a_full_disk_keeps_what_it_has() {
    let Some(mounted) = Mounted::in_memory(4) else { return };
    let place = Place::new();
    let vault = mounted.text_path("vault");
    let run = |arguments: &[&str]| place.run(&[("CAIRN_VAULT", &vault)], arguments);
    assert_eq!(run(&["init", "--encryption", "none"]).code, Some(0));
    let (small, large) = (noise(1, 4 * CHUNK), noise(2, 20 * CHUNK));
    assert_eq!(run(&["backup", "web01", "--disk", &disk(&place, &small)]).code, Some(0));
    let large_disk = disk(&place, &large);
    let full = run(&["backup", "web01", "--disk", &large_disk]);
    full.failed(1, "no space is left while writing 'packs/");
    assert!(full.errors.contains("free some, then run the same command again"), "{}", full.errors);
    assert_eq!(unfinished(&mounted.path("vault")), Vec::<String>::new());
    assert_eq!(run(&["points", "--all", "--json"]).json().as_array().map(Vec::len), Some(1));
    check_restores(&place, &vault, "web01@latest", &small);
    // With room the same command does it.
    assert!(Command::new("mount").args(["-o", "remount,size=20M", &mounted.text_path("")]).status().unwrap().success());
    assert_eq!(run(&["backup", "web01", "--disk", &large_disk]).code, Some(0));
    check_restores(&place, &vault, "web01@latest", &large);
    assert_eq!(run(&["verify", "--all"]).code, Some(0));
}

#[test]
fn a_restore_to_a_full_disk_goes_on_when_there_is_room() {
    let Some(mounted) = Mounted::in_memory(4) else { return };
    let place = Place::with_vault();
    let bytes = noise(3, 24 * CHUNK);
    place.ok(&["backup", "web01", "--disk", &disk(&place, &bytes)]);
    let target = mounted.text_path("out.raw");
    let restore = ["restore", "web01@latest", "--disk", "vda", "--to", &target];
    place.in_vault("", &restore).failed(1, "free some, then run the same command again: it goes on where it stopped");
    assert!(!mounted.path("out.raw").exists(), "a part of a disk has the name of the whole");
    assert!(Command::new("mount").args(["-o", "remount,size=20M", &mounted.text_path("")]).status().unwrap().success());
    let told = place.json(&restore);
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(told["disks"][0]["equal_bytes"].as_u64() > Some(0), "what was there was written again: {told}");
    assert_eq!(mounted.names(), ["out.raw"]);
}

/// A limit on the size of files fails like a full disk, and needs no root.
#[test]
fn files_that_may_not_grow_are_an_error_and_no_more() {
    let place = Place::with_vault();
    let (small, large) = (noise(4, 2 * CHUNK), noise(5, 20 * CHUNK));
    place.ok(&["backup", "web01", "--disk", &disk(&place, &small)]);
    place.ok(&["backup", "big", "--disk", &disk(&place, &large)]);
    let limited = |arguments: &[&str]| {
        // The signal that comes with it is ignored, as a service manager may do; else it ends the program.
        let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(assert_cmd::cargo::cargo_bin("cairn")).args(arguments);
        Ended::of(&place.environment(&mut command).output().unwrap())
    };
    let other = disk(&place, &noise(6, 20 * CHUNK));
    let ended = limited(&["backup", "web01", "--disk", &other]);
    ended.failed(1, "packs/");
    let target = place.text_path("out.raw");
    let ended = limited(&["restore", "big@latest", "--disk", "vda", "--to", &target]);
    ended.failed(1, "out.raw");
    assert!(!place.path("out.raw").exists());
    assert_eq!(unfinished(&place.path("vault")), Vec::<String>::new());
    assert_eq!(place.json(&["points", "--all"]).as_array().map(Vec::len), Some(2));
    check_restores(&place, &place.vault(), "web01@latest", &small);
    check_restores(&place, &place.vault(), "big@latest", &large);
}

/// Runs commands as a user without any rights of root: as nobody where the tests run as root.
struct Commoner {
    place: Place,
}

impl Commoner {
    fn new() -> Self {
        let place = Place::new();
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(assert_cmd::cargo::cargo_bin("cairn"), place.path("cairn")).unwrap();
        fs::create_dir(place.path("own")).unwrap();
        let commoner = Self { place };
        commoner.give("own");
        commoner
    }

    fn is_root() -> bool {
        rustix::process::getuid().is_root()
    }

    /// Makes the user the owner of a file.
    fn give(&self, name: &str) {
        if Self::is_root() {
            std::os::unix::fs::chown(self.place.path(name), Some(65534), Some(65534)).unwrap();
        }
    }

    fn image(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.place.image(name, bytes);
        self.give(name);
        path
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let binary = self.place.text_path("cairn");
        let dropped = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &binary];
        let words = if Self::is_root() { &dropped[..] } else { &dropped[4..] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).env_clear().env("HOME", self.place.path("own"));
        Ended::of(&command.env("CAIRN_VAULT", self.place.path("own/vault")).output().unwrap())
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn a_user_without_rights_backs_up_and_restores_what_is_his() {
    let user = Commoner::new();
    let bytes = noise(7, 3 * CHUNK + 512);
    let disk = format!("vda={}", user.image("own/d.img", &bytes));
    assert_eq!(user.run(&["init", "--encryption", "none"]).code, Some(0));
    for _ in 0..2 {
        let ended = user.run(&["backup", "web01", "--disk", &disk]);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    }
    let target = user.place.text_path("own/out.raw");
    assert_eq!(user.run(&["restore", "web01@latest", "--disk", "vda", "--to", &target]).code, Some(0));
    assert!(fs::read(target).unwrap() == bytes);
    assert_eq!(user.run(&["verify", "--all"]).code, Some(0));
}

#[test]
fn what_a_user_may_not_do_is_told_with_its_cure() {
    let user = Commoner::new();
    let disk = format!("vda={}", user.image("own/d.img", &noise(8, CHUNK)));
    assert_eq!(user.run(&["init", "--encryption", "none"]).code, Some(0));
    user.mode("own/d.img", 0o000);
    user.run(&["backup", "web01", "--disk", &disk]).failed(1, "d.img: permission denied; run as a user who may read it");
    user.mode("own/d.img", 0o600);
    assert_eq!(user.run(&["backup", "web01", "--disk", &disk]).code, Some(0));
    // A vault that may be read only: everything but writing works.
    for part in ["packs", "leases", "points", "verdicts"] {
        user.mode(&format!("own/vault/{part}"), 0o500);
    }
    let denied = user.run(&["backup", "web01", "--disk", &disk]);
    denied.failed(1, "own/vault");
    assert!(denied.errors.contains("denied"), "{}", denied.errors);
    assert_eq!(user.run(&["verify", "--all"]).code, Some(0));
    // A target that may not be written, and one in a directory that may not.
    let target = user.image("own/target.img", &noise(9, CHUNK));
    user.mode("own/target.img", 0o400);
    let restore = |target: &str| user.run(&["restore", "web01@latest", "--disk", "vda", "--to", target, "--overwrite"]);
    restore(&target).failed(1, "target.img");
    assert!(fs::read(&target).unwrap() == noise(9, CHUNK));
    let denied = restore(&user.place.text_path("no.raw"));
    denied.failed(1, "no.raw");
    assert!(denied.errors.to_lowercase().contains("permission"), "{}", denied.errors);
    user.mode("own/vault", 0o000);
    let denied = user.run(&["points", "--all"]);
    user.mode("own/vault", 0o700);
    denied.failed(1, "denied");
}

#[test]
fn a_disk_grows_and_shrinks_and_every_state_comes_back() {
    let place = Place::with_vault();
    let states: Vec<Vec<u8>> = [10 * CHUNK + 77, 17 * CHUNK, 3 * CHUNK + 1, 3 * CHUNK + 513, 300 * CHUNK, 1, 511]
        .iter()
        .map(|&bytes| noise(10, 300 * CHUNK)[..bytes].to_vec())
        .collect();
    for (number, state) in states.iter().enumerate() {
        let disk = disk(&place, state);
        // Nothing is unlike the base but the end.
        let hints = json!({ "cairn_hints": 1, "size_bytes": state.len(), "changed": [] }).to_string();
        let hints = format!("vda={}", place.image("hints.json", hints.as_bytes()));
        let mut arguments = vec!["backup", "web01", "--disk", &disk];
        if number % 2 == 1 {
            arguments.extend(["--changed", &hints, "--verify-hints", "0"]);
        }
        let told = place.json(&arguments);
        assert_eq!(told["size_bytes"].as_u64(), Some(state.len() as u64), "{told}");
        if number % 2 == 1 {
            assert_eq!(told["disks"][0]["changes"]["how"], "hints", "{told}");
        }
    }
    for (number, state) in states.iter().rev().enumerate() {
        check_restores(&place, &place.vault(), &format!("web01@latest~{number}"), state);
    }
    place.ok(&["verify", "--all"]);
}

#[test]
fn hints_that_are_not_of_this_disk_are_refused() {
    let place = Place::with_vault();
    let mut bytes = noise(11, 8 * CHUNK);
    let disk = disk(&place, &bytes);
    let first = place.json(&["backup", "web01", "--disk", &disk]);
    place.ok(&["backup", "web01", "--disk", &disk]);
    bytes[5 * CHUNK] ^= 1;
    place.image("d.img", &bytes);
    let size = bytes.len();
    let with = |hints: &str| {
        let hints = format!("vda={}", place.image("hints", hints.as_bytes()));
        place.in_vault("", &["backup", "web01", "--disk", &disk, "--changed", &hints, "--json"])
    };
    let neutral =
        |base: &str, size: usize, range: &str| format!(r#"{{"cairn_hints": 1, {base} "size_bytes": {size}, "changed": [{range}]}}"#);
    // Errors: nothing is backed up.
    for (hints, message) in [
        (String::new(), "they are empty"),
        ("{\"cairn_hints\": 1".to_owned(), "malformed at line 1"),
        (neutral("", size, r#"{"offset": 0, "length": 1, "kind": "date"}"#), "malformed at line 1"),
        (neutral("", size, r#"{"offset": 2097151, "length": 2, "kind": "data"}"#), "past the end of the disk at 2097152"),
        (
            neutral("", size, r#"{"offset": 9, "length": 2, "kind": "data"}, {"offset": 10, "length": 2, "kind": "zero"}"#),
            "entry 2: it starts",
        ),
        (neutral("", size + 512, ""), "describe a disk of 2097664 bytes, but the disk has 2097152"),
        (r#"[{ "start": 0, "length": 4096, "depth": 0, "zero": false, "data": true }]"#.to_owned(), "describe a disk of 4096 bytes"),
        ("<superblock data_block_size=\"128\"><diff><different begin=\"0\"".to_owned(), "malformed at line 1"),
    ] {
        let refused = with(&hints);
        assert_eq!(refused.code, Some(1), "{hints}: {}", refused.errors);
        assert!(refused.errors.contains(message) && refused.errors.contains("hints"), "{hints}: {}", refused.errors);
    }
    assert_eq!(place.json(&["points", "--all"]).as_array().map(Vec::len), Some(2));
    // Hints of another base are a warning, and the whole disk is read.
    let point = first["id"].as_str().unwrap();
    let warned = with(&neutral(&format!("\"base\": \"{point}\","), size, ""));
    assert_eq!(warned.code, Some(3), "{}", warned.errors);
    assert!(warned.errors.contains(&format!("they compare with {point}, but the machine's latest point is")), "{}", warned.errors);
    let told: Value = serde_json::from_str(&warned.output).unwrap();
    assert_eq!((told["disks"][0]["changes"]["how"].as_str(), told["bytes_read"].as_u64()), (Some("hints_refused"), Some(size as u64)));
    check_restores(&place, &place.vault(), "web01@latest", &bytes);
}

#[test]
fn names_that_cannot_be_are_refused_before_anything_is_done() {
    let place = Place::with_vault();
    let image = place.image("d.img", &noise(12, CHUNK));
    let long = "x".repeat(65);
    for name in ["a/b", "a b", "", ".", "..", "-a", "a\nb", "a\u{7f}", "\u{202e}a", "a@b", "a=b/", &long] {
        let machine = place.in_vault("", &["backup", "--disk", &format!("vda={image}"), "--", name]);
        assert_eq!(machine.code, Some(2), "{name:?}: {}", machine.errors);
        let as_disk = place.in_vault("", &["backup", "web01", "--disk", &format!("{name}={image}")]);
        // With a '=' in it the name ends before, and the rest is a path.
        let expected = if name.contains('=') { 1 } else { 2 };
        assert_eq!(as_disk.code, Some(expected), "{name:?}: {}", as_disk.errors);
        let printed = [machine.errors, as_disk.errors].concat();
        assert!(!printed.chars().any(|letter| letter.is_control() && letter != '\n'), "{printed:?}");
    }
    let twice = place.in_vault("", &["backup", "web01", "--disk", &format!("a={image}"), "--disk", &format!("a={image}")]);
    twice.failed(2, "two disks are called a; give each its own name");
    assert_eq!(place.json(&["points", "--all"]), json!([]));
    assert!(!place.path("vault/packs").exists(), "something was stored");
}

/// Written in place by another program, and killed in mid-restore: run again, it is whole.
#[test]
fn a_killed_restore_goes_on_and_ends_whole() {
    let place = Place::with_vault();
    let bytes = noise(13, 64 * CHUNK);
    place.ok(&["backup", "web01", "--disk", &disk(&place, &bytes)]);
    let target = place.path("out.raw");
    let partial = place.path("out.raw.cairn-partial");
    let restore = ["restore", "web01@latest", "--disk", "vda", "--to", target.to_str().unwrap()];
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    let mut killed = place.environment(command.args(restore)).spawn().unwrap();
    while killed.try_wait().unwrap().is_none() && !partial.exists() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    if !target.exists() {
        // What was restored so far may be wrong by now; it is read and compared, not believed.
        File::options().write(true).open(&partial).unwrap().write_all_at(&[1; 9000], 0).unwrap();
        place.ok(&restore);
    }
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(!partial.exists());
}
