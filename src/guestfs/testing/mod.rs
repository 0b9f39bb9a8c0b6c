//! What the tests of all readers share: a nasty tree to fill a filesystem with (`populate`), the truth as the kernel shows it
//! (`kernel`), the same as a reader shows it (`guest`), the comparison (`tree`), mounts (`mount`) and damage (`damage`).
//!
//! A reader's test is: make an image with the format's own tools, [`Mounted::loop_mount`] it, [`populate`] it, unmount, mount it again
//! read-only, [`kernel_tree`], [`guest_tree`], [`assert_same`]. Set `CAIRN_LONG_TESTS=1` for larger trees and more rounds.

mod cost;
mod damage;
mod files;
mod guest;
mod kernel;
mod metadata;
mod mount;
mod noise;
mod populate;
mod tests;
mod tree;
mod writer;

pub(in crate::guestfs) use cost::{Traced, list_all};
pub(in crate::guestfs) use damage::{Survival, survive_damage};
pub(in crate::guestfs) use guest::{Limits, Walked, guest_tree, walk};
pub(in crate::guestfs) use kernel::kernel_tree;
pub(in crate::guestfs) use mount::{Mounted, device, run, sparse_file, text};
pub(in crate::guestfs) use noise::Noise;
pub(in crate::guestfs) use populate::{Population, populate};
pub(in crate::guestfs) use tree::{Field, Item, Tree, assert_same, differences};
pub(in crate::guestfs) use writer::{Cloner, Writer};

/// Whether the long form of tests was asked for.
pub(in crate::guestfs) fn long_tests() -> bool {
    std::env::var_os("CAIRN_LONG_TESTS").is_some_and(|value| value == "1")
}
