//! Memory for decompressed frames, used again and again: fresh memory would cost a page fault for every block.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::units::{BLOCK_BYTES, MAX_FRAME_BLOCKS};

/// Bytes of the largest frame of blocks: the length of all buffers that are used again.
const BUFFER_BYTES: usize = MAX_FRAME_BLOCKS * BLOCK_BYTES;
/// Frames smaller than this get memory of their own: a whole buffer would be wasted on them.
const LEAST_BYTES: usize = BUFFER_BYTES / 4;
/// Buffers kept for later at most.
const MOST_SPARE: usize = 32;

/// A frame's raw bytes. Dropped, its memory serves the next one.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    spare: Arc<SpareBuffers>,
}

/// Buffers that wait for the next frames.
#[derive(Debug, Default)]
pub(crate) struct SpareBuffers(Mutex<Vec<Vec<u8>>>);

impl SpareBuffers {
    /// An empty buffer with room for a frame of `raw_bytes`.
    pub(crate) fn take(&self, raw_bytes: usize) -> Vec<u8> {
        if !(LEAST_BYTES..=BUFFER_BYTES).contains(&raw_bytes) {
            return Vec::with_capacity(raw_bytes);
        }
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back, if it is one of those that are used again.
    fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() != BUFFER_BYTES {
            return;
        }
        buffer.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }
}

impl Frame {
    pub(crate) fn new(bytes: Vec<u8>, spare: Arc<SpareBuffers>) -> Self {
        Self { bytes, spare }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.spare.put(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_large_frames_is_used_again_and_that_of_small_ones_is_not() {
        let spare = Arc::new(SpareBuffers::default());
        let address = |raw_bytes: usize| {
            let mut bytes = spare.take(raw_bytes);
            bytes.resize(raw_bytes, 7);
            let frame = Frame::new(bytes, Arc::clone(&spare));
            assert!(frame.iter().all(|&byte| byte == 7) && frame.len() == raw_bytes);
            frame.as_ptr()
        };
        let first = address(BUFFER_BYTES);
        assert_eq!(address(BUFFER_BYTES / 2), first);
        assert_eq!(address(LEAST_BYTES), first);
        let _small = Frame::new(spare.take(100), Arc::clone(&spare));
        assert!(_small.held_bytes() < LEAST_BYTES);
        assert_eq!(address(BUFFER_BYTES), first);
    }

    #[test]
    fn few_buffers_are_kept() {
        let spare = Arc::new(SpareBuffers::default());
        let frames: Vec<Frame> = (0..2 * MOST_SPARE).map(|_| Frame::new(spare.take(BUFFER_BYTES), Arc::clone(&spare))).collect();
        drop(frames);
        assert_eq!(spare.0.lock().unwrap().len(), MOST_SPARE);
    }
}
