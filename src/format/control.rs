//! The small objects by which writers and collectors work side by side: the bodies of their envelopes.

use jiff::Timestamp;

use super::FormatError;
use super::bytes::{Reader, Writer};
use super::envelope::ObjectKind;
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

impl Lease {
    /// The lease as a body of [`ObjectKind::Lease`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.lease.as_bytes());
        writer.u64(self.number);
        writer.u64(self.collection);
        writer.count(self.base_points.len());
        for point in &self.base_points {
            writer.raw(point.as_bytes());
        }
        writer.text(&self.holder);
        writer.time(self.time);
        writer.into_bytes()
    }

    /// The lease from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Lease.words(), body);
        let lease = LeaseId(reader.array()?);
        let (number, collection) = (reader.u64()?, reader.u64()?);
        let base_points = reader.list(16, |reader| reader.array().map(PointId))?;
        let holder = reader.text()?;
        let time = reader.time()?;
        reader.finish()?;
        Ok(Self { lease, number, collection, base_points, holder, time })
    }
}

impl Collection {
    /// The record as a body of [`ObjectKind::Collection`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.raw(self.lease.as_bytes());
        writer.time(self.time);
        writer.into_bytes()
    }

    /// The record from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Collection.words(), body);
        let number = reader.u64()?;
        let lease = LeaseId(reader.array()?);
        let time = reader.time()?;
        reader.finish()?;
        Ok(Self { number, lease, time })
    }
}

impl Condemned {
    /// The list as a body of [`ObjectKind::Condemned`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where packs are not ascending.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        if !self.packs.is_sorted_by(|pack, next| pack < next) {
            return Err(FormatError::invalid(ObjectKind::Condemned.words(), "its packs are not in ascending order"));
        }
        let mut writer = Writer::new();
        writer.u64(self.collection);
        writer.count(self.packs.len());
        for pack in &self.packs {
            writer.raw(pack.as_bytes());
        }
        Ok(writer.into_bytes())
    }

    /// The list from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Condemned.words(), body);
        let collection = reader.u64()?;
        let packs = reader.list(16, |reader| reader.array().map(PackId))?;
        let ascending = packs.is_sorted_by(|pack, next| pack < next);
        reader.require(ascending, "packs in ascending order", "others")?;
        reader.finish()?;
        Ok(Self { collection, packs })
    }
}

/// Whether ranges of slots, each a first slot and a count in one space, are ascending, not empty, and do not overlap.
fn in_order<K: Ord>(ranges: impl IntoIterator<Item = (K, u32, u32)>) -> bool {
    let mut last: Option<(K, u32)> = None;
    for (space, slot, count) in ranges {
        let Some(end) = slot.checked_add(count) else { return false };
        let behind = last.is_some_and(|(last_space, last_end)| (&space, slot) < (&last_space, last_end));
        if count == 0 || behind {
            return false;
        }
        last = Some((space, end));
    }
    true
}

impl Moved {
    fn is_legal(&self) -> bool {
        in_order(self.ranges.iter().map(|range| ((), range.birth_slot, range.count)))
            && self.ranges.iter().all(|range| range.slot.checked_add(range.count).is_some())
    }

    /// The list as a body of [`ObjectKind::Moved`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where ranges are empty, overlap or are not ascending.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        if !self.is_legal() {
            return Err(FormatError::invalid(ObjectKind::Moved.words(), "its ranges are empty, overlap or are not in order"));
        }
        let mut writer = Writer::new();
        writer.raw(self.pack.as_bytes());
        writer.u64(self.number);
        writer.count(self.ranges.len());
        for range in &self.ranges {
            writer.u32(range.birth_slot);
            writer.u32(range.count);
            writer.raw(range.pack.as_bytes());
            writer.u32(range.slot);
        }
        Ok(writer.into_bytes())
    }

    /// The list from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Moved.words(), body);
        let pack = PackId(reader.array()?);
        let number = reader.u64()?;
        let ranges = reader.list(28, |reader| {
            let (birth_slot, count) = (reader.u32()?, reader.u32()?);
            Ok(MovedRange { birth_slot, count, pack: PackId(reader.array()?), slot: reader.u32()? })
        })?;
        let moved = Self { pack, number, ranges };
        reader.require(moved.is_legal(), "ranges in ascending order", "others")?;
        reader.finish()?;
        Ok(moved)
    }
}

impl Damaged {
    fn is_legal(&self) -> bool {
        in_order(self.slots.iter().map(|(address, count)| (address.pack, address.slot, *count)))
    }

    /// The list as a body of [`ObjectKind::Damaged`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where ranges are empty, overlap or are not ascending.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        if !self.is_legal() {
            return Err(FormatError::invalid(ObjectKind::Damaged.words(), "its ranges are empty, overlap or are not in order"));
        }
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.count(self.slots.len());
        for (address, count) in &self.slots {
            writer.raw(address.pack.as_bytes());
            writer.u32(address.slot);
            writer.u32(*count);
        }
        writer.time(self.time);
        Ok(writer.into_bytes())
    }

    /// The list from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Damaged.words(), body);
        let number = reader.u64()?;
        let slots = reader.list(24, |reader| {
            let address = Address { pack: PackId(reader.array()?), slot: reader.u32()? };
            Ok((address, reader.u32()?))
        })?;
        let time = reader.time()?;
        let damaged = Self { number, slots, time };
        reader.require(damaged.is_legal(), "ranges in ascending order", "others")?;
        reader.finish()?;
        Ok(damaged)
    }
}
