//! What can go wrong between disks and filesystems.

use std::io;

/// What this room gives.
pub type VolumeResult<T> = Result<T, VolumeError>;

/// Why a volume cannot be opened, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The disk below failed.
    #[error("the disk cannot be read: {0}")]
    Disk(#[from] io::Error),
    /// A table, header or metadata area contradicts itself or its checksum.
    #[error("{object} is damaged: {problem}")]
    Damaged {
        /// Which structure, on what.
        object: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A kind or feature that is not known here.
    #[error("{feature} cannot be read by Cairn")]
    Unsupported {
        /// The feature by the name that its own tools give it.
        feature: String,
    },
    /// Something that it needs is not among the machine's disks.
    #[error("{object} cannot be put together: {missing} missing from this recovery point")]
    Incomplete {
        /// Which volume, array or group.
        object: String,
        /// What, with the verb's number: "the device 'pv1' (UUID ...) is".
        missing: String,
    },
    /// It is encrypted, and no passphrase or key file was given.
    #[error("{object} is encrypted; give its passphrase or key file")]
    Locked {
        /// Which volume.
        object: String,
    },
    /// None of the passphrases and key files opens it.
    #[error("none of the passphrases and key files that were given opens {object}")]
    WrongKey {
        /// Which volume.
        object: String,
    },
    /// It is sound, but there is nothing in it.
    #[error("{object} holds no volume")]
    Empty {
        /// What is empty.
        object: String,
    },
}

impl VolumeError {
    /// Damage of `object`: what was expected and what was found.
    pub fn damaged(object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { object: object.into(), problem: problem.into() }
    }

    /// A kind or feature, by the name that its own tools give it.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Self::Unsupported { feature: feature.into() }
    }
}
