//! Files and tables whose places take more than one record.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::image::Image;
use super::{contents, names, node, opened};
use crate::guestfs::ntfs::boot;
use crate::guestfs::ntfs::record::{Attribute, Body, Reference, kind};
use crate::guestfs::ntfs::volume::Volume;
use crate::guestfs::testing::{Noise, device};
use crate::guestfs::{OpenOptions, Place};

fn volume(image: &Image) -> Volume {
    let device = device(&image.path());
    let (sector, _) = boot::read(device.as_ref()).expect("a boot sector");
    Volume::new(Arc::clone(&device), boot::parse(&sector).expect("sound"), &OpenOptions::default()).expect("a volume")
}

/// The list of a file's attributes as its first record has it.
fn list(image: &Image, record: u64) -> Option<Attribute> {
    let record = volume(image).mft.record(record).expect("a record");
    record.attributes.into_iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST)
}

#[test]
fn a_file_in_thousands_of_pieces_has_a_list_that_is_not_in_its_record() {
    let Some(image) = Image::make(32, 512, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    let file = File::create(mount.join("pieces")).expect("a file");
    let mut noise = Noise::new(9);
    let mut expected = vec![0; 8000 * 1024];
    for piece in 0..8000 {
        let bytes = noise.bytes(512);
        file.write_all_at(&bytes, piece * 1024).expect("room");
        expected[piece as usize * 1024..][..512].copy_from_slice(&bytes);
    }
    drop(file);
    drop(mount);
    let fs = opened(&image.path());
    let found = node(fs.as_ref(), "pieces");
    let list = list(&image, found.0 & 0xFFFF_FFFF).expect("it has a list");
    assert!(matches!(list.body, Body::Mapped(_)), "which is not in the record");
    let read = contents(fs.as_ref(), found);
    assert!(read[..expected.len() - 512] == expected[..read.len().min(expected.len() - 512)]);
    let data = fs.open(found).expect("a file");
    assert_eq!(data.run_at(512).expect("a run").place, Place::Hole);
    assert!(fs.attributes(found).expect("attributes").allocated_bytes <= 8000 * 512 + (64 << 10));
}

/// Fills a volume with two files by turns, and frees one, so that what is made afterwards lies in small pieces.
fn shatter(mount: &super::image::Mount, turns: u64) {
    let file = |name: &str| File::create(mount.join(name)).expect("a file");
    let (left, right, mut filler) = (file("left"), file("right"), file("filler"));
    // With gaps in the files: where they only grow, ntfs-3g takes 64 KiB in advance.
    for at in (0..turns).map(|turn| turn * 8192) {
        left.write_all_at(&[1; 4096], at).and_then(|()| right.write_all_at(&[2; 4096], at)).expect("room");
    }
    while filler.write_all(&[3; 512]).is_ok() {}
    drop(left);
    fs::remove_file(mount.join("left")).expect("it was made");
}

#[test]
fn the_table_of_files_and_a_directory_in_many_pieces() {
    let Some(image) = Image::make(14, 512, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    fs::create_dir(mount.join("many")).expect("a directory");
    shatter(&mount, 1170);
    let mut made = Vec::new();
    for file in 0..4000 {
        let name = format!("a file with a name of some length {file:05}");
        if fs::write(mount.join("many").join(&name), file.to_string()).is_err() {
            break;
        }
        made.push(name);
    }
    drop(mount);
    assert!(made.len() > 1000, "{} files were made", made.len());
    assert!(list(&image, 0).is_some(), "the table of files has a list of attributes");
    let fs = opened(&image.path());
    let many = node(fs.as_ref(), "many");
    assert!(list(&image, many.0 & 0xFFFF_FFFF).is_some(), "and so has the directory");
    assert_eq!(names(fs.as_ref(), many), made);
    for (place, name) in made.iter().enumerate() {
        let found = fs.lookup(many, name.as_bytes()).expect("lookup").expect("it is there");
        assert_eq!(contents(fs.as_ref(), found), place.to_string().as_bytes());
    }
}

#[test]
fn names_of_one_file_in_several_records() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    fs::write(mount.join("first"), "shared").expect("a file");
    for link in 0..60 {
        fs::hard_link(mount.join("first"), mount.join(&format!("link {link:02} {}", "x".repeat(60)))).expect("a link");
    }
    drop(mount);
    let fs = opened(&image.path());
    let found = node(fs.as_ref(), "first");
    assert!(list(&image, found.0 & 0xFFFF_FFFF).is_some());
    assert_eq!(fs.attributes(found).expect("attributes").links, 61);
    let all = names(fs.as_ref(), fs.root());
    assert_eq!(all.len(), 61);
    assert!(all.iter().all(|name| node(fs.as_ref(), name) == found));
    assert_eq!(contents(fs.as_ref(), found), b"shared");
    // A record that was used again is not the file that an old entry meant.
    let volume = volume(&image);
    let stale = Reference { record: found.0 & 0xFFFF_FFFF, sequence: 77 };
    assert!(volume.inode(stale).is_err());
}
