//! Writing past the page cache.
//!
//! What is written once and not read again soon costs a page of memory for every 4 KiB, taken from what others have cached, and the copy
//! into it; and all of it has to reach the medium before a sync returns. Written directly, the processors are free meanwhile
//! and the sync finds nothing to do.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Offsets, lengths and memory of direct writes are multiples of this; media that want more say so, and are written through the cache.
const SECTOR_BYTES: usize = 512;
/// Smaller writes go through the cache, which gathers them.
const LEAST_BYTES: usize = 128 << 10;
/// What memory is aligned to: a page, which every medium takes.
const ALIGNMENT: usize = 4096;

/// A second way into a file or block device that is open for writing.
#[derive(Debug)]
pub struct DirectWriter {
    file: File,
    refused: AtomicBool,
}

impl DirectWriter {
    /// Opens the second way; `None` where the system or the filesystem has none.
    pub fn open(file: &File) -> Option<Self> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
        Some(Self { file, refused: AtomicBool::new(false) })
    }

    /// Writes the beginning of `bytes` and says how much of it; the caller writes the rest in the usual way, which also tells why it
    /// fails where it does.
    pub fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> usize {
        let aligned = offset_bytes.is_multiple_of(SECTOR_BYTES as u64) && bytes.as_ptr().align_offset(SECTOR_BYTES) == 0;
        if bytes.len() < LEAST_BYTES || !aligned || self.refused.load(Ordering::Relaxed) {
            return 0;
        }
        let whole = bytes.len() - bytes.len() % SECTOR_BYTES;
        match self.file.write_at(&bytes[..whole], offset_bytes) {
            Ok(written) => written,
            Err(error) => {
                // The medium wants other multiples; it will want them the next time too.
                self.refused.fetch_or(error.raw_os_error() == Some(libc::EINVAL), Ordering::Relaxed);
                0
            }
        }
    }
}

/// Memory that direct writes take.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// So many bytes, all zero.
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, length }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests;
