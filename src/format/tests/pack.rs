//! The end of packs: table of contents and trailer.

use proptest::prelude::*;

use super::strategies;
use crate::format::FormatError;
use crate::format::pack::*;
use crate::units::*;

/// A pack of these frames' lengths, with fingerprints of its slots; its frames are zeros.
fn pack_bytes(toc: &Toc, key: &KeyHeader) -> Result<Vec<u8>, FormatError> {
    let frames_bytes: u64 = toc.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
    let fingerprints = match toc.kind {
        PackKind::Data => vec![3; toc.slot_count as usize * 16 + key.overhead_bytes() as usize],
        PackKind::Map => Vec::new(),
    };
    let tail = PackTail::new(toc, key, fingerprints)?.encode([7; 32]);
    Ok([vec![0; frames_bytes as usize], tail].concat())
}

fn range(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// What a reader without a key can check.
fn read_pack(bytes: &[u8]) -> Result<(Trailer, Toc, KeyHeader), FormatError> {
    let tail = &bytes[bytes.len().saturating_sub(TAIL_READ_BYTES as usize)..];
    let trailer = Trailer::decode(tail, bytes.len() as u64)?;
    trailer.fingerprints.check("section of fingerprints", range(bytes, trailer.fingerprints_range()))?;
    let (toc, key) = Toc::decode(&trailer, range(bytes, trailer.toc_range()))?;
    Ok((trailer, toc, key))
}

/// Two frames of a data pack, three blocks, the last one born elsewhere.
fn example() -> Toc {
    let first = FrameEntry { offset_bytes: 0, stored_bytes: 100, raw_bytes: 8192, codec: Codec::Zstd, crc32: 1, first_slot: 0 };
    let second = FrameEntry { offset_bytes: 100, stored_bytes: 4096, raw_bytes: 4096, codec: Codec::Stored, crc32: 2, first_slot: 2 };
    let birth = BirthRange { slot: 2, birth: Address { pack: PackId([9; 16]), slot: 77 }, count: 1 };
    Toc { pack: PackId([1; 16]), kind: PackKind::Data, frames: vec![first, second], slot_count: 3, births: vec![birth] }
}

#[test]
fn every_flip_and_every_truncation_after_the_frames_is_refused() {
    let bytes = pack_bytes(&example(), &KeyHeader::None).expect("legal");
    let frames_bytes = 4196;
    assert_eq!(read_pack(&bytes).map(|(_, toc, key)| (toc, key)), Ok((example(), KeyHeader::None)));
    for at in frames_bytes..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let error = read_pack(&changed).expect_err("refused");
            assert!(matches!(error, FormatError::Corrupt { .. }), "byte {at}, bit {bit}: {error}");
        }
    }
    for length in 0..bytes.len() {
        assert!(read_pack(&bytes[..length]).is_err(), "cut to {length}");
    }
    assert!(read_pack(&bytes[1..]).is_err(), "a byte of the frames is missing");
    assert!(read_pack(&[&[0], bytes.as_slice()].concat()).is_err());
}

#[test]
fn tables_that_break_a_rule_are_not_stored() {
    type Break = fn(&mut Toc);
    let breaks: [(Break, &str); 15] = [
        (|toc| toc.frames.clear(), "no frames"),
        (|toc| toc.slot_count = 4, "slots of no frame"),
        (|toc| toc.frames[1].offset_bytes = 101, "a gap"),
        (|toc| toc.frames[1].first_slot = 1, "a slot in two frames"),
        (|toc| toc.frames.swap(0, 1), "another order"),
        (|toc| toc.frames[0].raw_bytes = 8191, "a part of a block"),
        (|toc| toc.frames[0].raw_bytes = 257 * 4096, "more than 256 blocks"),
        (|toc| toc.frames[0].raw_bytes = 0, "no blocks"),
        (|toc| toc.frames[0].stored_bytes = 0, "no bytes"),
        (|toc| toc.frames[0].stored_bytes = 8192, "compressed, but not smaller"),
        (|toc| toc.frames[1].stored_bytes = 4095, "stored, but smaller"),
        (|toc| toc.births[0].count = 2, "births past the slots"),
        (|toc| toc.births[0].count = 0, "an empty birth range"),
        (|toc| toc.births.insert(0, toc.births[0]), "births that overlap"),
        (|toc| toc.births[0].birth.pack = toc.pack, "its own births"),
    ];
    for (make_bad, what) in breaks {
        let mut toc = example();
        make_bad(&mut toc);
        let error = PackTail::new(&toc, &KeyHeader::None, vec![0; 48]).expect_err(what);
        assert!(matches!(error, FormatError::Invalid { .. }), "{what}: {error}");
    }
    assert!(PackTail::new(&example(), &KeyHeader::None, vec![0; 47]).is_err());
    assert!(PackTail::new(&Toc { kind: PackKind::Map, ..example() }, &KeyHeader::None, Vec::new()).is_err());
}

/// Tables that no encoder makes, with all checksums right: what is read is checked like what is written.
#[test]
fn tables_that_break_a_rule_are_not_read() {
    let bytes = pack_bytes(&example(), &KeyHeader::None).expect("legal");
    let (trailer, ..) = read_pack(&bytes).expect("read");
    let toc_bytes = range(&bytes, trailer.toc_range());
    let decode_patched = |at: usize, patch: &[u8]| {
        let mut toc_bytes = toc_bytes.to_vec();
        toc_bytes[at..at + patch.len()].copy_from_slice(patch);
        let toc = Section { crc32: crc32fast::hash(&toc_bytes), ..trailer.toc };
        Toc::decode(&Trailer { toc, ..trailer.clone() }, &toc_bytes)
    };
    assert!(decode_patched(0, &[0]).is_ok());
    insta::assert_snapshot!(decode_patched(0, &[2]).expect_err("a later key header"), @"the pack has a key header of type 2, which this cairn does not know; use a newer cairn");
    insta::assert_snapshot!(decode_patched(0, &[1]).expect_err("a key that is not there"), @"the table of contents is damaged at byte 10: expected a wrapped key of 0 or 60 bytes, found 0");
    insta::assert_snapshot!(decode_patched(10, &[255; 8]).expect_err("too many frames"), @"the table of contents is damaged at byte 18: expected a count that fits into the bytes that follow, found 18446744073709551615");
    insta::assert_snapshot!(decode_patched(10, &[1]).expect_err("a frame less"), @"the table of contents is damaged at byte 51: expected legal births, found its births reach past its slots");
    insta::assert_snapshot!(decode_patched(26, &[101]).expect_err("frames of another length"), @"the table of contents is damaged at byte 64: expected frames as long as the trailer says, found 4197 bytes");
    insta::assert_snapshot!(decode_patched(30, &[1]).expect_err("a part of a block"), @"the table of contents is damaged at byte 38: expected a legal frame, found its raw length is not one that such a pack's frames can have");
    insta::assert_snapshot!(decode_patched(38, &[2]).expect_err("a codec that is not there"), @"the table of contents is damaged at byte 38: expected codec 0 or 1, found 2");
    insta::assert_snapshot!(decode_patched(52, &[3]).expect_err("births past the slots"), @"the table of contents is damaged at byte 64: expected legal births, found its births reach past its slots");
}

#[test]
fn packs_of_a_later_version_are_told_apart_from_damage() {
    let bytes = pack_bytes(&example(), &KeyHeader::None).expect("legal");
    // A later trailer: four bytes longer, version 2.
    let start = bytes.len() - TRAILER_BYTES as usize;
    let mut trailer = [&[0; 4], &bytes[start..]].concat();
    let end = trailer.len();
    trailer[end - 26] = 2;
    trailer[end - 16] += 4;
    let checksum = crc32fast::hash(&trailer[..end - 12]);
    trailer[end - 12..end - 8].copy_from_slice(&checksum.to_le_bytes());
    let later = [&bytes[..start], &trailer].concat();
    insta::assert_snapshot!(read_pack(&later).expect_err("refused"), @"the pack has version 2, which this cairn does not know; use a newer cairn");
    let mut other = bytes;
    other.truncate(start);
    insta::assert_snapshot!(read_pack(&other).expect_err("refused"), @r#"the pack trailer is damaged at byte 20: expected the magic of a cairn pack, found \t\t\t\t\t\t\t\t"#);
}

#[test]
fn slots_are_found_in_their_frames() {
    let toc = example();
    let found: Vec<_> = (0..4).map(|slot| toc.frame_of(slot).map(|(number, frame)| (number, frame.first_slot))).collect();
    assert_eq!(found, [Some((0, 0)), Some((0, 0)), Some((1, 2)), None]);
}

#[test]
fn fingerprints_come_back() {
    let fingerprints = vec![Fingerprint([1; 16]), Fingerprint([2; 16])];
    let bytes = encode_fingerprints(&fingerprints);
    assert_eq!(decode_fingerprints(&bytes), Ok(fingerprints));
    insta::assert_snapshot!(decode_fingerprints(&bytes[1..]).expect_err("refused"), @"the section of fingerprints is damaged at byte 31: expected 16 bytes each, found 31 bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_come_back((toc, key) in strategies::toc()) {
        let bytes = pack_bytes(&toc, &key).expect("legal");
        let (trailer, read, read_key) = read_pack(&bytes).expect("read");
        prop_assert_eq!((read, read_key), (toc, key));
        prop_assert_eq!(trailer.mac, [7; 32]);
        prop_assert_eq!(Trailer::decode(&trailer.encode(), bytes.len() as u64), Ok(trailer));
    }
}
