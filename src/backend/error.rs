//! What can go wrong with a store of objects, split by what the caller does next.

use std::io;

/// A failure of a store, with the place and the object.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such object.
    #[error("{location}: there is no object '{name}'")]
    NotFound {
        /// The store.
        location: String,
        /// The object.
        name: String,
    },
    /// The object ends before the range that was asked for.
    #[error("{location}: object '{name}' has {size_bytes} bytes, but bytes up to {wanted_bytes} were asked for: it was truncated")]
    Truncated {
        /// The store.
        location: String,
        /// The object.
        name: String,
        /// Bytes that it has.
        size_bytes: u64,
        /// The end of the range that was asked for.
        wanted_bytes: u64,
    },
    /// The store has no room for more.
    #[error("{location}: no space is left while writing '{name}'; free some, then run the same command again")]
    Full {
        /// The store.
        location: String,
        /// The object.
        name: String,
    },
    /// The store refuses access.
    #[error("{location}: access to '{name}' was refused: {reason}; check the owner, the mode or the credentials")]
    Denied {
        /// The store.
        location: String,
        /// The object.
        name: String,
        /// What the store said.
        reason: String,
    },
    /// The medium or the connection failed, also after retries.
    #[error("{location}: {doing} '{name}' failed: {source}")]
    Io {
        /// The store.
        location: String,
        /// The object or directory.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be used as asked: an unknown scheme, a bad name, a missing feature.
    #[error("{location}: {reason}")]
    Unsupported {
        /// The store.
        location: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl BackendError {
    /// Whether it concerns one object alone, which is gone, cut short or on a bad sector; else nothing can be said of the others either.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Truncated { .. } => true,
            // What a local disk says of a bad sector.
            Self::Io { source, .. } => source.raw_os_error() == Some(libc::EIO),
            Self::Full { .. } | Self::Denied { .. } | Self::Unsupported { .. } => false,
        }
    }

    /// Sorts a system error by what the caller does next.
    pub fn from_io(location: &str, name: &str, doing: &'static str, source: io::Error) -> Self {
        let (location, name) = (location.to_owned(), name.to_owned());
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { location, name },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { location, name },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { location, name, reason: source.to_string() }
            }
            _ => Self::Io { location, name, doing, source },
        }
    }
}
