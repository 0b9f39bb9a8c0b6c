//! Restores to files: new ones, and those that hold something already.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::jobs::testing::{disk, write_sparse};
use crate::units::CHUNK_BYTES;

#[test]
fn a_new_file_has_the_bytes_and_the_holes() {
    for vault in [TestVault::new(), TestVault::encrypted()] {
        let bytes = disk(43, 1);
        let point = vault.backup("m", &[("vda", &bytes)]).point;
        let to = vault.path("out.raw");
        let request = RestoreRequest { sync: true, ..request(point, Some("vda"), &to) };
        let restored = restore(&vault.vault, &request, &Silent).unwrap();
        assert!(fs::read(&to).unwrap() == bytes);
        let report = restored.disks[0].report;
        assert_eq!((report.size_bytes, report.written_bytes), (bytes.len() as u64, data_blocks_bytes(&bytes)));
        assert_eq!((report.compared_bytes, report.equal_bytes, report.zeroed_bytes), (0, 0, 0));
        assert_eq!(restored.disks[0].kind, PlaceKind::NewFile);
        let metadata = to.metadata().unwrap();
        assert!(metadata.blocks() * 512 <= data_blocks_bytes(&bytes) + (1 << 16), "{} blocks of zeros are stored", metadata.blocks());
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(!partial(&to).exists());
    }
}

#[test]
fn a_file_that_is_equal_is_only_read() {
    let vault = TestVault::new();
    let bytes = disk(20, 2);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("out.raw");
    write_sparse(&to, &bytes);
    let report = to_file(&vault, point, &to, true).unwrap();
    assert_eq!((report.written_bytes, report.zeroed_bytes, report.equal_bytes), (0, 0, report.data_bytes));
    // Holes of the target are not read.
    assert!(report.compared_bytes >= report.data_bytes && report.compared_bytes < bytes.len() as u64, "{report:?}");
    assert!(fs::read(&to).unwrap() == bytes);
}

#[test]
fn a_file_that_differs_gets_the_chunks_that_differ() {
    let vault = TestVault::new();
    let bytes = disk(20, 3);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("out.raw");
    let mut old = bytes.clone();
    // In data of chunk 2, in zeros of chunk 6, in the hole that is chunk 9, and at the very end.
    let places = [2 * CHUNK_BYTES + 5, 6 * CHUNK_BYTES + 32 * 4096, 9 * CHUNK_BYTES + 4096 * 3, bytes.len() - 1];
    places.iter().for_each(|&place| old[place] ^= 0xff);
    write_sparse(&to, &old);
    let inode = to.metadata().unwrap().ino();
    let report = to_file(&vault, point, &to, true).unwrap();
    assert!(fs::read(&to).unwrap() == bytes);
    assert_eq!(to.metadata().unwrap().ino(), inode, "the file was not changed in place");
    let of_chunk = |chunk: usize| data_blocks_bytes(&bytes[chunk * CHUNK_BYTES..((chunk + 1) * CHUNK_BYTES).min(bytes.len())]);
    assert_eq!(report.written_bytes, of_chunk(2) + of_chunk(6) + of_chunk(20));
    // Sixteen zero blocks of chunk 6 lie together; of the hole all of the chunk is zeroed.
    assert_eq!(report.zeroed_bytes, 16 * 4096 + CHUNK_BYTES as u64);
    assert!(to.metadata().unwrap().blocks() * 512 <= data_blocks_bytes(&bytes) + (1 << 16), "zeros are stored");
}

#[test]
fn a_file_of_another_size_gets_the_disks_size() {
    let vault = TestVault::new();
    let bytes = disk(9, 4);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    for (name, old) in [("larger", disk(15, 5)), ("smaller", disk(3, 6)), ("tiny", vec![9; 1])] {
        let to = vault.path(name);
        fs::write(&to, &old).unwrap();
        let refused = refused(to_file(&vault, point, &to, false));
        assert!(matches!(refused, RestoreError::Exists { .. }), "{refused}");
        assert!(fs::read(&to).unwrap() == old, "{name} was changed");
        to_file(&vault, point, &to, true).unwrap();
        assert!(fs::read(&to).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_file_without_data_needs_no_permission() {
    let vault = TestVault::new();
    let bytes = disk(9, 4);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let to = vault.path("prepared");
    fs::File::create(&to).unwrap();
    let report = to_file(&vault, point, &to, false).unwrap();
    assert_eq!(report.compared_bytes, 0);
    assert!(fs::read(&to).unwrap() == bytes);
}

#[test]
fn disks_without_data_come_back() {
    let vault = TestVault::new();
    let zeros = vault.backup("zeros", &[("vda", &vec![0; 3 * CHUNK_BYTES + 7])]).point;
    let to = vault.path("out.raw");
    to_file(&vault, zeros, &to, false).unwrap();
    assert!(fs::read(&to).unwrap() == vec![0; 3 * CHUNK_BYTES + 7]);
    fs::write(&to, vec![7; 5 * CHUNK_BYTES]).unwrap();
    let report = to_file(&vault, zeros, &to, true).unwrap();
    assert!(fs::read(&to).unwrap() == vec![0; 3 * CHUNK_BYTES + 7]);
    assert_eq!(report.zeroed_bytes, 3 * CHUNK_BYTES as u64 + 7);
}

#[test]
fn a_dry_run_says_what_a_restore_does_and_changes_nothing() {
    let vault = TestVault::new();
    let bytes = disk(12, 7);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let mut old = disk(12, 7);
    old[CHUNK_BYTES + 7] ^= 1;
    old[4 * CHUNK_BYTES + 7] ^= 1;
    old.truncate(11 * CHUNK_BYTES + 3);
    for (name, old) in [("new", None), ("old", Some(old))] {
        let to = vault.path(name);
        if let Some(old) = &old {
            write_sparse(&to, old);
        }
        let dry = RestoreRequest { dry_run: true, overwrite: true, ..request(point, Some("vda"), &to) };
        let planned = restore(&vault.vault, &dry, &Silent).unwrap().disks[0].report;
        assert_eq!(fs::read(&to).ok(), old, "{name}");
        assert!(!partial(&to).exists());
        let done = to_file(&vault, point, &to, true).unwrap();
        assert_eq!(planned, done, "{name}");
        assert!(done.written_bytes > 0);
    }
}
