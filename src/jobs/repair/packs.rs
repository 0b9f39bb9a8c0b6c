//! Packs: all that the vault has are read and checked; those that its maps name and that it does not have are looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::objects::{Found, Opened, names, read};
use super::plan::{Plan, Why};
use crate::catalogue::CatalogueError;
use crate::catalogue::map::NodeStore;
use crate::format::map::{Child, Node, NodeRef};
use crate::format::names::{MOVED, ObjectName, PACKS};
use crate::jobs::JobError;
use crate::jobs::births::Births;
use crate::jobs::nodes::VaultNodes;
use crate::monitor::{Counter, Monitor};
use crate::store::{PackReader, StoreError, Vault, check_pack};
use crate::units::PackId;

/// Decompressed map nodes kept at hand, for each side.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// Plans packs, and lists of moved ranges where blocks are found through them.
pub(super) fn plan(mirror: &Vault, target: &Vault, roots: &[Child], plan: &mut Plan, monitor: &dyn Monitor) -> Result<(), JobError> {
    let damaged = check_all(target, monitor)?;
    let search = Search {
        mirror,
        target,
        there: packs_of(target)?.into_keys().collect(),
        copies: packs_of(mirror)?,
        moves: moves_of(target)?,
        moves_of_mirror: moves_of(mirror)?,
    };
    for (pack, reason) in damaged {
        let why = Why::Damaged(reason.clone());
        match search.copies.get(&pack) {
            Some(size_bytes) => plan.put(ObjectName::Pack(pack), *size_bytes, why),
            None => plan.lose(ObjectName::Pack(pack), format!("{reason}; in the mirror: missing")),
        }
    }
    monitor.step("walking the maps of all points");
    let nodes = EitherNodes { target: nodes_of(target), mirror: nodes_of(mirror) };
    let mut births = Births::default();
    for root in roots {
        births.walk(&nodes, *root, monitor)?;
    }
    for pack in &births.packs {
        search.birth(*pack, plan)?;
    }
    for error in births.lost {
        let name = match &error {
            CatalogueError::NodeUnreadable { address, .. } | CatalogueError::NodeDamaged { address, .. } => ObjectName::Pack(address.pack),
            _ => return Err(error.into()),
        };
        plan.lose(name, error.to_string());
    }
    Ok(())
}

pub(super) fn packs_of(vault: &Vault) -> Result<BTreeMap<PackId, u64>, JobError> {
    let pack = |(name, size_bytes)| if let ObjectName::Pack(pack) = name { Some((pack, size_bytes)) } else { None };
    Ok(names(vault, PACKS)?.into_iter().filter_map(pack).collect())
}

/// The numbers of the lists of moved ranges.
pub(super) fn moves_of(vault: &Vault) -> Result<BTreeSet<(PackId, u64)>, JobError> {
    let moved = |(name, _)| if let ObjectName::Moved(pack, number) = name { Some((pack, number)) } else { None };
    Ok(names(vault, MOVED)?.into_iter().filter_map(moved).collect())
}

pub(super) fn reader(vault: &Vault) -> Arc<PackReader> {
    Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES))
}

fn nodes_of(vault: &Vault) -> VaultNodes {
    VaultNodes::new(vault, reader(vault))
}

/// The packs of a vault that are damaged, each with the first thing that is wrong.
pub(super) fn check_all(vault: &Vault, monitor: &dyn Monitor) -> Result<Vec<(PackId, String)>, JobError> {
    let packs: Vec<(PackId, u64)> = packs_of(vault)?.into_iter().collect();
    monitor.count(Counter::PlannedBytes, packs.iter().map(|(_, size_bytes)| size_bytes).sum());
    let reader = reader(vault);
    let check = |&(pack, size_bytes): &(PackId, u64)| {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let done = |bytes| monitor.count(Counter::DoneBytes, bytes);
        match check_pack(vault.backend().as_ref(), pack, size_bytes, &done).and_then(|()| check_seal(&reader, pack)) {
            Ok(()) => Ok(None),
            // It was collected meanwhile.
            Err(error) if error.is_missing() => Ok(None),
            Err(error) if error.is_damage() => Ok(Some((pack, error.to_string()))),
            Err(error) => Err(error.into()),
        }
    };
    packs.par_iter().map(check).filter_map(Result::transpose).collect()
}

/// Checks with the key what the checksums cannot tell: that the pack is this vault's, and its table the one that was written.
pub(super) fn check_seal(reader: &PackReader, pack: PackId) -> Result<(), StoreError> {
    reader.info(pack)?;
    reader.fingerprints(pack).map(drop)
}

struct Search<'a> {
    mirror: &'a Vault,
    target: &'a Vault,
    there: BTreeSet<PackId>,
    copies: BTreeMap<PackId, u64>,
    moves: BTreeSet<(PackId, u64)>,
    moves_of_mirror: BTreeSet<(PackId, u64)>,
}

impl Search<'_> {
    /// Sees to it that blocks or nodes of this birth can be found.
    fn birth(&self, pack: PackId, plan: &mut Plan) -> Result<(), JobError> {
        if self.there.contains(&pack) || self.through_moves(pack, plan)? {
            return Ok(());
        }
        match self.copies.get(&pack) {
            Some(size_bytes) => plan.put(ObjectName::Pack(pack), *size_bytes, Why::Missing),
            None => plan.lose(ObjectName::Pack(pack), "missing; in the mirror: missing".to_owned()),
        }
        Ok(())
    }

    /// Whether a list of either side says where the pack's blocks were moved, and all these packs are there or come back.
    fn through_moves(&self, pack: PackId, plan: &mut Plan) -> Result<bool, JobError> {
        let of_pack = (pack, 0)..=(pack, u64::MAX);
        let numbers: BTreeSet<u64> =
            self.moves.range(of_pack.clone()).chain(self.moves_of_mirror.range(of_pack)).map(|(_, number)| *number).collect();
        for number in numbers.into_iter().rev() {
            let name = ObjectName::Moved(pack, number);
            let (own, copy) = (read(self.target, name)?, read(self.mirror, name)?);
            let Some(Opened::Moved(moved)) = own.opened().or_else(|| copy.opened()) else { continue };
            let places: BTreeSet<PackId> = moved.ranges.iter().map(|range| range.pack).collect();
            if !places.iter().all(|place| self.there.contains(place) || self.copies.contains_key(place)) {
                continue;
            }
            for place in places.iter().filter(|place| !self.there.contains(place)) {
                plan.put(ObjectName::Pack(*place), self.copies.get(place).copied().unwrap_or(0), Why::Missing);
            }
            if let (Some(why), Found::Sound { .. }) = (own.why(), &copy) {
                plan.put(name, copy.size_bytes(), why);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// Nodes of the vault, or of its mirror where the vault has lost them.
struct EitherNodes {
    target: VaultNodes,
    mirror: VaultNodes,
}

impl NodeStore for EitherNodes {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        self.target.read_node(node).or_else(|error| self.mirror.read_node(node).map_err(|_| error))
    }
}
