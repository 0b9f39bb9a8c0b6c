//! Where a file has data, for archives that leave holes out.

use std::io;
use std::ops::Range;

use super::super::pieces::next_piece;
use crate::guestfs::FileData;

/// Ranges of data that are told apart; a file with more of them is packed with its holes as zeros.
const MOST_RANGES: usize = 1 << 16;

/// Ranges begin and end at multiples of this (but for the end of the file): GNU tar reads each from a block of its own.
const BLOCK: u64 = 512;

/// The ranges of a file that hold data, in whole blocks; `None` where it has no holes, or too many.
pub(super) fn ranges(data: &dyn FileData) -> io::Result<Option<Vec<Range<u64>>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while let Some(piece) = next_piece(data, at, usize::MAX)? {
        let start = piece.offset_bytes / BLOCK * BLOCK;
        let end = piece.offset_bytes.saturating_add(piece.length as u64);
        at = end.checked_next_multiple_of(BLOCK).unwrap_or(end).min(data.size_bytes());
        let is_full = ranges.len() >= MOST_RANGES;
        match ranges.last_mut() {
            Some(last) if last.end >= start => last.end = at,
            _ if is_full => return Ok(None),
            _ => ranges.push(start..at),
        }
    }
    let whole = 0..data.size_bytes();
    let has_holes = !(ranges.as_slice() == [whole.clone()] || whole.is_empty());
    Ok(has_holes.then_some(ranges))
}
