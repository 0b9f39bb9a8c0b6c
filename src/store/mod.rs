//! Blocks: index, frames, packs, leases. What a backup writes and a restore reads, in the order that loses nothing.
//!
//! [`Vault`] is an open vault. A [`WriteSession`] takes chunks and map nodes and gives addresses; a [`PackReader`] takes addresses and
//! gives bytes. Disk maps and recovery points are the catalogue's; this room does not know what a disk is.

mod cache;
mod catch_up;
mod check;
pub mod collect;
mod error;
mod index;
mod known;
mod lease;
mod lists;
mod moved;
mod object;
mod pack;
mod session;
mod shared_index;
#[cfg(test)]
mod tests;
mod vault;

pub(crate) use cache::Cache;
pub use catch_up::rebuild_index;
pub use check::{check_pack, list_damaged};
pub use error::StoreError;
pub use index::Index;
pub use known::Known;
pub use lease::Lease;
pub(crate) use pack::compress_frame;
pub use pack::{ForeseenFrames, Frame, FramePlace, PackReader, Piece, WrittenPack};
pub use session::{DiskAccount, SessionOptions, WriteSession};
pub use vault::{NewVault, Vault, key_slots, put_slot, read_header, unlock_any};
