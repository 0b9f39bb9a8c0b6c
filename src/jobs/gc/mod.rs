//! Collection: takes away what no recovery point needs, beside backups, restores and mounts.
//!
//! The order of its steps is what loses nothing; `docs/decisions/0010-collection.md` says why, and names them as they are named here.

mod empty;
mod marked;
mod memory;
mod patience;
mod plan;
mod remove;
mod role;
mod size;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::points::{Listing, PointSummary};
use crate::format::map::{Child, NodeRef};
use crate::monitor::{Monitor, Problem};
use crate::store::collect::{
    Choice, Places, condemn, condemned_lists, drop_from_index, moved_lists, packs_present, pending_condemned, read_moved, read_table,
    remove_object, remove_superseded,
};
use crate::store::{Lease, PackReader, Vault};
use crate::units::{PackId, PointId};
use marked::Walker;
use memory::Memory;
pub use patience::Patience;
pub use size::{MachineSize, PointsSize, size_of_points};

use crate::format::names::ObjectName;

/// Most bytes that are copied at one time unless somebody says.
pub const DEFAULT_MAX_COPY_BYTES: u64 = 4 << 30;
/// Decompressed frames kept at hand: live slots of a frame lie together in a map.
const FRAME_CACHE_BYTES: usize = 64 << 20;

/// Deletions between two looks whether the role is still ours.
const CHECK_ROLE_EVERY: u64 = 32;

/// How to collect.
#[derive(Debug, Clone, PartialEq)]
pub struct GcRequest {
    /// Find out what would be done; change nothing.
    pub dry_run: bool,
    /// Packs of which less than this part is needed are emptied, in percent.
    pub repack_below_percent: f64,
    /// Most bytes that are copied before what they were copied from is deleted.
    pub max_copy_bytes: u64,
    /// How many days deleted points stay; without a number what the vault's settings say. Other dates that keep them count in any case.
    pub soft_delete_days: Option<u16>,
    /// Remove points although this computer's clock is behind the latest time in the vault: somebody says that it is right.
    pub trust_clock: bool,
    /// Go on although a point's manifest is lost, and give up what only that point needs.
    pub give_up_lost_points: bool,
    /// What time it is.
    pub now: Timestamp,
}

impl GcRequest {
    /// What is done unless somebody says.
    #[must_use]
    pub fn usual(now: Timestamp) -> Self {
        Self {
            dry_run: false,
            repack_below_percent: 70.0,
            max_copy_bytes: DEFAULT_MAX_COPY_BYTES,
            soft_delete_days: None,
            trust_clock: false,
            give_up_lost_points: false,
            now,
        }
    }
}

/// What a collection did, or in a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Names of points whose time in soft delete was over.
    pub removed_points: Vec<String>,
    /// Points whose writers had given up.
    pub revoked_points: u64,
    /// Leases of holders that seem dead.
    pub expired_leases: u64,
    /// Files that writers had begun and not finished, and their bytes.
    pub unfinished_files: u64,
    /// Their bytes.
    pub unfinished_bytes: u64,
    /// Packs that were deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs that live slots were copied into.
    pub new_packs: u64,
    /// Their bytes; in a dry run an estimate.
    pub new_bytes: u64,
    /// Packs that are worth emptying and did not fit.
    pub left_packs: u64,
    /// Blocks and map nodes that points need.
    pub live_slots: u64,
}

/// Collects.
///
/// # Errors
/// [`JobError::Collecting`] where another collection is under way; [`JobError::PointsLost`]; [`JobError`] of the vault. What was
/// begun the next collection ends.
pub fn gc(vault: &Arc<Vault>, request: &GcRequest, patience: &Patience, monitor: &dyn Monitor) -> Result<GcReport, JobError> {
    let mut collector = Collector {
        vault,
        request,
        patience: patience.clone(),
        monitor,
        memory: Memory::load(vault),
        present: HashMap::new(),
        report: GcReport::default(),
    };
    let result = if request.dry_run { collector.dry_run() } else { collector.run() };
    let Collector { memory, report, .. } = collector;
    // After a failure bits may be missing for nodes that are there.
    result.map(|()| {
        memory.save(vault);
        report
    })
}

/// A collection under way.
struct Collector<'a> {
    vault: &'a Arc<Vault>,
    request: &'a GcRequest,
    patience: Patience,
    monitor: &'a dyn Monitor,
    memory: Memory,
    /// Packs that are there, with their sizes.
    present: HashMap<PackId, u64>,
    report: GcReport,
}

/// The role of the collector: its lease and its number.
struct Role {
    lease: Lease,
    number: u64,
}

/// What was there before the role was taken: what nobody has finished by then who began before, nobody will.
struct Before {
    packs: BTreeSet<PackId>,
    pending: Vec<PointId>,
    unfinished: Vec<crate::backend::Leftover>,
}

impl Collector<'_> {
    fn run(&mut self) -> Result<(), JobError> {
        let lease = Lease::take(self.vault, &[], &format!("collection by process {}", std::process::id()))?;
        let mut role = Role { lease, number: 0 };
        loop {
            let before = self.take_role(&mut role)?;
            self.wait_for_older(&role)?;
            self.give_up(&role, &before)?;
            self.remove_points(&role)?;
            let (left, deleted) = (self.report.left_packs, self.report.deleted_packs);
            self.round(&role, &before)?;
            // Again as long as something is left that gets done.
            if self.report.left_packs == 0 || (self.report.deleted_packs == deleted && self.report.left_packs >= left) {
                return Ok(());
            }
        }
    }

    /// Steps 6 to 8.
    fn round(&mut self, role: &Role, before: &Before) -> Result<(), JobError> {
        self.monitor.step("marking what points need");
        self.look_at_packs()?;
        self.mark_all(role)?;
        let inherited = pending_condemned(self.vault)?;
        let choice = self.choose(&before.packs, &inherited)?;
        self.report.left_packs = choice.left;
        let chosen = inherited.into_iter().filter(|pack| self.present.contains_key(pack)).chain(choice.packs);
        let condemned: BTreeSet<PackId> = chosen.collect();
        let is_done = if condemned.is_empty() { true } else { self.delete_condemned(role, &condemned)? };
        self.sweep(role, is_done)
    }

    /// Step 7 and the deletion of step 8; whether nothing that is condemned is left.
    fn delete_condemned(&mut self, role: &Role, condemned: &BTreeSet<PackId>) -> Result<bool, JobError> {
        self.check_role(role)?;
        condemn(self.vault, role.number, condemned)?;
        // Before points are listed: a writer that misses a list because it goes just now has put its manifest by then.
        self.remove_condemned_lists(|number| number < role.number)?;
        let damaged = self.empty(role, condemned)?;
        let kept = self.kept_for_damage();
        let mut left = false;
        for pack in condemned {
            if damaged.contains_key(pack) || kept.contains(pack) {
                let why = damaged.get(pack).map_or("map nodes that cannot be read may need it", String::as_str);
                let message = format!("it cannot be emptied: {why}; it stays, and `cairn verify --all` tells which points it concerns");
                self.monitor.problem(Problem { subject: format!("pack {pack}"), message });
                left = true;
                continue;
            }
            if self.report.deleted_packs.is_multiple_of(CHECK_ROLE_EVERY) {
                self.check_role(role)?;
            }
            remove_object(self.vault, ObjectName::Pack(*pack))?;
            self.report.deleted_packs += 1;
            self.report.deleted_bytes += self.present.remove(pack).unwrap_or(0);
        }
        Ok(!left)
    }

    fn remove_condemned_lists(&self, which: impl Fn(u64) -> bool) -> Result<(), JobError> {
        for number in condemned_lists(self.vault)?.into_iter().filter(|number| which(*number)) {
            remove_object(self.vault, ObjectName::Condemned(number))?;
        }
        Ok(())
    }

    /// The end of step 8: what nobody needs any more. The list of condemned packs goes last.
    fn sweep(&mut self, role: &Role, is_done: bool) -> Result<(), JobError> {
        self.check_role(role)?;
        if self.memory.marked.unreadable.is_empty() {
            self.remove_dead_moves()?;
        }
        if self.report.deleted_packs > 0 {
            let present = self.present.keys().copied().collect();
            let named = self.memory.marked.live.keys().copied().collect();
            drop_from_index(self.vault, &present, &named)?;
        }
        remove_superseded(self.vault)?;
        if is_done { self.remove_condemned_lists(|number| number <= role.number) } else { Ok(()) }
    }

    /// Deletes lists of moved ranges of packs that are gone and of which nothing is needed.
    fn remove_dead_moves(&mut self) -> Result<(), JobError> {
        for (pack, newest) in moved_lists(self.vault)? {
            if self.present.contains_key(&pack) || self.memory.marked.live.get(&pack).is_some_and(|slots| !slots.is_empty()) {
                continue;
            }
            // The highest number goes last: without it an older one would count.
            for number in 1..=newest {
                remove_object(self.vault, ObjectName::Moved(pack, number))?;
            }
            self.memory.moved.remove(&pack);
        }
        Ok(())
    }

    /// Lists packs and moved ranges, and reads what is not known of them.
    fn look_at_packs(&mut self) -> Result<(), JobError> {
        self.present = packs_present(self.vault)?;
        let present = &self.present;
        self.memory.tables.retain(|pack, _| present.contains_key(pack));
        self.read_tables(&self.reader())?;
        let lists = moved_lists(self.vault)?;
        self.memory.moved.retain(|pack, moved| lists.get(pack) == Some(&moved.number));
        for pack in lists.into_keys() {
            if !self.memory.moved.contains_key(&pack) {
                self.read_moved(pack)?;
            }
        }
        Ok(())
    }

    fn read_moved(&mut self, pack: PackId) -> Result<(), JobError> {
        match read_moved(self.vault, pack)? {
            Some(moved) => drop(self.memory.moved.insert(pack, moved)),
            None => drop(self.memory.moved.remove(&pack)),
        }
        Ok(())
    }

    fn read_tables(&mut self, reader: &PackReader) -> Result<(), JobError> {
        use rayon::prelude::*;
        let unknown: Vec<PackId> = self.present.keys().filter(|pack| !self.memory.tables.contains_key(*pack)).copied().collect();
        let read: Vec<_> = unknown.par_iter().map(|pack| (*pack, read_table(reader, *pack))).collect();
        for (pack, table) in read {
            match table {
                Ok(table) => drop(self.memory.tables.insert(pack, table)),
                Err(error) if error.is_damage() => {
                    let message = format!("{error}; it is neither emptied nor relied on");
                    self.monitor.problem(Problem { subject: format!("pack {pack}"), message });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn reader(&self) -> Arc<PackReader> {
        Arc::new(PackReader::new(Arc::clone(self.vault.backend()), Arc::clone(self.vault.keys()), FRAME_CACHE_BYTES))
    }

    fn mark_all(&mut self, role: &Role) -> Result<(), JobError> {
        let roots = roots(&self.needed_points(role)?);
        self.mark(&roots)
    }

    fn mark(&mut self, roots: &[NodeRef]) -> Result<(), JobError> {
        let nodes = VaultNodes::new(self.vault, self.reader());
        self.memory.marked.mark(roots, &Walker { store: &nodes, monitor: self.monitor })?;
        self.report.live_slots = self.memory.marked.live.values().map(crate::units::SlotSet::len).sum();
        Ok(())
    }

    /// The packs that may be needed by map nodes that cannot be read: all that their summaries admit, and those that hold moved slots of such.
    fn kept_for_damage(&self) -> BTreeSet<PackId> {
        let admits = |pack: &PackId| self.memory.marked.unreadable.iter().any(|summary| summary.may_contain(pack));
        if self.memory.marked.unreadable.is_empty() {
            return BTreeSet::new();
        }
        let mut kept: BTreeSet<PackId> = self.present.keys().filter(|pack| admits(pack)).copied().collect();
        for moved in self.memory.moved.values().filter(|moved| admits(&moved.pack)) {
            kept.extend(moved.ranges.iter().map(|range| range.pack));
        }
        for table in self.memory.tables.values() {
            if table.births.iter().any(|birth| admits(&birth.birth.pack)) {
                kept.insert(table.pack);
            }
        }
        kept
    }

    fn dry_run(&mut self) -> Result<(), JobError> {
        self.monitor.step("marking what points need");
        let mut listing = super::points::look(self.vault)?;
        self.check_lost(&listing)?;
        let deletions = self.deletions(&listing)?;
        listing.deleted.retain(|point| {
            let goes = deletions.is_over(point.manifest.time, point.state.as_ref());
            if goes {
                self.report.removed_points.push(point.name());
            }
            !goes
        });
        self.look_at_packs()?;
        self.mark(&roots(&listing))?;
        let inherited: BTreeSet<PackId> =
            pending_condemned(self.vault)?.into_iter().filter(|pack| self.present.contains_key(pack)).collect();
        let all = self.present.keys().copied().collect();
        let Choice { packs, copy_bytes, left, .. } = self.choose(&all, &inherited)?;
        let going = inherited.iter().chain(&packs);
        self.report.deleted_bytes = going.clone().filter_map(|pack| self.present.get(pack)).sum();
        self.report.deleted_packs = going.count() as u64;
        (self.report.new_bytes, self.report.left_packs) = (copy_bytes, left);
        Ok(())
    }
}

/// The maps of all disks of points.
fn roots(listing: &Listing) -> Vec<NodeRef> {
    let all = listing.points.iter().chain(&listing.deleted).chain(&listing.pending);
    let disks = all.flat_map(|point: &PointSummary| &point.manifest.disks);
    disks.filter_map(|disk| if let Child::Node(node) = disk.root { Some(node) } else { None }).collect()
}

impl<'a> Collector<'a> {
    /// Where identities lie, if these packs are condemned.
    fn places<'s>(&'s self, condemned: &'s BTreeSet<PackId>) -> Places<'s> {
        Places::new(&self.present, &self.memory.tables, &self.memory.moved, condemned)
    }
}
