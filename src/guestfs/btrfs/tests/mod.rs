//! Tests of the reader of btrfs: what it shows is compared with what the kernel shows.

mod damage;
mod images;
mod log;
mod profiles;
mod trees;
mod writer;
