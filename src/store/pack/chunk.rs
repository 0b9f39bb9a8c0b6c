//! Chunks from their recipes: the blocks of runs, put together from the frames that hold them.
//!
//! A chunk that lies in one frame in one piece, as most do, is not copied: its bytes are those of the frame.

use std::sync::Arc;

use super::buffer::Frame;
use super::reader::{FramePlace, PackReader, Piece};
use crate::format::map::Run;
use crate::store::StoreError;
use crate::units::{Address, BLOCK_BYTES};

/// Memory for one chunk after the other.
#[derive(Debug, Default)]
pub struct ChunkBuffer {
    bytes: Vec<u8>,
    /// The frame that the chunk's bytes are in, where they are not in `bytes`.
    frame: Option<Arc<Frame>>,
}

impl PackReader {
    /// The bytes of a chunk of `length_bytes`, from its runs. The last block may be cut short by the end of the chunk.
    ///
    /// # Errors
    /// [`StoreError`] of the first piece that cannot be read; [`StoreError::Runs`] where the runs do not fit the chunk.
    pub fn read_chunk<'b>(&self, runs: &[Run], length_bytes: usize, buffer: &'b mut ChunkBuffer) -> Result<&'b [u8], StoreError> {
        self.chunk_from(runs, length_bytes, buffer, |place| self.frame(place))
    }

    /// [`PackReader::read_chunk`], with frames from `frames`.
    pub(crate) fn chunk_from<'b>(
        &self,
        runs: &[Run],
        length_bytes: usize,
        buffer: &'b mut ChunkBuffer,
        frames: impl Fn(FramePlace) -> Result<Arc<Frame>, StoreError>,
    ) -> Result<&'b [u8], StoreError> {
        check_length(runs, length_bytes)?;
        let ChunkBuffer { bytes, frame } = buffer;
        *frame = None;
        if let [Run::Blocks { address, blocks }] = *runs {
            let found = self.following_moves(address, || match self.locate(address, u32::from(blocks))?[..] {
                [piece] => Ok(Some((frames(piece.place)?, piece))),
                _ => Ok(None),
            })?;
            if let Some((found, piece)) = found {
                return part_of(frame.insert(found), &piece, length_bytes);
            }
        }
        bytes.resize(length_bytes, 0);
        self.fill(runs, bytes, frames)?;
        Ok(bytes)
    }

    /// Fills `chunk` from its runs. The last block may be cut short by the end of the chunk.
    ///
    /// # Errors
    /// As [`PackReader::read_chunk`].
    pub fn read_runs(&self, runs: &[Run], chunk: &mut [u8]) -> Result<(), StoreError> {
        check_length(runs, chunk.len())?;
        self.fill(runs, chunk, |place| self.frame(place))
    }

    fn fill(
        &self,
        runs: &[Run],
        mut chunk: &mut [u8],
        frames: impl Fn(FramePlace) -> Result<Arc<Frame>, StoreError>,
    ) -> Result<(), StoreError> {
        for run in runs {
            match *run {
                Run::Zero { blocks } => split_off(&mut chunk, usize::from(blocks)).fill(0),
                Run::Blocks { address, blocks } => {
                    let target = split_off(&mut chunk, usize::from(blocks));
                    self.following_moves(address, || self.fill_blocks(address, u32::from(blocks), target, &frames))?;
                }
            }
        }
        Ok(())
    }

    fn fill_blocks(
        &self,
        address: Address,
        blocks: u32,
        mut target: &mut [u8],
        frames: impl Fn(FramePlace) -> Result<Arc<Frame>, StoreError>,
    ) -> Result<(), StoreError> {
        for piece in self.locate(address, blocks)? {
            let part = split_off(&mut target, piece.blocks as usize);
            part.copy_from_slice(part_of(&*frames(piece.place)?, &piece, part.len())?);
        }
        Ok(())
    }
}

fn check_length(runs: &[Run], chunk_bytes: usize) -> Result<(), StoreError> {
    let blocks: usize = runs.iter().map(|run| usize::from(run.blocks())).sum();
    if blocks == chunk_bytes.div_ceil(BLOCK_BYTES) { Ok(()) } else { Err(StoreError::Runs { blocks, chunk_bytes }) }
}

/// Takes so many blocks off the front; fewer bytes where the chunk ends before.
fn split_off<'a>(rest: &mut &'a mut [u8], blocks: usize) -> &'a mut [u8] {
    let whole = std::mem::take(rest);
    let (part, after) = whole.split_at_mut((blocks * BLOCK_BYTES).min(whole.len()));
    *rest = after;
    part
}

/// The first `length_bytes` of a piece.
fn part_of<'a>(frame: &'a Frame, piece: &Piece, length_bytes: usize) -> Result<&'a [u8], StoreError> {
    let start = piece.first as usize * BLOCK_BYTES;
    frame.get(start..start + length_bytes).ok_or_else(|| StoreError::Frame {
        pack: piece.place.pack,
        frame: piece.place.frame,
        reason: format!("it has {} bytes, but blocks up to byte {} were asked for", frame.len(), start + length_bytes),
    })
}
