//! The small objects by which writers and collectors work side by side.

use jiff::Timestamp;

use crate::units::{Address, LeaseId, PackId, PointId};

/// `leases/<id>/<n>`: the highest number counts; a rising number shows that its holder lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The lease.
    pub lease: LeaseId,
    /// Its number, from 0.
    pub number: u64,
    /// The highest collection that its holder saw when it began, 0 for none.
    pub collection: u64,
    /// Base points of its holder: roots of every mark.
    pub base_points: Vec<PointId>,
    /// Host, process and purpose, for a person.
    pub holder: String,
    /// When it was written, by the holder's clock, for a person.
    pub time: Timestamp,
}

/// `collections/<n>`: creating the number takes the collector's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its number, from 1.
    pub number: u64,
    /// The collector's lease.
    pub lease: LeaseId,
    /// When it began, by the collector's clock, for a person.
    pub time: Timestamp,
}

/// `condemned/<n>`: packs that the collection of this number may delete. No writer may refer to them any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// The collection.
    pub collection: u64,
    /// The packs, ascending.
    pub packs: Vec<PackId>,
}

/// Where slots of a pack are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedRange {
    /// First slot of the old pack, as born.
    pub birth_slot: u32,
    /// How many consecutive slots.
    pub count: u32,
    /// The pack that holds them now.
    pub pack: PackId,
    /// The first one's slot there.
    pub slot: u32,
}

/// `moved/<pack>/<n>`: where the ranges of a pack are that is gone or about to go. The highest number counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The pack of the births.
    pub pack: PackId,
    /// Its number, from 1.
    pub number: u64,
    /// Ascending by birth slot, not overlapping.
    pub ranges: Vec<MovedRange>,
}

/// `damaged/<n>`: slots that a verification found damaged: no later backup may deduplicate against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its number, from 1.
    pub number: u64,
    /// First slots and counts, ascending.
    pub slots: Vec<(Address, u32)>,
    /// When they were found.
    pub time: Timestamp,
}
