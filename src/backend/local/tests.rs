//! Local directories as stores: what is visible when, leftovers, links, refusals.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::io::{FailingSync, fail_calls, fail_fsync};

fn store() -> (tempfile::TempDir, LocalDirectory) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalDirectory::create(&directory.path().join("above/vault")).unwrap();
    (directory, store)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_may_look() {
    let (directory, store) = store();
    assert_eq!(store.create("packs/0f/one", b"1").unwrap(), Created::New);
    let vault = directory.path().join("above/vault");
    for path in ["", "packs", "packs/0f"] {
        assert_eq!(mode(&vault.join(path)), 0o700, "{path}");
    }
    assert_eq!(mode(&vault.join("packs/0f/one")), 0o600);
}

#[test]
fn create_refuses_what_is_not_empty_and_open_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |error: BackendError| {
        assert!(matches!(error, BackendError::Unsupported { .. }), "{error:?}");
        error.to_string()
    };
    let missing = refused(LocalDirectory::open(&directory.path().join("missing")).unwrap_err());
    assert!(missing.contains("no such directory"), "{missing}");
    fs::write(directory.path().join("letter"), "x").unwrap();
    let full = refused(LocalDirectory::create(directory.path()).unwrap_err());
    assert!(full.contains("not empty") && full.contains("letter"), "{full}");
    let file = refused(LocalDirectory::create(&directory.path().join("letter")).unwrap_err());
    assert!(file.contains("no directory"), "{file}");
    refused(LocalDirectory::open(&directory.path().join("letter")).unwrap_err());
    fs::create_dir_all(directory.path().join("new/lost+found")).unwrap();
    LocalDirectory::create(&directory.path().join("new")).unwrap();
}

#[test]
fn strangers_among_the_files_are_not_objects() {
    let (directory, store) = store();
    let vault = directory.path().join("above/vault");
    assert_eq!(store.create("packs/a", b"1").unwrap(), Created::New);
    let unfinished = store.writer("packs/b").unwrap();
    fs::write(vault.join("packs/.tmp-c-00"), "x").unwrap();
    fs::create_dir(vault.join("lost+found")).unwrap();
    fs::write(vault.join("lost+found/x"), "x").unwrap();
    std::os::unix::fs::symlink("/nowhere", vault.join("packs/dangling")).unwrap();
    assert_eq!(store.list("").unwrap(), [Listed { name: "packs/a".to_owned(), size_bytes: 1 }]);
    assert_eq!(store.size_bytes("packs").unwrap(), None);
    assert!(matches!(store.get("packs"), Err(BackendError::NotFound { .. })));
    assert!(matches!(store.get_range("packs", 0..1), Err(BackendError::NotFound { .. })));
    drop(unfinished);
}

#[test]
fn a_part_of_the_vault_may_be_a_link_to_another_disk() {
    let (directory, store) = store();
    fs::create_dir(directory.path().join("large")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("large"), directory.path().join("above/vault/packs")).unwrap();
    assert_eq!(store.create("packs/0f/a", b"1").unwrap(), Created::New);
    assert_eq!(store.list("packs/").unwrap().len(), 1);
    assert!(directory.path().join("large/0f/a").exists());
}

#[test]
fn a_reader_goes_on_with_a_pack_that_another_process_removed() {
    let (directory, store) = store();
    assert_eq!(store.create("packs/a", b"0123456789").unwrap(), Created::New);
    assert_eq!(store.get_range("packs/a", 2..4).unwrap(), b"23");
    fs::remove_file(directory.path().join("above/vault/packs/a")).unwrap();
    assert_eq!(store.get_range("packs/a", 4..6).unwrap(), b"45");
    store.delete("packs/a").unwrap();
    assert!(matches!(store.get_range("packs/a", 4..6), Err(BackendError::NotFound { .. })));
}

#[test]
fn a_file_that_was_truncated_while_open_is_named() {
    let (directory, store) = store();
    assert_eq!(store.create("a", &[7; 100]).unwrap(), Created::New);
    assert_eq!(store.get_range("a", 0..100).unwrap(), [7; 100]);
    File::options().write(true).open(directory.path().join("above/vault/a")).unwrap().set_len(60).unwrap();
    let error = store.get_range("a", 50..100).unwrap_err();
    assert!(matches!(error, BackendError::Truncated { size_bytes: 60, wanted_bytes: 100, .. }), "{error:?}");
}

#[test]
fn a_vault_that_went_away_is_not_taken_for_an_empty_one() {
    let (directory, store) = store();
    assert_eq!(store.create("packs/a", b"1").unwrap(), Created::New);
    let vault = directory.path().join("above/vault");
    fs::rename(&vault, directory.path().join("elsewhere")).unwrap();
    let check = |detail: &str| {
        let failures = [
            store.get("packs/a").map(drop).unwrap_err(),
            store.get_range("packs/a", 0..1).map(drop).unwrap_err(),
            store.size_bytes("packs/a").map(drop).unwrap_err(),
            store.list("packs/").map(drop).unwrap_err(),
            store.delete("packs/a").unwrap_err(),
            store.sync_names("packs/").unwrap_err(),
            store.create("new/b", b"1").map(drop).unwrap_err(),
            store.writer("packs/b").map(drop).unwrap_err(),
        ];
        for error in failures {
            assert!(matches!(error, BackendError::Io { .. }) && error.to_string().contains(detail), "{error}");
        }
    };
    check("gone");
    fs::create_dir(&vault).unwrap();
    check("another");
}

#[test]
fn a_file_written_in_many_pieces_is_whole() {
    let (_directory, store) = store();
    let mut writer = store.writer("packs/large").unwrap();
    let mut expected = Vec::new();
    for (number, length) in [10, GATHER_BYTES - 10, 1, GATHER_BYTES, 3, 0, 9 * GATHER_BYTES, GATHER_BYTES - 1, 2].into_iter().enumerate() {
        let piece = vec![number as u8 + 1; length];
        writer.write(&piece).unwrap();
        expected.extend(piece);
    }
    assert_eq!(writer.finish().unwrap(), Created::New);
    assert!(store.get("packs/large").unwrap() == expected);
}

/// What a store says of a thread's attempt to make an object while no fsync works.
fn create_without_fsync(store: &LocalDirectory, name: &str) -> String {
    std::thread::scope(|scope| {
        let work = || {
            fail_fsync(FailingSync::All).unwrap();
            store.create(name, b"1").unwrap_err().to_string()
        };
        scope.spawn(work).join().unwrap()
    })
}

/// Red when the name of a directory that was made on demand, or found, is not made durable.
#[test]
fn the_name_of_a_directory_is_durable_before_an_object_is_put_into_it() {
    let (directory, store) = store();
    let made = create_without_fsync(&store, "made/a");
    assert!(made.contains("making the directory of"), "{made}");
    fs::create_dir(directory.path().join("above/vault/found")).unwrap();
    let found = create_without_fsync(&store, "found/a");
    assert!(found.contains("making the directory of"), "{found}");
    assert_eq!(store.create("found/a", b"1").unwrap(), Created::New);
    let known = create_without_fsync(&store, "found/b");
    assert!(known.contains("making durable"), "{known}");
    assert_eq!(store.list("").unwrap().len(), 1);
}

#[test]
fn sync_names_syncs() {
    let (_directory, store) = store();
    assert_eq!(store.create("a", b"1").unwrap(), Created::New);
    let work = || {
        fail_fsync(FailingSync::All).unwrap();
        store.sync_names("").unwrap_err().to_string()
    };
    let failed = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    assert!(failed.contains("making durable the names in"), "{failed}");
}

#[test]
fn a_full_or_refusing_disk_is_told_apart_and_leaves_nothing() {
    let (directory, store) = store();
    let fail = |call, code| {
        let work = || {
            let mut writer = store.writer("large").unwrap();
            fail_calls(call, code, FailingSync::All).unwrap();
            let whole = store.create("small", b"1").unwrap_err();
            let parts = writer.write(&vec![1; 2 * GATHER_BYTES]).and_then(|()| writer.finish()).unwrap_err();
            (whole, parts)
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    };
    for (call, code) in [(libc::SYS_write, libc::ENOSPC), (libc::SYS_write, libc::EDQUOT), (libc::SYS_fsync, libc::ENOSPC)] {
        let (whole, parts) = fail(call, code);
        assert!(matches!(whole, BackendError::Full { .. }), "{whole:?}");
        assert!(matches!(parts, BackendError::Full { .. }), "{parts:?}");
    }
    let (whole, parts) = fail(libc::SYS_write, libc::EROFS);
    assert!(matches!((whole, parts), (BackendError::Denied { .. }, BackendError::Denied { .. })));
    assert_eq!(fs::read_dir(directory.path().join("above/vault")).unwrap().count(), 0, "an unfinished file was left");
}

/// What a writer has begun is a leftover until it is finished; what is no file of a writer is none.
#[test]
fn unfinished_files_are_leftovers() {
    let (directory, store) = store();
    assert_eq!(store.leftovers().unwrap(), []);
    let mut writer = store.writer("packs/aa/one").unwrap();
    writer.write(&[7; 2 << 20]).unwrap();
    let root = directory.path().join("above/vault");
    fs::write(root.join(".tmp-vault-1"), b"12345").unwrap();
    fs::write(root.join("packs/.other"), b"no writer's").unwrap();
    fs::create_dir(root.join(".tmp-directory")).unwrap();
    assert_eq!(store.create("packs/aa/two", b"an object").unwrap(), Created::New);
    let found = store.leftovers().unwrap();
    let sizes: Vec<_> = found.iter().map(|leftover| (leftover.path.split("-").next().unwrap(), leftover.size_bytes)).collect();
    assert_eq!(sizes, [(".tmp", 5), ("packs/aa/.tmp", 2 << 20)]);
    assert!(found.iter().all(|leftover| leftover.modified.is_some()));
    assert_eq!(writer.finish().unwrap(), Created::New);
    assert_eq!(store.leftovers().unwrap().len(), 1);
}
