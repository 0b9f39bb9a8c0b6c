//! Every version, cipher, hash and sector size, and which secrets open what.

use super::super::identify;
use super::kit::{PLAIN_BYTES, disk, encrypted, head, opened, plain, run};
use crate::units::Extent;
use crate::volume::{AnyLayer, VolumeError};

const FAST: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

fn fast(options: &[&'static str]) -> Option<Vec<u8>> {
    encrypted(&[&FAST, options].concat())
}

/// A LUKS1 volume with the passphrase "secret": cryptsetup encrypts it as LUKS2 and exchanges the header.
fn luks1(options: &[&'static str]) -> Option<Vec<u8>> {
    changed(&fast(options)?, &["convert", "--type", "luks1", "--batch-mode"], &[], b"")
}

/// A LUKS1 volume that qemu-img made of [`plain`] with the passphrase "secret".
fn by_qemu() -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("plain"), directory.path().join("volume"));
    std::fs::write(&from, plain()).expect("written");
    let (from, to) = (from.to_str().expect("text"), to.to_str().expect("text"));
    let arguments = ["convert", "--object", "secret,id=key,data=secret", "-f", "raw", "-O", "luks", "-o", "key-secret=key,iter-time=10"];
    run("qemu-img", &[&arguments[..], &[from, to]].concat(), b"")?;
    Some(std::fs::read(to).expect("readable"))
}

fn holds_plain(layer: &AnyLayer, what: &str) {
    assert!(head(layer, PLAIN_BYTES) == plain(), "{what}");
}

#[test]
fn luks1_of_every_cipher_mode_and_hash_is_read() {
    for options in [
        &["--hash", "sha1"][..],
        &["--key-size", "256", "--hash", "sha512"],
        &["--cipher", "aes-xts-plain"],
        &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256", "--hash", "sha1"],
        &["--cipher", "aes-cbc-plain64", "--key-size", "128"],
        &["--cipher", "aes-cbc-plain", "--key-size", "192", "--hash", "sha384"],
    ] {
        let Some(bytes) = luks1(options) else { return };
        let disk = disk(bytes);
        let header = identify(disk.as_ref()).expect("sound").expect("a header");
        assert_eq!((header.version, header.uuid.len(), header.label.as_str()), (1, 36, ""));
        holds_plain(&opened(&disk, &["wrong", "secret"]).expect("opened"), &format!("{options:?}"));
    }
}

#[test]
fn luks1_by_qemu_is_read() {
    let Some(bytes) = by_qemu() else { return };
    let layer = opened(&disk(bytes), &["secret"]).expect("opened");
    assert_eq!(layer.size_bytes(), PLAIN_BYTES as u64);
    holds_plain(&layer, "by qemu");
}

#[test]
fn luks2_of_every_cipher_and_sector_size_is_read() {
    for options in [
        &[][..],
        &["--sector-size", "4096"],
        &["--sector-size", "1024", "--key-size", "256"],
        &["--sector-size", "2048", "--hash", "sha512"],
        &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"],
        &["--cipher", "aes-cbc-plain64", "--key-size", "128", "--sector-size", "4096"],
        &["--cipher", "aes-cbc-plain", "--key-size", "192", "--hash", "sha1"],
        &["--cipher", "aes-xts-plain64be"],
    ] {
        let Some(bytes) = fast(options) else { return };
        holds_plain(&opened(&disk(bytes), &["secret"]).expect("opened"), &format!("{options:?}"));
    }
}

#[test]
fn argon2_opens_with_several_lanes() {
    for kind in ["argon2i", "argon2id"] {
        let costs = ["--pbkdf", kind, "--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "3"];
        let Some(bytes) = encrypted(&costs) else { return };
        let disk = disk(bytes);
        holds_plain(&opened(&disk, &["secret"]).expect("opened"), kind);
        assert!(matches!(opened(&disk, &["other"]), Err(VolumeError::WrongKey { .. })));
    }
}

#[test]
fn no_secret_is_locked_and_wrong_ones_are_said() {
    let Some(bytes) = fast(&[]) else { return };
    let disk = disk(bytes);
    assert!(matches!(opened(&disk, &[]), Err(VolumeError::Locked { object }) if object.starts_with("the LUKS2 volume ")));
    assert!(matches!(opened(&disk, &["a", ""]), Err(VolumeError::WrongKey { .. })));
}

/// Runs cryptsetup on a volume.
fn changed(bytes: &[u8], before: &[&str], after: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("volume");
    std::fs::write(&path, bytes).expect("written");
    let text = path.to_str().expect("text");
    run("cryptsetup", &[before, &[text], after].concat(), input)?;
    Some(std::fs::read(&path).expect("readable"))
}

#[test]
fn every_key_slot_opens_and_label_and_uuid_are_shown() {
    let Some(bytes) = fast(&["--uuid", "11111111-2222-3333-4444-555555555555"]) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let new = directory.path().join("new");
    std::fs::write(&new, "second").expect("written");
    let add = [&["luksAddKey", "--batch-mode", "--key-file", "-"], &FAST[..]].concat();
    let bytes = changed(&bytes, &add, &[new.to_str().expect("text")], b"secret").expect("cryptsetup is there");
    let bytes = changed(&bytes, &["config", "--label", "my label"], &[], b"").expect("cryptsetup is there");
    let bytes = changed(&bytes, &["config", "--priority", "prefer", "--key-slot", "1"], &[], b"").expect("cryptsetup is there");
    let bytes = changed(&bytes, &["config", "--priority", "ignore", "--key-slot", "0"], &[], b"").expect("cryptsetup is there");
    let disk = disk(bytes);
    let header = identify(disk.as_ref()).expect("sound").expect("a header");
    assert_eq!((header.version, header.label.as_str()), (2, "my label"));
    assert_eq!(header.uuid, "11111111-2222-3333-4444-555555555555");
    for passphrase in ["secret", "second"] {
        holds_plain(&opened(&disk, &[passphrase]).expect("opened"), passphrase);
    }
}

#[test]
fn any_range_reads_as_the_whole_does() {
    for size in ["512", "4096"] {
        let Some(bytes) = fast(&["--sector-size", size]) else { return };
        let layer = opened(&disk(bytes), &["secret"]).expect("opened");
        let whole = plain();
        for start in [0, 1, 511, 512, 4095, 4096, 70_001, 500_000] {
            for length in [0, 1, 512, 4096, 65_535, 65_537, 131_072, 300_000] {
                let mut buffer = vec![0; length];
                layer.read_at(start as u64, &mut buffer).expect("inside");
                assert!(buffer == whole[start..start + length], "{size}: {length} at {start}");
            }
        }
        let end = layer.size_bytes();
        layer.read_at(end - 3, &mut [0; 3]).expect("the last bytes");
        assert_eq!(layer.read_at(end - 3, &mut [0; 4]).expect_err("past the end").kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn origins_are_the_sectors_below() {
    let Some(bytes) = fast(&["--sector-size", "4096"]) else { return };
    let layer = opened(&disk(bytes), &["secret"]).expect("opened");
    let mut origins = Vec::new();
    let range = Extent::between(5000, 9000);
    layer.origins(range, &mut |origin| origins.push((origin.disk, origin.range))).expect("no reading");
    let start = 2 << 20;
    assert_eq!(origins, [(0, Extent::between(start + 4096, start + 3 * 4096))]);
}
