//! Linux software RAID (md): the superblock of each member, and the array that the members make together.
//!
//! A *member* is a device with a superblock; its *role* is its place in the array, counted from 0. The events of an array are counted in
//! the superblocks of the members that take part in them, so a member with a lower count missed writes: it is *stale*. Nothing is
//! repaired or resynced; what is missing is computed from the redundancy of the level at each read.
//!
//! Layouts of superblocks: `include/uapi/linux/raid/md_p.h` of Linux and `md(4)`. Layouts of levels: the same manual page, and H. Peter
//! Anvin, "The mathematics of RAID-6".

mod array;
mod assemble;
mod choose;
mod copies;
mod geometry;
mod legs;
mod parity;
mod striped;
mod stripes;
mod superblock;
mod superblock_old;

#[cfg(test)]
mod tests;

pub use assemble::{Array, assemble};
pub use legs::{Leg, Shape, of_legs};
pub use superblock::identify;

use crate::units::{Extent, ExtentSet};

/// Bytes of what md calls a sector.
const SECTOR_BYTES: u64 = 512;

/// How an array spreads data over its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One member after the other.
    Linear,
    /// Striped without redundancy.
    Raid0,
    /// Copies.
    Raid1,
    /// Striped, with parity on the last member.
    Raid4,
    /// Striped, with parity on a member that changes.
    Raid5,
    /// Striped, with two kinds of parity.
    Raid6,
    /// Striped copies.
    Raid10,
}

impl Level {
    /// The name that mdadm gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Raid0 => "raid0",
            Self::Raid1 => "raid1",
            Self::Raid4 => "raid4",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
        }
    }

    /// By the number in the superblock.
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0xffff_ffff => Self::Linear,
            0 => Self::Raid0,
            1 => Self::Raid1,
            4 => Self::Raid4,
            5 => Self::Raid5,
            6 => Self::Raid6,
            10 => Self::Raid10,
            _ => return None,
        })
    }
}

/// What a member does in its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds data or parity, at this place from 0.
    Active(u16),
    /// Holds nothing yet.
    Spare,
    /// Was put out of the array.
    Faulty,
    /// Holds the journal of the array.
    Journal,
}

/// A device's superblock, checked for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// UUID of the array, in the order in which mdadm prints it.
    pub array: [u8; 16],
    /// Name of the array: `host:name`, as set by whoever made it. For metadata 0.90, which has none, `md` and the number of its device.
    pub name: String,
    /// Version of the metadata: "0.90", "1.0", "1.1" or "1.2".
    pub version: &'static str,
    /// How data are spread.
    pub level: Level,
    /// What this member does, by its own superblock.
    pub role: Role,
    /// How many roles the array has.
    pub devices: u16,
    /// How many changes of state this member has seen.
    pub events: u64,
    /// The level's own number for the order of chunks.
    pub layout: u32,
    /// Bytes of a chunk; 0 where the level has none.
    pub chunk_bytes: u64,
    /// Where the array's bytes are on the device. May be longer than what is used, and may end past the device.
    pub data: Extent,
    /// Where on the device the superblock lies. One of metadata 0.90 at the end of a partition is at the end of the whole disk as well.
    pub superblock: Extent,
    /// Bytes of each member that the array uses, by the superblock; 0 where each is used whole.
    used_bytes: u64,
    /// When the array was made, in seconds since 1970; only to choose between superblocks of one device.
    created: u64,
    /// The number of the device in the array's table of devices.
    number: u32,
    /// What the array's table says that each device does, by number.
    table: Vec<Role>,
    /// How far a member that is being rebuilt can be trusted, in bytes of `data`.
    trusted_bytes: u64,
    /// Stands in for another member of its role.
    replacement: bool,
    /// Ranges of the device that are known not to hold what they should.
    bad: ExtentSet,
    /// What is going on in the array, as this member knows it.
    state: State,
}

/// What is going on in an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Bytes from which copies and parity may differ from the data; `None` where all agree.
    unsynced_from_bytes: Option<u64>,
    /// A change of level, layout, chunks or number of members has begun.
    reshaping: bool,
    /// Writes go through a journal first.
    journal: bool,
    /// Has a partial parity log.
    parity_log: bool,
    /// The members' superblocks record how raid0 continues past its smallest member.
    raid0_layout: bool,
}
