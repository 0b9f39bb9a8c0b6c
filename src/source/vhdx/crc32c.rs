//! CRC-32C (Castagnoli), which VHDX seals its structures with.

const TABLE: [u32; 256] = table();

#[expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which refuses a mistake"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// The CRC of `bytes` with the four bytes at `field`, where it is kept, taken as zeros.
pub(super) fn crc32c(bytes: &[u8], field: usize) -> u32 {
    let end = field.saturating_add(4);
    let crc = bytes.iter().enumerate().fold(u32::MAX, |crc, (at, &byte)| {
        let byte = if (field..end).contains(&at) { 0 } else { byte };
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE.get(usize::from(low ^ byte)).copied().unwrap_or(0)
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_rfc_3720() {
        // The check value of the algorithm and the examples of RFC 3720, B.4; the field lies behind the bytes.
        assert_eq!(crc32c(b"123456789", 9), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32], 32), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32], 32), 0x62a8_ab43);
        assert_eq!(crc32c(b"\xff\xff\xff\xff", 0), crc32c(&[0; 4], 4));
    }
}
