//! Cairn keeps incremental images of machines' disks in a deduplicating vault and gives back any recovery point.
//!
//! Rooms, each importing only rooms above it, in the order of their list in `docs/architecture.md`, which has one picture of the whole;
//! `tests/tidy.rs` holds the imports against its table.

pub mod backend;
pub mod catalogue;
pub mod crypt;
pub mod format;
pub mod guestfs;
pub mod image;
pub mod io;
pub mod jobs;
pub mod monitor;
pub mod mount;
pub mod policy;
pub mod quiesce;
pub mod restore;
pub mod scan;
pub mod source;
pub mod store;
pub mod tree;
pub mod units;
pub mod volume;
