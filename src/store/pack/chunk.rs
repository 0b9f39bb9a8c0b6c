//! Chunks from their recipes: the blocks of runs, put together from the frames that hold them.

use std::sync::Arc;

use super::buffer::Frame;
use super::reader::{FramePlace, PackReader, Piece};
use crate::format::map::Run;
use crate::store::StoreError;
use crate::units::{Address, BLOCK_BYTES};

impl PackReader {
    /// Fills `chunk` from its runs. The last block may be cut short by the end of the chunk.
    ///
    /// # Errors
    /// [`StoreError`] of the first piece that cannot be read; [`StoreError::Runs`] where the runs do not fit the chunk.
    pub fn read_runs(&self, runs: &[Run], chunk: &mut [u8]) -> Result<(), StoreError> {
        self.runs_from(runs, chunk, |place| self.frame(place))
    }

    /// [`PackReader::read_runs`], with frames from `frames`.
    pub(crate) fn runs_from(
        &self,
        runs: &[Run],
        mut chunk: &mut [u8],
        frames: impl Fn(FramePlace) -> Result<Arc<Frame>, StoreError>,
    ) -> Result<(), StoreError> {
        check_length(runs, chunk.len())?;
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
