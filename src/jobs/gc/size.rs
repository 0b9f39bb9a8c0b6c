//! What some points need alone: exactly what their deletion frees, and whose it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::marked::{Marked, Walker};
use super::memory::Memory;
use super::{Collector, GcReport, GcRequest, Patience, roots};
use crate::catalogue::CatalogueError;
use crate::catalogue::points::{Listing, PointSummary};
use crate::format::pack::PackKind;
use crate::jobs::JobError;
use crate::jobs::nodes::VaultNodes;
use crate::monitor::{Monitor, Problem};
use crate::store::Vault;
use crate::units::{Address, BLOCK_BYTES, MachineName, PackId, PointId, SlotSet};

/// What deleting a set of points frees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PointsSize {
    /// Bytes of blocks that only these points need.
    pub freed_bytes: u64,
    /// Bytes that those and map nodes that only these points need take in packs, by the mean of each pack.
    pub freed_stored_bytes: u64,
    /// The machines whose points these are, ascending by name.
    pub machines: Vec<MachineSize>,
}

/// What the points of one machine in the set need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSize {
    /// The machine.
    pub machine: MachineName,
    /// How many of its points are in the set.
    pub points: u64,
    /// Bytes of blocks that only the set needs: freed, unless another machine's points in the set need them too, which are freed with them.
    pub unique_bytes: u64,
    /// Bytes of blocks that points need which stay.
    pub shared_bytes: u64,
}

/// Finds out what deleting points would free. Points that are in soft delete already, or pending, count as such that stay.
///
/// # Errors
/// [`JobError::Catalogue`] for a point that is not there; [`JobError`] of the vault.
pub fn size_of_points(vault: &Arc<Vault>, listing: &Listing, points: &[PointId], monitor: &dyn Monitor) -> Result<PointsSize, JobError> {
    let all: Vec<&PointSummary> = listing.points.iter().chain(&listing.deleted).collect();
    if let Some(missing) = points.iter().find(|asked| !all.iter().any(|point| point.point() == **asked)) {
        return Err(CatalogueError::NoPoint { point: *missing }.into());
    }
    let request = GcRequest::usual(Timestamp::now());
    let (memory, report) = (Memory::load(vault), GcReport::default());
    let patience = Patience::default();
    let mut collector = Collector { vault, request: &request, patience, monitor, memory, present: HashMap::new(), report };
    collector.look_at_packs()?;
    monitor.step("marking what the other points need");
    let asked: BTreeSet<PointId> = points.iter().copied().collect();
    collector.mark(&roots(&without(listing, &asked)))?;
    let mut size = PointsSize::default();
    let mut freed: HashMap<PackId, SlotSet> = HashMap::new();
    for (machine, points) in by_machine(&all, &asked) {
        monitor.step(&format!("marking what points of {machine} need"));
        let live = collector.marked_alone(&points)?;
        let mut of_machine = MachineSize { machine, points: points.len() as u64, unique_bytes: 0, shared_bytes: 0 };
        for (pack, slots) in live {
            let kept = collector.memory.marked.live.get(&pack).cloned().unwrap_or_default();
            let unique = slots.without(&kept);
            if collector.kind_of(pack) == PackKind::Data {
                of_machine.unique_bytes += unique.len() * BLOCK_BYTES as u64;
                of_machine.shared_bytes += (slots.len() - unique.len()) * BLOCK_BYTES as u64;
            }
            freed.entry(pack).or_default().merge(&unique);
        }
        size.machines.push(of_machine);
    }
    for (pack, slots) in &freed {
        if collector.kind_of(*pack) == PackKind::Data {
            size.freed_bytes += slots.len() * BLOCK_BYTES as u64;
        }
    }
    size.freed_stored_bytes = collector.stored_bytes(&freed);
    if !collector.memory.marked.unreadable.is_empty() {
        let message = "some map nodes cannot be read: what is freed may be less than this; `cairn verify --all` tells more".to_owned();
        monitor.problem(Problem { subject: "maps".to_owned(), message });
    }
    Ok(size)
}

/// A listing without some points.
fn without(listing: &Listing, points: &BTreeSet<PointId>) -> Listing {
    let stay = |all: &[PointSummary]| all.iter().filter(|point| !points.contains(&point.point())).cloned().collect();
    Listing { points: stay(&listing.points), deleted: stay(&listing.deleted), pending: listing.pending.clone(), ..Listing::default() }
}

fn by_machine<'p>(all: &[&'p PointSummary], points: &BTreeSet<PointId>) -> BTreeMap<MachineName, Vec<&'p PointSummary>> {
    let mut machines: BTreeMap<MachineName, Vec<&PointSummary>> = BTreeMap::new();
    for point in all.iter().filter(|point| points.contains(&point.point())) {
        machines.entry(point.manifest.machine.clone()).or_default().push(point);
    }
    machines
}

impl Collector<'_> {
    /// What some points need, whoever else needs it.
    fn marked_alone(&mut self, points: &[&PointSummary]) -> Result<HashMap<PackId, SlotSet>, JobError> {
        let nodes = VaultNodes::new(self.vault, self.reader());
        let listing = Listing { points: points.iter().map(|point| (*point).clone()).collect(), ..Listing::default() };
        let mut marked = Marked::default();
        marked.add_all(&roots(&listing), &Walker { store: &nodes, monitor: self.monitor })?;
        self.memory.marked.unreadable.append(&mut marked.unreadable);
        Ok(marked.live)
    }

    /// What the identities of a pack are. Those of packs that are gone are of the kind of what holds them now.
    fn kind_of(&self, pack: PackId) -> PackKind {
        let now = || self.memory.moved.get(&pack)?.ranges.first().and_then(|range| self.memory.tables.get(&range.pack));
        self.memory.tables.get(&pack).or_else(now).map_or(PackKind::Data, |table| table.kind)
    }

    /// Bytes that identities take where they lie.
    fn stored_bytes(&self, identities: &HashMap<PackId, SlotSet>) -> u64 {
        let condemned = BTreeSet::new();
        let places = self.places(&condemned);
        let mut lie: HashMap<PackId, SlotSet> = HashMap::new();
        for (pack, slots) in identities {
            for (first, count) in slots.ranges() {
                places.resolve(Address { pack: *pack, slot: first }, count, |_, held, place| {
                    if let Some(at) = place.address() {
                        lie.entry(at.pack).or_default().insert(at.slot, held);
                    }
                });
            }
        }
        let share = |(pack, slots): (&PackId, &SlotSet)| {
            let (size_bytes, table) = (*self.present.get(pack)?, self.memory.tables.get(pack)?);
            let bytes = u128::from(size_bytes) * u128::from(slots.len()) / u128::from(table.slots.max(1));
            u64::try_from(bytes).ok()
        };
        lie.iter().filter_map(share).sum()
    }
}
