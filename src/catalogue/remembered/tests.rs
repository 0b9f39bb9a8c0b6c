//! What is noticed of vaults that were put back, and what is not held against them.

use std::fs;

use super::Remembered;
use crate::catalogue::testkit::{LEASE, Vault, id, manifest, time};
use crate::format::names::ObjectName;
use crate::units::VaultId;

const VAULT: VaultId = VaultId([1; 16]);

/// Three points of web01 and one of db01, seen by this computer and remembered in the directory.
fn seen(directory: &std::path::Path) -> Vault {
    let vault = Vault::open();
    for number in 1..=3 {
        vault.publish(&manifest("web01", number));
    }
    vault.publish(&manifest("db01", 9));
    let mut remembered = Remembered::load(directory, VAULT).expect("no file yet");
    let (problems, changed) = remembered.compare_and_learn(&vault.list());
    assert!(problems.is_empty() && changed, "{problems:?}");
    remembered.save().expect("a writable directory");
    vault
}

/// What a later process, with only the file, says of the vault.
fn notice(directory: &std::path::Path, vault: &Vault) -> Vec<String> {
    let mut remembered = Remembered::load(directory, VAULT).expect("the file");
    let (problems, changed) = remembered.compare_and_learn(&vault.list());
    if changed {
        remembered.save().expect("a writable directory");
    }
    problems.iter().map(ToString::to_string).collect()
}

fn forget(vault: &Vault, number: u8) {
    for name in [ObjectName::Point(id(number)), ObjectName::Verdict(id(number))] {
        vault.backend.delete(&name.to_string()).expect("memory");
    }
}

#[test]
fn a_vault_that_goes_on_is_no_problem() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    assert!(notice(directory.path(), &vault).is_empty());
    vault.publish(&manifest("web01", 4));
    assert!(notice(directory.path(), &vault).is_empty());
    let remembered = Remembered::load(directory.path(), VAULT).expect("the file");
    let last = remembered.last_of(&"web01".parse().expect("a name")).expect("seen");
    assert_eq!((last.point, last.sequence, last.time), (id(4), 4, time(4)));
}

#[test]
fn a_vault_put_back_is_noticed_until_the_file_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    forget(&vault, 3);
    let problems = notice(directory.path(), &vault);
    let [problem] = &problems[..] else { panic!("not one problem: {problems:?}") };
    insta::assert_snapshot!(problem.replace(&directory.path().display().to_string(), "DIRECTORY"), @"machine web01: this computer has seen its recovery point web01@2026-11-22T20:00:03Z (number 3, 03030303030303030303030303030303), but the vault has neither it nor a tombstone of it: the vault was put back to an older state, or somebody removed the point. If that was meant, remove DIRECTORY/01010101010101010101010101010101.json");
    // Later points do not make the lost one come back.
    vault.publish(&manifest("web01", 4));
    assert_eq!(notice(directory.path(), &vault).len(), 1);
    fs::remove_file(directory.path().join(format!("{VAULT}.json"))).expect("the file");
    assert!(notice(directory.path(), &vault).is_empty());
}

#[test]
fn a_machine_that_is_gone_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    forget(&vault, 9);
    assert_eq!(notice(directory.path(), &vault).len(), 1);
}

/// The manifest came before the verdict: without the verdict the vault is older than what was seen.
#[test]
fn a_lost_verdict_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    vault.backend.delete(&ObjectName::Verdict(id(3)).to_string()).expect("memory");
    assert_eq!(notice(directory.path(), &vault).len(), 1);
}

#[test]
fn a_manifest_replaced_by_another_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    forget(&vault, 3);
    let mut other = manifest("web01", 3);
    other.tags.clear();
    vault.publish(&other);
    assert_eq!(notice(directory.path(), &vault).len(), 1);
}

#[test]
fn deletion_is_no_rollback() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    vault.points().delete_point(id(3), time(20)).expect("memory");
    assert!(notice(directory.path(), &vault).is_empty());
    vault.backend.delete(&ObjectName::Point(id(3)).to_string()).expect("memory");
    assert!(notice(directory.path(), &vault).is_empty(), "a tombstone was taken for a rollback");
    // From now on the machine's last point is the one before.
    let remembered = Remembered::load(directory.path(), VAULT).expect("the file");
    assert_eq!(remembered.last_of(&"web01".parse().expect("a name")).map(|seen| seen.point), Some(id(2)));
}

/// Damage is told of by the listing; it is not a second problem.
#[test]
fn damage_is_no_rollback() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    vault.damage(ObjectName::Point(id(3)));
    assert!(notice(directory.path(), &vault).is_empty());
}

#[test]
fn revoked_points_are_not_remembered() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = seen(directory.path());
    vault.points().put(&manifest("web01", 5)).expect("memory");
    assert!(notice(directory.path(), &vault).is_empty());
    vault.points().revoke(id(5), LEASE, time(30)).expect("memory");
    assert!(notice(directory.path(), &vault).is_empty());
}

#[test]
fn a_damaged_memory_is_an_error_that_says_how_little_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    seen(directory.path());
    let file = directory.path().join(format!("{VAULT}.json"));
    let text = fs::read_to_string(&file).expect("the file");
    for bad in ["", "{}", "[]", &text[..text.len() / 2], &text.replace("\"version\": 1", "\"version\": 2"), &text.replace("web01", "we b")]
    {
        fs::write(&file, bad).expect("a writable directory");
        assert!(Remembered::load(directory.path(), VAULT).is_err(), "{bad:?}");
    }
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 2")).expect("a writable directory");
    let error = Remembered::load(directory.path(), VAULT).expect_err("another version").to_string();
    insta::assert_snapshot!(error.replace(&directory.path().display().to_string(), "DIRECTORY"), @"the memory of this vault's last points in DIRECTORY/01010101010101010101010101010101.json cannot be used: expected version 1, found 2; without it nothing is lost but the notice of a vault that was rolled back");
}
