//! Where the bytes of an identity lie: by the packs that are there, the lists of moved ranges, and what new packs say of births.

use std::collections::{BTreeSet, HashMap};

use crate::format::control::{Moved, MovedRange};
use crate::format::marked::PackTable;
use crate::units::{Address, PackId};

/// Where consecutive slots lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a pack that stays, and readers find it.
    Stays(Address),
    /// In a pack that stays, but no list of moved ranges tells readers so: a collection was killed before it wrote one.
    Untold(Address),
    /// Only in a condemned pack.
    Condemned(Address),
    /// Nowhere: the vault has lost it.
    Lost,
}

impl Place {
    /// The pack and slot that it names.
    pub fn address(&self) -> Option<Address> {
        match *self {
            Self::Stays(address) | Self::Untold(address) | Self::Condemned(address) => Some(address),
            Self::Lost => None,
        }
    }
}

/// Answers where identities lie.
pub struct Places<'a> {
    present: &'a HashMap<PackId, u64>,
    tables: &'a HashMap<PackId, PackTable>,
    moved: &'a HashMap<PackId, Moved>,
    condemned: &'a BTreeSet<PackId>,
    holders: HashMap<PackId, Holders>,
}

/// The slots of present packs that were born in one other pack.
#[derive(Default)]
struct Holders {
    /// Ascending by the slot of birth; they may overlap.
    ranges: Vec<MovedRange>,
    /// Slots of the longest.
    longest: u32,
}

/// How many slots a range has from a slot of birth on, and where the first lies; `None` where it does not hold it.
fn held(range: &MovedRange, slot: u32) -> Option<(u32, Address)> {
    let into = slot.checked_sub(range.birth_slot).filter(|into| *into < range.count)?;
    Some((range.count - into, Address { pack: range.pack, slot: range.slot + into }))
}

impl<'a> Places<'a> {
    /// From what is there. Only packs with a table count as such that bytes can be found in.
    pub fn new(
        present: &'a HashMap<PackId, u64>,
        tables: &'a HashMap<PackId, PackTable>,
        moved: &'a HashMap<PackId, Moved>,
        condemned: &'a BTreeSet<PackId>,
    ) -> Self {
        let mut holders: HashMap<PackId, Holders> = HashMap::new();
        for table in tables.values().filter(|table| present.contains_key(&table.pack)) {
            for birth in &table.births {
                let of_pack = holders.entry(birth.birth.pack).or_default();
                of_pack.longest = of_pack.longest.max(birth.count);
                let range = MovedRange { birth_slot: birth.birth.slot, count: birth.count, pack: table.pack, slot: birth.slot };
                of_pack.ranges.push(range);
            }
        }
        for of_pack in holders.values_mut() {
            of_pack.ranges.sort_unstable_by_key(|range| (range.birth_slot, range.pack, range.slot));
        }
        Self { present, tables, moved, condemned, holders }
    }

    /// Tells the place of consecutive identities, in parts: the first slot of birth, how many slots, their place.
    pub fn resolve(&self, first: Address, count: u32, mut each: impl FnMut(u32, u32, Place)) {
        let (mut at, mut left) = (first, count);
        while left > 0 {
            let (held, place) = self.step(at, left);
            // At least one, so that it ends.
            let held = held.clamp(1, left);
            each(at.slot, held, place);
            at.slot += held;
            left -= held;
        }
    }

    /// The packs whose identities lie in a condemned pack, or would if it were the last place: besides the condemned ones themselves.
    pub fn moved_into_condemned(&self) -> BTreeSet<PackId> {
        let into = |ranges: &[MovedRange]| ranges.iter().any(|range| self.condemned.contains(&range.pack));
        let by_lists = self.moved.iter().filter(|(_, moved)| into(&moved.ranges)).map(|(pack, _)| *pack);
        let by_births = self.holders.iter().filter(|(_, holders)| into(&holders.ranges)).map(|(pack, _)| *pack);
        by_lists.chain(by_births).collect()
    }

    /// All packs that may hold the bytes of one identity, condemned or not.
    pub fn copies(&self, at: Address) -> Vec<PackId> {
        let (told, _) = self.told(at, 1);
        let holders = self.holders_of(at, &mut 1);
        let elsewhere = told.into_iter().chain(holders).map(|(_, place)| place.pack);
        elsewhere.chain([at.pack]).filter(|pack| self.present.contains_key(pack)).collect()
    }

    /// Whether bytes can be found in a pack after this collection.
    fn stays(&self, pack: PackId) -> bool {
        self.can_be_read(pack) && !self.condemned.contains(&pack)
    }

    fn can_be_read(&self, pack: PackId) -> bool {
        self.present.contains_key(&pack) && self.tables.contains_key(&pack)
    }

    fn step(&self, at: Address, left: u32) -> (u32, Place) {
        let is_there = self.present.contains_key(&at.pack);
        if is_there && !self.condemned.contains(&at.pack) {
            return (left, Place::Stays(at));
        }
        let (told, mut limit) = self.told(at, left);
        if let Some((held, place)) = told.filter(|(_, place)| self.stays(place.pack)) {
            return (held.min(left), Place::Stays(place));
        }
        let holders = self.holders_of(at, &mut limit);
        if let Some((held, place)) = holders.iter().find(|(_, place)| self.stays(place.pack)) {
            return ((*held).min(limit), Place::Untold(*place));
        }
        let in_range = self.tables.get(&at.pack).is_none_or(|table| at.slot < table.slots);
        if is_there && in_range {
            return (limit, Place::Condemned(at));
        }
        let last = told.into_iter().chain(holders).find(|(_, place)| self.can_be_read(place.pack));
        last.map_or((limit, Place::Lost), |(held, place)| (held.min(limit), Place::Condemned(place)))
    }

    /// What the list of moved ranges says of a slot, and for how many slots that answer holds.
    fn told(&self, at: Address, left: u32) -> (Option<(u32, Address)>, u32) {
        let ranges = self.moved.get(&at.pack).map_or(&[][..], |moved| &moved.ranges);
        let after = ranges.partition_point(|range| range.birth_slot <= at.slot);
        let told = after.checked_sub(1).and_then(|index| held(ranges.get(index)?, at.slot));
        let next = ranges.get(after).map_or(left, |range| (range.birth_slot - at.slot).min(left));
        (told, told.map_or(next, |(held, _)| held.min(left)))
    }

    /// Present packs that hold a slot by their own tables. `limit` is lowered to where another one begins.
    fn holders_of(&self, at: Address, limit: &mut u32) -> Vec<(u32, Address)> {
        let Some(holders) = self.holders.get(&at.pack) else { return Vec::new() };
        let after = holders.ranges.partition_point(|range| range.birth_slot <= at.slot);
        if let Some(next) = holders.ranges.get(after) {
            *limit = (next.birth_slot - at.slot).min(*limit);
        }
        let before = holders.ranges.get(..after).unwrap_or_default().iter().rev();
        let near = before.take_while(|range| range.birth_slot.saturating_add(holders.longest) > at.slot);
        near.filter_map(|range| held(range, at.slot)).collect()
    }
}
