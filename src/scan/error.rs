//! What can go wrong while a disk is scanned.

use std::io;

use crate::units::ChunkIndex;

/// A scan that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The source could not be read.
    #[error("reading {length_bytes} bytes at offset {offset_bytes} of the source failed: {source}")]
    Read {
        /// First byte of the read.
        offset_bytes: u64,
        /// Bytes that were asked for.
        length_bytes: u64,
        /// What the source said.
        source: io::Error,
    },
    /// A chunk that hints call unchanged differs from the base.
    #[error("hints say that chunk {} is unchanged, but it differs from the base", chunk.0)]
    HintsWrong {
        /// The chunk.
        chunk: ChunkIndex,
    },
    /// Somebody asked for the end.
    #[error("the scan was cancelled")]
    Cancelled,
    /// A worker thread died.
    #[error("a worker thread ended before its chunks were done; this is a defect of Cairn, please report it")]
    Worker,
}
