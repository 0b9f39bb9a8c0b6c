//! Several devices: every profile, with a device missing, damaged or out of date.

use std::fs::OpenOptions as FileOptions;
use std::os::unix::fs::FileExt;

use super::images::Images;
use super::trees::assert_equal;
use crate::guestfs::testing::{Limits, Noise, Population, assert_same, guest_tree, kernel_tree, populate, walk};
use crate::guestfs::{GuestError, OpenOptions, identify, open};

const SIZE: u64 = 256 << 20;

fn population() -> Population {
    Population { big_bytes: 4 << 20, entries: 200, many: 20, ..Population::posix() }
}

fn made(count: usize, metadata: &str, data: &str) -> Option<Images> {
    let images = Images::made(count, SIZE, &["-m", metadata, "-d", data])?;
    let mount = images.mount("noatime")?;
    populate(mount.path(), &population());
    Some(images)
}

/// Compares with the kernel, then without each device in turn, if nothing is lost then.
fn compare(count: usize, metadata: &str, data: &str, spare: bool) {
    let Some(images) = made(count, metadata, data) else { return };
    let Some(fs) = assert_equal(&images, "ro,noatime", &[]) else { return };
    let expected = guest_tree(fs.as_ref());
    let devices = images.devices();
    for (at, device) in devices.iter().enumerate() {
        let identity = identify(device.as_ref()).expect("read").expect("btrfs").member.expect("one of several");
        assert_eq!((identity.device, identity.devices), (at as u64 + 1, count as u64));
        let mut others: Vec<_> = devices.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other.clone()).collect();
        others.reverse();
        let opened = open(&others, &OpenOptions::default());
        if spare {
            let fs = opened.expect("a copy of everything is left");
            assert_same(&expected, &guest_tree(fs.as_ref()), &[]);
            assert_eq!(fs.about().notes.len(), 1, "{:?}", fs.about().notes);
        } else if let Ok(fs) = opened {
            let walked = walk(fs.as_ref(), &Limits::sound());
            assert!(!walked.problems.is_empty(), "what lay on device {} cannot be there", identity.device);
        }
    }
}

#[test]
fn mirrored_profiles_are_read_without_any_one_device() {
    compare(2, "raid1", "raid1", true);
    compare(4, "raid10", "raid10", true);
    compare(4, "raid1c4", "raid1c3", true);
}

#[test]
fn striped_profiles_are_read_and_say_what_is_missing() {
    compare(3, "raid1", "raid0", false);
    compare(2, "single", "single", false);
}

#[test]
fn parity_stands_for_one_device() {
    compare(3, "raid1", "raid5", true);
    compare(4, "raid1c3", "raid6", true);
    compare(4, "raid5", "raid5", true);
}

#[test]
fn a_damaged_copy_is_passed_over() {
    let Some(images) = made(2, "raid1", "raid1") else { return };
    let expected = guest_tree(images.open().as_ref());
    let file = FileOptions::new().write(true).open(&images.paths[0]).expect("opened");
    let mut noise = Noise::new(7);
    for at in (2 << 20..SIZE).step_by(1 << 16) {
        file.write_all_at(&noise.bytes(100), at + noise.below(60_000) as u64).expect("written");
    }
    assert_same(&expected, &guest_tree(images.open().as_ref()), &[]);
    // The second too: now some of it is lost, and said to be.
    let file = FileOptions::new().write(true).open(&images.paths[1]).expect("opened");
    for at in (80 << 20..SIZE).step_by(1 << 16) {
        file.write_all_at(&noise.bytes(40_000), at).expect("written");
    }
    if let Ok(fs) = open(&images.devices(), &OpenOptions::default()) {
        assert!(!walk(fs.as_ref(), &Limits::sound()).problems.is_empty());
    }
}

#[test]
fn a_device_that_missed_changes_is_not_believed() {
    let Some(images) = made(2, "raid1", "raid1") else { return };
    let before = images.copied();
    let Some(mount) = images.mount("noatime,nodatacow") else { return };
    for at in 0..50 {
        std::fs::write(mount.join(&format!("new-{at}")), vec![at; 10_000]).expect("written");
    }
    drop(mount);
    let mount = images.mount("ro,noatime").expect("as before");
    let expected = kernel_tree(mount.path());
    drop(mount);
    std::fs::copy(&before.paths[0], &images.paths[0]).expect("copied");
    let fs = images.open();
    assert_same(&expected, &guest_tree(fs.as_ref()), &[]);
    assert!(fs.about().notes[0].contains("missed the last changes"), "{:?}", fs.about().notes);
}

#[test]
fn the_superblock_has_copies_and_features_have_names() {
    let Some(images) = Images::made(1, SIZE, &["-L", "copies"]) else { return };
    let path = &images.paths[0];
    let file = FileOptions::new().read(true).write(true).open(path).expect("opened");
    let mut superblock = vec![0; 4096];
    file.read_exact_at(&mut superblock, 64 << 10).expect("read");
    // A damaged label: the checksum is wrong, and the copy has it right.
    file.write_all_at(b"X", (64 << 10) + 0x12b).expect("written");
    let identity = identify(images.devices()[0].as_ref()).expect("read").expect("btrfs");
    assert_eq!(identity.label.as_deref(), Some("copies"));
    assert!(images.open().about().notes[0].contains("superblock of device 1"), "said");
    // Features that there is no reader for.
    superblock[0xbc + 1] |= 0x10;
    superblock[0xbc + 7] |= 0x80;
    let sum = crc32c::crc32c(&superblock[32..]);
    superblock[..4].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&superblock, 64 << 10).expect("written");
    let Err(GuestError::Unsupported { feature }) = open(&images.devices(), &OpenOptions::default()) else { panic!("opened") };
    assert_eq!(feature, "btrfs feature 'zoned' and 0x8000000000000000, which is unknown here");
}
