//! The I/O seam: positional reads and writes through `&self`, from many threads at once, and durable creation of files.
//!
//! Everything above reads disks, image files and targets through [`ReadAt`] and [`WriteAt`], so that decorators (counting,
//! faults, caches) fit between. All `unsafe` of the package is in `sys.rs`.

mod direct;
mod durable;
mod file;
mod memory;
mod sys;

pub use direct::{AlignedBuffer, DirectWriter};
pub use durable::{DurableFile, TEMPORARY_PREFIX, create_durable, replace_durable, sync_directory};
pub use file::FileAt;
pub use memory::MemoryAt;
#[cfg(test)]
pub(crate) use sys::{FailingSync, fail_calls, fail_fsync};
pub use sys::{
    FileExtent, FileExtents, block_device_bytes, block_signals, boot_id, data_extents, file_extents, forget_cached, free_bytes,
    freeze_filesystem, map_file, monotonic, next_data, punch_hole, start_write_back, thaw_filesystem,
};

use std::io;

/// Something of fixed length that is read at any offset by many threads at once.
pub trait ReadAt: Send + Sync {
    /// Bytes, as seen when it was opened.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` from `offset_bytes`.
    ///
    /// # Errors
    /// `UnexpectedEof` where it ends before the buffer is full; else what the medium says.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Something that is written at any offset by many threads at once, each its own range.
pub trait WriteAt: Send + Sync {
    /// Writes all of `bytes` at `offset_bytes`.
    ///
    /// # Errors
    /// What the medium says; `WriteZero` where it takes no more.
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the range read as zeros, by deallocating it where the medium can.
    ///
    /// # Errors
    /// What the medium says.
    fn zero_at(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()>;

    /// Returns when all that was written survives a loss of power.
    ///
    /// # Errors
    /// What the medium says; after an error nothing written since the last sync can be relied on.
    fn sync(&self) -> io::Result<()>;
}
