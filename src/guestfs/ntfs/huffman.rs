//! What XPRESS and LZX have in common: bits in words of 16, highest first, and canonical codes of up to 16 bits.

use super::bytes::{u8_at, u16_at, u32_at};

/// Bits in words of 16 bits, with bytes between the words where a format wants them.
pub(super) struct Bits<'packed> {
    packed: &'packed [u8],
    at: usize,
    /// The next bits, highest first.
    ready: u64,
    count: u32,
}

impl<'packed> Bits<'packed> {
    /// Begins at byte `at`.
    pub(super) fn new(packed: &'packed [u8], at: usize) -> Self {
        Self { packed, at, ready: 0, count: 0 }
    }

    /// Has at least 16 bits ready; zeros follow the end, as an encoder may leave them out.
    fn fill(&mut self) {
        if self.count < 16 {
            let word = u64::from(u16_at(self.packed, self.at).unwrap_or(0));
            self.at = self.at.saturating_add(2);
            self.ready |= word.wrapping_shl(48_u32.wrapping_sub(self.count));
            self.count = self.count.wrapping_add(16);
        }
    }

    fn drop_bits(&mut self, count: u32) {
        self.ready = self.ready.wrapping_shl(count);
        self.count = self.count.saturating_sub(count);
    }

    /// The next `count` bits, up to 16, without going on.
    fn peek(&mut self, count: u32) -> u32 {
        self.fill();
        u32::try_from(self.ready.checked_shr(64_u32.wrapping_sub(count)).unwrap_or(0)).unwrap_or(0)
    }

    /// The next `count` bits, up to 16.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.drop_bits(count);
        bits
    }

    /// Makes the words ready that the encoder had written before what comes next.
    pub(super) fn settle(&mut self) {
        self.fill();
    }

    /// The byte after the words that were read so far.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = u8_at(self.packed, self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// The 16 bits after the words that were read so far.
    pub(super) fn word(&mut self) -> Option<u16> {
        let word = u16_at(self.packed, self.at)?;
        self.at = self.at.saturating_add(2);
        Some(word)
    }

    /// The 32 bits after the words that were read so far.
    pub(super) fn double_word(&mut self) -> Option<u32> {
        let word = u32_at(self.packed, self.at)?;
        self.at = self.at.saturating_add(4);
        Some(word)
    }

    /// `length` bytes after the words that were read so far.
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'packed [u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.packed.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// Goes to the next whole word, past one at least one bit of which is left: 1 to 16 bits.
    pub(super) fn next_word(&mut self) {
        self.fill();
        let whole_words = usize::try_from(self.count / 16).unwrap_or(0);
        // Whole words that were not touched go back, but for one where the bits end with a word.
        let back = if self.count.is_multiple_of(16) { whole_words.saturating_sub(1) } else { whole_words };
        self.at = self.at.saturating_sub(back.saturating_mul(2));
        self.ready = 0;
        self.count = 0;
    }

    /// Whether all was read, and more.
    pub(super) fn is_past_end(&self) -> bool {
        self.at > self.packed.len().saturating_add(8)
    }
}

/// Bits that the table of a code looks at.
const TABLE_BITS: u32 = 16;

/// A canonical code: shorter codes first, among equals in the order of symbols.
pub(super) struct Code {
    /// How many codes have each length.
    counts: [u16; 17],
    /// Symbols in the order of their codes.
    symbols: Vec<u16>,
    /// The length and symbol of codes of up to [`QUICK_BITS`] bits, by the bits that come first; length 0: longer.
    quick: Vec<(u8, u16)>,
}

/// Bits that are decoded in one step.
const QUICK_BITS: u32 = 10;

impl Code {
    /// From the lengths of all symbols' codes, 0 to 16 bits. `None` where they are no code. (One without any symbol is one.)
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u16; 17];
        for &length in lengths {
            let count = counts.get_mut(usize::from(length))?;
            *count = count.checked_add(1)?;
        }
        *counts.first_mut()? = 0;
        let mut space = 0_u32;
        for (length, &count) in (0_u32..).zip(&counts).skip(1) {
            space = space.checked_add(u32::from(count).checked_shl(TABLE_BITS.checked_sub(length)?)?)?;
        }
        if space > 1 << TABLE_BITS {
            return None;
        }
        let mut symbols: Vec<u16> =
            (0..u16::try_from(lengths.len()).ok()?).filter(|&s| lengths.get(usize::from(s)).is_some_and(|&l| l > 0)).collect();
        symbols.sort_by_key(|&symbol| lengths.get(usize::from(symbol)).copied());
        let mut quick = Vec::with_capacity(1 << QUICK_BITS);
        for &symbol in &symbols {
            let length = lengths.get(usize::from(symbol)).copied()?;
            if u32::from(length) > QUICK_BITS {
                break;
            }
            let room = 1_usize.checked_shl(QUICK_BITS.checked_sub(u32::from(length))?)?;
            quick.resize(quick.len().checked_add(room)?, (length, symbol));
        }
        quick.resize(1 << QUICK_BITS, (0, 0));
        Some(Self { counts, symbols, quick })
    }

    /// The next symbol; `None` for bits that are no code.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let next = bits.peek(TABLE_BITS);
        let quick = self.quick.get(usize::try_from(next.checked_shr(TABLE_BITS.wrapping_sub(QUICK_BITS))?).ok()?);
        if let Some(&(length, symbol)) = quick.filter(|(length, _)| *length > 0) {
            bits.drop_bits(u32::from(length));
            return Some(symbol);
        }
        let (mut first_code, mut first_symbol) = (0_u32, 0_u32);
        for (length, &count) in (0_u32..).zip(&self.counts).skip(1) {
            let count = u32::from(count);
            let code = next.checked_shr(TABLE_BITS.checked_sub(length)?)?;
            let within = code.wrapping_sub(first_code);
            if code >= first_code && within < count {
                bits.drop_bits(length);
                return self.symbols.get(usize::try_from(first_symbol.checked_add(within)?).ok()?).copied();
            }
            first_symbol = first_symbol.checked_add(count)?;
            first_code = first_code.checked_add(count)?.checked_mul(2)?;
        }
        None
    }
}
