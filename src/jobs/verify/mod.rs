//! Verification: reads again, hashes again, and names every point, disk and range that damage touches.
//!
//! Points are walked newest last. A chunk's recipe that was found whole once is not read again for another point, so that all points of
//! a vault cost about one reading of it. Nothing is repaired here; slots found damaged are listed (`damaged/<n>`), so that no later
//! backup refers to them, and the next backup of the machine stores their blocks anew where the disk still has them.

mod chunks;
mod damaged;
mod quick;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::map::{MapReader, NodeStore};
use crate::catalogue::points::{PointSummary, Points};
use crate::crypt::random;
use crate::format::point::DiskRecord;
use crate::monitor::{Counter, Monitor};
use crate::store::{PackReader, Vault};
use crate::units::{Address, ChunkRange, Extent, MachineName, PointId};
use chunks::Walk;

pub use quick::{QuickReport, verify_quick};

/// Decompressed frames kept at hand: a chunk's blocks lie in few frames, and its neighbours' in the same.
const FRAME_CACHE_BYTES: usize = 96 << 20;

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The points; all that exist for users where the list is empty.
    pub points: Vec<PointId>,
    /// Share of the chunks that is read, in percent, up to 100. Maps are always read whole.
    pub sample_percent: f64,
    /// Which chunks a sample takes; drawn at random where nobody says.
    pub seed: Option<u64>,
}

/// A damaged range of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// The disk.
    pub disk: MachineName,
    /// Its bytes.
    pub extent: Extent,
    /// What is wrong with the first chunk of the range.
    pub reason: String,
}

/// What was found out about a point.
#[derive(Debug, Clone)]
pub struct PointReport {
    /// The point.
    pub point: PointId,
    /// Its name for users.
    pub name: String,
    /// Damage, ascending in each disk; none for a whole point.
    pub damaged: Vec<DamagedRange>,
}

/// What was found out.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    /// The points, in the order in which they were walked.
    pub points: Vec<PointReport>,
    /// Objects that cannot be read at all, and what follows from that.
    pub objects: Vec<String>,
    /// Bytes of chunks that were read and hashed.
    pub read_bytes: u64,
    /// Slots newly listed as damaged.
    pub damaged_slots: u64,
    /// The seed of the sample, to take the same one again.
    pub seed: u64,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.objects.is_empty() && self.points.iter().all(|point| point.damaged.is_empty())
    }
}

/// Verifies points.
///
/// # Errors
/// [`JobError`] where the vault cannot be listed, a point is not there, or somebody asked for the end. Damage is no error: it is reported.
pub fn verify(vault: &Arc<Vault>, request: &VerifyRequest, monitor: &dyn Monitor) -> Result<VerifyReport, JobError> {
    let listing = Points::new(vault.backend().as_ref(), vault.keys()).list()?;
    let objects = listing.problems.iter().map(|problem| format!("{}; {}", problem.error, problem.consequence)).collect();
    let wanted = |point: &&PointSummary| request.points.is_empty() || request.points.contains(&point.point());
    let points: Vec<&PointSummary> = listing.points.iter().filter(wanted).collect();
    if let Some(missing) = request.points.iter().find(|asked| !points.iter().any(|point| point.point() == **asked)) {
        return Err(crate::catalogue::CatalogueError::NoPoint { point: *missing }.into());
    }
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES));
    let seed = request.seed.map_or_else(|| random().map(u64::from_le_bytes), Ok)?;
    let mut walk = Walk::new(Arc::clone(&packs), request.sample_percent, seed);
    let nodes: Arc<dyn NodeStore> = Arc::new(VaultNodes::new(vault, Arc::clone(&packs)));
    for disk in points.iter().flat_map(|point| &point.manifest.disks) {
        monitor.count(Counter::PlannedBytes, disk.grid.size_bytes());
    }
    let mut reports = Vec::new();
    for point in points {
        monitor.step(&format!("verifying {}", point.name()));
        let mut damaged = Vec::new();
        for disk in &point.manifest.disks {
            damaged.extend(verify_disk(disk, &nodes, &mut walk, monitor)?);
        }
        reports.push(PointReport { point: point.point(), name: point.name(), damaged });
    }
    let damaged_slots = damaged::list(vault, walk.damaged_slots())?;
    Ok(VerifyReport { points: reports, objects, read_bytes: walk.read_bytes(), damaged_slots, seed })
}

fn verify_disk(
    disk: &DiskRecord,
    nodes: &Arc<dyn NodeStore>,
    walk: &mut Walk,
    monitor: &dyn Monitor,
) -> Result<Vec<DamagedRange>, JobError> {
    let map = MapReader::new(Arc::clone(nodes), disk.root, disk.grid);
    let mut ranges: Vec<DamagedRange> = Vec::new();
    for span in map.all_spans() {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let (chunks, failed) = match span {
            Err(damaged) => (damaged.chunks, vec![(damaged.chunks, damaged.error.to_string())]),
            Ok(span) => (span.chunks(), walk.span(&span, &disk.grid, monitor)),
        };
        for (chunks, reason) in failed {
            add(&mut ranges, disk, chunks, reason);
        }
        monitor.count(Counter::DoneBytes, disk.grid.range_extent(chunks).length());
    }
    Ok(ranges)
}

/// Adds a damaged range; ranges that touch become one.
fn add(ranges: &mut Vec<DamagedRange>, disk: &DiskRecord, chunks: ChunkRange, reason: String) {
    let extent = disk.grid.range_extent(chunks);
    match ranges.last_mut() {
        Some(last) if last.extent.end() == extent.offset() => last.extent = Extent::between(last.extent.offset(), extent.end()),
        _ => ranges.push(DamagedRange { disk: disk.name.clone(), extent, reason }),
    }
}

/// A run of slots.
pub(crate) type Slots = (Address, u32);
