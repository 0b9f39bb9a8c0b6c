//! XPRESS with Huffman codes: letters and matches in one code of 512 symbols. Layout: [MS-XCA] 2.2.

use super::huffman::{Bits, Code};
use super::lznt1::repeat;

/// Bytes of the table of code lengths, two to a byte.
const TABLE_BYTES: usize = 256;

/// Decodes a chunk of `chunk_bytes` bytes. `None` where the bytes are no XPRESS.
pub(super) fn decode(packed: &[u8], chunk_bytes: usize) -> Option<Vec<u8>> {
    let lengths: Vec<u8> = packed.get(..TABLE_BYTES)?.iter().flat_map(|pair| [pair & 0x0F, pair >> 4]).collect();
    let code = Code::new(&lengths)?;
    let mut bits = Bits::new(packed, TABLE_BYTES);
    let mut out = Vec::with_capacity(chunk_bytes);
    while out.len() < chunk_bytes {
        let symbol = code.symbol(&mut bits)?;
        if bits.is_past_end() {
            return None;
        }
        if let Ok(letter) = u8::try_from(symbol) {
            out.push(letter);
            continue;
        }
        let mut length = usize::from(symbol & 0x0F);
        // Bytes of long lengths stand after the words that an encoder had begun by now.
        bits.settle();
        if length == 15 {
            length = match bits.byte()? {
                255 => match bits.word()? {
                    0 => usize::try_from(bits.double_word()?).ok()?,
                    long => usize::from(long),
                },
                short => usize::from(short).checked_add(15)?,
            };
        }
        let distance_bits = u32::from((symbol >> 4) & 0x0F);
        let distance = 1_usize.checked_shl(distance_bits)? | usize::try_from(bits.take(distance_bits)).ok()?;
        let length = length.checked_add(3)?.min(chunk_bytes.checked_sub(out.len())?);
        let written = out.len();
        repeat(&mut out, distance, length, written)?;
    }
    Some(out)
}
