//! Disks as people name them, and what cannot be one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::backend::LocalDirectory;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::vault::{DedupScope, Writers};
use crate::store::NewVault;

fn vault(directory: &TempDir) -> Vault {
    let backend = Arc::new(LocalDirectory::create(&directory.path().join("vault")).unwrap());
    let new = NewVault { compression_level: 1, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
    Vault::create(backend, new, &Unlock::Nothing, PassphraseCost::default(), directory.path()).unwrap()
}

fn open(vault: &Vault, path: &Path, hints: Option<&Path>) -> Result<DiskRequest, JobError> {
    open_disk(vault, "vda".parse().unwrap(), &SourceSpec::parse(path.as_os_str()), hints)
}

#[test]
fn a_disk_is_opened_with_its_hints() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory);
    let (image, hints) = (directory.path().join("disk.raw"), directory.path().join("hints.json"));
    fs::write(&image, vec![1; 1 << 20]).unwrap();
    fs::write(&hints, r#"[{"start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "offset": 0}]"#)
        .unwrap();
    let disk = open(&vault, &image, Some(&hints)).unwrap();
    assert_eq!(disk.hints.unwrap().origin, "qemu-img map");
    fs::write(&hints, "nonsense").unwrap();
    let error = open(&vault, &image, Some(&hints)).map(drop).unwrap_err().to_string();
    assert!(error.contains("hints.json") && error.contains("they start with 'nonsense'"), "{error}");
    let error = open(&vault, &image, Some(Path::new("/no/such/hints"))).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("the file of hints '/no/such/hints' cannot be read: "), "{error}");
}

#[test]
fn the_vaults_own_files_are_no_disk() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory);
    let link = directory.path().join("innocent.raw");
    symlink(directory.path().join("vault/vault"), &link).unwrap();
    for path in [directory.path().join("vault/vault"), directory.path().join("vault/../vault/vault"), link] {
        let error = open(&vault, &path, None).map(drop).unwrap_err();
        assert!(matches!(error, JobError::SourceInVault { .. }), "{}: {error}", path.display());
    }
}

#[test]
fn a_configuration_file_is_kept_by_its_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("web01.xml");
    fs::write(&path, "<domain/>").unwrap();
    assert_eq!(read_configs(&[&path]).unwrap(), [ConfigFile { name: "web01.xml".to_owned(), bytes: b"<domain/>".to_vec() }]);
    let refused = |path: &Path| read_configs(&[path]).unwrap_err().to_string();
    assert!(read_configs(&[&path, &path]).unwrap_err().to_string().ends_with("cannot be kept: another one has the same name"));
    let escaped = directory.path().join("evil\u{1b}.xml");
    fs::write(&escaped, "x").unwrap();
    assert!(refused(&escaped).contains("its name has control characters"));
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    assert!(read_configs(&[&path]).is_ok());
    fs::write(&path, vec![0; (1 << 20) + 1]).unwrap();
    assert!(refused(&path).ends_with("cannot be kept: it has more than 1 MiB"));
    let odd = directory.path().join(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff.xml"));
    fs::write(&odd, "x").unwrap();
    assert!(refused(&odd).ends_with("cannot be kept: its name is not UTF-8"));
}
