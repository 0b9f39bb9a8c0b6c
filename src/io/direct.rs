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
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, File) {
        // Beside the sources: the usual place of temporary files may be one that knows no direct writes.
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let path = directory.path().join("target");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
        file.set_len(4 << 20).expect("a size");
        (directory, file)
    }

    #[test]
    fn what_is_written_directly_is_read_as_written() {
        let (_directory, file) = file();
        let Some(direct) = DirectWriter::open(&file) else {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: {} knows no direct writes", env!("CARGO_MANIFEST_DIR"));
                return;
            }
        };
        let mut buffer = AlignedBuffer::new((1 << 20) + 100);
        buffer.bytes_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8 ^ (at >> 8) as u8);
        assert_eq!(direct.write_at(1 << 20, buffer.bytes()), 1 << 20, "all but the last 100 bytes, which are no sector");
        let mut found = vec![0; 1 << 20];
        file.read_exact_at(&mut found, 1 << 20).expect("bytes");
        assert!(found == buffer.bytes()[..1 << 20]);
    }

    #[test]
    fn what_is_small_or_askew_is_left_to_the_caller() {
        let (_directory, file) = file();
        let Some(direct) = DirectWriter::open(&file) else { return };
        let buffer = AlignedBuffer::new(1 << 20);
        assert_eq!(direct.write_at(0, &buffer.bytes()[..LEAST_BYTES - 1]), 0);
        assert_eq!(direct.write_at(100, buffer.bytes()), 0);
        assert_eq!(direct.write_at(0, &buffer.bytes()[100..]), 0);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(buffer.bytes().len(), 1 << 20);
    }
}
