//! LZ4 blocks of which only the beginning is wanted, or whose end is not known: what EROFS has. For whole blocks `lz4_flex` is faster.
//!
//! Written after the description of the block format by its author (`lz4_Block_format.md`).

use super::output::{BadDistance, Output};

/// A length whose four bits in the token are `short`: 15 is followed by bytes to add, the last of which is below 255.
fn length(input: &mut &[u8], short: u8) -> Option<usize> {
    let mut length = usize::from(short);
    if short < 15 {
        return Some(length);
    }
    loop {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        length = length.saturating_add(usize::from(byte));
        if byte < 255 {
            return Some(length);
        }
    }
}

/// Decompresses until `output` is full or the input ends, and says how many bytes came out.
///
/// # Errors
/// What is wrong with the input, if it goes wrong before the output is full.
pub(in crate::guestfs) fn decompress(mut input: &[u8], output: &mut [u8]) -> Result<usize, &'static str> {
    const ENDS: &str = "the LZ4 block breaks off";
    let mut output = Output::new(output);
    while output.room() > 0 {
        let Some((&token, rest)) = input.split_first() else { return Err(ENDS) };
        input = rest;
        let literals = length(&mut input, token >> 4).ok_or(ENDS)?;
        let wanted = literals.min(output.room());
        let (head, rest) = input.split_at_checked(wanted).ok_or(ENDS)?;
        output.put(head);
        input = rest;
        if input.is_empty() || output.room() == 0 {
            break;
        }
        let (low, rest) = input.split_first_chunk::<2>().ok_or(ENDS)?;
        input = rest;
        let distance = usize::from(u16::from_le_bytes(*low));
        let copied = length(&mut input, token & 15).ok_or(ENDS)?.saturating_add(4);
        if distance == 0 {
            return Err("the LZ4 block copies from nowhere");
        }
        output.copy(distance, copied).map_err(|BadDistance| "the LZ4 block copies from before its beginning")?;
    }
    Ok(output.written())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_beginning_of_a_block_is_what_went_in(seed in proptest::collection::vec(0..4_u8, 1..3_000), part in 0..=100_usize, behind in 0..9_usize) {
            let bytes: Vec<u8> = seed.iter().flat_map(|&byte| vec![byte; usize::from(byte) * 9 + 1]).collect();
            let mut block = lz4_flex::block::compress(&bytes);
            let wanted = bytes.len() * part / 100;
            // Bytes behind the block do not matter as long as the output is full before they are reached.
            block.extend(vec![0x5a; behind]);
            let mut output = vec![0xee; wanted];
            prop_assert_eq!(decompress(&block, &mut output), Ok(wanted));
            prop_assert!(output == bytes[..wanted]);
        }

        #[test]
        fn nothing_that_comes_in_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), most in 0..5_000_usize) {
            let mut output = vec![0; most];
            if let Ok(length) = decompress(&bytes, &mut output) {
                prop_assert!(length <= most);
            }
        }
    }
}
