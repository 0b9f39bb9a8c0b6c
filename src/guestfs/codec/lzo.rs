//! LZO1X, as btrfs and squashfs use it: literals and copies of earlier output, in instructions of one to many bytes.
//!
//! Written after the description of the stream in the kernel's documentation (`Documentation/staging/lzo.rst`).

use super::output::{BadDistance, Output};

/// Why a stream cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::guestfs) enum LzoError {
    /// The stream ends within an instruction, or without its end mark.
    #[error("the LZO stream breaks off")]
    Truncated,
    /// More comes out than the buffer takes.
    #[error("more comes out of the LZO stream than is expected")]
    TooLong,
    /// A copy from before the beginning of the output.
    #[error("the LZO stream copies from before its beginning")]
    BadDistance,
    /// Bytes follow the end mark, or the mark itself is none.
    #[error("the LZO stream does not end where it says")]
    BadEnd,
    /// A later kind of stream, with runs of zeros (LZO-RLE); no filesystem has it.
    #[error("the LZO stream is of a later version")]
    Version,
}

/// Where the last instruction left off; decides what a byte below 16 means.
#[derive(Clone, Copy)]
enum Last {
    /// A copy without literals behind it.
    Copy,
    /// A copy with 1 to 3 literals behind it.
    FewLiterals,
    /// A run of 4 literals or more.
    ManyLiterals,
}

struct Decoder<'a> {
    input: &'a [u8],
    output: Output<'a>,
}

impl Decoder<'_> {
    fn byte(&mut self) -> Result<usize, LzoError> {
        let (first, rest) = self.input.split_first().ok_or(LzoError::Truncated)?;
        self.input = rest;
        Ok(usize::from(*first))
    }

    fn word(&mut self) -> Result<usize, LzoError> {
        let low = self.byte()?;
        Ok(low | self.byte()? << 8)
    }

    /// A length whose bits in the instruction are `short`: 0 stands for `most`, plus 255 for each zero byte, plus the byte after these.
    fn length(&mut self, short: usize, most: usize) -> Result<usize, LzoError> {
        if short != 0 {
            return Ok(short);
        }
        let zeros = self.input.iter().take_while(|&&byte| byte == 0).count();
        self.input = self.input.get(zeros..).unwrap_or_default();
        // Cannot overflow: there are at most as many zeros as bytes of memory for the input, which is far below 2^48.
        Ok(zeros.saturating_mul(255).saturating_add(most).saturating_add(self.byte()?))
    }

    fn literals(&mut self, length: usize) -> Result<(), LzoError> {
        let (head, rest) = self.input.split_at_checked(length).ok_or(LzoError::Truncated)?;
        self.input = rest;
        if length > self.output.room() {
            return Err(LzoError::TooLong);
        }
        self.output.put(head);
        Ok(())
    }

    fn copy(&mut self, distance: usize, length: usize) -> Result<(), LzoError> {
        if length > self.output.room() {
            return Err(LzoError::TooLong);
        }
        self.output.copy(distance, length).map_err(|BadDistance| LzoError::BadDistance)
    }

    /// What the first byte says; bytes above 17 are literals to begin with, a length that no later instruction has.
    fn start(&mut self) -> Result<Last, LzoError> {
        match self.input {
            [17, 0, _, _, _, ..] => self.input = self.input.get(2..).unwrap_or_default(),
            [17, _, _, _, _, ..] => return Err(LzoError::Version),
            _ => {}
        }
        match self.input.first() {
            Some(&first) if first > 17 => {
                let length = self.byte()?.saturating_sub(17);
                self.literals(length)?;
                Ok(if length < 4 { Last::FewLiterals } else { Last::ManyLiterals })
            }
            _ => Ok(Last::Copy),
        }
    }

    /// One copy: its distance, its length, and how many literals follow it. `None`: the end mark.
    fn instruction(&mut self, byte: usize, last: Last) -> Result<Option<(usize, usize, usize)>, LzoError> {
        Ok(Some(match byte {
            0..16 => {
                let far = self.byte()? << 2 | byte >> 2;
                match last {
                    Last::ManyLiterals => (far + 2049, 3, byte & 3),
                    _ => (far + 1, 2, byte & 3),
                }
            }
            16..32 => {
                let length = self.length(byte & 7, 7)?.saturating_add(2);
                let low = self.word()?;
                let distance = (byte & 8) << 11 | low >> 2;
                if distance == 0 {
                    return if length == 3 && self.input.is_empty() { Ok(None) } else { Err(LzoError::BadEnd) };
                }
                (distance + 16384, length, low & 3)
            }
            32..64 => {
                let length = self.length(byte & 31, 31)?.saturating_add(2);
                let low = self.word()?;
                ((low >> 2) + 1, length, low & 3)
            }
            _ => {
                let length = if byte < 128 { 3 + (byte >> 5 & 1) } else { 5 + (byte >> 5 & 3) };
                ((self.byte()? << 3 | byte >> 2 & 7) + 1, length, byte & 3)
            }
        }))
    }
}

/// Decompresses a whole stream into the beginning of `output` and says how many bytes came out.
///
/// # Errors
/// Where the stream is damaged, or more comes out than `output` takes. What `output` then holds means nothing.
pub(in crate::guestfs) fn decompress(input: &[u8], output: &mut [u8]) -> Result<usize, LzoError> {
    let mut decoder = Decoder { input, output: Output::new(output) };
    let mut last = decoder.start()?;
    loop {
        let byte = decoder.byte()?;
        if let (0..16, Last::Copy) = (byte, last) {
            let length = decoder.length(byte, 15)?.saturating_add(3);
            decoder.literals(length)?;
            last = Last::ManyLiterals;
            continue;
        }
        let Some((distance, length, literals)) = decoder.instruction(byte, last)? else {
            return Ok(decoder.output.written());
        };
        decoder.copy(distance, length)?;
        decoder.literals(literals)?;
        last = if literals == 0 { Last::Copy } else { Last::FewLiterals };
    }
}

#[cfg(test)]
mod tests;
