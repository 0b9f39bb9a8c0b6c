//! Raw disks: an image file whose bytes are the disk's, or a block device.

use std::fs::File;
use std::io;

use super::host::HostFile;
use super::{Source, SourceError};
use crate::io::{ReadAt, data_extents};
use crate::units::ExtentSet;

/// A raw image file or block device.
#[derive(Debug)]
pub(super) struct RawSource {
    host: HostFile,
}

impl RawSource {
    /// Takes an open file or device as a disk of exactly its bytes.
    pub(super) fn new(host: HostFile) -> Result<Self, SourceError> {
        if host.size_bytes() == 0 {
            return Err(SourceError::Empty { path: host.path().to_owned() });
        }
        Ok(Self { host })
    }
}

impl ReadAt for RawSource {
    fn size_bytes(&self) -> u64 {
        self.host.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.host.read(offset_bytes, buffer).map_err(SourceError::into_io)
    }
}

impl Source for RawSource {
    fn description(&self) -> String {
        let kind = if self.host.is_block_device() { "block device" } else { "raw" };
        format!("{} ({kind})", self.host.path().display())
    }

    fn data_extents(&self) -> Result<ExtentSet, SourceError> {
        if self.host.is_block_device() {
            return Ok(ExtentSet::whole(self.size_bytes()));
        }
        data_extents(self.host.file(), self.size_bytes()).map_err(|source| SourceError::Open { path: self.host.path().to_owned(), source })
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        self.host.check_size()
    }

    fn raw_file(&self) -> Option<&File> {
        (!self.host.is_block_device()).then(|| self.host.file())
    }
}
