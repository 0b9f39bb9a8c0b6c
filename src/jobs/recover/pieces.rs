//! The data of a file in pieces that are read at once, without its holes.

use std::io;

use crate::guestfs::{FileData, GuestError, Place};

/// Bytes of a piece at most: several frames of the vault, which are decoded on several cores.
pub(super) const MOST_PIECE_BYTES: usize = 4 << 20;
/// Runs that lie side by side and are looked at for one piece.
const MOST_RUNS: usize = 4096;

/// Data of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset_bytes: u64,
    pub(super) length: usize,
}

/// The first data at or after `at`, of `most` bytes at most; `None` where only holes follow.
pub(super) fn next_piece(data: &dyn FileData, mut at: u64, most: usize) -> io::Result<Option<Piece>> {
    let size_bytes = data.size_bytes();
    let mut run = loop {
        if at >= size_bytes {
            return Ok(None);
        }
        let run = data.run_at(at)?;
        if run.length_bytes == 0 {
            return Err(GuestError::damaged("the file", format!("nothing is known of it from byte {at} on")).into());
        }
        if run.place != Place::Hole {
            break run;
        }
        at = at.saturating_add(run.length_bytes);
    };
    let room = (most as u64).min(size_bytes - at);
    let mut length = 0_u64;
    for _ in 0..MOST_RUNS {
        length = length.saturating_add(run.length_bytes).min(room);
        if length == room {
            break;
        }
        run = data.run_at(at + length)?;
        if run.place == Place::Hole || run.length_bytes == 0 {
            break;
        }
    }
    // No more than `most`, so the cast cannot cut.
    Ok(Some(Piece { offset_bytes: at, length: length as usize }))
}
