//! What the base refers to and the vault has no more: found before a new point refers to it too, so that the disk's own bytes take its place.

use crate::catalogue::map::{MapReader, Span};
use crate::format::map::ChunkEntry;
use crate::scan::{PlanKind, PlanStep};
use crate::store::Known;
use crate::units::ChunkRange;

/// Whether a chunk of the base refers to blocks that are gone or damaged.
pub(super) fn is_lost(entry: &ChunkEntry, blocks: &Known) -> bool {
    matches!(entry, ChunkEntry::Data { runs, .. } if !blocks.has_all(runs))
}

/// A plan in which chunks that hints call unchanged are read all the same where what the base has of them is lost. It reads the base's map
/// of all that is kept, so it is only for vaults in which verification has found damage.
pub(in crate::jobs) fn read_lost(plan: Vec<PlanStep>, base: &MapReader<'_>, blocks: &Known) -> Vec<PlanStep> {
    let mut steps = Vec::with_capacity(plan.len());
    for step in plan {
        match step.kind {
            PlanKind::Keep => split(step.chunks, base, blocks, &mut steps),
            PlanKind::Hole | PlanKind::Read | PlanKind::Sample => steps.push(step),
        }
    }
    steps
}

fn split(kept: ChunkRange, base: &MapReader<'_>, blocks: &Known, steps: &mut Vec<PlanStep>) {
    for span in base.spans(kept) {
        match span {
            Err(damaged) => add(steps, PlanKind::Read, damaged.chunks),
            Ok(Span::Absent { chunks, .. }) => add(steps, PlanKind::Keep, chunks),
            Ok(Span::Leaf(leaf)) => {
                for (chunk, entry) in (leaf.chunks().start..).zip(leaf.entries()) {
                    let kind = if is_lost(entry, blocks) { PlanKind::Read } else { PlanKind::Keep };
                    add(steps, kind, ChunkRange { start: chunk, end: chunk + 1 });
                }
            }
        }
    }
}

/// Adds chunks to the last step where they continue it.
fn add(steps: &mut Vec<PlanStep>, kind: PlanKind, chunks: ChunkRange) {
    match steps.last_mut() {
        Some(last) if last.kind == kind && last.chunks.end == chunks.start => last.chunks.end = chunks.end,
        _ => steps.push(PlanStep { kind, chunks }),
    }
}
