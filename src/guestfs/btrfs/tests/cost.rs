//! How often the device is read.

use std::sync::Arc;

use super::images::Images;
use crate::guestfs::testing::{Traced, device, list_all, long_tests};
use crate::guestfs::{Device, OpenOptions, open};

#[test]
fn a_walk_reads_each_tree_block_once() {
    let files = if long_tests() { 50_000 } else { 6_000 };
    let Some(images) = Images::made(1, 256 << 20, &[]) else { return };
    {
        let Some(mount) = images.mount("noatime") else { return };
        for at in 0..files {
            if at % 500 == 0 {
                std::fs::create_dir(mount.join(&format!("d{}", at / 500))).expect("room");
            }
            std::fs::write(mount.join(&format!("d{}/file{at}", at / 500)), b"").expect("room");
        }
    }
    let traced = Traced::new(device(&images.paths[0]));
    let fs = open(&[Arc::clone(&traced) as Device], &OpenOptions::default()).expect("sound");
    assert_eq!(list_all(fs.as_ref()), files + files / 500 + 1);
    let cost = traced.cost();
    // Each read is one block of 16 KiB, but for those of the superblocks.
    assert!(cost.reads <= cost.pieces_of_4_kib / 4 + 12, "{cost:?}");
}
