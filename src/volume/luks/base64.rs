//! Base64 as LUKS2 writes it: the usual alphabet, padded.

/// The bytes that `text` stands for; `None` where it is not base64.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.bytes() {
        bits = bits << 6 | u32::from(value(digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            // Of the bits above these the next rounds need none.
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn text_of_every_length_is_decoded_and_other_text_is_not() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(decoded(text).expect("base64"), bytes.as_bytes(), "{text}");
        }
        assert_eq!(decoded("+/+/").expect("base64"), [0xfb, 0xff, 0xbf]);
        for text in ["Z", "Zg", "Zg=", "Z===", "Zm9*", "Zm 9"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
