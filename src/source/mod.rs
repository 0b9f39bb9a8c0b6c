//! What is backed up: raw files, block devices and disk images behind one trait; and what others say has changed on them.
//!
//! A *source* is read at any offset by many threads at once and tells which of its ranges hold data; the rest reads as zeros and
//! is never read. Nothing here knows chunks, the vault or a recovery point, and nothing here writes to a source. Images come
//! from outside and are not trusted: every number is checked before it is used, memory is bounded, no input makes a panic.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

mod cache;
mod chain;
mod error;
mod fields;
mod hints;
mod host;
mod mapped;
mod pages;
mod partition;
mod qcow2;
mod raw;
mod spec;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests count in small numbers")]
mod testing;
#[cfg(test)]
mod tests;
mod unpack;
mod vhd;
mod vhdx;
mod vmdk;

use std::fs::File;
use std::path::Path;

pub use error::SourceError;
pub use hints::{EntryFault, HintBase, HintError, Hints, MAX_HINT_BYTES, clone_file, may_share_extents, parse_hints, reflink_hints};
pub use partition::detect_grid_offset;
pub use spec::{Format, FormatError, SourceSpec};

use crate::io::ReadAt;
use crate::units::ExtentSet;

/// A disk to back up: read at any offset by many threads, with what it knows of its holes.
///
/// A failing read gives an [`std::io::Error`] that holds a [`SourceError`] with path and offset; its text says both.
pub trait Source: ReadAt {
    /// Path and format for a person: `/srv/web01.qcow2 (qcow2)`.
    fn description(&self) -> String;

    /// The ranges that hold data; the rest reads as zeros and need not be read (holes, unallocated clusters).
    ///
    /// # Errors
    /// [`SourceError`] where the tables that tell cannot be read or are damaged.
    fn data_extents(&self) -> Result<ExtentSet, SourceError>;

    /// Checks, after the scan, that what was read is one state: the source still has the size that it had when it was opened,
    /// and no image file was written to.
    ///
    /// # Errors
    /// [`SourceError::Changed`] and [`SourceError::Written`]; [`SourceError::Open`] where the system does not tell.
    fn check_unchanged(&self) -> Result<(), SourceError>;

    /// The file, where its bytes are the disk's: what reflink hints compare.
    fn raw_file(&self) -> Option<&File>;
}

/// Opens a disk.
///
/// # Errors
/// [`SourceError`]: what is there is no disk, cannot be opened, is empty, damaged, or of a kind that is not read.
pub fn open(path: &Path, format: Format) -> Result<Box<dyn Source>, SourceError> {
    chain::open_chain(path, format)
}
