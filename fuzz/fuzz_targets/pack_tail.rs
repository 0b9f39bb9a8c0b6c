//! The end of packs: fingerprints, table of contents, trailer.
#![no_main]

use cairn::format::FormatError;
use cairn::format::pack::{PackTail, TRAILER_BYTES, Toc, Trailer, decode_fingerprints, encode_fingerprints};
use libfuzzer_sys::fuzz_target;

/// The part of `tail` before the trailer that a section of `length_bytes` ending `after_bytes` before the tail's end takes.
fn section(tail: &[u8], length_bytes: u64, after_bytes: u64) -> Option<&[u8]> {
    let end = u64::try_from(tail.len()).ok()?.checked_sub(after_bytes)?;
    let start = end.checked_sub(length_bytes)?;
    tail.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// The input with the checksums of table and trailer made right; frame and fingerprint lengths stay as they are.
fn with_checksums(tail: &[u8]) -> Option<Vec<u8>> {
    let mut tail = tail.to_vec();
    let trailer = tail.len().checked_sub(TRAILER_BYTES as usize)?;
    let toc_length = u64::from_le_bytes(*tail[trailer + 36..].first_chunk()?);
    if let Some(toc) = section(&tail, toc_length, TRAILER_BYTES.into()) {
        let checksum = crc32fast::hash(toc);
        tail[trailer + 44..trailer + 48].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum_at = tail.len() - 12;
    let checksum = crc32fast::hash(&tail[trailer..checksum_at]);
    tail[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    Some(tail)
}

fn read(tail: &[u8], pack_bytes: u64) -> Result<(), FormatError> {
    let trailer = Trailer::decode(tail, pack_bytes)?;
    let toc_bytes = section(tail, trailer.toc.length_bytes, TRAILER_BYTES.into()).unwrap_or_default();
    let (toc, key) = Toc::decode(&trailer, toc_bytes)?;
    for slot in [0, toc.slot_count / 2, toc.slot_count - 1] {
        assert!(toc.frame_of(slot).is_some_and(|(_, frame)| frame.first_slot <= slot), "slot {slot} is in no frame");
    }
    let after_fingerprints = trailer.toc.length_bytes + u64::from(TRAILER_BYTES);
    if let Some(stored) = section(tail, trailer.fingerprints.length_bytes, after_fingerprints) {
        let fingerprints = stored.len() - key.overhead_bytes() as usize * usize::from(!stored.is_empty());
        let decoded = decode_fingerprints(&stored[..fingerprints])?;
        assert_eq!(encode_fingerprints(&decoded), stored[..fingerprints]);
        let again = PackTail::new(&toc, &key, stored.to_vec()).expect("what was decoded can be stored");
        let (toc_again, trailer_again) = again.to_authenticate();
        assert_eq!(toc_again, toc_bytes);
        assert_eq!(trailer_again.pack_bytes(), trailer.pack_bytes());
    }
    Ok(())
}

fuzz_target!(|tail: &[u8]| {
    let _ = read(tail, tail.len() as u64);
    if let Some(whole) = with_checksums(tail) {
        // The frames before the tail are as long as the trailer says, or the length of the pack is wrong.
        let trailer = whole.len() - TRAILER_BYTES as usize;
        let field = |at| u64::from_le_bytes(*whole[trailer + at..].first_chunk().expect("inside the trailer"));
        let sections = [field(16), field(24), field(36), TRAILER_BYTES.into()];
        let pack_bytes = sections.into_iter().fold(0, u64::saturating_add);
        let _ = read(&whole, pack_bytes);
    }
});
