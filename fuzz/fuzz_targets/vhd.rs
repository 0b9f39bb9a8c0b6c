//! VHD and VHDX images: a byte that picks the format, then the image, told in pieces. Checksums are made right.
#![no_main]

use std::cell::RefCell;
use std::ops::Range;

use cairn::source::Format;
use cairn_fuzz::image::{Image, Workshop, assemble};
use libfuzzer_sys::fuzz_target;

thread_local!(static WORKSHOP: RefCell<Workshop> = RefCell::default());

/// Puts the checksum that a structure of a VHD has at `field`: the complement of the sum of its other bytes.
fn seal_vhd(image: &mut Image, range: Range<usize>, field: usize) {
    let Some(structure) = image.structure(range) else { return };
    structure[field..field + 4].fill(0);
    let sum = structure.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    structure[field..field + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// CRC-32C, bit by bit: nothing of what is tested here.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 })
    })
}

/// Puts the checksum that a structure of a VHDX has at byte 4.
fn seal_vhdx(image: &mut Image, range: Range<usize>) {
    let Some(structure) = image.structure(range) else { return };
    structure[4..8].fill(0);
    let crc = crc32c(structure);
    structure[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn number(image: &[u8], at: usize) -> Option<u32> {
    image.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Seals the headers, the tables of regions, and the first entries of the log, which lies at 1 MiB in every seed.
fn seal_all_vhdx(image: &mut Image) {
    for header in [64 << 10, 128 << 10] {
        seal_vhdx(image, header..header + 4096);
    }
    for table in [192 << 10, 256 << 10] {
        seal_vhdx(image, table..table + (64 << 10));
    }
    for at in ((1 << 20)..(1 << 20) + (64 << 10)).step_by(4096) {
        if number(&image.bytes, at) == Some(u32::from_le_bytes(*b"loge")) {
            let length = number(&image.bytes, at + 8).unwrap_or(0) as usize;
            if (64..=64 << 10).contains(&length) {
                seal_vhdx(image, at..at + length);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((format, pieces)) = input.split_first() else { return };
    let mut image = assemble(pieces);
    let format = if format % 2 == 0 { Format::Vhd } else { Format::Vhdx };
    if format == Format::Vhd {
        let end = image.bytes.len();
        seal_vhd(&mut image, 0..512, 64);
        seal_vhd(&mut image, 512..1536, 36);
        if let Some(footer) = end.checked_sub(512) {
            seal_vhd(&mut image, footer..end, 64);
        }
    } else {
        seal_all_vhdx(&mut image);
    }
    WORKSHOP.with_borrow_mut(|workshop| workshop.check(&image, format));
});
