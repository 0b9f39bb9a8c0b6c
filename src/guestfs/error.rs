//! What can go wrong in reading somebody's filesystem.

use std::io;

/// What readers of filesystems give.
pub type GuestResult<T> = Result<T, GuestError>;

/// Why something in a filesystem cannot be read, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The device below failed, not the filesystem.
    #[error("the volume cannot be read: {0}")]
    Device(#[source] io::Error),
    /// A structure contradicts itself or its checksum. Other files may be readable.
    #[error("{object} is damaged: {problem}")]
    Damaged {
        /// Which structure, with its number or offset: "inode 12", "the directory in block 77".
        object: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A feature that no reader here knows: the raw disk is still there.
    #[error("{feature} cannot be read by Cairn; mount the recovery point and use its disk image instead")]
    Unsupported {
        /// The feature by the name that its own tools give it.
        feature: String,
    },
    /// No such node or name.
    #[error("{object} does not exist")]
    NotFound {
        /// What was looked for.
        object: String,
    },
    /// Something else than what was asked for.
    #[error("{object} is no {expected}")]
    WrongKind {
        /// Which.
        object: String,
        /// What it would have to be: "directory", "regular file", "symbolic link".
        expected: &'static str,
    },
    /// An answer would take longer or more memory than any sound filesystem needs: it is damaged, or made to do harm.
    #[error("{object} was given up: {limit}")]
    Limit {
        /// What was being read.
        object: String,
        /// Which limit it passed.
        limit: String,
    },
}

impl GuestError {
    /// Damage of `object`.
    pub fn damaged(object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { object: object.into(), problem: problem.into() }
    }

    /// A feature without a reader.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Self::Unsupported { feature: feature.into() }
    }

    /// What a device said of a read at a place that `object` names: a place past its end is the object's damage, not the device's.
    pub(super) fn of_read(error: io::Error, object: impl FnOnce() -> String) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::damaged(object(), "it lies past the end of the volume"),
            _ => error.into(),
        }
    }

    /// A limit was passed.
    pub fn limit(object: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::Limit { object: object.into(), limit: limit.into() }
    }
}

impl From<io::Error> for GuestError {
    /// What a device said, or what a reader above a device said through [`io::Error`].
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Device(error),
        }
    }
}

impl From<GuestError> for io::Error {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Device(error) => error,
            GuestError::NotFound { .. } => Self::new(io::ErrorKind::NotFound, error),
            GuestError::Unsupported { .. } => Self::new(io::ErrorKind::Unsupported, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
