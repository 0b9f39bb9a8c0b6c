//! Numbers, texts and checksums out of bytes of a disk, each only where there are enough bytes.

use std::fmt::Write;

/// Two bytes at `at`, the low one first.
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// Four bytes at `at`, the lowest first.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Eight bytes at `at`, the lowest first.
pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// A GUID as it is written, of 16 bytes at `at` with the first three groups in little-endian order; `None` also where all are zero.
pub(crate) fn guid(bytes: &[u8], at: usize) -> Option<String> {
    let raw: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
    if raw == &[0; 16] {
        return None;
    }
    let (first, second, third) = (le32(raw, 0)?, le16(raw, 4)?, le16(raw, 6)?);
    let mut text = format!("{first:08x}-{second:04x}-{third:04x}-");
    for (place, byte) in raw.get(8..)?.iter().enumerate() {
        let dash = if place == 2 { "-" } else { "" };
        write!(text, "{dash}{byte:02x}").ok()?;
    }
    Some(text)
}

/// The text in UTF-16 up to its first NUL, without what a terminal would obey; `None` where it is empty.
pub(crate) fn utf16(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).filter_map(|pair| le16(pair, 0)).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    let text = printable(&text);
    (!text.is_empty()).then_some(text)
}

/// The text with every control character replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// The reflected CRC of polynomial 04C11DB7 without the inversions before and after, from `initial` on: what LVM uses.
pub(crate) fn raw_crc32(initial: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!initial);
    hasher.update(bytes);
    !hasher.finalize()
}

/// CRC-32C (Castagnoli) as it is usually written, with both inversions.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        CASTAGNOLI.get(usize::from(low)).copied().unwrap_or(0) ^ (crc >> 8)
    };
    !bytes.iter().fold(!0, step)
}

/// What each value of the lowest byte adds.
const CASTAGNOLI: [u32; 256] = castagnoli();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "done by the compiler, which would see it fail")]
const fn castagnoli() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stop_at_the_end() {
        assert_eq!((le16(&[1, 2], 0), le16(&[1, 2], 1), le16(&[1, 2], 9)), (Some(513), None, None));
        assert_eq!(le32(&[0, 1, 0, 0, 0], 1), Some(1));
        assert_eq!(le64(&[0; 8], 1), None);
    }

    #[test]
    fn guids_are_written_as_the_tools_write_them() {
        let linux = [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];
        assert_eq!(guid(&linux, 0).as_deref(), Some("0fc63daf-8483-4772-8e79-3d69d8477de4"));
        assert_eq!((guid(&[0; 16], 0), guid(&linux, 1)), (None, None));
    }

    #[test]
    fn texts_have_no_escapes() {
        assert_eq!(utf16(b"a\0\x1b\0b\0\0\0c\0").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(utf16(&[0x00, 0xd8, b'x', 0]).as_deref(), Some("\u{fffd}x"));
        assert_eq!(utf16(&[0, 0]), None);
    }

    #[test]
    fn checksums_are_those_of_the_catalogues() {
        // By definition: the common CRC is the raw one of the inverted start, inverted.
        assert_eq!(!raw_crc32(!0, b"123456789"), 0xcbf4_3926);
        assert_eq!(raw_crc32(0, &[0; 9]), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
