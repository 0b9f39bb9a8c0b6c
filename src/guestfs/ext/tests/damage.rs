//! Damaged images: nothing panics, nothing runs for ever, checksums right or not there.

use std::ops::Range;

use super::*;
use crate::guestfs::ext::extents::blocks_of;
use crate::guestfs::ext::fields::Fields;
use crate::guestfs::ext::inode::{Inode, set_checksum};
use crate::guestfs::ext::superblock::Superblock;
use crate::guestfs::ext::volume::Volume;
use crate::guestfs::testing::survive_damage;
use crate::guestfs::{FileKind, GuestResult};

/// Where metadata lies: the superblock, descriptors, inodes, directories, maps of blocks.
fn spots(volume: &Volume) -> (Vec<Range<usize>>, Vec<(u32, usize)>) {
    let block = volume.superblock.block_bytes as usize;
    let mut spots = vec![1024..2048, 1024..1024 + 0x180];
    let mut inodes = Vec::new();
    for number in 1..=volume.superblock.inodes {
        let Ok((inode, at)) = inode_at(volume, number) else { continue };
        spots.push(at..at + usize::from(volume.superblock.inode_bytes));
        inodes.push((number, at));
        if inode.kind == FileKind::Directory || number == volume.superblock.journal_inode {
            let blocks = blocks_of(volume, &inode).expect("sound");
            spots.extend(
                blocks.iter().map(|blocks| blocks.physical as usize * block..(blocks.physical + blocks.count.min(64)) as usize * block),
            );
        }
        if inode.attribute_block() != 0 {
            spots.push(inode.attribute_block() as usize * block..(inode.attribute_block() as usize + 1) * block);
        }
        if inode.has_extents() && Fields(inode.block()).le16(6) > 0 {
            let node = Fields(inode.block()).le32(16) as usize;
            spots.push(node * block..(node + 1) * block);
        }
    }
    (spots, inodes)
}

fn inode_at(volume: &Volume, number: u32) -> GuestResult<(Inode, usize)> {
    let inode = volume.inode(number)?;
    let (group, within) = ((number - 1) / volume.superblock.inodes_per_group, (number - 1) % volume.superblock.inodes_per_group);
    let table = volume.inode_table(group)? as usize * volume.superblock.block_bytes as usize;
    Ok((inode, table + within as usize * usize::from(volume.superblock.inode_bytes)))
}

/// Damages an image that mke2fs made with these arguments; returns in how many rounds something was in error but not all.
fn survives(arguments: &[&str], fix_checksums: bool) -> Option<usize> {
    let what = Population { longest_attribute: 1_000, ..Population::posix().tiny() };
    let (_place, image) = filled(12, arguments, &what)?;
    let volume = Volume::new(Superblock::read(device(&image).as_ref()).expect("sound"), device(&image), 1 << 20);
    let (spots, inodes) = spots(&volume);
    let bytes = std::fs::read(&image).expect("readable");
    let seed = volume.superblock.checksum_seed;
    let inode_bytes = usize::from(volume.superblock.inode_bytes);
    let survival = survive_damage(&bytes, &spots, 400, &|bytes, touched| {
        let Some(seed) = seed.filter(|_| fix_checksums) else { return };
        for (number, at) in inodes.iter().filter(|(_, at)| touched.iter().any(|touched| (*at..at + inode_bytes).contains(touched))) {
            set_checksum(seed, *number, &mut bytes[*at..at + inode_bytes]);
        }
        let checksum = crate::guestfs::crc32c::crc32c(!0, &bytes[1024..2044]);
        bytes[2044..2048].copy_from_slice(&checksum.to_le_bytes());
    });
    assert!(survival.objects > survival.opened, "{survival:?}");
    Some(survival.hurt)
}

#[test]
fn checksums_made_right_again() {
    let Some(hurt) = survives(&["-t", "ext4", "-O", "inline_data,ea_inode", "-b", "1024"], true) else { return };
    assert!(hurt > 50, "only {hurt} rounds hurt");
}

#[test]
fn no_checksums() {
    let Some(hurt) = survives(&["-t", "ext4", "-O", "^metadata_csum", "-b", "1024"], false) else { return };
    assert!(hurt > 50, "only {hurt} rounds hurt");
}

#[test]
fn lists_of_blocks() {
    let Some(hurt) = survives(&["-t", "ext3", "-b", "1024", "-J", "size=1"], false) else { return };
    assert!(hurt > 50, "only {hurt} rounds hurt");
}
