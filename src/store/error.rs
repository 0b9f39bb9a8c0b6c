//! What can go wrong with blocks, packs and leases, split by what the caller does next.

use std::io;
use std::path::PathBuf;

use crate::backend::BackendError;
use crate::crypt::CryptError;
use crate::format::FormatError;
use crate::units::{Address, LeaseId, PackId};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The place where objects are kept failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object's bytes are not what they should be.
    #[error("object '{name}': {source}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// An object does not open under this vault's keys.
    #[error("object '{name}' cannot be opened: {source}")]
    Sealed {
        /// The object.
        name: String,
        /// Why not.
        source: CryptError,
    },
    /// A frame of a pack is not what was written.
    #[error("pack {pack}, frame {frame}: {reason}")]
    Frame {
        /// The pack.
        pack: PackId,
        /// The frame's number.
        frame: u32,
        /// What is wrong.
        reason: String,
    },
    /// A recipe does not fit its chunk.
    #[error("a map names {blocks} blocks for a chunk of {chunk_bytes} bytes: the map is damaged")]
    Runs {
        /// Blocks that the runs have.
        blocks: usize,
        /// Bytes of the chunk.
        chunk_bytes: usize,
    },
    /// A block's pack is gone, or never held it.
    #[error("block {address} is in no pack of the vault: its pack was removed or is damaged")]
    Unresolved {
        /// The block.
        address: Address,
    },
    /// The directory cannot be a new vault.
    #[error("{location} cannot become a vault: {reason}")]
    NotEmpty {
        /// The place.
        location: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// There is no vault at this place.
    #[error("{location} is no vault: it has no object 'vault'; make one with `cairn init`, or check --vault")]
    NoVault {
        /// The place.
        location: String,
    },
    /// There is no key slot at all.
    #[error("{location} has no key slot: its 'keys/' is empty; put it back from a copy of the vault")]
    NoSlot {
        /// The vault.
        location: String,
    },
    /// No key slot opens with what was given.
    #[error("{location}: none of the {slots} key slots opens with what was given: {source}")]
    WrongKey {
        /// The vault.
        location: String,
        /// Slots tried.
        slots: usize,
        /// What the last one said.
        source: CryptError,
    },
    /// The lease could not be kept alive, so nothing may be published under it.
    #[error("lease {lease} was lost: {reason}; nothing was published or deleted under it since, run the same command again")]
    LeaseLost {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: String,
    },
    /// Another collection has taken over.
    #[error("another collection than {collection} is under way by now; it goes on where this one ends")]
    Overtaken {
        /// The collection that was overtaken.
        collection: u64,
    },
    /// An object changes faster than it can be read.
    #[error("'{name}' changed each time when it was about to be read; run the same command again")]
    Restless {
        /// The object or prefix.
        name: String,
    },
    /// A local file of the index failed.
    #[error("the index file {path} failed: {source}; the index can be removed, it is rebuilt by itself")]
    Index {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that must be new was taken.
    #[error("object '{name}' exists already, though its name was drawn at random: the store may not keep create-if-absent")]
    Taken {
        /// The object.
        name: String,
    },
    /// Keys or random numbers failed.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// An object cannot be stored.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Compression failed.
    #[error("zstd failed: {0}")]
    Compression(io::Error),
    /// A thread of the pipeline died.
    #[error("a thread of the {0} ended early; this is a defect of Cairn, please report it")]
    Worker(&'static str),
    /// Somebody asked for the end.
    #[error("the job was cancelled")]
    Cancelled,
}

impl StoreError {
    /// Whether an object was not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Backend(BackendError::NotFound { .. }))
    }

    /// Whether it says that something in the vault is damaged or gone, rather than that the place does not answer, that the vault is of a
    /// later version, or that somebody asked for something else.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Backend(error) => error.is_damage(),
            // An object of a later version is whole.
            Self::Damaged { source: FormatError::Unsupported { .. }, .. }
            | Self::Sealed { source: CryptError::Format { source: FormatError::Unsupported { .. }, .. }, .. } => false,
            Self::Damaged { .. } | Self::Sealed { .. } | Self::Frame { .. } | Self::Runs { .. } | Self::Unresolved { .. } => true,
            _ => false,
        }
    }
}
