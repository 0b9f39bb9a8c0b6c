//! What a disk is restored to: something that is read, written and zeroed in place, and that may know where it has nothing but zeros.

use std::fs::File;
use std::io;

use crate::io::{DirectWriter, FileAt, ReadAt, WriteAt, forget_cached, next_data, start_write_back};
use crate::units::Extent;

/// A target, read and written by many threads at once, each its own range.
pub trait Target: ReadAt + WriteAt {
    /// The first part of `range` that may hold anything but zeros; `None` where all of it surely reads as zeros. Asked only of ranges
    /// that were not written yet.
    ///
    /// # Errors
    /// What the medium says.
    fn next_data(&self, range: Extent) -> io::Result<Option<Extent>>;

    /// Says that a range is written and will not be written again: its way to the medium may begin.
    fn written(&self, range: Extent);

    /// Makes later reads ask the medium instead of a cache. What was written is synced.
    ///
    /// # Errors
    /// What the medium says.
    fn forget_cached(&self) -> io::Result<()>;
}

/// A file or block device. Past its end it reads as zeros.
#[derive(Debug)]
pub struct FileTarget {
    file: FileAt,
    fresh: bool,
    /// Where all is to reach the medium before the end.
    sync: bool,
    direct: Option<DirectWriter>,
}

impl FileTarget {
    /// Takes an open regular file or block device. `fresh` says that it has no data at all; `sync`, that it will be synced
    /// at the end: what is written then goes to the medium at once.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for anything but a file or block device.
    pub fn new(file: File, fresh: bool, sync: bool) -> io::Result<Self> {
        let direct = if sync { DirectWriter::open(&file) } else { None };
        Ok(Self { file: FileAt::new(file)?, fresh, sync, direct })
    }
}

impl ReadAt for FileTarget {
    fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        // At most the buffer's length, so the cast cannot cut.
        let there = self.file.size_bytes().saturating_sub(offset_bytes).min(buffer.len() as u64) as usize;
        let (held, past_the_end) = buffer.split_at_mut(there);
        past_the_end.fill(0);
        if held.is_empty() { Ok(()) } else { self.file.read_at(offset_bytes, held) }
    }
}

impl WriteAt for FileTarget {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.direct.as_ref().map_or(0, |direct| direct.write_at(offset_bytes, bytes)).min(bytes.len());
        if written == bytes.len() { Ok(()) } else { self.file.write_at(offset_bytes + written as u64, &bytes[written..]) }
    }

    fn zero_at(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.file.zero_at(offset_bytes, length_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Target for FileTarget {
    fn next_data(&self, range: Extent) -> io::Result<Option<Extent>> {
        let there = Extent::between(range.offset(), range.end().min(self.file.size_bytes()));
        if self.fresh || there.is_empty() { Ok(None) } else { next_data(self.file.file(), there) }
    }

    fn written(&self, range: Extent) {
        if self.sync {
            // Only a hint: where the filesystem does not take it, the sync does the work.
            let _ = start_write_back(self.file.file(), range.offset(), range.length());
        }
    }

    fn forget_cached(&self) -> io::Result<()> {
        forget_cached(self.file.file())
    }
}

/// A target that is not there yet, for a dry run: it reads as zeros and takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct NothingThere {
    /// The disk's size.
    pub size_bytes: u64,
}

impl ReadAt for NothingThere {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }
}

impl WriteAt for NothingThere {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn zero_at(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for NothingThere {
    fn next_data(&self, _: Extent) -> io::Result<Option<Extent>> {
        Ok(None)
    }

    fn written(&self, _: Extent) {}

    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
}
