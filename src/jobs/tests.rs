//! Vaults are made and opened, and their key slots change, in a real directory.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use super::keys;
use super::vault::{DEFAULT_COMPRESSION_LEVEL, FoundVault, NewPlace, VaultOptions};
use super::*;
use crate::crypt::SecretBytes;
use crate::crypt::slot::Unlock;
use crate::format::vault::DedupScope;
use crate::store::StoreError;

const OPTIONS: VaultOptions =
    VaultOptions { compression_level: DEFAULT_COMPRESSION_LEVEL, dedup_scope: DedupScope::Vault, single_writer: false };

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

/// A secret that costs no key derivation.
fn key_file(text: &str) -> Unlock {
    Unlock::KeyFile(SecretBytes::new(text.repeat(32).into_bytes()))
}

fn made(unlock: &Unlock) -> (TempDir, FoundVault) {
    let directory = TempDir::new().unwrap();
    let location = directory.path().join("vault");
    let location = location.to_str().unwrap();
    NewPlace::take(location).unwrap().make(OPTIONS, unlock, directory.path()).unwrap();
    let found = FoundVault::find(location, directory.path()).unwrap();
    (directory, found)
}

#[test]
fn a_vault_opens_with_its_secret_only() {
    let (_directory, found) = made(&passphrase("right"));
    assert!(found.is_encrypted());
    assert_eq!(found.open(&passphrase("right")).unwrap().header(), found.header());
    let error = found.open(&passphrase("wrong")).map(drop).unwrap_err();
    assert!(matches!(&error, JobError::Store(StoreError::WrongKey { slots: 1, .. })), "{error}");
    assert!(found.open(&Unlock::Nothing).is_err());
}

#[test]
fn a_vault_without_encryption_needs_no_secret() {
    let (_directory, found) = made(&Unlock::Nothing);
    assert!(!found.is_encrypted());
    assert!(found.open(&Unlock::Nothing).is_ok());
    let error = keys::unlock(&found, &Unlock::Nothing).map(drop).unwrap_err();
    assert!(matches!(error, JobError::NotEncrypted { .. }), "{error}");
}

#[test]
fn a_place_that_holds_anything_is_refused() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let error = NewPlace::take(directory.path().to_str().unwrap()).map(drop).unwrap_err().to_string();
    assert!(error.contains("not empty") && error.contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn slots_are_added_and_removed_but_for_the_last() {
    let (_directory, found) = made(&key_file("first"));
    let unlocked = keys::unlock(&found, &key_file("first")).unwrap();
    let added = keys::add(&found, &unlocked, &key_file("second"), "spare").unwrap();
    let slots = keys::list(&found).unwrap();
    assert_eq!(slots.iter().map(|slot| slot.label.as_str()).collect::<Vec<_>>(), ["first", "spare"]);
    assert_eq!(keys::find(&slots, "spare").unwrap().id, added.id);
    assert_eq!(keys::find(&slots, &added.id.to_string()).unwrap().id, added.id);
    assert!(matches!(keys::find(&slots, "absent"), Err(JobError::NoSuchSlot { .. })));
    assert!(matches!(keys::find(&slots, ""), Err(JobError::NoSuchSlot { .. })));

    keys::remove(&found, &unlocked, unlocked.slot).unwrap();
    assert!(found.open(&key_file("first")).is_err());
    let unlocked = keys::unlock(&found, &key_file("second")).unwrap();
    let error = keys::remove(&found, &unlocked, added.id).unwrap_err();
    assert!(matches!(error, JobError::LastSlot { slot } if slot == added.id), "{error}");
    assert!(found.open(&key_file("second")).is_ok());
}

#[test]
fn two_slots_of_one_label_must_be_named_by_id() {
    let (_directory, found) = made(&key_file("first"));
    let unlocked = keys::unlock(&found, &key_file("first")).unwrap();
    keys::add(&found, &unlocked, &key_file("second"), "first").unwrap();
    let error = keys::find(&keys::list(&found).unwrap(), "first").map(drop).unwrap_err();
    assert!(matches!(error, JobError::ManySlots { count: 2, .. }), "{error}");
}

#[test]
fn a_key_file_is_made_once_for_its_owner_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.key");
    assert!(keys::make_key_file(&path).unwrap());
    let first = std::fs::read(&path).unwrap();
    assert_eq!((first.len(), path.metadata().unwrap().mode() & 0o777), (32, 0o600));
    assert!(!keys::make_key_file(&path).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let error = keys::make_key_file(Path::new("/proc/none/vault.key")).unwrap_err().to_string();
    assert!(error.starts_with("the key file '/proc/none/vault.key' cannot be made: "), "{error}");
}

#[test]
fn a_newer_vault_is_no_damage_and_a_broken_one_is() {
    let (directory, _found) = made(&Unlock::Nothing);
    let root = directory.path().join("vault");
    let header = std::fs::read(root.join("vault")).unwrap();
    let find = |bytes: &[u8]| {
        std::fs::write(root.join("vault"), bytes).unwrap();
        FoundVault::find(root.to_str().unwrap(), directory.path()).map(drop).unwrap_err()
    };
    let broken = find(&header[..header.len() - 1]);
    assert_eq!(broken.kind(), ErrorKind::Damage, "{broken}");
    let mut newer = header[..header.len() - 4].to_vec();
    newer[10] = 2;
    newer.extend_from_slice(&crc32fast::hash(&newer).to_le_bytes());
    let newer = find(&newer);
    assert_eq!(newer.kind(), ErrorKind::Other, "{newer}");
    assert_eq!(newer.to_string(), "object 'vault': the vault header has version 2, which this cairn does not know; use a newer cairn");
    let missing = FoundVault::find(directory.path().to_str().unwrap(), directory.path()).map(drop).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Other, "{missing}");
    assert!(missing.to_string().contains("is no vault"), "{missing}");
}
