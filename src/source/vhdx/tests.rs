//! Tests of VHDX images against those that qemu-img makes. What it does not make, logs that were not written back and differencing
//! images, is put into its images by hand; for logs its own replay is the oracle.

use std::fs;
use std::path::Path;

use super::crc32c::crc32c;
use super::regions::guid_text;
use crate::source::testing::{Workshop, check_equal, run, survive_damage, text};
use crate::source::{Format, open};

const MIB: usize = 1 << 20;
const LOG_ID: [u8; 16] = [0x11; 16];

/// The text of the error of opening `path`.
fn refused(path: &Path) -> String {
    match open(path, Format::Vhdx) {
        Ok(source) => panic!("{} was opened", source.description()),
        Err(error) => error.to_string(),
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn number(bytes: &[u8], at: usize) -> usize {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    usize::try_from(u64::from_le_bytes(field)).expect("a number")
}

/// Puts the checksum of `bytes[range]` where it belongs.
fn seal(bytes: &mut [u8], range: std::ops::Range<usize>) {
    let crc = crc32c(&bytes[range.clone()], 4);
    put(bytes, range.start + 4, &crc.to_le_bytes());
}

/// Where a region, 0 the block table and 1 the metadata, lies in an image.
fn region(bytes: &[u8], which: usize) -> usize {
    let table = &bytes[192 << 10..];
    let id = [[0x66, 0x77, 0xc2, 0x2d], [0x06, 0xa2, 0x7c, 0x8b]][which];
    let entry = table[16..].chunks_exact(32).position(|entry| entry[..4] == id).expect("the region");
    number(table, 16 + entry * 32 + 16)
}

#[test]
fn every_kind_of_image_reads_as_its_disk() {
    let workshop = Workshop::new(9 * MIB + 512, 1);
    for (number, options) in
        ["subformat=dynamic", "subformat=fixed", "block_size=1M", "block_size=256M,log_size=4M", "block_state_zero=off"]
            .into_iter()
            .enumerate()
    {
        let Some(image) = workshop.convert("vhdx", &["-o", options], &format!("{number}.vhdx")) else { return };
        let source = check_equal(&image, Format::Auto, &workshop.disk);
        assert_eq!(source.description(), format!("{} (vhdx)", image.display()));
        fs::remove_file(image).expect("the image");
    }
}

#[test]
fn bitmap_entries_are_passed_over() {
    // With blocks of 1 MiB an entry for a bitmap follows each 4096 blocks.
    let workshop = Workshop::new(MIB, 2);
    let image = workshop.path("disk.vhdx");
    let Some(_) = run("qemu-img", &["create", "-q", "-f", "vhdx", "-o", "block_size=1M", text(&image), "9G"]) else { return };
    run("qemu-io", &["-f", "vhdx", "-c", "write -P 1 4095M 2M", "-c", "write -P 2 8500M 64k", text(&image)]);
    let source = open(&image, Format::Auto).expect("an image");
    let mut bytes = vec![0; 2 * MIB + 2];
    source.read_at((4095 << 20) - 1, &mut bytes).expect("a read");
    assert!(bytes[1..=2 * MIB].iter().all(|&byte| byte == 1) && bytes[0] == 0 && bytes[2 * MIB + 1] == 0);
    source.read_at(8500 << 20, &mut bytes[..2]).expect("a read");
    assert_eq!(bytes[..2], [2, 2]);
    assert!(source.data_extents().expect("extents").total_bytes() <= 3 << 20);
}

/// What an entry of a log says.
enum Said<'a> {
    Sector(usize, &'a [u8]),
    Zeros(usize, usize),
}

/// An entry of a log: `tail` is the place of the sequence's first entry.
fn entry(sequence: u64, tail: usize, file_bytes: usize, said: &[Said<'_>]) -> Vec<u8> {
    let wide = |number: usize| u64::try_from(number).expect("a number").to_le_bytes();
    let mut bytes = vec![0; (64 + said.len() * 32).next_multiple_of(4096)];
    for (index, said) in said.iter().enumerate() {
        let at = 64 + index * 32;
        match said {
            Said::Zeros(offset, length) => {
                put(&mut bytes, at, b"zero");
                put(&mut bytes, at + 8, &wide(*length));
                put(&mut bytes, at + 16, &wide(*offset));
            }
            Said::Sector(offset, sector) => {
                put(&mut bytes, at, b"desc");
                put(&mut bytes, at + 4, &sector[4092..]);
                put(&mut bytes, at + 8, &sector[..8]);
                put(&mut bytes, at + 16, &wide(*offset));
                let start = bytes.len();
                bytes.extend_from_slice(sector);
                put(&mut bytes, start, b"data");
                put(&mut bytes, start + 4, &sequence.to_le_bytes()[4..]);
                put(&mut bytes, start + 4092, &sequence.to_le_bytes()[..4]);
            }
        }
        put(&mut bytes, at + 24, &sequence.to_le_bytes());
    }
    put(&mut bytes, 0, b"loge");
    let length = bytes.len();
    put(&mut bytes, 8, &wide(length)[..4]);
    put(&mut bytes, 12, &wide(tail)[..4]);
    put(&mut bytes, 16, &sequence.to_le_bytes());
    put(&mut bytes, 24, &wide(said.len())[..4]);
    put(&mut bytes, 32, &LOG_ID);
    put(&mut bytes, 48, &wide(file_bytes));
    put(&mut bytes, 56, &wide(file_bytes));
    seal(&mut bytes, 0..length);
    bytes
}

/// Puts entries into the log of an image from `at` on, round its end, and marks the log as in use.
fn with_log(image: &[u8], at: usize, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = image.to_vec();
    for header in [64 << 10, 128 << 10] {
        put(&mut bytes, header + 48, &LOG_ID);
        seal(&mut bytes, header..header + 4096);
    }
    let (log_at, log_bytes) = (number(&bytes, (64 << 10) + 72), MIB);
    for (index, byte) in entries.iter().flatten().enumerate() {
        bytes[log_at + (at + index) % log_bytes] = *byte;
    }
    bytes
}

/// An image with blocks of 1 MiB, as bytes; `None` without qemu-img.
fn image_bytes(workshop: &Workshop) -> Option<Vec<u8>> {
    let image = workshop.convert("vhdx", &["-o", "block_size=1M"], "disk.vhdx")?;
    Some(fs::read(image).expect("the image"))
}

#[test]
fn a_log_that_was_not_written_back_counts_as_it_does_to_qemu() {
    let workshop = Workshop::new(5 * MIB, 3);
    let Some(original) = image_bytes(&workshop) else { return };
    let table = region(&original, 0);
    // A block table whose first blocks have changed places and whose third is gone; then zeros over half of a block and data over
    // the start of the zeros.
    let mut sector = original[table..table + 4096].to_vec();
    let (first, second) = (sector[..8].to_vec(), sector[8..16].to_vec());
    put(&mut sector, 0, &second);
    put(&mut sector, 8, &first);
    put(&mut sector, 16, &[0; 8]);
    let fourth = number(&sector, 24) & !0xf_ffff;
    let noise = (0..4096_u32).map(|n| n.wrapping_mul(77).to_le_bytes()[1]).collect::<Vec<u8>>();
    let size = original.len();
    // Entries of an earlier sequence, one of another log, then the active one round the end of the ring.
    let start = MIB - 8192;
    let entries = [
        entry(7, start, size, &[Said::Sector(table, &vec![0xff; 4096])]),
        entry(8, start, size, &[Said::Sector(table, &sector), Said::Zeros(fourth, MIB / 2)]),
        entry(9, start, size, &[Said::Zeros(fourth + 65536, 8192), Said::Sector(fourth + 4096, &noise)]),
    ];
    let mut bytes = with_log(&original, start, &entries);
    let stale = entry(3, 512 << 10, size, &[Said::Sector(table, &vec![0; 4096])]);
    let log_at = number(&bytes, (64 << 10) + 72);
    put(&mut bytes, log_at + (512 << 10), &stale);
    let image = workshop.path("dirty.vhdx");
    fs::write(&image, &bytes).expect("a file");

    let ours = open(&image, Format::Auto).expect("an image");
    let mut disk = vec![0; 5 * MIB];
    ours.read_at(0, &mut disk).unwrap_or_else(|error| panic!("{error}"));
    check_equal(&image, Format::Auto, &disk);
    assert!(disk[..MIB] == workshop.disk[MIB..2 * MIB] && disk[MIB..2 * MIB] == workshop.disk[..MIB], "the blocks did not change places");
    assert!(disk[2 * MIB..3 * MIB].iter().all(|&byte| byte == 0), "the block is not gone");
    assert_eq!(disk[3 * MIB + 4096..3 * MIB + 8192], noise);

    // QEMU writes the log back into the file; what it then reads must be what was read here before.
    let replayed = workshop.path("replayed.vhdx");
    fs::copy(&image, &replayed).expect("a copy");
    run("qemu-img", &["check", "-q", "-r", "all", text(&replayed)]);
    let raw = workshop.path("replayed.raw");
    run("qemu-img", &["convert", "-O", "raw", text(&replayed), text(&raw)]);
    let theirs = fs::read(&raw).expect("the disk");
    let differ: Vec<usize> =
        (0..disk.len() / 4096).filter(|&block| theirs[block * 4096..][..4096] != disk[block * 4096..][..4096]).collect();
    assert!(differ.is_empty(), "QEMU reads other blocks: {differ:?}");
    check_equal(&replayed, Format::Auto, &disk);

    // An entry of a higher number that leads to no start is what a loss of power leaves of the next sequence. (QEMU replays it.)
    let broken = entry(20, 256 << 10, size, &[Said::Sector(table, &vec![0; 4096])]);
    put(&mut bytes, log_at + (600 << 10), &broken);
    fs::write(&image, &bytes).expect("a file");
    check_equal(&image, Format::Auto, &disk);
}

#[test]
fn logs_that_contradict_themselves_are_refused() {
    let workshop = Workshop::new(2 * MIB, 4);
    let Some(original) = image_bytes(&workshop) else { return };
    let (table, size) = (region(&original, 0), original.len());
    let sector = original[table..table + 4096].to_vec();
    let good = || entry(5, 0, size, &[Said::Sector(table, &sector)]);
    let image = workshop.path("dirty.vhdx");
    let attempt = |entries: &[Vec<u8>], expected: &str| {
        fs::write(&image, with_log(&original, 0, entries)).expect("a file");
        assert!(refused(&image).contains(expected), "{expected}: {}", refused(&image));
    };
    attempt(&[entry(5, 8192, size, &[])], "no whole sequence");
    attempt(&[entry(5, 0, size + MIB, &[])], "it was cut short");
    attempt(&[entry(5, 0, size, &[Said::Zeros(table + 1, 4096)])], "no whole sectors");
    attempt(&[entry(5, 0, size, &[Said::Zeros(usize::MAX - 4095, 8192)])], "no whole sectors");
    let broken = |at: usize, byte: u8| {
        let mut bytes = good();
        bytes[at] = byte;
        let length = bytes.len();
        seal(&mut bytes, 0..length);
        [bytes]
    };
    attempt(&broken(64, b'x'), "the unknown kind xesc");
    attempt(&broken(64 + 24, 9), "a descriptor of another entry");
    attempt(&broken(4096, b'x'), "a sector of another entry");
    attempt(&broken(4096 + 4092, 9), "a sector of another entry");
    attempt(&broken(26, 9), "its log entry ends");
    // Nothing was logged yet, or what was is not whole: QEMU takes the file as it is.
    let mut torn = good();
    torn[5000] ^= 1;
    for entries in [vec![], vec![torn]] {
        fs::write(&image, with_log(&original, 0, &entries)).expect("a file");
        check_equal(&image, Format::Auto, &workshop.disk);
    }
    // Entries that all claim the whole log would be hashed for minutes.
    let long: Vec<Vec<u8>> = (0..256_u32)
        .map(|_| {
            let mut bytes = good();
            put(&mut bytes, 8, &u32::try_from(MIB).expect("a size").to_le_bytes());
            bytes.truncate(4096);
            bytes
        })
        .collect();
    attempt(&long, "overlap without end");
}

/// A parent and, over it, an image of the same size that holds the sectors of `written` and says zero for its fourth block.
fn make_child(workshop: &Workshop, parent_path: &str, linkage: &str, written: &[usize]) -> Option<std::path::PathBuf> {
    let image = workshop.path("child.avhdx");
    run("qemu-img", &["create", "-q", "-f", "vhdx", "-o", "block_size=1M", text(&image), "5M"])?;
    let mut bytes = fs::read(&image).expect("the image");
    let metadata = region(&bytes, 1);
    // The flag, the item and its contents.
    let entries = usize::from(bytes[metadata + 10]);
    let parameters = bytes[metadata + 32..].chunks_exact(32).position(|item| item[..4] == [0x37, 0x67, 0xa1, 0xca]).expect("the item");
    let parameters_at = number(&bytes, metadata + 32 + parameters * 32 + 16) & 0xffff_ffff;
    bytes[metadata + parameters_at + 4] |= 2;
    let mut locator = vec![0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13, 0, 0, 2, 0];
    let texts = ["parent_linkage", linkage, "relative_path", parent_path];
    let wide: Vec<Vec<u8>> = texts.iter().map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()).collect();
    let mut place = 20 + 24;
    for pair in wide.chunks(2) {
        let short = |number: usize| u16::try_from(number).expect("a length").to_le_bytes();
        locator.extend(u32::try_from(place).expect("a place").to_le_bytes());
        locator.extend(u32::try_from(place + pair[0].len()).expect("a place").to_le_bytes());
        locator.extend([short(pair[0].len()), short(pair[1].len())].concat());
        place += pair[0].len() + pair[1].len();
    }
    locator.extend(wide.concat());
    let mut item = vec![0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
    item.extend((256_u32 << 10).to_le_bytes());
    item.extend(u32::try_from(locator.len()).expect("a length").to_le_bytes());
    item.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    put(&mut bytes, metadata + 32 + entries * 32, &item);
    bytes[metadata + 10] += 1;
    put(&mut bytes, metadata + (256 << 10), &locator);
    // One bitmap block for all blocks, and the blocks.
    let table = region(&bytes, 0);
    let mut end = bytes.len().next_multiple_of(MIB);
    bytes.resize(end + MIB, 0);
    let bitmap = end;
    put(&mut bytes, table + 4096 * 8, &u64::try_from(bitmap | 6).expect("an entry").to_le_bytes());
    for block in 0..5 {
        let mine: Vec<usize> = written.iter().copied().filter(|sector| sector / 2048 == block).collect();
        if mine.is_empty() {
            put(&mut bytes, table + block * 8, &[if block == 3 { 2 } else { 0 }]);
            continue;
        }
        end = bytes.len();
        // Sectors that are the parent's hold noise, which must not be read.
        bytes.resize(end + MIB, 0x5a);
        put(&mut bytes, table + block * 8, &u64::try_from(end | 7).expect("an entry").to_le_bytes());
        for sector in mine {
            bytes[bitmap + sector / 8] |= 1 << (sector % 8);
            bytes[end + sector % 2048 * 512..][..512].fill(7);
        }
    }
    fs::write(&image, bytes).expect("the image");
    Some(image)
}

#[test]
fn a_differencing_image_reads_sector_by_sector() {
    let workshop = Workshop::new(5 * MIB, 5);
    let Some(parent) = image_bytes(&workshop) else { return };
    fs::rename(workshop.path("disk.vhdx"), workshop.path("parent.vhdx")).expect("a name");
    let newest = [64 << 10, 128 << 10].into_iter().max_by_key(|at| number(&parent, at + 8)).expect("two headers");
    let mut id = [0; 16];
    id.copy_from_slice(&parent[newest + 32..newest + 48]);
    let linkage = guid_text(&id).to_uppercase();
    let written = [0, 1, 7, 8, 9, 100, 2047, 2048, 2050, 9000, 10_239];
    let Some(image) = make_child(&workshop, ".\\parent.vhdx", &linkage, &written) else { return };
    let mut disk = workshop.disk.clone();
    disk[3 * MIB..4 * MIB].fill(0);
    for sector in written {
        disk[sector * 512..][..512].fill(7);
    }
    let source = check_equal(&image, Format::Auto, &disk);
    assert!(
        source.description().contains("(vhdx, over ") && source.description().ends_with("parent.vhdx (vhdx))"),
        "{}",
        source.description()
    );
    survive_damage(&image, Format::Vhdx, &[3 * MIB..3 * MIB + 64, (64 << 10)..(64 << 10) + 80], 20);

    make_child(&workshop, "missing.vhdx", &linkage, &written);
    assert!(refused(&image).contains("it names no parent that could be found"), "{}", refused(&image));
    make_child(&workshop, "parent.vhdx", "{00000000-0000-0000-0000-000000000000}", &written);
    assert!(refused(&image).contains("was written to since this image was made over it"), "{}", refused(&image));
}

#[test]
fn what_is_not_possible_is_refused() {
    let workshop = Workshop::new(MIB, 6);
    let Some(original) = image_bytes(&workshop) else { return };
    let (table, metadata) = (region(&original, 0), region(&original, 1));
    let item = |id: u8| {
        let entry = original[metadata + 32..].chunks_exact(32).position(|item| item[0] == id).expect("the item");
        let entry = metadata + 32 + entry * 32;
        (entry, metadata + (number(&original, entry + 16) & 0xffff_ffff))
    };
    let (headers, regions) = ([64 << 10, 128 << 10], [192 << 10, 256 << 10]);
    for (places, bytes, expected) in [
        (&[0][..], &[0][..], "it does not start with vhdxfile"),
        (&headers.map(|at| at + 100), &[1], "neither of its two headers"),
        (&regions.map(|at| at + 100), &[1], "neither of its two region tables"),
        (&[metadata], &[1], "its metadata table has a wrong mark"),
        (&[item(0x37).1], &[1], "its blocks have"),
        (&[item(0x37).1 + 4], &[2], "a parent that it does not name"),
        (&[item(0x24).1], &[1], "its disk has 1048577 bytes"),
        (&[item(0x24).1 + 5], &[1], "its block table has"),
        (&[item(0x24).1 + 6], &[1], "its disk has"),
        (&[item(0x24).1], &[0; 8], "is empty (0 bytes)"),
        (&[item(0x1d).1], &[3], "its sectors have"),
        (&[item(0x1d).0], &[3], "a required metadata item that is not understood"),
        (&[item(0x24).0 + 19], &[0x7f], "lies outside of them"),
        (&[metadata + 10], &[0xff, 0xff], "a table has 65535 entries"),
    ] {
        let mut damaged = original.clone();
        for at in places {
            put(&mut damaged, *at, bytes);
        }
        let image = workshop.path("damaged.vhdx");
        fs::write(&image, &damaged).expect("a file");
        assert!(refused(&image).contains(expected), "{expected}: {}", refused(&image));
    }
    // States of blocks are met when they are read.
    for (state, expected) in [(4, "in the state 4"), (7, "in the state 7"), (6, "has no place")] {
        let mut damaged = original.clone();
        put(&mut damaged, table, &[state, 0, 0, 0, 0, 0, 0, 0]);
        let image = workshop.path("damaged.vhdx");
        fs::write(&image, &damaged).expect("a file");
        let source = open(&image, Format::Vhdx).expect("its header is whole");
        let error = source.read_at(0, &mut [0; 512]).expect_err("the block is damaged").to_string();
        assert!(error.contains(expected), "{error}");
        source.data_extents().expect_err("the block is damaged");
    }
}

#[test]
fn a_truncated_image_is_no_image_of_zeros() {
    let workshop = Workshop::new(4 * MIB, 7);
    let Some(original) = image_bytes(&workshop) else { return };
    let image = workshop.path("disk.vhdx");
    fs::write(&image, &original[..original.len() - MIB]).expect("the image");
    let source = open(&image, Format::Auto).expect("its tables are there");
    let error = source.read_at(0, &mut vec![0; 4 * MIB]).expect_err("a block is not there").to_string();
    assert!(error.contains("it was cut short"), "{error}");
}

#[test]
fn damaged_images_give_errors_and_nothing_worse() {
    let workshop = Workshop::new(MIB, 8);
    let Some(original) = image_bytes(&workshop) else { return };
    let (table, metadata) = (region(&original, 0), region(&original, 1));
    let spots = [table..table + 64, metadata..metadata + 256, metadata + (64 << 10)..metadata + (64 << 10) + 64];
    survive_damage(&workshop.path("disk.vhdx"), Format::Vhdx, &spots, 60);
    let entries = [entry(5, 0, original.len(), &[Said::Zeros(table, 4096), Said::Sector(table, &original[table..table + 4096])])];
    let image = workshop.path("dirty.vhdx");
    fs::write(&image, with_log(&original, 0, &entries)).expect("a file");
    let log_at = number(&original, (64 << 10) + 72);
    survive_damage(&image, Format::Vhdx, &[log_at..log_at + 128, log_at..log_at + 8192], 60);
}
