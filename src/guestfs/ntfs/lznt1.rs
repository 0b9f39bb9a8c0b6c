//! LZNT1: pieces of up to 4 KiB, each a header of two bytes and groups of eight items, letters or pairs of distance and length, whose
//! border moves as the piece grows. Layout: [MS-XCA] 2.5.

use super::bytes::{slice_at, u16_at};

/// Bytes of a piece when decoded.
const PIECE_BYTES: usize = 4096;

/// Decodes up to `unit_bytes` bytes; what the pieces do not fill is zeros. `None` where the bytes are no LZNT1.
pub(super) fn decode(packed: &[u8], unit_bytes: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(unit_bytes);
    let mut at = 0_usize;
    while out.len() < unit_bytes {
        // The end of the clusters ends the pieces as well as an empty header.
        let Some(header) = u16_at(packed, at).filter(|header| *header != 0) else { break };
        let length = usize::from(header & 0x0FFF).saturating_add(1);
        let piece = slice_at(packed, at.saturating_add(2), length)?;
        at = at.saturating_add(2).saturating_add(length);
        let start = out.len();
        // Each piece stands for 4 KiB, also where it says less.
        if header & 0x8000 == 0 {
            out.extend_from_slice(piece.get(..PIECE_BYTES.min(piece.len()))?);
        } else {
            decode_piece(piece, &mut out)?;
        }
        if at < packed.len() && u16_at(packed, at).is_some_and(|next| next != 0) {
            out.resize(start.saturating_add(PIECE_BYTES), 0);
        }
    }
    out.resize(unit_bytes, 0);
    Some(out)
}

fn decode_piece(mut piece: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    while let Some((&flags, rest)) = piece.split_first() {
        piece = rest;
        for item in 0..8 {
            let Some(&letter) = piece.first() else { return Some(()) };
            let written = out.len().checked_sub(start)?;
            if written >= PIECE_BYTES {
                return Some(());
            }
            if flags & (1 << item) == 0 {
                out.push(letter);
                piece = piece.get(1..)?;
                continue;
            }
            let pair = usize::from(u16_at(piece, 0)?);
            piece = piece.get(2..)?;
            // The more is written, the more bits the distance needs: at least 4, at most 12.
            let distance_bits = usize::BITS.checked_sub(written.checked_sub(1)?.leading_zeros())?.clamp(4, 12);
            let length_bits = 16_u32.checked_sub(distance_bits)?;
            let distance = pair.checked_shr(length_bits)?.checked_add(1)?;
            let length = (pair & 1_usize.checked_shl(length_bits)?.checked_sub(1)?).checked_add(3)?;
            let length = length.min(PIECE_BYTES.checked_sub(written)?);
            repeat(out, distance, length, written)?;
        }
    }
    Some(())
}

/// Repeats `length` bytes from `distance` bytes back, of the last `written` ones; they may run into each other.
pub(super) fn repeat(out: &mut Vec<u8>, distance: usize, length: usize, written: usize) -> Option<()> {
    if distance == 0 || distance > written {
        return None;
    }
    let from = out.len().checked_sub(distance)?;
    if distance >= length {
        out.extend_from_within(from..from.checked_add(length)?);
        return Some(());
    }
    let mut left = length;
    while left > 0 {
        // What was repeated so far can be repeated with it.
        let ready = out.len().checked_sub(from)?.min(left);
        out.extend_from_within(from..from.checked_add(ready)?);
        left = left.checked_sub(ready)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let packed = [
            0x38, 0xB0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xA2, 0x47, 0x01, 0xA0, 0x45, 0x20, 0x44, 0x00,
            0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xC0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xB4, 0x02, 0x4A, 0x44, 0xEF, 0x03, 0x58,
            0x02, 0x8C, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xBE, 0x00, 0x9E, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let expected = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let decoded = decode(&packed, 8192).expect("sound");
        assert_eq!(&decoded[..expected.len()], expected);
        assert!(decoded[expected.len()..].iter().all(|&byte| byte == 0));
        assert_eq!(decoded.len(), 8192);
    }

    #[test]
    fn what_is_no_lznt1_is_refused() {
        for packed in [&[0x38, 0xB0, 0x88][..], &[0x02, 0xB0, 0x01, 0x00, 0x00], &[0x03, 0xB0, 0x02, 0x41, 0xFF, 0xFF]] {
            assert_eq!(decode(packed, 4096), None, "{packed:02x?}");
        }
    }
}
