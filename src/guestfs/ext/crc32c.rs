//! CRC-32C (Castagnoli) as the kernel computes it: without inversion before and after, so that checksums can be continued.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The remainders of one byte followed by 0 to 7 bytes of zeros.
static TABLES: [[u32; 256]; 8] = tables();

#[expect(clippy::indexing_slicing, reason = "computed by the compiler: an index that is wrong does not compile")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Continues `crc` over `bytes`.
#[expect(clippy::indexing_slicing, reason = "tables of 256 indexed by bytes, pieces of 8 by constants")]
pub(in crate::guestfs) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let (pieces, rest) = bytes.as_chunks::<8>();
    let mut crc = crc;
    for piece in pieces {
        let head = crc ^ u32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]]);
        let [a, b, c, d] = head.to_le_bytes().map(usize::from);
        crc = TABLES[7][a] ^ TABLES[6][b] ^ TABLES[5][c] ^ TABLES[4][d];
        let [e, f, g, h] = [piece[4], piece[5], piece[6], piece[7]].map(usize::from);
        crc ^= TABLES[3][e] ^ TABLES[2][f] ^ TABLES[1][g] ^ TABLES[0][h];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    crc
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
