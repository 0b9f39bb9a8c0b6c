//! Tests of partition tables over images that the tools made.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::io::MemoryAt;
use crate::volume::VolumeError;
use crate::volume::testing::{Dice, Patched, nonzero, rounds, run};

const MIB: u64 = 1 << 20;

/// An image of so many MiB, with what a tool does to it.
fn image(mib: u64, make: impl FnOnce(&str) -> Option<String>) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(mib * MIB).expect("its size");
    make(path.to_str().expect("a path"))?;
    Some(std::fs::read(Path::new(&path)).expect("the image"))
}

fn sfdisk(mib: u64, script: &str) -> Option<Vec<u8>> {
    image(mib, |path| run("sfdisk", &["-q", path], script, &[]))
}

fn sgdisk(mib: u64, options: &[&str]) -> Option<Vec<u8>> {
    image(mib, |path| {
        let arguments: Vec<&str> = options.iter().copied().chain([path]).collect();
        run("sgdisk", &arguments, "", &[])
    })
}

fn table(bytes: Vec<u8>) -> Table {
    identify(&MemoryAt::new(bytes)).expect("no damage").expect("a table")
}

fn none(bytes: Vec<u8>) -> bool {
    identify(&MemoryAt::new(bytes)).expect("no damage").is_none()
}

/// Number, first MiB, end MiB, type.
fn ranges(table: &Table) -> Vec<(u32, u64, u64, &str)> {
    let all = table.partitions.iter();
    all.map(|part| (part.number, part.range.offset() / MIB, part.range.end() / MIB, part.kind.as_str())).collect()
}

const LOGICAL: &str = "label: dos\nlabel-id: 0xdeadbeef\nstart=2048,size=20480,type=83,bootable\nstart=22528,size=20480,type=82\n\
    start=43008,type=5\nstart=45056,size=8192,type=8e\nstart=55296,size=8192,type=fd\nstart=65536,size=2048,type=7\n";

const THREE: [&str; 8] = [
    "-n1:2048:+4M",
    "-t1:ef00",
    "-c1:Caf\u{e9} \u{2603}",
    "-u1:11111111-2222-3333-4444-555555555555",
    "-n2:0:+8M",
    "-t2:8e00",
    "-n7:0:0",
    "-U99999999-2222-3333-4444-555555555555",
];

#[test]
fn old_tables_with_logical_partitions() {
    let Some(image) = sfdisk(64, LOGICAL) else { return };
    let table = table(image);
    let expected =
        [(1, 1, 11, "Linux"), (2, 11, 21, "Linux swap"), (5, 22, 26, "Linux LVM"), (6, 27, 31, "Linux RAID"), (7, 32, 33, "NTFS or exFAT")];
    assert_eq!(ranges(&table), expected);
    assert_eq!((table.scheme, table.sector_bytes, table.uuid.as_deref()), (Scheme::Mbr, 512, Some("deadbeef")));
    assert_eq!(table.partitions[2].uuid.as_deref(), Some("deadbeef-05"));
    assert_eq!((table.partitions[0].type_id.as_str(), table.notes.len()), ("0x83", 0));
}

#[test]
fn a_chain_that_leads_back_or_breaks_off_ends() {
    let Some(image) = sfdisk(64, LOGICAL) else { return };
    // The second record of the chain: its link to the third now leads to itself, then nowhere.
    let second = usize::try_from(table(image.clone()).partitions[3].range.offset()).expect("small") - 2048 * 512;
    assert_eq!(&image[second + 510..second + 512], [0x55, 0xaa], "the record is where it should be");
    let mut looped = image.clone();
    let itself = (u32::try_from(second / 512).expect("small") - 43008).to_le_bytes();
    looped[second + 462 + 8..second + 462 + 12].copy_from_slice(&itself);
    let looped = table(looped);
    assert_eq!(looped.notes, ["the chain of logical partitions leads back into itself and is cut there"]);
    assert_eq!(ranges(&looped).len(), 4);
    let mut broken = image;
    broken[second + 511] = 0;
    assert_eq!(table(broken).notes.len(), 1);
}

#[test]
fn gpt_with_names_and_types() {
    let Some(image) = sgdisk(64, &THREE) else { return };
    let table = table(image);
    assert_eq!(ranges(&table), [(1, 1, 5, "EFI system"), (2, 5, 13, "Linux LVM"), (7, 13, 63, "Linux filesystem")]);
    assert_eq!((table.scheme, table.sector_bytes), (Scheme::Gpt, 512));
    assert_eq!(table.uuid.as_deref(), Some("99999999-2222-3333-4444-555555555555"));
    assert_eq!(table.partitions[0].name.as_deref(), Some("Caf\u{e9} \u{2603}"));
    assert_eq!(table.partitions[0].uuid.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
    assert_eq!((table.partitions[1].name.as_deref(), table.notes.len()), (None, 0));
}

#[test]
fn the_second_copy_of_a_gpt_stands_in() {
    let Some(image) = sgdisk(64, &THREE) else { return };
    let sound = table(image.clone());
    let note = "the first copy of the GPT is damaged, so the second, at the end of the disk, is used";
    // A byte of the first header, a byte of its entries, all of it, and the announcement with it.
    for range in [520..521, 1024..1025, 512..17408, 0..17408] {
        let mut damaged = image.clone();
        for byte in &mut damaged[range.clone()] {
            *byte = if range.len() == 1 { *byte ^ 0x40 } else { 0 };
        }
        let found = table(damaged);
        assert_eq!((found.partitions, found.notes), (sound.partitions.clone(), vec![note.to_owned()]), "{range:?}");
    }
    let last = image.len() - 512;
    let mut both = image.clone();
    both[520] ^= 1;
    both[last + 20] ^= 1;
    let error = identify(&MemoryAt::new(both)).expect_err("neither is sound");
    assert_eq!(error.to_string(), "the partition table (GPT) is damaged: it is announced, but neither of its two headers is sound");
    let mut entries = image.clone();
    entries[1024 + 128 * 20] ^= 1;
    entries[last - 128 * 20] ^= 1;
    assert_eq!(table(entries).notes, ["both copies of the GPT are damaged; its partitions may be wrong"]);
}

#[test]
fn a_second_copy_left_over_on_a_disk_that_was_formatted_as_a_whole_is_no_table() {
    let Some(mut image) = sgdisk(64, &THREE) else { return };
    image[..17408].fill(0);
    image[1080..1082].copy_from_slice(b"\x53\xef");
    assert!(none(image));
}

#[test]
fn large_sectors() {
    // No tool makes them on a file: the same table as small ones make, moved to where large ones put it.
    let Some(small) = sgdisk(8, &["-a1", "-n1:40:103", "-n2:128:0"]) else { return };
    let mut large = vec![0; small.len() * 8];
    for (sector, bytes) in small.chunks_exact(512).enumerate() {
        large[sector * 4096..sector * 4096 + 512].copy_from_slice(bytes);
    }
    // The entries are contiguous, not one sector each.
    for (to, from) in [(2 * 4096, 1024), ((small.len() / 512 - 33) * 4096, small.len() - 33 * 512)] {
        large[to..to + 33 * 4096 - 4096].fill(0);
        large[to..to + 16384].copy_from_slice(&small[from..from + 16384]);
    }
    let disk_bytes = large.len();
    let found = table(large.clone());
    assert_eq!((found.sector_bytes, found.notes.len()), (4096, 0));
    assert_eq!((found.partitions[0].range.offset(), found.partitions[0].range.length()), (40 * 4096, 64 * 4096));
    large[4096..4096 + 512].fill(0);
    assert_eq!((table(large.clone()).sector_bytes, table(large).notes.len()), (4096, 1), "{disk_bytes}");
}

#[test]
fn large_sectors_of_an_old_table_are_told_by_what_lies_there() {
    let Some(mut image) = sfdisk(64, "label: dos\nstart=256,size=2048,type=83\n") else { return };
    assert_eq!((table(image.clone()).sector_bytes, table(image.clone()).partitions[0].range.offset()), (512, 256 * 512));
    image[256 * 4096 + 1080..256 * 4096 + 1082].copy_from_slice(b"\x53\xef");
    assert_eq!((table(image.clone()).sector_bytes, table(image.clone()).partitions[0].range.offset()), (4096, 256 * 4096));
    image[256 * 512..256 * 512 + 4].copy_from_slice(b"XFSB");
    assert_eq!(table(image).sector_bytes, 512);
}

#[test]
fn hybrid_tables_are_read_by_their_gpt_and_by_the_rest_if_that_is_gone() {
    let Some(mut image) = sgdisk(64, &[&THREE[..], &["-h1:2:EE"]].concat()) else { return };
    let mbr = mbr::entries(&image[..512]).expect("a record");
    assert!(mbr.iter().filter(|entry| entry.is_used() && !entry.announces_gpt()).count() >= 2, "it is hybrid");
    let hybrid = table(image.clone());
    assert_eq!((hybrid.scheme, hybrid.partitions.len()), (Scheme::Gpt, 3));
    let last = image.len() - 512;
    image[512..1024].fill(0);
    image[last..].fill(0);
    let rest = table(image);
    assert_eq!((rest.scheme, rest.partitions.len(), rest.notes.len()), (Scheme::Mbr, 2, 1));
}

#[test]
fn an_old_table_that_does_not_announce_a_gpt_counts() {
    let Some(gpt) = sgdisk(64, &THREE) else { return };
    let Some(mut image) = sfdisk(64, "label: dos\nstart=4096,size=2048,type=83\n") else { return };
    image[512..17408].copy_from_slice(&gpt[512..17408]);
    assert_eq!(ranges(&table(image.clone())), [(1, 2, 3, "Linux")]);
    image[446..510].fill(0);
    assert_eq!(table(image).notes, ["the old table does not announce the GPT"]);
}

#[test]
fn boot_sectors_of_filesystems_are_no_tables() {
    for (tool, options) in [("mkfs.fat", &["-F16", "--mbr=yes"][..]), ("mkfs.fat", &["-F32", "--mbr=no"]), ("mkfs.ntfs", &["-qFf"])] {
        let Some(image) = image(64, |path| run(tool, &[options, &[path]].concat(), "", &[])) else { continue };
        assert_eq!(&image[510..512], [0x55, 0xaa], "it looks like a table");
        assert!(none(image), "{tool} {options:?}");
    }
    assert!(none(vec![0; 1 << 20]));
    assert!(none(vec![0; 600]));
}

#[test]
fn what_lies_past_the_end_of_the_disk_is_cut_and_said() {
    let Some(mut gpt) = sgdisk(64, &THREE) else { return };
    gpt.truncate(usize::try_from(10 * MIB).expect("small"));
    let found = table(gpt);
    assert_eq!(found.notes, ["the disk is smaller than when the partition table was made"]);
    let notes: Vec<&str> = found.partitions.iter().flat_map(|part| &part.notes).map(String::as_str).collect();
    assert_eq!(notes, ["the disk ends 3145728 bytes before the partition does", "it begins past the end of the disk"]);
    assert_eq!(ranges(&found)[1..], [(2, 5, 10, "Linux LVM"), (7, 10, 10, "Linux filesystem")]);
}

#[test]
fn damaged_tables_never_panic_or_loop() {
    let images = [sfdisk(64, LOGICAL), sgdisk(64, &THREE), sgdisk(64, &[&THREE[..], &["-h1:2:EE"]].concat())];
    for image in images.into_iter().flatten() {
        let (places, image) = (nonzero(&image), Arc::new(image));
        let mut dice = Dice(7);
        for _ in 0..rounds(300) {
            let mut damaged = Patched::new(&image);
            damaged.damage(&places, &mut dice);
            seal(&mut damaged);
            match identify(&damaged) {
                Ok(Some(table)) => assert!(table.partitions.iter().all(|part| part.range.end() <= image.len() as u64)),
                Ok(None) | Err(VolumeError::Damaged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Makes the checksums of both headers right again, so that the numbers behind them are believed.
fn seal(image: &mut Patched) {
    for at in [512, image.size_bytes() - 512] {
        image.put(at + 16, &[0; 4]);
        let mut header = [0; 92];
        image.read_at(at, &mut header).expect("inside");
        image.put(at + 16, &crc32fast::hash(&header).to_le_bytes());
    }
}
