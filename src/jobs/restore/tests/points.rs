//! Restores of whole points into directories, and requests that are refused.

use super::*;
use crate::format::point::ConfigFile;
use crate::jobs::testing::disk;

fn config(name: &str) -> ConfigFile {
    ConfigFile { name: name.to_owned(), bytes: b"<domain/>".to_vec() }
}

#[test]
fn all_disks_and_files_come_back_into_a_directory() {
    let vault = TestVault::new();
    let (first, second) = (disk(9, 1), disk(4, 2));
    let point = vault.backup_with("m", &[("vda", &first), ("vdb", &second)], vec![config("m.xml")]).point;
    let to = vault.path("new/place");
    let dry = RestoreRequest { dry_run: true, ..request(point, None, &to) };
    assert_eq!(restore(&vault.vault, &dry, &Silent).unwrap().disks.len(), 2);
    assert!(!vault.path("new").exists(), "a dry run has made a directory");
    let restored = restore(&vault.vault, &RestoreRequest { sync: true, ..request(point, None, &to) }, &Silent).unwrap();
    assert!(fs::read(to.join("vda.raw")).unwrap() == first);
    assert!(fs::read(to.join("vdb.raw")).unwrap() == second);
    assert_eq!(fs::read(to.join("m.xml")).unwrap(), b"<domain/>");
    assert_eq!(restored.configs, [to.join("m.xml")]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 3);
}

#[test]
fn a_directory_that_has_one_of_the_files_is_left_alone() {
    let vault = TestVault::new();
    let (first, second) = (disk(3, 1), disk(4, 2));
    let point = vault.backup_with("m", &[("vda", &first), ("vdb", &second)], vec![config("m.xml")]).point;
    for name in ["vdb.raw", "m.xml"] {
        let to = vault.path(&format!("with-{name}"));
        fs::create_dir(&to).unwrap();
        fs::write(to.join(name), "mine").unwrap();
        let error = restore(&vault.vault, &request(point, None, &to), &Silent).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("--overwrite"), "{error}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1, "something was restored beside {name}");
        let restored = restore(&vault.vault, &RestoreRequest { overwrite: true, ..request(point, None, &to) }, &Silent).unwrap();
        assert_eq!((restored.disks.len(), restored.configs.len()), (2, 1));
        assert!(fs::read(to.join("vdb.raw")).unwrap() == second);
        assert_eq!(fs::read(to.join("m.xml")).unwrap(), b"<domain/>");
    }
}

#[test]
fn one_disk_goes_into_a_directory_under_its_name() {
    let vault = TestVault::new();
    let bytes = disk(3, 1);
    let point = vault.backup("m", &[("vda", &bytes)]).point;
    let restored = restore(&vault.vault, &request(point, Some("vda"), vault.directory.path()), &Silent).unwrap();
    assert_eq!(restored.disks[0].path, vault.path("vda.raw"));
    assert!(fs::read(vault.path("vda.raw")).unwrap() == bytes);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let vault = TestVault::new();
    let bytes = disk(2, 1);
    let point = vault.backup_with("m", &[("vda", &bytes), ("vdb", &bytes)], vec![config("vdb.raw")]).point;
    let error = |request: RestoreRequest| restore(&vault.vault, &request, &Silent).unwrap_err().to_string();

    let no_disk = error(request(point, Some("sda"), &vault.path("x")));
    assert!(no_disk.ends_with("has no disk sda; it has vda, vdb"), "{no_disk}");
    fs::write(vault.path("file"), "mine").unwrap();
    let no_directory = error(request(point, None, &vault.path("file")));
    assert!(no_directory.contains("is no directory") && no_directory.contains("vda, vdb"), "{no_directory}");
    let no_parent = error(request(point, Some("vda"), &vault.path("none/x")));
    assert!(no_parent.contains("none' is no directory"), "{no_parent}");
    let name_taken = error(request(point, None, &vault.path("x")));
    assert!(name_taken.contains("vdb.raw") && !vault.path("x").exists(), "{name_taken}");
    let no_device = error(request(point, Some("vda"), Path::new("/dev/null")));
    assert!(no_device.contains("neither a file nor a block device"), "{no_device}");
    let no_point = error(request(PointId([7; 16]), Some("vda"), &vault.path("x")));
    assert!(no_point.contains("07070707"), "{no_point}");
}

#[test]
fn the_vault_is_no_place_for_a_target() {
    let vault = TestVault::new();
    let point = vault.backup("m", &[("vda", &disk(2, 1))]).point;
    let pack = fs::read_dir(vault.root().join("packs")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(pack).unwrap().next().unwrap().unwrap().path();
    let link = vault.path("link");
    std::os::unix::fs::symlink(&pack, &link).unwrap();
    let before = fs::read(&pack).unwrap();
    for to in [pack.clone(), vault.root().join("new"), vault.root().join("new/deeper/x"), link] {
        for disk in [Some("vda"), None] {
            let request = RestoreRequest { overwrite: true, ..request(point, disk, &to) };
            let error = restore(&vault.vault, &request, &Silent).unwrap_err();
            let refused = matches!(&error, JobError::Restore { source: RestoreError::InVault { .. }, .. } | JobError::NoDirectory { .. });
            assert!(refused, "{}: {error}", to.display());
        }
    }
    assert!(fs::read(&pack).unwrap() == before && !vault.root().join("new").exists());
}

#[test]
fn a_target_that_another_restore_writes_is_refused() {
    let vault = TestVault::new();
    let point = vault.backup("m", &[("vda", &disk(2, 1))]).point;
    let to = vault.path("out.raw");
    let other = fs::File::create(partial(&to)).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let refused = refused(to_file(&vault, point, &to, false));
    assert!(matches!(refused, RestoreError::InUse { .. }), "{refused}");
    drop(other);
    to_file(&vault, point, &to, false).unwrap();
}
