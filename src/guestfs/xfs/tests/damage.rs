//! Damaged images: nothing panics, nothing runs for ever, checksums right or not there.

use std::ops::Range;

use super::*;
use crate::guestfs::testing::{Cloner, Writer, survive_damage};
use crate::guestfs::xfs::log::{Log, State, record_checksum};

/// Structures by what they begin with: where that stands, where their checksum is, and how long they are (0: a block).
const KINDS: [(usize, &[u8], usize, usize); 13] = [
    (0, b"XFSB", 224, 512),
    (0, b"XAGF", 216, 512),
    (0, b"XAGI", 312, 512),
    (0, b"IN", 100, 512),
    (0, b"BMA3", 64, 0),
    (0, b"XDB3", 4, 0),
    (0, b"XDD3", 4, 0),
    (0, b"XARM", 12, 0),
    (0, b"XSLM", 12, 0),
    (8, &[0x3b, 0xee], 12, 0),
    (8, &[0x3e, 0xbe], 12, 0),
    (8, &[0x3d, 0xf1], 12, 0),
    (0, &[0xfe, 0xed, 0xba, 0xbe], 32, 0),
];

/// What is where, of an image with blocks of 1 KiB.
fn structures(image: &[u8], log: Range<usize>) -> Vec<(Range<usize>, usize)> {
    let mut found = Vec::new();
    for at in (0..image.len()).step_by(512) {
        let kind = KINDS.iter().find(|(within, magic, ..)| image[at + within..].starts_with(magic));
        let Some(&(within, magic, sum_at, length)) = kind else { continue };
        // Sectors of blocks that begin with these bytes by accident are changed for nothing.
        let is_record = magic[0] == 0xfe;
        if is_record != log.contains(&at) || (length == 0 && !is_record && !at.is_multiple_of(1024)) || (within == 8 && image[at] == b'X') {
            continue;
        }
        let length = match length {
            _ if is_record => 512 + u32::from_be_bytes(*image[at + 12..].first_chunk().expect("inside")) as usize,
            0 => 1024,
            length => length,
        };
        if at + length <= image.len() {
            found.push((at..at + length, sum_at));
        }
    }
    found
}

/// A tree, a log that was not replayed, and which part of that counts.
fn image() -> Option<(Vec<u8>, Range<usize>, Range<usize>)> {
    let cloner = Cloner::new()?;
    let live = cloner.join("live");
    make(&live, 28, &["-b", "size=1024", "-l", "size=8m", "-d", "agcount=1", "-m", "rmapbt=0"])?;
    let mounted = Mounted::loop_mount(&live, "xfs", "nouuid,noatime,logbsize=32k")?;
    let what = Population { longest_attribute: 3_000, punch: true, ..Population::posix().tiny() };
    populate(mounted.path(), &what);
    // All of that is in its place; what the writer does is in the log.
    drop(mounted);
    let mounted = Mounted::loop_mount(&live, "xfs", "nouuid,noatime,logbsize=32k")?;
    let writer = Writer::start(mounted.path(), 3, 3);
    writer.wait(300);
    let copy = cloner.clone("live", "copy");
    drop(writer);
    assert!(opened(&copy, true).about().notes.iter().any(|note| note.contains("replayed")));
    let volume = volume(&copy);
    let log = volume.superblock.place_of_blocks(volume.superblock.log_start, 1).expect("inside") as usize;
    let State::Dirty(range) = Log::open(&volume).and_then(|log| log.state()).expect("sound") else { panic!("nothing to replay") };
    assert!(range.tail < range.head, "the log is too small not to wrap");
    let live = log + range.tail as usize * 512..log + range.head as usize * 512;
    let log = log..log + volume.superblock.log_blocks as usize * 1024;
    Some((std::fs::read(&copy).expect("readable"), log, live))
}

#[test]
fn damaged_images_are_read_to_the_end() {
    let Some((image, log, live)) = image() else { return };
    let mut structures = structures(&image, log.clone());
    structures.retain(|(range, _)| !log.contains(&range.start) || live.contains(&range.start));
    let records = structures.iter().filter(|(range, _)| log.contains(&range.start)).count();
    assert!(records > 5 && structures.len() > 300, "{records} records, {} structures", structures.len());
    let mut spots: Vec<Range<usize>> = structures.iter().map(|(range, _)| range.clone()).collect();
    // The superblock decides most.
    (0..20).for_each(|_| spots.push(0..256));
    let survival = survive_damage(&image, &spots, 200, &|bytes, touched| {
        for (range, sum_at) in structures.iter().filter(|(range, _)| touched.iter().any(|at| range.contains(at))) {
            let structure = &bytes[range.clone()];
            let sum = if log.contains(&range.start) { record_checksum(structure) } else { checksum(structure, *sum_at) };
            bytes[range.start + sum_at..range.start + sum_at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    });
    assert!(survival.hurt > survival.rounds / 10, "{survival:?}");
}

/// Version 4 has no checksums: most damage is only another name or number.
#[test]
fn damaged_images_of_version_4() {
    let place = tempfile::tempdir().expect("a place");
    let (image, list) = (place.path().join("image"), place.path().join("list"));
    std::fs::write(place.path().join("source"), vec![7; 30_000]).expect("room");
    let source = place.path().join("source");
    let mut lines = format!("/x\n0 0\nd--755 0 0\nfile ---644 0 0 {}\nlink l--777 0 0 {}\n", text(&source), "x".repeat(500));
    for (directory, count) in [("few", 3), ("some", 40), ("many", 400)] {
        lines += &format!("{directory} d--755 0 0\n");
        (0..count).for_each(|at| lines += &format!("name-{at:05} p--644 0 0\n"));
        lines += "$\n";
    }
    std::fs::write(&list, lines + "$\n").expect("room");
    let Some(()) = make(&image, 24, &["-m", "crc=0", "-b", "size=1024", "-d", "agcount=1", "-p", text(&list)]) else { return };
    let attribute = |length: usize| format!("attr_set -v {length} name-{length}");
    let commands = [attribute(20), attribute(600), attribute(9_000)];
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let arguments: Vec<&str> = ["-x", "-c", "path /file"].into_iter().chain(commands).chain([text(&image)]).collect();
    let Some(_) = run("xfs_db", &arguments) else { return };
    let bytes = std::fs::read(&image).expect("readable");
    let magics: [(usize, &[u8]); 6] = [(0, b"IN"), (0, b"XD2B"), (0, b"XD2D"), (0, b"BMAP"), (8, &[0xfb, 0xee]), (8, &[0xfe, 0xbe])];
    let begins = |at: &usize| magics.iter().any(|(within, magic)| bytes[at + within..].starts_with(magic));
    let mut spots: Vec<Range<usize>> = (0..bytes.len() - 256).step_by(256).filter(begins).map(|at| at..at + 256).collect();
    assert!(spots.len() > 400, "{}", spots.len());
    (0..20).for_each(|_| spots.push(0..256));
    let survival = survive_damage(&bytes, &spots, 200, &|_, _| {});
    assert!(survival.hurt > survival.rounds / 25, "{survival:?}");
}
