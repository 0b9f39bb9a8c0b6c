//! CRC-32C (Castagnoli) as the kernel computes it: without inversion before and after, so that checksums can be continued.

/// Continues `crc` over `bytes`.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // The library inverts before and after.
    !::crc32c::crc32c_append(!crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the algorithm; these invert before and after.
    #[test]
    fn published_values() {
        let inverted = |bytes: &[u8]| !crc32c(!0, bytes);
        assert_eq!(inverted(b"123456789"), 0xe306_9283);
        assert_eq!(inverted(&[0; 32]), 0x8a91_36aa);
        assert_eq!(inverted(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }
}
