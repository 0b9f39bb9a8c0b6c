//! Damaged images, with checksums that are right: whatever they say, reading them ends without a panic.

use std::fs;
use std::ops::Range;

use super::images::Images;
use super::writer::Writer;
use crate::guestfs::btrfs::checksum::Checksum;
use crate::guestfs::fields::{array, le32, le64};
use crate::guestfs::testing::{Population, long_tests, populate, run, survive_damage, text};

const NODE: usize = 16384;

/// Tree blocks in use and superblocks of an image.
fn metadata(image: &[u8]) -> Vec<Range<usize>> {
    let superblock = &image[64 << 10..(64 << 10) + 4096];
    let (pool, generation) = (array(superblock, 0x20), le64(superblock, 0x48));
    let blocks = (1 << 20..image.len() - NODE).step_by(4096).filter(|&at| {
        let block = &image[at..at + NODE];
        array::<16>(block, 0x20) == pool && le64(block, 0x50) <= generation + 1 && Checksum::Crc32c.matches_block(block)
    });
    let mut spots: Vec<Range<usize>> = blocks.map(|at| at..at + used_head(&image[at..at + NODE])).collect();
    assert!(spots.len() > 10, "the search for tree blocks is broken");
    // Both ends of leaves are in use, and little between them.
    let ends: Vec<Range<usize>> = spots.iter().map(|spot| spot.start + NODE - 2048..spot.start + NODE).collect();
    spots.extend(ends);
    spots.push(64 << 10..(64 << 10) + 0x400);
    spots
}

/// Header and keys.
fn used_head(block: &[u8]) -> usize {
    let entry = if block[100] == 0 { 25 } else { 33 };
    (101 + le32(block, 96) as usize * entry).min(NODE)
}

/// Makes the checksums of what was touched right again.
fn fix(image: &mut [u8], spots: &[Range<usize>], touched: &[usize]) {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    for at in touched {
        if (64 << 10..(64 << 10) + 4096).contains(at) {
            starts.push((64 << 10, 4096));
        }
        let heads = &spots[..spots.len() / 2];
        let block = heads.iter().map(|head| head.start).find(|start| (*start..start + NODE).contains(at));
        starts.extend(block.map(|start| (start, NODE)));
    }
    for (start, length) in starts {
        let sum = crc32c::crc32c(&image[start + 32..start + length]);
        image[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn tiny_image() -> Option<Vec<u8>> {
    let images = Images::made(1, 128 << 20, &["-m", "single"])?;
    let mount = images.mount("noatime,compress=zstd")?;
    populate(mount.path(), &Population::posix().tiny());
    run("btrfs", &["subvolume", "snapshot", text(mount.path()), text(&mount.join("snapshot"))])?;
    let mut writer = Writer::new(3, vec![mount.join("many")]);
    writer.commit();
    for _ in 0..5 {
        (0..10).for_each(|_| writer.step());
        writer.sync_one();
    }
    // With a log, as a crash leaves it.
    let copied = images.copied();
    drop(mount);
    let mut image = fs::read(&copied.paths[0]).expect("read");
    // What is in use lies at the start; the second superblock is not needed.
    image.truncate(60 << 20);
    let used = image.iter().rposition(|&byte| byte != 0).expect("something").next_multiple_of(NODE);
    image.truncate(used);
    Some(image)
}

#[test]
fn damaged_images_are_read_to_the_end() {
    let Some(image) = tiny_image() else { return };
    let spots = metadata(&image);
    let survival = survive_damage(&image, &spots, if long_tests() { 10_000 } else { 300 }, &|image, touched| fix(image, &spots, touched));
    assert!(survival.hurt > survival.rounds / 20, "{survival:?}");
}
