//! Tests of the reader of btrfs: what it shows is compared with what the kernel shows.

mod cost;
mod damage;
pub(super) mod images;
mod log;
mod profiles;
mod steps;
mod trees;
mod writer;
