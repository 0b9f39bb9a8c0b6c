//! Why bytes of a recovery point's disk cannot be read.

use std::io;

use crate::catalogue::CatalogueError;
use crate::store::StoreError;
use crate::units::Extent;

/// Why a range of a disk cannot be read. The rest of the disk can be.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A node of the map.
    #[error("the disk's map: {0}")]
    Map(#[source] CatalogueError),
    /// Its blocks.
    #[error("bytes {} to {} of the disk: {source}", .range.offset(), .range.end())]
    Blocks {
        /// Which bytes.
        range: Extent,
        /// Why.
        source: StoreError,
    },
}

impl From<ImageError> for io::Error {
    fn from(error: ImageError) -> Self {
        Self::other(error)
    }
}
