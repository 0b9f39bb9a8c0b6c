//! Names in UTF-16, whose writers did not always keep the rules.

/// UTF-16 as UTF-8. A surrogate without its other half becomes U+FFFD and its number in hexadecimal, so that names that differ
/// only there stay different.
pub(super) fn utf16_name(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut name = String::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => name.push(character),
            Err(lone) => name.push_str(&format!("\u{fffd}{:04X}", lone.unpaired_surrogate())),
        }
    }
    name.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_keep_names_apart() {
        assert_eq!(utf16_name([0x41, 0xd83d, 0xde00]), "A\u{1f600}".as_bytes());
        assert_eq!(utf16_name([0xd83d, 0x41]), "\u{fffd}D83DA".as_bytes());
        assert_ne!(utf16_name([0xd83d]), utf16_name([0xd83e]));
    }
}
