//! What can go wrong with maps and recovery points, split by what the caller does next.

use std::path::PathBuf;

use crate::backend::BackendError;
use crate::crypt::CryptError;
use crate::format::FormatError;
use crate::units::{Address, NodeId, PointId};

/// A failure of the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The place where objects are kept failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object does not open: it is damaged, of a later format, or not what was sealed under its name.
    #[error("{0}")]
    Sealed(#[from] CryptError),
    /// An object opened, but its fields break a rule of the format.
    #[error("'{object}': {source}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// An object says that it belongs to another point than the one whose name it has.
    #[error("'{object}' belongs to recovery point {found}: somebody stored it under a wrong name")]
    Misplaced {
        /// The object.
        object: String,
        /// The point that it names.
        found: PointId,
    },
    /// An object that must be there is not.
    #[error("'{object}' is missing: somebody removed it, or the vault's copy is not complete")]
    Missing {
        /// The object.
        object: String,
    },
    /// The name of a new object is taken.
    #[error("'{object}' was made by somebody else at the same time; run the same command again")]
    Conflict {
        /// The object.
        object: String,
    },
    /// There is no such point.
    #[error("there is no recovery point {point}; `cairn points --all` shows those that are there")]
    NoPoint {
        /// The point.
        point: PointId,
    },
    /// A point whose soft delete is over.
    #[error(
        "recovery point {point} was deleted, its time in soft delete is over, and a collection has removed it: it cannot be changed or brought back"
    )]
    Removed {
        /// The point.
        point: PointId,
    },
    /// A point that must not be deleted yet.
    #[error("recovery point {point} cannot be deleted: {why}")]
    Kept {
        /// The point.
        point: PointId,
        /// Why.
        why: String,
    },
    /// A text that names no point, whatever the vault holds.
    #[error(
        "{given:?} does not name a recovery point: {why}; name one like web01@latest, web01@latest~2, web01@2026-11-22T20:30:00Z, \
         web01@2026-11-22, or by the first digits of its id"
    )]
    BadPointName {
        /// The text.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name that no point has.
    #[error("there is no recovery point {given:?}: {why}{}", or_perhaps(.candidates))]
    UnknownPoint {
        /// The name.
        given: String,
        /// What is not there.
        why: &'static str,
        /// Names that may be meant, 5 at most.
        candidates: Vec<String>,
    },
    /// A name that several points have.
    #[error("{given:?} may mean several recovery points; say which, by its whole id or name:{}", lines(.candidates))]
    AmbiguousPoint {
        /// The name.
        given: String,
        /// What it may mean, 5 at most.
        candidates: Vec<String>,
    },
    /// The file in which this computer remembers a vault's last points.
    #[error("the memory of this vault's last points in {} cannot be used: {reason}; without it nothing is lost but the notice of a \
             vault that was rolled back", .path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store could not give a node: its pack is missing, damaged or out of reach.
    #[error("map node {node} at {address} cannot be read: {source}")]
    NodeUnreadable {
        /// The node.
        node: NodeId,
        /// Where it was born.
        address: Address,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A node was read, but it is not what its parent says.
    #[error("map node {node} at {address} is damaged: {reason}")]
    NodeDamaged {
        /// The node.
        node: NodeId,
        /// Where it was born.
        address: Address,
        /// What was expected, and what was found.
        reason: String,
    },
    /// The store could not take a new node.
    #[error("a map node cannot be written: {source}")]
    NodeUnwritable {
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two maps cut their disks differently.
    #[error(
        "the maps cannot be compared: one disk is cut on a grid shifted by {a_bytes} bytes, the other by {b_bytes}; \
         the partition table moved between them. Compare restored images instead"
    )]
    DifferentGrids {
        /// Grid offset of the first.
        a_bytes: u32,
        /// Grid offset of the second.
        b_bytes: u32,
    },
}

fn or_perhaps(candidates: &[String]) -> String {
    match candidates {
        [] => "; `cairn points --all` shows those that are there".to_owned(),
        some => format!(". Perhaps:{}", lines(some)),
    }
}

/// Each on a line of its own.
fn lines(candidates: &[String]) -> String {
    candidates.iter().map(|candidate| format!("\n  {candidate}")).collect()
}

impl CatalogueError {
    /// Whether it says that something in the vault is damaged or gone, rather than that the place does not answer, that the vault is of a
    /// later version, or that somebody asked for something else. Of [`CatalogueError::NodeUnreadable`] only the store can tell.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Backend(error) => error.is_damage(),
            // An object of a later version is whole.
            Self::Sealed(CryptError::Format { source: FormatError::Unsupported { .. }, .. })
            | Self::Damaged { source: FormatError::Unsupported { .. }, .. } => false,
            Self::Sealed(_) | Self::Damaged { .. } | Self::Misplaced { .. } | Self::Missing { .. } | Self::NodeDamaged { .. } => true,
            _ => false,
        }
    }
}
