//! What a vault holds: how much its machines' disks are, how much of that is stored once for several, how well it compresses.
//!
//! Everything is counted from the disk maps and the packs' tables of contents; no block is read. Every map is walked twice (whether
//! a block is one machine's alone is known only when all were walked), each node of it once in each walk.

mod marks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::map::NodeStore;
use crate::catalogue::points::{Listing, PointSummary};
use crate::format::map::{Child, ChunkEntry, Node, NodeRef, Run};
use crate::format::names::{ObjectName, PACKS};
use crate::format::pack::PackKind;
use crate::monitor::{Counter, Monitor, Problem};
use crate::store::{PackReader, Vault};
use crate::units::{Address, BLOCK_BYTES, MachineName, PackId};
use marks::Marks;

/// Decompressed map nodes kept at hand.
const FRAME_CACHE_BYTES: usize = 32 << 20;
/// Levels of inner nodes are 1 to 7.
const MAX_LEVELS: u8 = 8;
/// Bytes of a block.
const BLOCK: u64 = BLOCK_BYTES as u64;

/// What a vault holds. Points in soft delete are not counted; what only they refer to is unreferenced.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VaultStats {
    /// Bytes of all objects.
    pub vault_bytes: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of files that somebody is writing, or was killed over.
    pub unfinished_bytes: u64,
    /// Such files.
    pub unfinished_files: u64,
    /// Packs of blocks and of map nodes.
    pub packs: u64,
    /// Bytes of blocks in the vault, before compression.
    pub unique_bytes: u64,
    /// Bytes of those that some point refers to.
    pub referenced_bytes: u64,
    /// Bytes that the blocks take in packs, compressed and sealed.
    pub stored_bytes: u64,
    /// Bytes that map nodes take in packs, compressed and sealed.
    pub map_bytes: u64,
    /// The machines, by name.
    pub machines: Vec<MachineStats>,
}

/// What a vault holds of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineStats {
    /// The machine.
    pub machine: MachineName,
    /// Its recovery points.
    pub points: u64,
    /// Bytes of the disks of its newest point.
    pub disk_bytes: u64,
    /// Bytes of data in all its points, each as if it were kept alone; zeros and holes are none.
    pub logical_bytes: u64,
    /// Bytes of its blocks that no other machine has, before compression.
    pub unique_bytes: u64,
    /// Bytes of its blocks that other machines have too.
    pub shared_bytes: u64,
    /// Bytes that all its blocks take in packs, by the mean of each pack.
    pub stored_bytes: u64,
}

impl VaultStats {
    /// Bytes of data in all points of all machines, each as if it were kept alone.
    pub fn logical_bytes(&self) -> u64 {
        self.machines.iter().map(|machine| machine.logical_bytes).sum()
    }
}

/// Counts. What cannot be read is left out and becomes a problem.
///
/// # Errors
/// [`JobError`] where the vault cannot be listed; [`JobError::Cancelled`].
pub fn stats(vault: &Vault, listing: &Listing, monitor: &dyn Monitor) -> Result<VaultStats, JobError> {
    let reader = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES));
    let mut stats = VaultStats::default();
    for object in vault.backend().list("")? {
        stats.objects += 1;
        stats.vault_bytes += object.size_bytes;
    }
    for leftover in vault.backend().leftovers()? {
        stats.unfinished_files += 1;
        stats.unfinished_bytes += leftover.size_bytes;
    }
    monitor.step("reading tables of contents");
    let packs = read_packs(vault, &reader, monitor)?;
    stats.packs = packs.len() as u64;
    for pack in packs.values() {
        match pack.kind {
            PackKind::Data => {
                stats.unique_bytes += pack.slots * BLOCK;
                stats.stored_bytes += pack.stored_bytes;
            }
            PackKind::Map => stats.map_bytes += pack.stored_bytes,
        }
    }
    let nodes = VaultNodes::new(vault, reader);
    let mut walk = Walk { nodes: &nodes, monitor, marks: Marks::default(), seen: HashMap::new(), walk: 0 };
    let machines = by_machine(listing);
    monitor.count(Counter::PlannedBytes, 2 * machines.iter().flat_map(|(_, points)| points).map(|point| disk_bytes(point)).sum::<u64>());
    let mut logical = Vec::new();
    for (machine, points) in &machines {
        monitor.step(&format!("counting {machine}"));
        logical.push(walk.machine(points)?);
        walk.marks.end_first_walk();
    }
    stats.referenced_bytes = walk.marks.referenced() * BLOCK;
    for ((machine, points), logical_blocks) in machines.iter().zip(logical) {
        monitor.step(&format!("comparing {machine}"));
        walk.machine(points)?;
        let owned = walk.marks.end_second_walk();
        stats.machines.push(MachineStats {
            machine: (*machine).clone(),
            points: points.len() as u64,
            disk_bytes: points.last().map_or(0, |newest| disk_bytes(newest)),
            logical_bytes: logical_blocks * BLOCK,
            unique_bytes: owned.values().map(|owned| owned.alone).sum::<u64>() * BLOCK,
            shared_bytes: owned.values().map(|owned| owned.shared).sum::<u64>() * BLOCK,
            stored_bytes: owned.iter().map(|(pack, owned)| packs.get(pack).map_or(0, |pack| pack.share(owned.alone + owned.shared))).sum(),
        });
    }
    Ok(stats)
}

/// Points of each machine, ascending by time: the listing's order.
fn by_machine(listing: &Listing) -> Vec<(&MachineName, Vec<&PointSummary>)> {
    let mut machines: Vec<(&MachineName, Vec<&PointSummary>)> = Vec::new();
    for point in &listing.points {
        let machine = &point.manifest.machine;
        match machines.last_mut() {
            Some((last, points)) if *last == machine => points.push(point),
            _ => machines.push((machine, vec![point])),
        }
    }
    machines
}

fn disk_bytes(point: &PointSummary) -> u64 {
    point.manifest.disks.iter().map(|disk| disk.grid.size_bytes()).sum()
}

/// What a pack's table of contents says.
struct PackCounts {
    kind: PackKind,
    slots: u64,
    stored_bytes: u64,
}

impl PackCounts {
    /// Bytes that so many of its blocks take, by the mean of all.
    fn share(&self, blocks: u64) -> u64 {
        let bytes = u128::from(self.stored_bytes) * u128::from(blocks) / u128::from(self.slots.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

fn read_packs(vault: &Vault, reader: &PackReader, monitor: &dyn Monitor) -> Result<HashMap<PackId, PackCounts>, JobError> {
    let listed = vault.backend().list(PACKS)?;
    let packs: Vec<PackId> = listed
        .iter()
        .filter_map(|object| match ObjectName::parse(&object.name) {
            Some(ObjectName::Pack(pack)) => Some(pack),
            _ => None,
        })
        .collect();
    let read = |&pack: &PackId| {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        match reader.info(pack) {
            Ok(info) => {
                let stored_bytes = info.toc.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
                Ok(Some((pack, PackCounts { kind: info.toc.kind, slots: u64::from(info.toc.slot_count), stored_bytes })))
            }
            Err(error) => {
                monitor.problem(Problem { subject: format!("pack {pack}"), message: format!("{error}; it is not counted") });
                Ok(None)
            }
        }
    };
    packs.par_iter().map(read).filter_map(Result::transpose).collect()
}

/// A node that was walked.
#[derive(Clone, Copy)]
struct Walked {
    /// Blocks of data below it.
    blocks: u64,
    /// The walk that marked them last.
    walk: u32,
}

/// Goes through maps, each node at most once for each machine.
struct Walk<'a> {
    nodes: &'a VaultNodes,
    monitor: &'a dyn Monitor,
    marks: Marks,
    seen: HashMap<Address, Walked>,
    walk: u32,
}

impl Walk<'_> {
    /// Marks all blocks of a machine's points; gives how many their disks have together.
    fn machine(&mut self, points: &[&PointSummary]) -> Result<u64, JobError> {
        self.walk += 1;
        let mut blocks = 0;
        for point in points {
            for disk in &point.manifest.disks {
                match self.child(&disk.root, MAX_LEVELS) {
                    Ok(of_disk) => blocks += of_disk,
                    Err(Stop::Cancelled) => return Err(JobError::Cancelled),
                    Err(Stop::Unreadable(problem)) => {
                        let subject = format!("{}, disk {}", point.name(), disk.name);
                        self.monitor.problem(Problem { subject, message: format!("{problem}; the disk is not counted in full") });
                    }
                }
                self.monitor.count(Counter::DoneBytes, disk.grid.size_bytes());
            }
        }
        Ok(blocks)
    }

    /// Blocks below a child whose level is under `limit`.
    fn child(&mut self, child: &Child, limit: u8) -> Result<u64, Stop> {
        match child {
            Child::Hole | Child::Zero | Child::Free => Ok(0),
            Child::Node(node) => self.node(node, limit),
        }
    }

    fn node(&mut self, node: &NodeRef, limit: u8) -> Result<u64, Stop> {
        if let Some(walked) = self.seen.get(&node.address)
            && walked.walk == self.walk
        {
            return Ok(walked.blocks);
        }
        if self.monitor.cancelled() {
            return Err(Stop::Cancelled);
        }
        let read = self.nodes.read_node(node).map_err(|error| Stop::Unreadable(error.to_string()))?;
        let mut blocks = 0;
        match read.as_ref() {
            Node::Leaf(entries) => entries.iter().for_each(|entry| blocks += self.entry(entry)),
            Node::Inner { level, .. } if *level >= limit => {
                return Err(Stop::Unreadable(format!("map node {} is of level {level} where {limit} ends", node.id)));
            }
            Node::Inner { level, children } => {
                for child in children {
                    blocks += self.child(child, *level)?;
                }
            }
        }
        self.seen.insert(node.address, Walked { blocks, walk: self.walk });
        Ok(blocks)
    }

    fn entry(&mut self, entry: &ChunkEntry) -> u64 {
        let ChunkEntry::Data { runs, .. } = entry else { return 0 };
        let mut found = 0;
        for run in runs {
            if let Run::Blocks { address, blocks } = *run {
                self.marks.mark(address, blocks);
                found += u64::from(blocks);
            }
        }
        found
    }
}

/// Why a walk of a disk ends early.
enum Stop {
    Cancelled,
    Unreadable(String),
}
