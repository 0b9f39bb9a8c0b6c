//! What differs between two recovery points, from their disk maps alone: only nodes whose content differs are read.

use std::sync::Arc;

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::map::{self, MapReader};
use crate::format::point::{DiskRecord, Manifest};
use crate::monitor::{Counter, Monitor};
use crate::store::{PackReader, Vault};
use crate::units::{Extent, MachineName};

/// Decompressed map nodes kept at hand.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// One disk in two points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDiff {
    /// The disk.
    pub name: MachineName,
    /// Its bytes in the first point; `None` where that does not have it.
    pub from_size_bytes: Option<u64>,
    /// Its bytes in the second point.
    pub to_size_bytes: Option<u64>,
    /// Bytes of the chunks that a restore would give differently; all where only one point has the disk.
    pub changed_bytes: u64,
    /// Ranges of such chunks that lie together.
    pub changed_ranges: u64,
}

/// Compares two points disk by disk, the first's disks in their order and then what only the second has. Each changed range of a disk
/// goes to `on_range`, ascending, before the next disk's; a disk that only one point has is one range.
///
/// # Errors
/// [`JobError`] where a map cannot be read, or the grids of a disk are shifted differently; [`JobError::Cancelled`].
pub fn diff(
    vault: &Vault,
    from: &Manifest,
    to: &Manifest,
    on_range: &mut dyn FnMut(&MachineName, Extent),
    monitor: &dyn Monitor,
) -> Result<Vec<DiskDiff>, JobError> {
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), FRAME_CACHE_BYTES));
    let nodes = Arc::new(VaultNodes::new(vault, packs));
    let reader = |disk: &DiskRecord| MapReader::new(Arc::clone(&nodes) as _, disk.root, disk.grid);
    let mut disks = Vec::new();
    for (a, b) in pairs(from, to) {
        let name = a.or(b).map(|disk| disk.name.clone());
        // A pair has at least one side.
        let Some(name) = name else { continue };
        monitor.step(&format!("comparing {name}"));
        let mut found = DiskDiff {
            from_size_bytes: a.map(|disk| disk.grid.size_bytes()),
            to_size_bytes: b.map(|disk| disk.grid.size_bytes()),
            changed_bytes: 0,
            changed_ranges: 0,
            name,
        };
        let mut changed = |extent: Extent| {
            found.changed_bytes += extent.length();
            found.changed_ranges += 1;
            monitor.count(Counter::ChangedBytes, extent.length());
            on_range(&found.name, extent);
        };
        match (a, b) {
            (Some(a), Some(b)) => {
                let grid = if a.grid.size_bytes() >= b.grid.size_bytes() { a.grid } else { b.grid };
                for range in map::diff(&reader(a), &reader(b))? {
                    if monitor.cancelled() {
                        return Err(JobError::Cancelled);
                    }
                    changed(grid.range_extent(range?));
                }
            }
            (Some(only), None) | (None, Some(only)) => changed(Extent::between(0, only.grid.size_bytes())),
            (None, None) => {}
        }
        disks.push(found);
    }
    Ok(disks)
}

/// Disks of the same name side by side.
fn pairs<'m>(from: &'m Manifest, to: &'m Manifest) -> Vec<(Option<&'m DiskRecord>, Option<&'m DiskRecord>)> {
    fn named<'m>(disks: &'m [DiskRecord], name: &MachineName) -> Option<&'m DiskRecord> {
        disks.iter().find(|disk| disk.name == *name)
    }
    let first = from.disks.iter().map(|disk| (Some(disk), named(&to.disks, &disk.name)));
    let rest = to.disks.iter().filter(|disk| named(&from.disks, &disk.name).is_none()).map(|disk| (None, Some(disk)));
    first.chain(rest).collect()
}

#[cfg(test)]
mod tests;
