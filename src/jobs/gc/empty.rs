//! Step 7 and the check of step 8: what is live in condemned packs gets another place that readers find.

use std::collections::{BTreeSet, HashMap};

use super::{Collector, JobError, Role, VaultNodes, Walker, roots};
use crate::catalogue::points::{Listing, PointSummary};
use crate::format::control::{Moved, MovedRange};
use crate::format::map::Child;
use crate::format::names::{MOVED, PACKS};
use crate::format::pack::PackKind;
use crate::monitor::Counter;
use crate::store::StoreError;
use crate::store::collect::{self, Mover, Place, packs_present, put_moved, read_table};
use crate::units::{Address, BLOCK_BYTES, PackId};

/// How often what is missing is copied: once, unless another collector, stopped and gone on, undoes it.
const ATTEMPTS: u32 = 16;

/// Slots to be copied, by pack, and the identity under which each is known.
type Needed = HashMap<PackId, HashMap<u32, Address>>;
/// Packs that cannot be emptied, and why.
pub(super) type Damaged = HashMap<PackId, String>;

impl Collector<'_> {
    /// Copies what is live in condemned packs, until a mark finds that all of it has another place. Gives the packs for which that cannot
    /// be reached, because something in them cannot be read.
    pub(super) fn empty(&mut self, role: &Role, condemned: &BTreeSet<PackId>) -> Result<Damaged, JobError> {
        let mut damaged = Damaged::new();
        for _ in 0..ATTEMPTS {
            let listing = self.mark_again(role, condemned)?;
            let copied = self.copy(condemned, &listing)?;
            damaged.extend(copied.damaged.iter().map(|(pack, why)| (*pack, why.clone())));
            self.tell_readers(role, condemned, &copied)?;
            self.mark_again(role, condemned)?;
            self.present = packs_present(self.vault)?;
            if self.is_empty(condemned, &mut damaged)? {
                return Ok(damaged);
            }
        }
        Err(StoreError::Restless { name: PACKS.to_owned() }.into())
    }

    /// The packs whose identities may lie in a condemned pack.
    fn at_risk(&self, condemned: &BTreeSet<PackId>) -> BTreeSet<PackId> {
        let mut packs = self.places(condemned).moved_into_condemned();
        packs.extend(condemned);
        packs
    }

    /// Marks what points need that were not there at the last mark, as far as it concerns condemned packs.
    fn mark_again(&mut self, role: &Role, condemned: &BTreeSet<PackId>) -> Result<Listing, JobError> {
        let listing = self.needed_points(role)?;
        let at_risk = self.at_risk(condemned);
        let nodes = VaultNodes::new(self.vault, self.reader());
        self.memory.marked.add(&roots(&listing), &at_risk, &Walker { store: &nodes, monitor: self.monitor })?;
        Ok(listing)
    }

    /// Calls for all parts of live identities that may lie in condemned packs, with their places.
    fn each_at_risk(&self, condemned: &BTreeSet<PackId>, mut each: impl FnMut(Address, u32, Place)) {
        let places = self.places(condemned);
        for pack in self.at_risk(condemned) {
            let Some(live) = self.memory.marked.live.get(&pack) else { continue };
            for (first, count) in live.ranges() {
                places.resolve(Address { pack, slot: first }, count, |slot, held, place| each(Address { pack, slot }, held, place));
            }
        }
    }

    /// Copies what lies only in condemned packs: first in the order of the newest points' maps, then the rest.
    fn copy(&mut self, condemned: &BTreeSet<PackId>, listing: &Listing) -> Result<collect::Moved, JobError> {
        let mut needed = Needed::new();
        self.each_at_risk(condemned, |identity, count, place| {
            let Place::Condemned(from) = place else { return };
            let slots = needed.entry(from.pack).or_default();
            for nth in 0..count {
                slots.entry(from.slot + nth).or_insert(Address { slot: identity.slot + nth, ..identity });
            }
        });
        if needed.is_empty() {
            return Ok(collect::Moved::default());
        }
        self.monitor.step("copying what is needed out of packs that are mostly not");
        let slots: usize = needed.values().map(HashMap::len).sum();
        self.monitor.count(Counter::PlannedBytes, (slots * BLOCK_BYTES) as u64);
        let reader = self.reader();
        let mut mover = Mover::new(self.vault, &reader);
        self.copy_in_order(condemned, listing, &mut needed, &mut mover)?;
        let mut rest: Vec<(PackId, HashMap<u32, Address>)> = needed.into_iter().collect();
        rest.sort_by_key(|(pack, _)| *pack);
        for (pack, slots) in rest {
            let mut slots: Vec<(u32, Address)> = slots.into_iter().collect();
            slots.sort_unstable();
            for (slot, identity) in slots {
                self.copy_one(&mut mover, Address { pack, slot }, identity)?;
            }
        }
        let copied = mover.finish()?;
        self.report.new_packs += copied.packs.len() as u64;
        self.report.new_bytes += copied.packs.iter().map(|(_, size_bytes)| size_bytes).sum::<u64>();
        self.present = packs_present(self.vault)?;
        self.read_tables(&self.reader())?;
        Ok(copied)
    }

    fn copy_one(&self, mover: &mut Mover, from: Address, identity: Address) -> Result<(), JobError> {
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let kind = self.memory.tables.get(&from.pack).map_or(PackKind::Data, |table| table.kind);
        mover.copy(from, kind, identity)?;
        self.monitor.count(Counter::DoneBytes, BLOCK_BYTES as u64);
        Ok(())
    }

    fn copy_in_order(
        &self,
        condemned: &BTreeSet<PackId>,
        listing: &Listing,
        needed: &mut Needed,
        mover: &mut Mover,
    ) -> Result<(), JobError> {
        let at_risk = self.at_risk(condemned);
        let places = self.places(condemned);
        let nodes = VaultNodes::new(self.vault, self.reader());
        let walker = Walker { store: &nodes, monitor: self.monitor };
        let mut each = |identity: Address, count: u32| {
            if !at_risk.contains(&identity.pack) {
                return Ok(());
            }
            let mut parts = Vec::new();
            places.resolve(identity, count, |_, held, place| parts.extend(place.address().map(|from| (from, held))));
            for (from, held) in parts {
                for slot in from.slot..from.slot + held {
                    if let Some(identity) = needed.get_mut(&from.pack).and_then(|slots| slots.remove(&slot)) {
                        self.copy_one(mover, Address { slot, ..from }, identity)?;
                    }
                }
            }
            Ok(())
        };
        for disk in newest(listing).flat_map(|point| &point.manifest.disks) {
            if let Child::Node(root) = &disk.root {
                self.memory.marked.in_order(root, &at_risk, &walker, &mut each)?;
            }
        }
        Ok(())
    }

    /// Writes a new list of moved ranges for every pack whose live identities are not where the last one says.
    fn tell_readers(&mut self, role: &Role, condemned: &BTreeSet<PackId>, copied: &collect::Moved) -> Result<(), JobError> {
        let mut told: HashMap<PackId, Vec<MovedRange>> = HashMap::new();
        self.each_at_risk(condemned, |identity, count, place| {
            let ranges = told.entry(identity.pack).or_default();
            match place {
                Place::Stays(at) | Place::Untold(at) if at.pack != identity.pack => add_range(ranges, identity.slot, count, at),
                Place::Condemned(from) => {
                    for nth in 0..count {
                        let from = Address { slot: from.slot + nth, ..from };
                        let now = copied_to(copied, from).or((from.pack != identity.pack).then_some(from));
                        if let Some(now) = now {
                            add_range(ranges, identity.slot + nth, 1, now);
                        }
                    }
                }
                _ => {}
            }
        });
        for (pack, ranges) in told {
            let last = self.memory.moved.get(&pack);
            if ranges.is_empty() || last.is_some_and(|last| last.ranges == ranges) {
                continue;
            }
            let number = last.map_or(1, |last| last.number.saturating_add(1));
            if !put_moved(self.vault, &Moved { pack, number, ranges })? {
                // Another collector's: what it says counts, and is looked at below.
                self.check_role(role)?;
            }
            self.read_moved(pack)?;
        }
        Ok(())
    }

    /// Whether every live identity has a place outside condemned packs that is durable and that readers find. Where an identity cannot be
    /// read in a damaged pack, every other pack that may hold it counts as damaged too.
    fn is_empty(&mut self, condemned: &BTreeSet<PackId>, damaged: &mut Damaged) -> Result<bool, JobError> {
        let (mut whole, mut kept, mut targets) = (true, Vec::new(), BTreeSet::new());
        let places = self.places(condemned);
        self.each_at_risk(condemned, |identity, count, place| match place {
            Place::Stays(at) => drop(targets.insert(at.pack)),
            Place::Condemned(from) if damaged.contains_key(&from.pack) => {
                for nth in 0..count {
                    let holders = places.copies(Address { slot: identity.slot + nth, ..identity });
                    kept.extend(holders.into_iter().map(|holder| (holder, from.pack)));
                }
            }
            Place::Condemned(_) | Place::Untold(_) => whole = false,
            // The vault lost it before; no pack holds it.
            Place::Lost => {}
        });
        for (holder, from) in kept {
            let why = damaged.get(&from).cloned().unwrap_or_default();
            damaged.entry(holder).or_insert(why);
        }
        Ok(whole && self.can_rely_on(&targets)?)
    }

    /// Reads the tables of contents again of the packs that slots were moved to, and makes their names and those of lists durable, which
    /// somebody may have made who was killed before he could.
    fn can_rely_on(&mut self, targets: &BTreeSet<PackId>) -> Result<bool, JobError> {
        let reader = self.reader();
        let mut reliable = true;
        for pack in targets {
            match read_table(&reader, *pack) {
                Ok(table) if self.memory.tables.get(pack) == Some(&table) => {}
                Err(error) if !error.is_damage() => return Err(error.into()),
                _ => {
                    self.memory.tables.remove(pack);
                    reliable = false;
                }
            }
        }
        let mut directories: BTreeSet<String> = targets.iter().map(|pack| format!("{PACKS}{:02x}/", pack.0[0])).collect();
        directories.extend(self.memory.moved.keys().map(|pack| format!("{MOVED}{pack}/")));
        directories.iter().try_for_each(|directory| self.vault.backend().sync_names(directory))?;
        Ok(reliable)
    }
}

/// The newest point of each machine.
fn newest(listing: &Listing) -> impl Iterator<Item = &PointSummary> {
    listing.machines().into_iter().filter_map(|machine| listing.last_of(machine))
}

/// Where a slot was copied to.
fn copied_to(copied: &collect::Moved, from: Address) -> Option<Address> {
    let ranges = copied.ranges.get(&from.pack)?;
    let range = ranges.get(ranges.partition_point(|range| range.birth_slot <= from.slot).checked_sub(1)?)?;
    let into = from.slot - range.birth_slot;
    (into < range.count).then_some(Address { pack: range.pack, slot: range.slot + into })
}

/// Adds moved slots behind those before them.
fn add_range(ranges: &mut Vec<MovedRange>, birth_slot: u32, count: u32, at: Address) {
    match ranges.last_mut() {
        Some(last) if last.birth_slot + last.count == birth_slot && last.pack == at.pack && last.slot + last.count == at.slot => {
            last.count += count;
        }
        _ => ranges.push(MovedRange { birth_slot, count, pack: at.pack, slot: at.slot }),
    }
}
