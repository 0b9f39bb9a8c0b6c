//! What a person sees of recovery points: one tree of directories and files, whether it is mounted, listed, copied or packed.
//!
//! A point's tree ([`PointTree`]) has its disks as images, the guest's files below the name of each volume, the guest's own tree
//! put together as its fstab says, and what was kept with the point. [`VaultTree`] has the points of all machines.
//! Nothing is opened before somebody looks there.

mod fstab;
mod names;
mod origin;
mod point;
mod resolve;
mod rooted;
mod small;
#[cfg(test)]
pub(crate) mod testing;
mod vault;
mod volumes;
mod walk;

pub use point::{DiskView, GuestObject, PointTree, PointView, Spot, TreeOptions};
pub use resolve::{Resolved, join, resolve};
pub use small::Bytes;
pub use vault::{PointName, Points, VaultSpot, VaultTree};
pub use volumes::FoundVolume;
pub use walk::{Found, Step, Walk};

use std::hash::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::guestfs::{Attributes, FileData, FileKind, GuestResult};

/// One name in a directory of a tree.
#[derive(Clone, Debug)]
pub struct TreeEntry<S> {
    /// The bytes of the name: never empty, `.` or `..`, never with a slash or a NUL.
    pub name: Vec<u8>,
    /// What it leads to.
    pub spot: S,
    /// What that is, if it is known without looking.
    pub kind: Option<FileKind>,
}

/// Directories and files, read by many threads at once.
pub trait Tree: Send + Sync {
    /// Tells one object from all others; equal for all names of one file.
    type Spot: Clone + Eq + Hash + Send + Sync;

    /// The topmost directory.
    fn top(&self) -> Self::Spot;

    /// What is known of an object.
    ///
    /// # Errors
    /// [`crate::guestfs::GuestError`]; errors of the vault are inside its device errors.
    fn attributes(&self, spot: &Self::Spot) -> GuestResult<Attributes>;

    /// What a name in a directory leads to.
    ///
    /// # Errors
    /// As [`Tree::attributes`].
    fn lookup(&self, directory: &Self::Spot, name: &[u8]) -> GuestResult<Option<Self::Spot>>;

    /// Calls `visit` with each entry of a directory until it breaks off.
    ///
    /// # Errors
    /// As [`Tree::attributes`]; entries that could be read were visited before.
    fn entries(&self, directory: &Self::Spot, visit: &mut dyn FnMut(TreeEntry<Self::Spot>) -> ControlFlow<()>) -> GuestResult<()>;

    /// Where a symbolic link leads, as it is stored.
    ///
    /// # Errors
    /// As [`Tree::attributes`].
    fn link_target(&self, spot: &Self::Spot) -> GuestResult<Vec<u8>>;

    /// Extended attributes by name.
    ///
    /// # Errors
    /// As [`Tree::attributes`].
    fn extended_attributes(&self, spot: &Self::Spot) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The contents of a regular file.
    ///
    /// # Errors
    /// As [`Tree::attributes`].
    fn open(&self, spot: &Self::Spot) -> GuestResult<Arc<dyn FileData>>;

    /// Whether what is known of an object can never change: all of a point is so, a list of points is not.
    fn is_settled(&self, spot: &Self::Spot) -> bool;

    /// The directory that an absolute link found at `spot` starts from: the top of the guest's own tree, or of its volume.
    fn base_of(&self, spot: &Self::Spot) -> Self::Spot;
}
