//! Streams made by the tool `lzop`, and streams that nobody should have made.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn decompressed(input: &[u8], most: usize) -> Result<Vec<u8>, LzoError> {
    let mut output = vec![0; most];
    let length = decompress(input, &mut output)?;
    output.truncate(length);
    Ok(output)
}

/// Text with repetitions near and far, numbers, noise and long runs: all kinds of instructions.
fn sample(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < length {
        let kind = next() % 5;
        let count = 1 + next() % [3, 30, 300, 3000][next() % 4];
        let back = 1 + next() % [8, 700, 3000, 40_000][next() % 4];
        for at in 0..count {
            bytes.push(match kind {
                0 => next() as u8,
                1 => b"the quick brown fox "[at % 20],
                2 => bytes.len().checked_sub(back).map_or(7, |from| bytes[from]),
                3 => 0,
                _ => (at / 4) as u8,
            });
        }
    }
    bytes.truncate(length);
    bytes
}

/// The blocks in what `lzop` writes: each with the length of what it holds. `None`: it is not installed.
fn lzop_blocks(level: &str, bytes: &[u8]) -> Option<Vec<(Vec<u8>, usize)>> {
    let mut child =
        Command::new("lzop").args([level, "-c", "-F"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut input = child.stdin.take().unwrap();
    let written = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&written));
    let file = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap().unwrap();
    let word = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    // Magic number 9, three versions 6, method, level, flags 4, mode 4, times 8, length of the name, the name, checksum 4.
    let flags = word(17);
    assert_eq!(flags & 0x302, 0, "no checksums were asked for");
    // Some levels have one all the same, of what comes out.
    let checksum = 4 * (flags & 1);
    let mut at = 38 + usize::from(file[33]);
    let mut blocks = Vec::new();
    while word(at) != 0 {
        let (length, compressed) = (word(at), word(at + 4));
        blocks.push((file[at + 8 + checksum..at + 8 + checksum + compressed].to_vec(), length));
        at += 8 + checksum + compressed;
    }
    Some(blocks)
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn streams_of_lzop_come_out_as_they_went_in() {
    for level in ["-1", "-3", "-7", "-9"] {
        for (length, seed) in [(1, 1), (20, 2), (400, 3), (5_000, 4), (300_000, 5), (1_000_000, 6)] {
            let bytes = sample(length, seed);
            let Some(blocks) = lzop_blocks(level, &bytes) else {
                eprintln!("SKIPPED: no lzop (Debian package lzop)");
                return;
            };
            let mut all = Vec::new();
            for (block, length) in blocks {
                // A block that would not shrink is stored as it is.
                all.extend(if block.len() == length { block } else { decompressed(&block, length).unwrap() });
            }
            assert!(all == bytes, "{level}, {length} bytes");
        }
    }
}

#[test]
fn each_kind_of_instruction_does_what_the_description_says() {
    const END: [u8; 3] = [17, 0, 0];
    let check = |stream: &[u8], expected: &[u8]| assert_eq!(decompressed(&[stream, &END].concat(), 20_000).unwrap(), expected);
    check(&[], b"");
    check(&[18, b'a'], b"a");
    check(&[21, b'a', b'b', b'c', b'd'], b"abcd");
    check(&[1, b'a', b'b', b'c', b'd'], b"abcd");
    let long: Vec<u8> = (0..=255).cycle().take(15 + 255 + 2 + 3).collect();
    check(&[&[0, 0, 2][..], &long].concat(), &long);
    // Two bytes from 1 + 4 * 0 + 1 back after few literals; then a literal.
    check(&[20, b'a', b'b', b'c', 0b0000_0101, 0, b'x'], b"abcbcx");
    // Three bytes from 2049 back after many.
    let many: Vec<u8> = (0..2049_u32).map(|at| at as u8).collect();
    let run = [&[0][..], &[0; 7], &[(2049 - 18 - 7 * 255) as u8], &many[..]].concat();
    check(&[&run[..], &[0, 0]].concat(), &[&many[..], &many[..3]].concat());
    check(&[21, 1, 2, 3, 4, 0b0110_1100, 0], &[1, 2, 3, 4, 1, 2, 3, 4]);
    check(&[21, 1, 2, 3, 4, 0b1110_0000, 0], &[1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4]);
    check(&[21, 1, 2, 3, 4, 0b0010_0010, 0b0000_1001, 0, 9], &[1, 2, 3, 4, 2, 3, 4, 2, 9]);
    let zeros = [&[0; 16_390][..], &[7; 33 + 5]].concat();
    // A run of zeros by a copy with a long length, sevens by another; then five from 16384 + 33 back.
    let length = 16_389 - 2 - 31;
    let stream = [
        &[18, 0, 32][..],
        &vec![0; (length - 1) / 255],
        &[(length - (length - 1) / 255 * 255) as u8, 1, 0],
        &[7],
        &[32, 33 + 4 - 33, 0, 0],
        &[0b0001_0011, 33 << 2, 0],
    ]
    .concat();
    check(&stream, &[&zeros[..], &[0; 5]].concat());
}

#[test]
fn damage_is_told() {
    assert_eq!(decompressed(&[], 9), Err(LzoError::Truncated));
    assert_eq!(decompressed(&[18, b'a'], 9), Err(LzoError::Truncated));
    assert_eq!(decompressed(&[21, b'a'], 9), Err(LzoError::Truncated));
    assert_eq!(decompressed(&[21, 1, 2, 3, 4, 17, 0, 0], 3), Err(LzoError::TooLong));
    assert_eq!(decompressed(&[21, 1, 2, 3, 4, 0b1110_0000, 0, 17, 0, 0], 11), Err(LzoError::TooLong));
    assert_eq!(decompressed(&[18, 1, 0b0100_0100, 0, 17, 0, 0], 9), Err(LzoError::BadDistance));
    assert_eq!(decompressed(&[18, 1, 17, 0, 0, 0], 9), Err(LzoError::BadEnd));
    assert_eq!(decompressed(&[18, 1, 18, 0, 0], 9), Err(LzoError::BadEnd));
    assert_eq!(decompressed(&[17, 1, 18, 1, 17, 0, 0], 9), Err(LzoError::Version));
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), most in 0..5_000_usize) {
        if let Ok(all) = decompressed(&bytes, most) {
            prop_assert!(all.len() <= most);
        }
    }
}
