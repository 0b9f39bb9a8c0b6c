//! The choice of step 6: how much of each pack is needed, and which packs are emptied.

use std::collections::{BTreeSet, HashMap};

use super::{Collector, JobError};
use crate::format::names::ObjectName;
use crate::io::free_bytes;
use crate::monitor::Problem;
use crate::store::collect::{Candidate, Choice, Rule, choose};
use crate::units::{Address, PackId, SlotSet};

/// Left free on a disk whatever happens: other writers go on.
const SPARE_BYTES: u64 = 64 << 20;

impl Collector<'_> {
    /// Chooses among packs, besides those that are condemned already.
    pub(super) fn choose(&self, among: &BTreeSet<PackId>, inherited: &BTreeSet<PackId>) -> Result<Choice, JobError> {
        let live = self.live_by_place(inherited);
        let kept = self.kept_for_damage();
        let candidate = |pack: &PackId| {
            let (table, size_bytes) = (self.memory.tables.get(pack)?, *self.present.get(pack)?);
            let live = live.get(pack).map_or(0, SlotSet::len);
            Some(Candidate { pack: *pack, kind: table.kind, slots: table.slots, live, size_bytes })
        };
        let free = among.iter().filter(|pack| !inherited.contains(pack) && !kept.contains(pack));
        let candidates: Vec<Candidate> = free.filter_map(candidate).collect();
        let already = inherited.iter().filter_map(candidate).map(|one| one.size_bytes * one.live / u64::from(one.slots.max(1))).sum();
        let rule = Rule { repack_below_percent: self.request.repack_below_percent, max_copy_bytes: self.room()? };
        let choice = choose(&candidates, rule, already);
        if choice.left > 0 && rule.max_copy_bytes < self.request.max_copy_bytes {
            let message = format!("{} packs that are worth emptying wait until there is room for copies of what they hold", choice.left);
            self.monitor.problem(Problem { subject: "free space".to_owned(), message });
        }
        Ok(choice)
    }

    /// The slots of each pack that identities lie in.
    fn live_by_place(&self, condemned: &BTreeSet<PackId>) -> HashMap<PackId, SlotSet> {
        let places = self.places(condemned);
        let mut live: HashMap<PackId, SlotSet> = HashMap::new();
        for (pack, slots) in &self.memory.marked.live {
            if self.present.contains_key(pack) && !condemned.contains(pack) {
                live.entry(*pack).or_default().merge(slots);
                continue;
            }
            for (first, count) in slots.ranges() {
                places.resolve(Address { pack: *pack, slot: first }, count, |_, held, place| {
                    if let Some(address) = place.address() {
                        live.entry(address.pack).or_default().insert(address.slot, held);
                    }
                });
            }
        }
        live
    }

    /// Most bytes that may be copied: what was asked for, and where the vault is a directory what fits on its disk.
    fn room(&self) -> Result<u64, JobError> {
        let asked = self.request.max_copy_bytes;
        let header = self.vault.backend().local_path(&ObjectName::Vault.to_string());
        let free = header.as_deref().and_then(std::path::Path::parent).and_then(free_bytes);
        Ok(free.map_or(asked, |free| asked.min(free.saturating_sub(SPARE_BYTES))))
    }
}
