//! What fuzz targets share. A fuzzer does not guess checksums, so targets make them right and look at what is behind them.

pub mod guest;
pub mod image;
pub mod mend;

use cairn::format::FormatError;

/// Bytes that decode must be those that the value encodes to.
pub fn only_its_own_bytes(bytes: &[u8], recoded: Result<Vec<u8>, FormatError>) {
    if let Ok(recoded) = recoded {
        assert_eq!(recoded, bytes, "a value has two encodings");
    }
}

/// The input with the CRC-32 at its end made right.
pub fn with_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let (covered, _) = bytes.split_last_chunk::<4>()?;
    Some([covered, &crc32fast::hash(covered).to_le_bytes()].concat())
}

/// The input as an object without compatible features, which values do not keep, and with a right checksum.
pub fn without_features(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(16..20)?.fill(0);
    with_checksum(&bytes)
}
