//! LZX as in WIM archives and WOF: chunks of 32 KiB, each for itself. Layout: [MS-PATCH] "LZX DELTA" with the differences that wimlib's
//! documentation names: no header, a bit instead of a size for blocks of 32 KiB, and calls of x86 translated as for a file of 12,000,000
//! bytes.

use super::huffman::{Bits, Code};
use super::lznt1::repeat;

/// Bytes of a chunk, and of the window.
pub(super) const CHUNK_BYTES: usize = 32768;

const LETTERS: usize = 256;
/// Ranges of distances in a window of 32 KiB.
const SLOTS: usize = 30;
const MAIN_SYMBOLS: usize = LETTERS + 8 * SLOTS;
const LENGTH_SYMBOLS: usize = 249;
/// The size of a file for which calls are translated.
const CALL_RANGE: i32 = 12_000_000;

struct Decoder<'packed> {
    bits: Bits<'packed>,
    main_lengths: [u8; MAIN_SYMBOLS],
    length_lengths: [u8; LENGTH_SYMBOLS],
    recent: [usize; 3],
    out: Vec<u8>,
    chunk_bytes: usize,
}

/// Decodes a chunk of `chunk_bytes` (at most [`CHUNK_BYTES`]) bytes. `None` where the bytes are no LZX.
pub(super) fn decode(packed: &[u8], chunk_bytes: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder {
        bits: Bits::new(packed, 0),
        main_lengths: [0; MAIN_SYMBOLS],
        length_lengths: [0; LENGTH_SYMBOLS],
        recent: [1; 3],
        out: Vec::with_capacity(chunk_bytes),
        chunk_bytes,
    };
    while decoder.out.len() < chunk_bytes {
        decoder.block()?;
        if decoder.bits.is_past_end() {
            return None;
        }
    }
    undo_calls(&mut decoder.out);
    Some(decoder.out)
}

impl Decoder<'_> {
    fn block(&mut self) -> Option<()> {
        let kind = self.bits.take(3);
        let length = if self.bits.take(1) == 1 { CHUNK_BYTES } else { usize::try_from(self.bits.take(16)).ok()? };
        let left = self.chunk_bytes.checked_sub(self.out.len())?;
        if length == 0 || length > left {
            return None;
        }
        match kind {
            1 => self.codes(None, length),
            2 => {
                let mut lengths = [0; 8];
                lengths.fill_with(|| u8::try_from(self.bits.take(3)).unwrap_or(0));
                self.codes(Some(&Code::new(&lengths)?), length)
            }
            3 => self.stored(length),
            _ => None,
        }
    }

    fn stored(&mut self, length: usize) -> Option<()> {
        self.bits.next_word();
        for place in 0..3 {
            *self.recent.get_mut(place)? = usize::try_from(self.bits.double_word()?).ok()?;
        }
        self.out.extend_from_slice(self.bits.bytes(length)?);
        // The next block begins at a word.
        if length % 2 == 1 && self.out.len() < self.chunk_bytes {
            self.bits.byte()?;
        }
        Some(())
    }

    fn codes(&mut self, aligned: Option<&Code>, length: usize) -> Option<()> {
        let (letters, matches) = self.main_lengths.split_at_mut(LETTERS);
        read_lengths(&mut self.bits, letters)?;
        read_lengths(&mut self.bits, matches)?;
        read_lengths(&mut self.bits, &mut self.length_lengths)?;
        let main = Code::new(&self.main_lengths)?;
        let lengths = Code::new(&self.length_lengths)?;
        let end = self.out.len().checked_add(length)?;
        while self.out.len() < end {
            let symbol = main.symbol(&mut self.bits)?;
            if let Ok(letter) = u8::try_from(symbol) {
                self.out.push(letter);
                continue;
            }
            if self.bits.is_past_end() {
                return None;
            }
            let symbol = usize::from(symbol).checked_sub(LETTERS)?;
            let mut length = symbol & 7;
            if length == 7 {
                length = usize::from(lengths.symbol(&mut self.bits)?).checked_add(7)?;
            }
            let distance = self.distance(symbol >> 3, aligned)?;
            let length = length.checked_add(2)?;
            let written = self.out.len();
            if length > end.checked_sub(written)? {
                return None;
            }
            repeat(&mut self.out, distance, length, written)?;
        }
        Some(())
    }

    /// The distance of a match: one of the last three, or a new one.
    fn distance(&mut self, slot: usize, aligned: Option<&Code>) -> Option<usize> {
        if slot < 3 {
            self.recent.swap(0, slot);
            return self.recent.first().copied();
        }
        let extra_bits = u32::try_from(slot.checked_div(2)?.saturating_sub(1)).ok()?;
        let base = if slot < 4 { slot } else { (2 | (slot & 1)).checked_shl(extra_bits)? };
        let extra = match aligned {
            Some(code) if extra_bits >= 3 => {
                let high = self.bits.take(extra_bits.checked_sub(3)?).checked_shl(3)?;
                high | u32::from(code.symbol(&mut self.bits)?)
            }
            _ => self.bits.take(extra_bits),
        };
        let distance = base.checked_add(usize::try_from(extra).ok()?)?.checked_sub(2)?;
        self.recent = [distance, *self.recent.first()?, *self.recent.get(1)?];
        Some(distance)
    }
}

/// Reads code lengths, each as the difference to what it was in the block before, in a code of its own.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Option<()> {
    let mut of_code = [0; 20];
    of_code.fill_with(|| u8::try_from(bits.take(4)).unwrap_or(0));
    let code = Code::new(&of_code)?;
    let less = |old: u8, symbol: u16| u8::try_from(u16::from(old).checked_add(17)?.checked_sub(symbol)?.checked_rem(17)?).ok();
    let mut at = 0_usize;
    while at < lengths.len() {
        let symbol = code.symbol(bits)?;
        let old = *lengths.get(at)?;
        let (count, length) = match symbol {
            17 => (bits.take(4).checked_add(4)?, 0),
            18 => (bits.take(5).checked_add(20)?, 0),
            19 => {
                let count = bits.take(1).checked_add(4)?;
                (count, less(old, code.symbol(bits).filter(|symbol| *symbol <= 16)?)?)
            }
            symbol => (1, less(old, symbol)?),
        };
        // A run may end past the last one, which encoders are not known to do.
        let end = at.checked_add(usize::try_from(count).ok()?)?.min(lengths.len());
        lengths.get_mut(at..end)?.fill(length);
        at = end;
    }
    Some(())
}

/// Calls of x86 were given the place that they lead to, so that equal calls look equal; they get their distance back.
fn undo_calls(chunk: &mut [u8]) {
    let Some(end) = chunk.len().checked_sub(10) else { return };
    let mut at = 0_usize;
    while at < end {
        if chunk.get(at) != Some(&0xE8) {
            at = at.saturating_add(1);
            continue;
        }
        let Some(target) = chunk.get_mut(at.saturating_add(1)..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return };
        let here = i32::try_from(at).unwrap_or(i32::MAX);
        let place = i32::from_le_bytes(*target);
        if (0..CALL_RANGE).contains(&place) {
            *target = place.wrapping_sub(here).to_le_bytes();
        } else if place < 0 && place >= here.wrapping_neg() {
            *target = place.wrapping_add(CALL_RANGE).to_le_bytes();
        }
        at = at.saturating_add(5);
    }
}
