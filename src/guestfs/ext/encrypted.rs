//! Names in encrypted directories, as the kernel shows them to somebody without the key.
//!
//! That is a text that can be typed: base64 with `-` and `_`, without padding, of two hash values (those by which the directory is sorted;
//! zeros where it is not, and for the targets of links) and of the encrypted name, long ones with their end replaced by its SHA-256.
//! (`struct fscrypt_nokey_name` of Linux.)

use aws_lc_rs::digest::{SHA256, digest};

/// Bytes of an encrypted name that are shown as they are.
const PLAIN_BYTES: usize = 149;

/// The text for a name as it is stored.
pub(super) fn shown_name(stored: &[u8], hash: [u32; 2]) -> Vec<u8> {
    let mut bytes = hash.map(u32::to_le_bytes).concat();
    match stored.split_at_checked(PLAIN_BYTES) {
        Some((head, tail)) if !tail.is_empty() => {
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(digest(&SHA256, tail).as_ref());
        }
        _ => bytes.extend_from_slice(stored),
    }
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().enumerate().fold(0_u32, |number, (at, &byte)| number | u32::from(byte) << (16 - 8 * at));
        let digits = (0..=group.len()).filter_map(|at| DIGITS.get((number >> (18 - 6 * at) & 63) as usize));
        text.extend(digits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_typed_and_are_short_enough() {
        assert_eq!(base64(b"foob"), b"Zm9vYg");
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), b"-__-");
        assert_eq!(shown_name(&[1; 16], [0; 2]).len(), 32);
        assert_eq!(shown_name(&[1; 255], [0; 2]).len(), 252);
        assert_ne!(shown_name(&[1; 255], [0; 2]), shown_name(&[1; 254], [0; 2]));
    }
}
