//! Blocks that the vault has lost, from the disk that they were backed up from: where a chunk of the live disk still has the hash that a map
//! names, its bytes are the lost ones.
//!
//! A pack is written again under its own id, so that all maps go on meaning the same: what can be read of it, and for the rest the disk's
//! blocks. That happens only if every block that any map refers to can be had; a pack that would stay damaged is left as it is, since
//! its other blocks may still come back from a mirror.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::packs::{check_all, moves_of, packs_of, reader};
use super::plan::{Repair, Why};
use super::{RepairReport, slots};
use crate::catalogue::map::NodeStore;
use crate::catalogue::points::{Listing, Points};
use crate::crypt::Fingerprinter;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef, Run, root_level, subtree_chunks};
use crate::format::names::ObjectName;
use crate::format::pack::PackKind;
use crate::format::point::DiskRecord;
use crate::format::vault::DedupScope;
use crate::jobs::JobError;
use crate::jobs::backup::host;
use crate::jobs::births::Births;
use crate::jobs::nodes::VaultNodes;
use crate::monitor::Monitor;
use crate::scan::padded;
use crate::source::Source;
use crate::store::collect::{moved_lists, read_moved};
use crate::store::{Lease, PackReader, RebuiltPack, Vault};
use crate::units::{Address, BLOCK_BYTES, ChunkHash, ChunkIndex, Extent, Fingerprint, MachineName, PackId};

/// A disk as it is now.
pub struct LiveDisk {
    /// Its machine.
    pub machine: MachineName,
    /// Its name in the machine's points.
    pub name: MachineName,
    /// Where it is read.
    pub source: Box<dyn Source>,
}

/// Where a lost block is on a live disk.
#[derive(Debug, Clone, Copy)]
struct Place {
    disk: usize,
    bytes: Extent,
    fingerprint: Fingerprint,
}

/// The slots of a pack that maps refer to, each with its place on a live disk if it has one.
type Wanted = BTreeMap<u32, Option<Place>>;

/// Repairs packs from live disks. In a dry run nothing is written, and the report says what would be.
///
/// # Errors
/// [`JobError::MapsLost`]; [`JobError`] where the vault or a disk cannot be read; [`JobError::DiskChanged`]. What cannot be repaired is no error: it is reported.
pub fn repair_from_disks(vault: &Arc<Vault>, disks: &[LiveDisk], dry_run: bool, monitor: &dyn Monitor) -> Result<RepairReport, JobError> {
    let holder = format!("repair by process {} on {}", std::process::id(), host());
    let _lease = if dry_run { None } else { Some(Lease::take(vault, &[], &holder)?) };
    monitor.step("checking packs");
    let listing = Points::new(vault.backend().as_ref(), vault.keys()).list()?;
    let holders = holders_of_moved(vault)?;
    let bad = bad_packs(vault, &listing, &holders, monitor)?;
    let mut search = Search::new(vault, disks, bad.keys().copied().collect());
    monitor.step("comparing the live disks with what is lost");
    for point in listing.points.iter().chain(&listing.deleted).chain(&listing.pending) {
        for disk in &point.manifest.disks {
            search.walk(&point.manifest.machine, disk, monitor)?;
        }
    }
    let (wanted, packs) = (search.wanted, reader(vault));
    let mut report = RepairReport::default();
    for (pack, why) in bad {
        let name = ObjectName::Pack(pack);
        let reason = if let Why::Damaged(reason) = &why { reason } else { "missing" };
        if holders.contains(&pack) {
            report.lost.push((name.to_string(), format!("{reason}; it holds what a collection moved, so only a mirror can bring it back")));
            continue;
        }
        let Some(wanted) = wanted.get(&pack) else {
            // A pack of blocks that no map names is no loss.
            if !packs.info(pack).is_ok_and(|info| info.toc.kind == PackKind::Data) {
                report.lost.push((name.to_string(), format!("{reason}; it holds no blocks of disks, so only a mirror can bring it back")));
            }
            continue;
        };
        let rebuild = Rebuild { vault, disks, packs: &packs, pack, wanted };
        match rebuild.missing() {
            0 if dry_run => report.repaired.push(Repair { name, size_bytes: 0, why }),
            0 => report.repaired.push(Repair { name, size_bytes: rebuild.run(&why)?, why }),
            missing => {
                let all = wanted.len();
                report
                    .lost
                    .push((name.to_string(), format!("{reason}; {missing} of its {all} blocks in use are on no disk that was named")));
            }
        }
    }
    if !dry_run {
        report.cleared_blocks = slots::clear(vault)?;
    }
    Ok(report)
}

/// Packs that are damaged, and those that maps name and that are neither there nor moved.
fn bad_packs(
    vault: &Vault,
    listing: &Listing,
    holders: &BTreeSet<PackId>,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<PackId, Why>, JobError> {
    let mut bad: BTreeMap<PackId, Why> =
        check_all(vault, monitor)?.into_iter().map(|(pack, reason)| (pack, Why::Damaged(reason))).collect();
    let (there, moves) = (packs_of(vault)?, moves_of(vault)?);
    let nodes = VaultNodes::new(vault, reader(vault));
    let mut births = Births::default();
    for point in listing.points.iter().chain(&listing.deleted).chain(&listing.pending) {
        for disk in &point.manifest.disks {
            births.walk(&nodes, disk.root, monitor)?;
        }
    }
    // What lost maps refer to is not known, so nobody could say whether a pack is complete.
    let lost = listing.problems.first().map(|problem| problem.error.to_string()).or_else(|| births.lost.first().map(ToString::to_string));
    if let Some(reason) = lost {
        return Err(JobError::MapsLost { reason });
    }
    let is_moved = |pack: &PackId| moves.range((*pack, 0)..=(*pack, u64::MAX)).next().is_some();
    let named = births.packs.into_iter().filter(|pack| !is_moved(pack)).chain(holders.iter().copied());
    let missing = named.filter(|pack| !there.contains_key(pack));
    bad.extend(missing.map(|pack| (pack, Why::Missing)));
    Ok(bad)
}

/// Packs that collections moved slots into: their slots are wanted under the addresses that they had before.
fn holders_of_moved(vault: &Vault) -> Result<BTreeSet<PackId>, JobError> {
    let mut holders = BTreeSet::new();
    for pack in moved_lists(vault)?.into_keys() {
        if let Some(moved) = read_moved(vault, pack)? {
            holders.extend(moved.ranges.iter().map(|range| range.pack));
        }
    }
    Ok(holders)
}

/// A walk over maps that looks for slots of bad packs.
struct Search<'a> {
    disks: &'a [LiveDisk],
    bad: HashSet<PackId>,
    nodes: VaultNodes,
    fingerprinters: Vec<Fingerprinter>,
    seen: HashSet<(crate::units::NodeId, u64, Option<usize>)>,
    hashes: HashMap<(usize, Extent), Option<ChunkHash>>,
    wanted: HashMap<PackId, Wanted>,
}

impl<'a> Search<'a> {
    fn new(vault: &Vault, disks: &'a [LiveDisk], bad: HashSet<PackId>) -> Self {
        let alone = vault.header().dedup_scope == DedupScope::Machine;
        let fingerprinter = |disk: &LiveDisk| vault.keys().fingerprinter(alone.then_some(&disk.machine));
        let fingerprinters = disks.iter().map(fingerprinter).collect();
        let nodes = VaultNodes::new(vault, reader(vault));
        Self { disks, bad, nodes, fingerprinters, seen: HashSet::new(), hashes: HashMap::new(), wanted: HashMap::new() }
    }

    /// Looks through one disk's map, at subtrees only that may name a bad pack. What lies below a lost node is not known.
    fn walk(&mut self, machine: &MachineName, disk: &DiskRecord, monitor: &dyn Monitor) -> Result<(), JobError> {
        let live = self.disks.iter().position(|live| live.machine == *machine && live.name == disk.name);
        let Child::Node(root) = disk.root else { return Ok(()) };
        let mut stack: Vec<(NodeRef, u8, u64)> = vec![(root, root_level(disk.grid.chunk_count()), 0)];
        while let Some((node, level, first)) = stack.pop() {
            if monitor.cancelled() {
                return Err(JobError::Cancelled);
            }
            let concerned = self.bad.iter().any(|pack| node.packs.may_contain(pack));
            if !concerned || !self.seen.insert((node.id, first, live)) {
                continue;
            }
            let Ok(node) = self.nodes.read_node(&node) else { continue };
            match &*node {
                Node::Leaf(entries) => {
                    for (index, entry) in (first..).zip(entries) {
                        self.entry(entry, disk.grid.chunk_extent(ChunkIndex(index)), live)?;
                    }
                }
                Node::Inner { children, .. } => {
                    let below = level.saturating_sub(1);
                    let places = (0..).map(|nth: u64| first.saturating_add(nth.saturating_mul(subtree_chunks(below))));
                    let nodes = children.iter().zip(places).filter_map(|(child, first)| match child {
                        Child::Node(node) => Some((*node, below, first)),
                        _ => None,
                    });
                    stack.extend(nodes);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &ChunkEntry, extent: Extent, live: Option<usize>) -> Result<(), JobError> {
        let ChunkEntry::Data { hash, runs } = entry else { return Ok(()) };
        let is_bad = |run: &Run| matches!(run, Run::Blocks { address, .. } if self.bad.contains(&address.pack));
        if !runs.iter().any(is_bad) {
            return Ok(());
        }
        let live = match live {
            Some(disk) if self.live_hash(disk, extent)? == Some(*hash) => Some(disk),
            _ => None,
        };
        let mut at = extent.offset();
        for run in runs {
            let start = at;
            at = at.saturating_add(u64::from(run.blocks()) * BLOCK_BYTES as u64);
            let Run::Blocks { address, blocks } = *run else { continue };
            if !self.bad.contains(&address.pack) {
                continue;
            }
            for nth in 0..u32::from(blocks) {
                let from = start + u64::from(nth) * BLOCK_BYTES as u64;
                let bytes = Extent::between(from, (from + BLOCK_BYTES as u64).min(extent.end()));
                self.want(Address { slot: address.slot.saturating_add(nth), ..address }, live, bytes)?;
            }
        }
        Ok(())
    }

    fn want(&mut self, address: Address, live: Option<usize>, bytes: Extent) -> Result<(), JobError> {
        let known = self.wanted.entry(address.pack).or_default().entry(address.slot).or_default();
        if let (None, Some(disk)) = (&known, live) {
            let fingerprint = fingerprint(&self.fingerprinters, disk, &read_block(&self.disks[disk], bytes)?);
            *known = Some(Place { disk, bytes, fingerprint });
        }
        Ok(())
    }

    /// The hash of a live disk's chunk; `None` past its end.
    fn live_hash(&mut self, disk: usize, extent: Extent) -> Result<Option<ChunkHash>, JobError> {
        if let Some(hash) = self.hashes.get(&(disk, extent)) {
            return Ok(*hash);
        }
        let hash = read_extent(&self.disks[disk], extent)?.map(|bytes| ChunkHash(*blake3::hash(&bytes).as_bytes()));
        self.hashes.insert((disk, extent), hash);
        Ok(hash)
    }
}

fn fingerprint(fingerprinters: &[Fingerprinter], disk: usize, block: &[u8; BLOCK_BYTES]) -> Fingerprint {
    fingerprinters[disk].fingerprint(block)
}

/// The bytes of a part of a live disk; `None` where that does not reach so far.
fn read_extent(disk: &LiveDisk, extent: Extent) -> Result<Option<Vec<u8>>, JobError> {
    let source: &dyn crate::io::ReadAt = disk.source.as_ref();
    if extent.end() > source.size_bytes() {
        return Ok(None);
    }
    // A chunk at most, so the cast cannot cut.
    let mut bytes = vec![0; extent.length() as usize];
    let failed = |source| crate::scan::ScanError::Read { offset_bytes: extent.offset(), length_bytes: extent.length(), source };
    source.read_at(extent.offset(), &mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

fn read_block(disk: &LiveDisk, bytes: Extent) -> Result<[u8; BLOCK_BYTES], JobError> {
    Ok(padded(&read_extent(disk, bytes)?.unwrap_or_default()))
}

/// A pack that is written again.
struct Rebuild<'a> {
    vault: &'a Vault,
    disks: &'a [LiveDisk],
    packs: &'a PackReader,
    pack: PackId,
    wanted: &'a Wanted,
}

impl Rebuild<'_> {
    /// A block that can still be read from the pack itself.
    fn sound(&self, slot: u32) -> Option<[u8; BLOCK_BYTES]> {
        let piece = self.packs.locate(Address { pack: self.pack, slot }, 1).ok()?.pop()?;
        let frame = self.packs.frame(piece.place).ok()?;
        let start = piece.first as usize * BLOCK_BYTES;
        frame.get(start..start + BLOCK_BYTES)?.try_into().ok()
    }

    /// How many blocks that are in use can be had nowhere.
    fn missing(&self) -> usize {
        self.wanted.iter().filter(|(slot, place)| place.is_none() && self.sound(**slot).is_none()).count()
    }

    /// Writes the pack and puts it in place of what is there; its bytes.
    fn run(&self, why: &Why) -> Result<u64, JobError> {
        let in_use = self.wanted.keys().next_back().map_or(0, |last| last.saturating_add(1));
        let slots = self.packs.info(self.pack).map_or(in_use, |info| info.toc.slot_count.max(in_use));
        let table = self.packs.fingerprints(self.pack).ok();
        let alone = self.vault.header().dedup_scope == DedupScope::Machine;
        let of = |disk: Option<usize>| {
            let machine = disk.and_then(|disk| self.disks.get(disk)).or(self.disks.first()).map(|disk| &disk.machine);
            self.vault.keys().fingerprinter(machine.filter(|_| alone))
        };
        let rebuilt = RebuiltPack::write(self.vault, self.pack, slots, |slot| {
            let told = table.as_ref().and_then(|table| table.get(slot as usize)).copied();
            if let Some(block) = self.sound(slot) {
                return Ok::<_, JobError>((block, told.unwrap_or_else(|| of(None).fingerprint(&block))));
            }
            let Some(place) = self.wanted.get(&slot).copied().flatten() else {
                // No map refers to it: zeros, which nobody looks for, keep its number.
                let zeros = [0; BLOCK_BYTES];
                return Ok((zeros, of(None).fingerprint(&zeros)));
            };
            let disk = &self.disks[place.disk];
            let block = read_block(disk, place.bytes)?;
            if of(Some(place.disk)).fingerprint(&block) != place.fingerprint {
                return Err(JobError::DiskChanged { machine: disk.machine.clone(), disk: disk.name.clone() });
            }
            Ok((block, place.fingerprint))
        })?;
        if matches!(why, Why::Damaged(_)) {
            self.vault.backend().delete(&ObjectName::Pack(self.pack).to_string())?;
        }
        Ok(rebuilt.finish()?)
    }
}
