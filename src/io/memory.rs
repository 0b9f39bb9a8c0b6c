//! A disk in memory, for tests of any room and for the synthetic benchmarks.

use std::io;
use std::sync::{PoisonError, RwLock};

use super::{ReadAt, WriteAt};

/// Bytes that are read and written in place.
#[derive(Debug, Default)]
pub struct MemoryAt {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryAt {
    /// A disk with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes) }
    }

    /// The bytes as they are now.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn span(offset_bytes: u64, length: usize, size: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset_bytes).ok()?;
    let end = start.checked_add(length)?;
    (end <= size).then_some(start..end)
}

impl ReadAt for MemoryAt {
    fn size_bytes(&self) -> u64 {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let span = span(offset_bytes, buffer.len(), bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(&bytes[span]);
        Ok(())
    }
}

impl WriteAt for MemoryAt {
    fn write_at(&self, offset_bytes: u64, source: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let size = bytes.len();
        let span = span(offset_bytes, source.len(), size).ok_or(io::ErrorKind::WriteZero)?;
        bytes[span].copy_from_slice(source);
        Ok(())
    }

    fn zero_at(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let length = usize::try_from(length_bytes).map_err(|_| io::ErrorKind::WriteZero)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let size = bytes.len();
        let span = span(offset_bytes, length, size).ok_or(io::ErrorKind::WriteZero)?;
        bytes[span].fill(0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
