//! Disk maps and recovery points: what the vault knows, as opposed to the blocks that it holds.

mod error;
pub mod map;
pub mod name;
pub mod points;
pub mod remembered;
mod sealed;
pub mod settings;
#[cfg(test)]
mod testkit;

pub use error::CatalogueError;
