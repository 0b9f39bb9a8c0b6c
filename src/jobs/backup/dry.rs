//! A dry run: the scan without the session. It takes no lease and writes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use super::scan::DiskScan;
use crate::format::map::Child;
use crate::format::point::{DiskRecord, DiskStatistics};
use crate::jobs::JobError;
use crate::monitor::Counter;
use crate::scan::{self, BlockState, Found, Known, ScanChunk, Sink};
use crate::store::{Known as KnownBlocks, PackReader, Vault};
use crate::units::{BLOCK_BYTES, ChunkRange, ContentId, Fingerprint};

/// New blocks remembered, so that a block that comes twice counts once: bounds the memory at about 50 MiB. Past it all count.
const REMEMBERED_BLOCKS: usize = 1 << 20;

/// Counts.
#[derive(Default)]
struct Counts {
    statistics: DiskStatistics,
    seen: HashSet<Fingerprint>,
}

impl Sink for Counts {
    type Error = JobError;

    fn hole(&mut self, _: ChunkRange) -> Result<(), JobError> {
        Ok(())
    }

    fn keep(&mut self, _: ChunkRange) -> Result<(), JobError> {
        Ok(())
    }

    fn chunk(&mut self, chunk: &ScanChunk, found: Found, _: &[u8]) -> Result<(), JobError> {
        self.statistics.read_bytes += chunk.extent.length();
        match found {
            Found::Unchanged => return Ok(()),
            Found::Zero if chunk.known == Known::Nothing => return Ok(()),
            Found::Zero => {}
            Found::Data { blocks, .. } => {
                for block in blocks {
                    let BlockState::New(fingerprint) = block else { continue };
                    let new = self.seen.len() >= REMEMBERED_BLOCKS || self.seen.insert(fingerprint);
                    self.statistics.new_bytes += if new { BLOCK_BYTES as u64 } else { 0 };
                }
            }
        }
        self.statistics.changed_bytes += chunk.extent.length();
        Ok(())
    }
}

/// Scans a disk and tells what a backup would read, find changed, and store.
pub(super) fn run(mut scan: DiskScan<'_>, vault: &Arc<Vault>, packs: &Arc<PackReader>) -> Result<DiskRecord, JobError> {
    let known = KnownBlocks::for_dry_run(vault, packs)?;
    let data = scan.disk.source.data_extents()?;
    scan.following_hints(|scan, hints| {
        let (plan, sampled) = scan.plan(&data, hints, &known)?;
        scan.monitor.count(Counter::PlannedBytes, scan::planned_read_bytes(&scan.grid, &plan));
        let mut counts = Counts::default();
        scan.scan(scan.steps(plan, &known), &mut counts, &known)?;
        Ok(scan.record(Child::Hole, ContentId([0; 32]), scan.changes(hints, sampled), counts.statistics))
    })
}
