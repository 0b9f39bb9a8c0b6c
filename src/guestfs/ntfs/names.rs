//! Names: UTF-16 on the disk, bytes of UTF-8 outside. A surrogate without its other half, which Windows allows, becomes the three bytes
//! that UTF-8 would give its number (WTF-8, as ntfs-3g does), so that no two names become one and each finds its way back.

use super::bytes::u16_at;

/// Letters of UTF-16 from their bytes; an odd byte at the end is left out.
pub(super) fn letters(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).filter_map(|pair| u16_at(pair, 0)).collect()
}

/// UTF-8 of a name.
pub(super) fn to_utf8(letters: &[u16]) -> Vec<u8> {
    let mut name = Vec::with_capacity(letters.len());
    let mut room = [0; 4];
    for decoded in char::decode_utf16(letters.iter().copied()) {
        match decoded {
            Ok(letter) => name.extend_from_slice(letter.encode_utf8(&mut room).as_bytes()),
            Err(lone) => {
                let [high, low] = lone.unpaired_surrogate().to_be_bytes();
                name.extend_from_slice(&[0xE0 | (high >> 4), 0x80 | ((high & 0x0F) << 2) | (low >> 6), 0x80 | (low & 0x3F)]);
            }
        }
    }
    name
}

/// The letters of a name, the reverse of [`to_utf8`]; `None` where no name on the disk could look like this.
pub(super) fn to_utf16(name: &[u8]) -> Option<Vec<u16>> {
    let mut letters = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        letters.extend(chunk.valid().encode_utf16());
        lone_surrogates(chunk.invalid(), &mut letters);
    }
    // Whatever was no such surrogate is missing now.
    (to_utf8(&letters) == name).then_some(letters)
}

/// The decoder of UTF-8 gives the three bytes of a surrogate one by one; they are put together where the second and third arrive.
fn lone_surrogates(invalid: &[u8], letters: &mut Vec<u16>) {
    const LEAD: u16 = 0xD000;
    for &byte in invalid {
        match (byte, letters.last().copied()) {
            (0xED, _) => letters.push(LEAD),
            (0xA0..=0xBF, Some(LEAD)) => {
                letters.pop();
                letters.push(LEAD | (u16::from(byte & 0x3F) << 6) | 0x0001);
            }
            (_, Some(half)) if half & 0xF83F == 0xD801 => {
                letters.pop();
                letters.push((half & !1) | u16::from(byte & 0x3F));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_out_and_come_back() {
        for letters in
            [&[0x61, 0x62][..], &[0xD83D, 0xDE00], &[0xD800], &[0x61, 0xDC01, 0xD83D], &[0xDFFF, 0xD800, 0x20], &[0x00E9, 0xFFFF], &[]]
        {
            let name = to_utf8(letters);
            assert_eq!(to_utf16(&name).as_deref(), Some(letters), "{name:02x?}");
        }
    }

    #[test]
    fn bytes_that_are_no_name_have_no_letters() {
        for name in [&b"\xff"[..], b"a\xc3", b"\xed\xa0", b"\xed", b"\xa0"] {
            assert_eq!(to_utf16(name), None, "{name:02x?}");
        }
    }
}
