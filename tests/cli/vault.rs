//! Making vaults, opening them, and their key slots.

use std::fs;
use std::path::Path;

use crate::place::Place;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn init_makes_an_encrypted_vault_and_says_what_it_is() {
    let place = Place::new();
    let made = place.in_vault("correct horse", &["init", "--json"]).json();
    assert_eq!(made["vault"].as_str(), Some(place.vault().as_str()));
    assert_eq!(made["cipher"], "aes-256-gcm");
    assert_eq!((made["dedup_scope"].as_str(), made["writers"].as_str()), (Some("vault"), Some("many")));
    assert_eq!(made["id"].as_str().map(str::len), Some(32));
    let again = place.in_vault("correct horse", &["init"]);
    again.failed(1, "not empty");
}

#[test]
fn init_refuses_what_it_cannot_mean() {
    let place = Place::new();
    let vault = place.vault();
    place.run(&[], &["init", &vault]).failed(1, "no terminal to ask on");
    place.run(&[("CAIRN_PASSPHRASE", "")], &["init", &vault]).failed(1, "CAIRN_PASSPHRASE is set but empty");
    place.run(&[], &["init", &vault, "--encryption", "keyfile"]).failed(2, "needs --key-file");
    place.run(&[("CAIRN_KEY_FILE", "/k")], &["init", &vault]).failed(2, "add --encryption keyfile");
    place.run(&[], &["init", &vault, "--vault", "/other", "--encryption", "none"]).failed(2, "two places are named");
    place.run(&[], &["init", "", "--encryption", "none"]).failed(2, "empty");
    place.run(&[], &["init", "ftp://host/x", "--encryption", "none"]).failed(1, "ftp");
    assert!(!place.path("vault/vault").exists());
}

#[test]
fn init_leaves_a_place_that_holds_something_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.path("vault")).unwrap();
    fs::write(place.path("vault/letter \u{1b}[2J.txt"), "mine").unwrap();
    let refused = place.run(&[], &["init", &place.vault(), "--encryption", "none"]);
    refused.failed(1, "not empty");
    assert!(!refused.errors.contains('\u{1b}'), "{:?}", refused.errors);
    assert_eq!(names(&place.path("vault")).len(), 1);
}

#[test]
fn the_default_vault_is_in_the_home_directory() {
    // Root's default is one for the whole machine, which no test may touch.
    if fs::metadata("/proc/self").map(|data| std::os::unix::fs::MetadataExt::uid(&data)).unwrap() == 0 {
        return;
    }
    let place = Place::new();
    assert_eq!(place.run(&[], &["init", "--encryption", "none"]).code, Some(0));
    assert!(place.path(".local/share/cairn/vault/vault").exists());
}

#[test]
fn what_is_no_vault_is_named() {
    let place = Place::new();
    place.in_vault("x", &["key", "list"]).failed(1, "no such directory");
    fs::create_dir(place.path("vault")).unwrap();
    place.in_vault("x", &["key", "list"]).failed(1, "is no vault");
    fs::write(place.path("vault/vault"), "not a header at all, but long enough to be one, perhaps").unwrap();
    place.in_vault("x", &["key", "list"]).failed(4, "damaged");
}

#[test]
fn a_vault_of_a_newer_format_is_refused_by_its_version() {
    let place = Place::new();
    place.with_key_file();
    let path = place.path("vault/vault");
    let mut header = fs::read(&path).unwrap();
    header.truncate(header.len() - 4);
    header[10] = 9;
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    fs::remove_file(&path).unwrap();
    fs::write(&path, header).unwrap();
    place.in_vault("x", &["key", "list"]).failed(1, "has version 9, which this cairn does not know");
}

#[test]
fn key_slots_come_and_go_but_for_the_last() {
    let place = Place::new();
    let key = place.with_key_file();
    let spare = place.path("spare.key").to_str().unwrap().to_owned();
    let added =
        place.in_vault("", &["key", "add", "--key-file", &key, "--label", "spare\u{1b}[31m", "--new-key-file", &spare, "--json"]).json();
    assert_eq!((added["kind"].as_str(), added["label"].as_str()), (Some("keyfile"), Some("spare\u{1b}[31m")));

    let listed = place.in_vault("", &["key", "list"]);
    assert!(listed.output.contains("spare\\u{1b}[31m") && !listed.output.contains('\u{1b}'), "{:?}", listed.output);
    let listed = place.in_vault("", &["key", "list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));

    place.in_vault("", &["key", "remove", "first", "--key-file", "/dev/null"]).failed(1, "none of the 2 key slots opens");
    place.in_vault("", &["key", "remove", "absent", "--key-file", &key]).failed(1, "no key slot has an id or label 'absent'");
    assert_eq!(place.in_vault("", &["key", "remove", "first", "--key-file", &spare]).code, Some(0));
    let last = added["id"].as_str().unwrap();
    place.in_vault("", &["key", "remove", last, "--key-file", &spare]).failed(1, "is the last one");
    place.in_vault("", &["key", "add", "--key-file", &key, "--new-key-file", &spare]).failed(1, "none of the 1 key slots opens");
}

#[test]
fn a_passphrase_comes_from_a_file_a_command_or_the_environment() {
    let place = Place::new();
    let vault = place.vault();
    let file = place.path("passphrase").to_str().unwrap().to_owned();
    fs::write(&file, "correct horse\nsecond line\n").unwrap();
    assert_eq!(place.run(&[], &["init", &vault, "--passphrase-file", &file]).code, Some(0));
    let new = place.path("new.key").to_str().unwrap().to_owned();
    let add = |environment: &[(&str, &str)], options: &[&str]| {
        place.run(environment, &[&["--vault", &vault, "key", "add", "--new-key-file", &new], options].concat())
    };
    assert_eq!(add(&[("CAIRN_PASSPHRASE", "correct horse")], &[]).code, Some(0));
    assert_eq!(add(&[("CAIRN_PASSPHRASE", "wrong")], &["--passphrase-command", "echo correct horse"]).code, Some(0));
    add(&[("CAIRN_PASSPHRASE", "wrong")], &[]).failed(1, "none of the 3 key slots opens with what was given");
    add(&[], &["--passphrase-command", "exit 3"]).failed(1, "failed (exit status: 3)");
    add(&[], &["--passphrase-file", "/no/such/file"]).failed(1, "the passphrase file '/no/such/file'");
    add(&[], &["--passphrase-file", "a", "--key-file", "b"]).failed(2, "cannot be used with");
}
