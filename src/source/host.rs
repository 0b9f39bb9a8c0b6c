//! A local file or block device that a source lies in: opened with a clear error, read with the failing bytes named.
//!
//! Knows no format and no hole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::SourceError;
use crate::io::{FileAt, ReadAt, block_device_bytes};

/// Bytes to which a failing read is narrowed down.
const NARROW_BYTES: u64 = 4096;

/// An open file or block device with its path.
#[derive(Debug)]
pub(super) struct HostFile {
    path: PathBuf,
    at: FileAt,
    modified: Option<SystemTime>,
}

impl HostFile {
    /// Opens a regular file or block device read-only. A relative path is made absolute, so that what is recorded of a source
    /// means something elsewhere.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let kind = fs::metadata(&path).map_err(|error| SourceError::opening(&path, error))?.file_type();
        if let Some(found) = unusable(kind) {
            return Err(SourceError::Kind { path, found });
        }
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.modified().ok(), FileAt::new(file)?)));
        match opened {
            Ok((modified, at)) => Ok(Self { path, at, modified }),
            Err(error) => Err(SourceError::opening(&path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        self.at.file()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.at.size_bytes()
    }

    pub(super) fn is_block_device(&self) -> bool {
        self.at.is_block_device()
    }

    /// Fills `buffer`. When that fails, the range is read again in pieces of 4 KiB to name the first one that fails; if none
    /// does the second time, the read has succeeded.
    pub(super) fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        match self.at.read_at(offset_bytes, buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.ended(offset_bytes, buffer, error)),
            Err(_) => self.read_narrowed(offset_bytes, buffer),
        }
    }

    fn read_narrowed(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let mut offset = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            // Pieces fall on the 4 KiB grid of the device, which is how media fail.
            let to_grid = NARROW_BYTES.saturating_sub(offset.checked_rem(NARROW_BYTES).unwrap_or(0));
            let length = rest.len().min(usize::try_from(to_grid).unwrap_or(rest.len()));
            let (piece, behind) = rest.split_at_mut(length);
            self.at.read_at(offset, piece).map_err(|error| self.failed(offset, piece, error))?;
            offset = offset.saturating_add(length_of(piece));
            rest = behind;
        }
        Ok(())
    }

    fn failed(&self, offset_bytes: u64, piece: &[u8], source: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), offset_bytes, length_bytes: length_of(piece), source }
    }

    /// The error of a read that met the end of the file: it has shrunk, or was asked for bytes that it never had.
    fn ended(&self, offset_bytes: u64, piece: &[u8], source: io::Error) -> SourceError {
        match self.check_size() {
            Err(changed) => changed,
            Ok(()) => self.failed(offset_bytes, piece, source),
        }
    }

    /// Checks that it has the size that it had when it was opened.
    pub(super) fn check_size(&self) -> Result<(), SourceError> {
        let found =
            if self.is_block_device() { block_device_bytes(self.file()) } else { self.file().metadata().map(|metadata| metadata.len()) };
        let found_bytes = found.map_err(|source| SourceError::Open { path: self.path.clone(), source })?;
        let expected_bytes = self.size_bytes();
        if found_bytes == expected_bytes {
            return Ok(());
        }
        Err(SourceError::Changed { path: self.path.clone(), expected_bytes, found_bytes })
    }

    /// Checks that it has the size and the modification time that it had when it was opened.
    pub(super) fn check_unwritten(&self) -> Result<(), SourceError> {
        self.check_size()?;
        let modified = self.file().metadata().ok().and_then(|metadata| metadata.modified().ok());
        if self.is_block_device() || modified == self.modified {
            return Ok(());
        }
        Err(SourceError::Written { path: self.path.clone() })
    }
}

/// What makes a file of this type unusable as a disk, in words.
fn unusable(kind: fs::FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_block_device() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_char_device() {
        Some("a character device")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("neither a file nor a device")
    }
}

/// A buffer's length as the disk counts.
pub(super) fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
