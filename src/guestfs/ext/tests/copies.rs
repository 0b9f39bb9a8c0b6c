//! The first superblock is damaged: a copy of it does.

use super::*;
use crate::guestfs::identify;
use crate::guestfs::testing::{Cloner, Writer};

/// Zeros over the first superblock and over the descriptors of groups after it.
fn wreck(image: &Path) {
    let file = std::fs::File::options().write(true).open(image).expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 16 << 10], 0).expect("writable");
}

fn notes(image: &Path) -> String {
    opened(image, true).about().notes.join("; ")
}

fn same_by_a_copy(mebibytes: u64, arguments: &[&str], group: u32) {
    let Some((_place, image)) = filled(mebibytes, arguments, &Population { longest_attribute: 900, ..Population::posix().tiny() }) else {
        return;
    };
    let Some(expected) = truth(&image) else { return };
    let identity = identify(device(&image).as_ref()).expect("readable");
    wreck(&image);
    assert_eq!(identify(device(&image).as_ref()).expect("readable"), identity);
    assert_same(&expected, &shown(&image), &[]);
    assert_eq!(notes(&image), format!("its first superblock is damaged: the copy in group {group} was used"));
}

#[test]
fn a_copy_is_used_with_blocks_of_1_kib() {
    same_by_a_copy(24, &["-t", "ext4", "-b", "1024"], 1);
}

#[test]
fn a_copy_is_used_with_blocks_of_4_kib() {
    same_by_a_copy(160, &["-t", "ext4", "-b", "4096", "-N", "8000"], 1);
}

#[test]
fn a_copy_is_used_on_ext2() {
    same_by_a_copy(48, &["-t", "ext2", "-b", "2048"], 1);
}

#[test]
fn the_next_copy_is_used_where_the_first_is_damaged_too() {
    let Some((_place, image)) = made(64, &["-t", "ext4", "-b", "1024"]) else { return };
    wreck(&image);
    let file = std::fs::File::options().write(true).open(&image).expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 512], (8193 << 10) + 256).expect("writable");
    assert_eq!(notes(&image), "its first superblock is damaged: the copy in group 3 was used");
}

/// Where only the checksum is wrong, descriptors and journal are those of the copy all the same: what was not replayed yet is.
#[test]
fn the_journal_is_replayed_by_a_copy() {
    let Some(cloner) = Cloner::new() else { return };
    let image = cloner.join("live");
    sparse_file(&image, 48 << 20);
    let Some(_) = run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "1024", text(&image)]) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "ext4", "commit=60") else { return };
    let writer = Writer::start(mounted.path(), 3, 4);
    writer.wait(300);
    let copy = cloner.clone("live", "copy");
    let expected = shown(&copy);
    let file = std::fs::File::options().write(true).open(&copy).expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 1024 + 0x78).expect("writable");
    // The superblock is in the journal too, and that one is not damaged.
    assert_same(&expected, &shown(&copy), &[]);
    assert!(notes(&copy).contains("its journal was replayed in memory"), "{}", notes(&copy));
}

/// A volume that was something else before, with nothing known on it now, is not shorter than what the copy says.
#[test]
fn a_copy_of_something_longer_than_the_volume_is_not_believed() {
    let Some((_place, image)) = made(64, &["-t", "ext4", "-b", "1024"]) else { return };
    wreck(&image);
    std::fs::File::options().write(true).open(&image).and_then(|file| file.set_len(32 << 20)).expect("writable");
    assert_eq!(identify(device(&image).as_ref()).expect("readable"), None);
}
