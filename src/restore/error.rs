//! What can go wrong with a restore, split by what the caller does next.

use std::io;
use std::path::PathBuf;

use crate::catalogue::CatalogueError;
use crate::store::StoreError;
use crate::units::{ChunkHash, Extent};

/// A failed restore of one disk.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target holds something, and nobody said that it may be replaced.
    #[error("'{}' {holds}; nothing was changed: name another target, or add --overwrite to replace what is there", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
        /// What it holds.
        holds: String,
    },
    /// The block device has not enough room.
    #[error("'{}' has {target_bytes} bytes, but the disk has {disk_bytes}; nothing was changed: take a larger one", path.display())]
    TooSmall {
        /// The target.
        path: PathBuf,
        /// Its size.
        target_bytes: u64,
        /// The disk's size.
        disk_bytes: u64,
    },
    /// Somebody uses the target.
    #[error("'{}' is in use: {by}; nothing was changed: stop using it first", path.display())]
    InUse {
        /// The target.
        path: PathBuf,
        /// Who, as far as the system tells.
        by: String,
    },
    /// The target lies in the vault that is restored from.
    #[error("'{}' lies inside the vault {}; nothing was changed: name a target outside", path.display(), vault.display())]
    InVault {
        /// The target.
        path: PathBuf,
        /// The vault.
        vault: PathBuf,
    },
    /// The target is nothing that a disk can be restored to.
    #[error("'{}' cannot be a target: {reason}", path.display())]
    Unsuitable {
        /// The target.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no room for the target.
    #[error("no space is left for '{}'; free some, then run the same command again: it goes on where it stopped", path.display())]
    Full {
        /// The target.
        path: PathBuf,
    },
    /// There is no room for a part of the target.
    #[error(
        "no space is left for bytes {} to {} of the target; free some, then run the same command again: it goes on where it stopped",
        range.offset(),
        range.end()
    )]
    NoSpace {
        /// The bytes of the disk.
        range: Extent,
    },
    /// The target failed.
    #[error("'{}': {doing} failed: {source}", path.display())]
    Place {
        /// The target, or a file beside it.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The target failed at some place.
    #[error("{doing} bytes {} to {} of the target failed: {source}", range.offset(), range.end())]
    Target {
        /// What was being done.
        doing: &'static str,
        /// The bytes of the disk.
        range: Extent,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the disk's map cannot be read.
    #[error("bytes {} to {} cannot be restored: {source}", range.offset(), range.end())]
    Map {
        /// The bytes of the disk that it describes.
        range: Extent,
        /// Why.
        source: CatalogueError,
    },
    /// A chunk cannot be read from the vault.
    #[error("bytes {} to {} cannot be restored: {source}", range.offset(), range.end())]
    Chunk {
        /// The chunk's bytes on the disk.
        range: Extent,
        /// Why.
        source: StoreError,
    },
    /// A chunk's blocks were read, but they are not what was backed up.
    #[error("bytes {} to {} cannot be restored: their hash is {found}, expected {expected}", range.offset(), range.end())]
    Content {
        /// The chunk's bytes on the disk.
        range: Extent,
        /// The map's hash.
        expected: ChunkHash,
        /// The hash of what was read.
        found: ChunkHash,
    },
    /// The target gave back something else than what was written to it.
    #[error("bytes {} to {} were written, but the target gives back others: its medium fails", range.offset(), range.end())]
    ReadBack {
        /// The bytes of the disk.
        range: Extent,
    },
    /// No threads to work with.
    #[error("no worker threads can be started: {0}")]
    Threads(String),
    /// Somebody asked for the end.
    #[error("the restore was cancelled; run the same command again to complete it")]
    Cancelled,
}

impl RestoreError {
    /// Whether the vault, rather than the target or the request, is at fault.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Map { source, .. } => is_map_damage(source),
            Self::Chunk { source, .. } => source.is_damage(),
            Self::Content { .. } => true,
            _ => false,
        }
    }

    /// A failure of a target as a whole, sorted by what the caller does next.
    pub(super) fn place(path: &std::path::Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) { Self::Full { path } } else { Self::Place { path, doing, source } }
    }

    /// A failure of a target at some place, sorted by what the caller does next.
    pub(super) fn target(doing: &'static str, range: Extent, source: io::Error) -> Self {
        if is_full(&source) { Self::NoSpace { range } } else { Self::Target { doing, range, source } }
    }
}

/// Whether a map is damaged or gone, rather than that the place where it lies does not answer.
pub fn is_map_damage(error: &CatalogueError) -> bool {
    match error {
        CatalogueError::NodeUnreadable { source, .. } => source.downcast_ref::<StoreError>().is_some_and(StoreError::is_damage),
        error => error.is_damage(),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
