//! What can go wrong with a source, split by what the caller does next.

use std::io;
use std::path::{Path, PathBuf};

/// Why a source cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing at the path.
    #[error("{path}: there is no such file or device; check the path", path = .path.display())]
    NotFound {
        /// The path that was given.
        path: PathBuf,
    },
    /// The system does not let this user read it.
    #[error("{path}: permission denied; run as a user who may read it, or change its mode", path = .path.display())]
    Denied {
        /// The file or device.
        path: PathBuf,
    },
    /// The system refuses for another reason.
    #[error("{path}: cannot be opened: {source}", path = .path.display())]
    Open {
        /// The file or device.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is neither a regular file nor a block device.
    #[error("{path}: is {found}; name a disk image file or a block device", path = .path.display())]
    Kind {
        /// The path that was given.
        path: PathBuf,
        /// What is there, in words.
        found: &'static str,
    },
    /// It has no byte: a failed copy, a medium that is not inserted.
    #[error("{path}: is empty (0 bytes), which is no disk; check that it was copied whole, or that its medium is there", path = .path.display())]
    Empty {
        /// The file or device.
        path: PathBuf,
    },
    /// It no longer has the size that it had when it was opened.
    #[error(
        "{path}: had {expected_bytes} bytes when it was opened and has {found_bytes} now; it must not grow or shrink while it is \
         backed up: stop what resizes it, or back up a snapshot of it",
        path = .path.display()
    )]
    Changed {
        /// The file or device.
        path: PathBuf,
        /// Bytes when it was opened.
        expected_bytes: u64,
        /// Bytes now.
        found_bytes: u64,
    },
    /// An image file was written to while its tables were in use, so that what was read may be of two states.
    #[error(
        "{path}: was written to while it was read; an image in use cannot be read through its tables: shut the machine down, or back \
         up a snapshot of it",
        path = .path.display()
    )]
    Written {
        /// The file that was written to.
        path: PathBuf,
    },
    /// The medium does not give these bytes.
    #[error("{path}: {length_bytes} bytes at offset {offset_bytes} cannot be read: {source}", path = .path.display())]
    Read {
        /// The file or device.
        path: PathBuf,
        /// First byte of the smallest range, of at most 4 KiB, that is known to fail.
        offset_bytes: u64,
        /// Bytes of that range.
        length_bytes: u64,
        /// What the system says.
        source: io::Error,
    },
    /// An image file contradicts its format.
    #[error("{path}: is damaged as {format}: {what}; repair it with its own tools, or restore it from an older point", path = .path.display())]
    Damaged {
        /// The image file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// What was found where, and what was expected.
        what: String,
    },
    /// An image file uses what Cairn does not read.
    #[error("{path}: {what} ({format}); {cure}", path = .path.display())]
    Unsupported {
        /// The image file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// What it uses.
        what: String,
        /// What to do instead.
        cure: String,
    },
    /// A file that an image rests on (backing file, parent, extent, data file) has a fault of its own.
    #[error("{path}: rests on another file that cannot be used: {source}", path = .path.display())]
    Chain {
        /// The image that names the other file.
        path: PathBuf,
        /// The other file's fault, which names it.
        source: Box<SourceError>,
    },
}

impl SourceError {
    /// The error of opening or asking about `path`.
    pub(super) fn opening(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Open { path, source },
        }
    }

    /// The same error behind the positional traits; its text and kind stay.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Read { source, .. } | Self::Open { source, .. } => source.kind(),
            Self::Changed { .. } => io::ErrorKind::UnexpectedEof,
            Self::NotFound { .. } => io::ErrorKind::NotFound,
            Self::Denied { .. } => io::ErrorKind::PermissionDenied,
            Self::Unsupported { .. } => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}
