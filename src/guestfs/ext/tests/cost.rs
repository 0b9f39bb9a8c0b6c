//! How often the device is read.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::*;
use crate::guestfs::Device;
use crate::guestfs::testing::{Traced, list_all, long_tests};

fn traced(image: &Path) -> (Arc<Traced>, Box<dyn FileSystem>) {
    let traced = Traced::new(device(image));
    let fs = open(&[Arc::clone(&traced) as Device], &OpenOptions::default()).expect("sound");
    (traced, fs)
}

#[test]
fn a_walk_reads_each_piece_of_metadata_once() {
    let files = if long_tests() { 50_000 } else { 6_000 };
    let inodes = (files + 1_000).to_string();
    let Some((_place, image)) = made(512, &["-t", "ext4", "-N", &inodes]) else { return };
    {
        let Some(mounted) = Mounted::loop_mount(&image, "ext4", "") else { return };
        for at in 0..files {
            if at % 500 == 0 {
                std::fs::create_dir(mounted.join(&format!("d{}", at / 500))).expect("room");
            }
            std::fs::write(mounted.join(&format!("d{}/file{at}", at / 500)), b"").expect("room");
        }
    }
    let (traced, fs) = traced(&image);
    assert_eq!(list_all(fs.as_ref()), files + files / 500 + 2);
    let cost = traced.cost();
    // The superblock is read to see what it is, and to open it.
    assert!(cost.reads <= cost.pieces_of_64_kib + 12, "{cost:?}");
    // The inodes of 256 bytes and the names alone.
    assert!(cost.bytes < (files as u64) * 300 + (2 << 20), "{cost:?}");
    list_all(fs.as_ref());
    assert!(long_tests() || traced.cost().reads == 0, "what was read once is kept");
}

#[test]
fn a_fragmented_file_is_read_once_and_nothing_between() {
    let Some((_place, image)) = made(64, &["-t", "ext4", "-b", "4096"]) else { return };
    const PIECES: u64 = 1_000;
    {
        let Some(mounted) = Mounted::loop_mount(&image, "ext4", "") else { return };
        let file = std::fs::File::create(mounted.join("file")).expect("room");
        for at in (0..PIECES).rev() {
            file.write_all_at(&[at as u8; 4096], at * 8192).expect("room");
        }
    }
    let (traced, fs) = traced(&image);
    let node = fs.lookup(fs.root(), b"file").expect("sound").expect("it is there");
    let file = fs.open(node).expect("sound");
    let opened = traced.cost();
    assert!(opened.reads <= opened.pieces_of_64_kib + 12, "{opened:?}");
    let mut buffer = vec![0; 128 << 10];
    for at in (0..file.size_bytes()).step_by(buffer.len()) {
        let length = (file.size_bytes() - at).min(buffer.len() as u64) as usize;
        file.read_at(at, &mut buffer[..length]).expect("sound");
    }
    let cost = traced.cost();
    assert_eq!((cost.bytes, cost.pieces_of_4_kib as u64), (PIECES * 4096, PIECES), "{cost:?}");
    assert!(cost.reads as u64 <= PIECES, "{cost:?}");
}
