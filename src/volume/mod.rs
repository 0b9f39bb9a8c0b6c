//! Partitions and volume managers: what lies between a machine's disks and its filesystems, in any order and depth. Knows nothing of
//! backup and of filesystems. Hostile input: nothing panics, nothing loops, every length is checked.

mod bytes;
mod discover;
mod error;
mod layer;
pub mod luks;
pub mod lvm;
pub mod md;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use discover::{Closed, Discovery, Disk, Volume, discover};
pub use error::{VolumeError, VolumeResult};
pub use layer::{DiskLayer, MadeOf, Pieces, Place, Run, Runs};

use std::sync::Arc;

use crate::io::ReadAt;
use crate::units::Extent;

/// A disk, or what was made of disks: partition, logical volume, array, opened container.
pub trait Layer: ReadAt {
    /// Calls `visit` with ranges of the machine's disks that together decide the bytes of `range`: while they are unchanged, so is
    /// `range`. Cut at the end of the layer. Where a range exists in copies, one copy is named; what has no such ranges (zeros) names none.
    ///
    /// # Errors
    /// Where finding out takes reading (thin pools), the error of that.
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> std::io::Result<()>;
}

/// Anything that a volume can be made of.
pub type AnyLayer = Arc<dyn Layer>;

/// A range of one of the machine's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which disk, in the order in which they were given.
    pub disk: u32,
    /// Which bytes of it.
    pub range: Extent,
}
