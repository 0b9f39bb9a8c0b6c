//! The bytes that everything is measured on.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;

use super::BenchRequest;
use crate::jobs::JobError;
use crate::scan::is_zero;
use crate::source::{Format, Source};
use crate::units::{BLOCK_BYTES, CHUNK_BYTES, Extent};

/// Bytes of a frame.
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// Whole chunks of data, and the frames that a first backup of them makes.
pub(super) struct Sample {
    chunks: Vec<u8>,
    frames: Vec<u8>,
}

impl Sample {
    /// Reads the sample from a disk image, or makes one up that compresses about as well as a system's files.
    pub(super) fn take(request: &BenchRequest) -> Result<Self, JobError> {
        let limit = usize::try_from(request.sample_bytes).unwrap_or(usize::MAX) / CHUNK_BYTES * CHUNK_BYTES;
        let chunks = match &request.data {
            Some(path) => read(path, limit.max(CHUNK_BYTES))?,
            None => made_up(limit.max(CHUNK_BYTES)),
        };
        let mut seen = HashSet::new();
        let hashes: Vec<_> = chunks.par_chunks(BLOCK_BYTES).map(blake3::hash).collect();
        let new = |(block, hash): &(&[u8], blake3::Hash)| !is_zero(block) && seen.insert(*hash.as_bytes());
        let frames = chunks.chunks(BLOCK_BYTES).zip(hashes).filter(new).flat_map(|(block, _)| block).copied().collect();
        Ok(Self { chunks, frames })
    }

    /// Bytes of its chunks, all of them data.
    pub(super) fn data_bytes(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// Bytes of its frames.
    pub(super) fn new_bytes(&self) -> u64 {
        self.frames.len() as u64
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunks
    }

    /// Its chunks, for all processors.
    pub(super) fn chunks(&self) -> rayon::slice::Chunks<'_, u8> {
        self.chunks.par_chunks(CHUNK_BYTES)
    }

    /// The new blocks, a frame's worth at a time, for all processors.
    pub(super) fn frames(&self) -> rayon::slice::Chunks<'_, u8> {
        self.frames.par_chunks(FRAME_BYTES)
    }
}

/// Chunks of the image that are not all zero, up to `limit` bytes.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, JobError> {
    let source = crate::source::open(path, Format::Auto)?;
    let mut chunks = Vec::new();
    for extent in source.data_extents()?.iter() {
        let first = extent.offset().next_multiple_of(CHUNK_BYTES as u64);
        for offset in (first..extent.end()).step_by(CHUNK_BYTES) {
            if Extent::between(offset, extent.end()).length() < CHUNK_BYTES as u64 || chunks.len() >= limit {
                break;
            }
            append_chunk(source.as_ref(), offset, &mut chunks)?;
        }
    }
    if chunks.is_empty() {
        return Err(JobError::NoSample { path: path.to_owned() });
    }
    Ok(chunks)
}

fn append_chunk(source: &dyn Source, offset_bytes: u64, chunks: &mut Vec<u8>) -> Result<(), JobError> {
    let at = chunks.len();
    chunks.resize(at + CHUNK_BYTES, 0);
    let failed = |source| crate::scan::ScanError::Read { offset_bytes, length_bytes: CHUNK_BYTES as u64, source };
    source.read_at(offset_bytes, &mut chunks[at..]).map_err(failed)?;
    if is_zero(&chunks[at..]) {
        chunks.truncate(at);
    }
    Ok(())
}

/// Text of words drawn from a small vocabulary, with every fourth block noise: about 2.5 to 1 at level 3.
fn made_up(bytes: usize) -> Vec<u8> {
    let mut sample = vec![0; bytes];
    sample.par_chunks_mut(BLOCK_BYTES).enumerate().for_each(|(number, block)| {
        let mut noise = blake3::Hasher::new().update(&(number as u64).to_le_bytes()).finalize_xof();
        noise.fill(block);
        if !number.is_multiple_of(4) {
            for word in block.as_chunks_mut::<8>().0 {
                let [noise, other, ..] = *word;
                let name = (u64::from(noise) % 128).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *word = name.to_le_bytes();
                word[0] = other;
            }
        }
    });
    sample
}
