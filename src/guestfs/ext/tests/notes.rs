//! Notes of fast commits that no kernel has to write for them to be read, in the place of those that one wrote: names that are there
//! already, that lead elsewhere, that are gone, inodes that are freed. The kernel replays them as well.

use std::os::unix::fs::MetadataExt;

use super::unclean::{after_fast_commits, synced};
use super::*;
use crate::guestfs::crc32c::crc32c;

const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const HEAD_BYTES: usize = 12;

fn note(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short");
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), value].concat()
}

fn name(kind: u16, parent: u32, inode: u32, name: &str) -> Vec<u8> {
    note(kind, &[&parent.to_le_bytes()[..], &inode.to_le_bytes(), name.as_bytes()].concat())
}

/// Writes these notes, as one fast commit, over the first one that an image has.
fn rewrite(image: &Path, notes: &[Vec<u8>]) {
    const BLOCK_BYTES: usize = 1024;
    let mut bytes = std::fs::read(image).expect("readable");
    // A head: its kind, its length, no features, the transaction.
    let mut blocks = bytes.chunks_exact_mut(BLOCK_BYTES);
    let block = blocks.find(|block| block.starts_with(&[9, 0, 8, 0, 0, 0, 0, 0])).expect("there is a fast commit");
    let head: Vec<u8> = block[..HEAD_BYTES].to_vec();
    let mut commit = [&head[..], &notes.concat()].concat();
    let left = u16::try_from(BLOCK_BYTES - commit.len() - 4).expect("short");
    commit.extend([&8_u16.to_le_bytes()[..], &left.to_le_bytes(), &head[8..]].concat());
    let checksum = crc32c(0, &commit);
    commit.extend(checksum.to_le_bytes());
    block.fill(0);
    block[..commit.len()].copy_from_slice(&commit);
    std::fs::write(image, &bytes).expect("writable");
}

#[test]
fn names_that_are_there_elsewhere_or_gone() {
    let root = crate::guestfs::ext::inode::ROOT;
    let names = [("one", "uno"), ("two", "due"), ("three", "tre"), ("four", "quattro")];
    let work = |root: &Path| {
        for (first, second) in names {
            std::fs::write(root.join(first), first.repeat(900)).expect("room");
            std::fs::hard_link(root.join(first), root.join(second)).expect("a name");
        }
        std::fs::write(root.join("single"), b"single").expect("room");
        rustix::fs::syncfs(std::fs::File::open(root).expect("it is there")).expect("synced");
        synced(root.join("last"), b"a fast commit");
        ["one", "two", "three", "four", "single"].map(|name| root.join(name).metadata().expect("it is there").ino() as u32)
    };
    let change = |image: &Path, [one, two, three, four, single]: [u32; 5]| {
        let notes = [
            name(LINK, root, one, "two"),
            name(UNLINK, root, one, "two"),
            name(CREATE, root, three, "four"),
            name(UNLINK, root, four, "no such name"),
            name(UNLINK, root, single, "single"),
            name(LINK, root, single, "again"),
            name(LINK, 4000, two, "nowhere"),
            name(LINK, root, 4000, "nothing"),
            name(LINK, root, two, "added"),
        ];
        rewrite(image, &notes);
    };
    // Inodes whose links are changed are dated to the replay, unless a note with the inode follows, as after real work.
    after_fast_commits(work, change, &[Field::Allocated, Field::Changed]);
}
