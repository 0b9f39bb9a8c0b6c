//! Tests of VHD images against those that qemu-img makes, and of differencing ones, which it does not, against hand-made ones.

use std::fs;
use std::path::Path;

use crate::source::testing::{Workshop, check_equal, survive_damage};
use crate::source::{Format, open};

/// The text of the error of opening `path`.
fn refused(path: &Path) -> String {
    match open(path, Format::Vhd) {
        Ok(source) => panic!("{} was opened", source.description()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn dynamic_and_fixed_images_read_as_their_disk() {
    let workshop = Workshop::new((9 << 20) + 512, 1);
    for subformat in ["dynamic", "fixed"] {
        let option = format!("subformat={subformat},force_size=on");
        let Some(image) = workshop.convert("vpc", &["-o", &option], &format!("{subformat}.vhd")) else { return };
        let source = check_equal(&image, Format::Auto, &workshop.disk);
        assert_eq!(source.description(), format!("{} (vhd)", image.display()));
        // Nothing in the name says what it is; a fixed image shows it at its end alone.
        let plain = workshop.path(subformat);
        fs::rename(&image, &plain).expect("a name");
        check_equal(&plain, Format::Auto, &workshop.disk);
    }
}

#[test]
fn a_size_rounded_up_to_a_geometry_is_the_disks() {
    let workshop = Workshop::new(5 << 20, 2);
    let Some(image) = workshop.convert("vpc", &[], "disk.vhd") else { return };
    let source = open(&image, Format::Auto).expect("an image");
    let mut disk = workshop.disk.clone();
    disk.resize(usize::try_from(source.size_bytes()).expect("a size"), 0);
    assert!(disk.len() > 5 << 20, "{} bytes", disk.len());
    check_equal(&image, Format::Auto, &disk);
}

#[test]
fn the_copy_of_a_lost_footer_counts() {
    let workshop = Workshop::new(5 << 20, 3);
    let Some(image) = workshop.convert("vpc", &["-o", "force_size=on"], "disk.vhd") else { return };
    let mut bytes = fs::read(&image).expect("the image");
    let end = bytes.len();
    bytes[end - 512..].fill(0);
    fs::write(&image, &bytes).expect("the image");
    check_equal(&image, Format::Auto, &workshop.disk);
    bytes[100] = 1;
    fs::write(&image, &bytes).expect("the image");
    assert!(refused(&image).contains("no footer with a right checksum"), "{}", refused(&image));
}

/// Puts the complement of the sum of `bytes` where it belongs.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// A differencing image over `parent` (relative path, `identity`), with these sectors written: (sector, byte).
fn child(size: usize, block: usize, parent: &str, identity: &[u8], own: [u8; 16], written: &[(usize, u8)]) -> Vec<u8> {
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&[0, 1, 0, 0]);
    footer[16..24].copy_from_slice(&512_u64.to_be_bytes());
    footer[48..56].copy_from_slice(&u64::try_from(size).expect("a size").to_be_bytes());
    footer[63] = 4;
    footer[68..84].copy_from_slice(&own);
    seal(&mut footer, 64);
    let path: Vec<u8> = parent.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let blocks = size.div_ceil(block);
    let mut table = vec![0xff; (blocks * 4).next_multiple_of(512)];
    let mut header = vec![0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[16..24].copy_from_slice(&1536_u64.to_be_bytes());
    header[28..32].copy_from_slice(&u32::try_from(blocks).expect("a count").to_be_bytes());
    header[32..36].copy_from_slice(&u32::try_from(block).expect("a size").to_be_bytes());
    header[40..56].copy_from_slice(identity);
    header[576..580].copy_from_slice(b"W2ru");
    header[584..588].copy_from_slice(&u32::try_from(path.len()).expect("a length").to_be_bytes());
    let path_at = 1536 + table.len();
    header[592..600].copy_from_slice(&u64::try_from(path_at).expect("an offset").to_be_bytes());
    seal(&mut header, 36);
    let data_at = path_at + 512;
    let bitmap = (block / 512).div_ceil(8).next_multiple_of(512);
    let mut data: Vec<u8> = Vec::new();
    for number in 0..blocks {
        let mine: Vec<_> = written.iter().filter(|(sector, _)| sector * 512 / block == number).collect();
        if mine.is_empty() {
            continue;
        }
        let place = u32::try_from((data_at + data.len()) / 512).expect("a place");
        table[number * 4..number * 4 + 4].copy_from_slice(&place.to_be_bytes());
        let start = data.len();
        // Sectors that are the parent's hold noise, which must not be read.
        data.resize(start + bitmap, 0);
        data.resize(start + bitmap + block, 0x5a);
        for (sector, byte) in mine {
            let within = sector - number * block / 512;
            data[start + within / 8] |= 0x80 >> (within % 8);
            data[start + bitmap + within * 512..][..512].fill(*byte);
        }
    }
    let mut image = [footer.clone(), header, table, path].concat();
    image.resize(data_at, 0);
    image.extend(data);
    image.extend(footer);
    image
}

#[test]
fn a_differencing_image_reads_sector_by_sector() {
    let workshop = Workshop::new(5 << 20, 4);
    let Some(parent) = workshop.convert("vpc", &["-o", "force_size=on"], "parent.vhd") else { return };
    let identity = fs::read(&parent).expect("the parent")[68..84].to_vec();
    let written: Vec<(usize, u8)> =
        [0, 1, 7, 8, 9, 100, 511, 512, 4095, 4096, 5000, 5001, 10_239].iter().map(|&sector| (sector, 7)).collect();
    let middle = workshop.path("middle.avhd");
    fs::write(&middle, child(5 << 20, 2 << 20, ".\\parent.vhd", &identity, [3; 16], &written)).expect("a file");
    let mut disk = workshop.disk.clone();
    for (sector, byte) in written {
        disk[sector * 512..][..512].fill(byte);
    }
    check_equal(&middle, Format::Auto, &disk);
    // A grandchild with small blocks that knows its parent by a path of another machine.
    let top = workshop.path("top.avhd");
    fs::write(&top, child(5 << 20, 64 << 10, "..\\elsewhere\\middle.avhd", &[3; 16], [4; 16], &[(8, 0), (9, 9), (300, 1)]))
        .expect("a file");
    disk[8 * 512..][..512].fill(0);
    disk[9 * 512..][..512].fill(9);
    disk[300 * 512..][..512].fill(1);
    let source = check_equal(&top, Format::Vhd, &disk);
    assert!(
        source.description().contains("(vhd, over ") && source.description().contains("parent.vhd (vhd)))"),
        "{}",
        source.description()
    );
    // What only looks like one is not followed.
    let guest = workshop.path("guest.img");
    fs::copy(&top, &guest).expect("a copy");
    let error = open(&guest, Format::Auto).map(|source| source.description()).expect_err("it was believed").to_string();
    assert!(error.contains("which a guest could have written there"), "{error}");
    survive_damage(&top, Format::Vhd, &[0..512, 512..1536, 1536..2600], 100);
}

#[test]
fn a_wrong_or_missing_parent_is_refused() {
    let workshop = Workshop::new(1 << 20, 5);
    let Some(_) = workshop.convert("vpc", &["-o", "force_size=on"], "parent.vhd") else { return };
    let image = workshop.path("child.vhd");
    fs::write(&image, child(1 << 20, 2 << 20, "parent.vhd", &[9; 16], [3; 16], &[(1, 1)])).expect("a file");
    assert!(refused(&image).contains("parent.vhd is another disk than the parent"), "{}", refused(&image));
    fs::write(&image, child(1 << 20, 2 << 20, "missing.vhd", &[9; 16], [3; 16], &[(1, 1)])).expect("a file");
    assert!(refused(&image).contains("it names no parent that could be found"), "{}", refused(&image));
    fs::write(&image, child(1 << 20, 2 << 20, "child.vhd", &[3; 16], [3; 16], &[(1, 1)])).expect("a file");
    assert!(refused(&image).contains("it rests on itself"), "{}", refused(&image));
}

#[test]
fn what_is_not_possible_is_refused() {
    let workshop = Workshop::new(1 << 20, 6);
    let Some(image) = workshop.convert("vpc", &["-o", "force_size=on"], "disk.vhd") else { return };
    let original = fs::read(&image).expect("the image");
    for (at, bytes, expected) in [
        (63, &[5][..], "it is a disk of type 5"),
        (13, &[2], "version 2 of the format"),
        (16, &[0, 0, 0, 0, 0, 0x80, 0, 0], "its dynamic header should lie at 8388608"),
        (48, &[0x40], "more than 1 EiB"),
        (48, &[0, 0, 0, 0x80], "needs 262145"),
        (48, &[0; 8], "is empty (0 bytes)"),
        (512 + 32, &[0, 0, 0, 0], "its blocks have 0 bytes"),
        (512 + 32, &[0, 0, 0x0c, 0], "its blocks have 3072 bytes"),
        (512 + 16, &[0, 0, 0, 1], "the file ends at"),
        (512, &[0], "wrong mark or checksum"),
    ] {
        let mut damaged = original.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut damaged[..512], 64);
        seal(&mut damaged[512..1536], 36);
        // Only the copy at the start counts, so that one place is enough to damage.
        let end = damaged.len();
        damaged[end - 512..].fill(0);
        fs::write(&image, &damaged).expect("the image");
        assert!(refused(&image).contains(expected), "{expected}: {}", refused(&image));
    }
    fs::write(&image, b"conectix").expect("a file");
    assert!(refused(&image).contains("less than a footer"), "{}", refused(&image));
}

#[test]
fn a_truncated_image_is_no_image_of_zeros() {
    let workshop = Workshop::new(5 << 20, 7);
    let Some(image) = workshop.convert("vpc", &["-o", "force_size=on"], "disk.vhd") else { return };
    let bytes = fs::read(&image).expect("the image");
    fs::write(&image, &bytes[..bytes.len() - (2 << 20)]).expect("the image");
    let source = open(&image, Format::Auto).expect("its tables are there");
    let error = source.read_at((5 << 20) - 4096, &mut [0; 4096]).expect_err("the block is not there").to_string();
    assert!(error.contains("it was cut short"), "{error}");
}

#[test]
fn damaged_images_give_errors_and_nothing_worse() {
    let workshop = Workshop::new(1 << 20, 8);
    for subformat in ["dynamic", "fixed"] {
        let option = format!("subformat={subformat},force_size=on");
        let Some(image) = workshop.convert("vpc", &["-o", &option], &format!("{subformat}.vhd")) else { return };
        let bytes = fs::read(&image).expect("the image").len();
        survive_damage(&image, Format::Vhd, &[0..512, 512..1536, 1536..2048, bytes - 512..bytes], 100);
    }
}
