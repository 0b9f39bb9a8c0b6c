//! What a scan will do with each chunk of a disk, decided before anything is read. Pure: extents in, ranges out.
//!
//! The cost follows the number of extents, not the size of the disk: a range of a million holes is one step.

use crate::units::{ChunkRange, Extent, ExtentSet, Grid};

/// What to do with a range of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// The source says that nothing is allocated: not read, kept as a hole.
    Hole,
    /// Hints say that nothing changed: not read, kept as in the base.
    Keep,
    /// Read, hash, compare with the base.
    Read,
    /// Hints say that nothing changed; read all the same, to see whether they are to be believed.
    Sample,
}

/// One step of a plan. Steps are ascending, do not overlap, and cover the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanStep {
    /// The chunks.
    pub chunks: ChunkRange,
    /// What to do with them.
    pub kind: PlanKind,
}

/// What hints say, and how far they are believed.
#[derive(Debug, Clone, Copy)]
pub struct HintPlan<'a> {
    /// Bytes that may differ from the base.
    pub changed: &'a ExtentSet,
    /// Size of the disk in the base. Chunks past its last whole chunk are never kept.
    pub base_bytes: u64,
    /// Of how many kept chunks that the source has data for one is read all the same, at least one of all; 0 for none.
    pub sample_every: u64,
    /// Which of them: a number drawn anew for each backup, so that in time all are looked at.
    pub sample_seed: u64,
}

/// Plans a disk: `data` is what the source has allocated; without `hints` all of it is read.
pub fn plan(grid: &Grid, data: &ExtentSet, hints: Option<&HintPlan<'_>>) -> Vec<PlanStep> {
    let Some(hints) = hints else {
        let mut all = Steps::default();
        all.allocated(grid, data, ChunkRange { start: 0, end: grid.chunk_count() });
        return all.steps;
    };
    let whole = follow(grid, data, &HintPlan { sample_every: 0, ..*hints });
    if hints.sample_every == 0 || whole.kept == 0 {
        return whole.steps;
    }
    follow(grid, data, &HintPlan { sample_every: hints.sample_every.min(whole.kept), ..*hints }).steps
}

fn follow(grid: &Grid, data: &ExtentSet, hints: &HintPlan<'_>) -> Steps {
    let mut steps = Steps::default();
    let end = grid.chunk_count();
    // A chunk that the end of the disk cuts differently than in the base is looked at, whatever hints say.
    let comparable =
        if hints.base_bytes == grid.size_bytes() { end } else { grid.chunk_at(hints.base_bytes.min(grid.size_bytes())).0.min(end) };
    let mut position = 0;
    let whole = Extent::between(0, grid.range_extent(ChunkRange { start: 0, end: comparable }).end());
    for changed in hints.changed.within(whole) {
        let touched = grid.chunks_touching(changed);
        let start = touched.start.max(position);
        if start >= touched.end {
            continue;
        }
        steps.kept(grid, data, ChunkRange { start: position, end: start }, hints);
        steps.allocated(grid, data, ChunkRange { start, end: touched.end.min(comparable) });
        position = touched.end.min(comparable);
    }
    steps.kept(grid, data, ChunkRange { start: position, end: comparable }, hints);
    steps.allocated(grid, data, ChunkRange { start: comparable.max(position), end });
    steps
}

/// A plan under way; neighbours of one kind become one.
#[derive(Default)]
struct Steps {
    steps: Vec<PlanStep>,
    /// Chunks so far that hints keep and the source has data for.
    kept: u64,
}

impl Steps {
    fn push(&mut self, chunks: ChunkRange, kind: PlanKind) {
        if chunks.start >= chunks.end {
            return;
        }
        match self.steps.last_mut() {
            Some(last) if last.kind == kind && last.chunks.end == chunks.start => last.chunks.end = chunks.end,
            _ => self.steps.push(PlanStep { chunks, kind }),
        }
    }

    /// Reads what is allocated of a range; the rest is holes.
    fn allocated(&mut self, grid: &Grid, data: &ExtentSet, range: ChunkRange) {
        if range.start >= range.end {
            return;
        }
        let mut position = range.start;
        for extent in data.within(grid.range_extent(range)) {
            let touched = grid.chunks_touching(extent);
            let start = touched.start.max(position);
            self.push(ChunkRange { start: position, end: start }, PlanKind::Hole);
            self.push(ChunkRange { start, end: touched.end }, PlanKind::Read);
            position = position.max(touched.end);
        }
        self.push(ChunkRange { start: position, end: range.end }, PlanKind::Hole);
    }

    /// Keeps a range as it is in the base, but for samples of what is allocated.
    fn kept(&mut self, grid: &Grid, data: &ExtentSet, range: ChunkRange, hints: &HintPlan<'_>) {
        if range.start >= range.end {
            return;
        }
        let mut position = range.start;
        for extent in data.within(grid.range_extent(range)) {
            let touched = grid.chunks_touching(extent);
            let start = touched.start.max(position);
            self.push(ChunkRange { start: position, end: start }, PlanKind::Keep);
            self.sampled(ChunkRange { start, end: touched.end }, hints);
            position = position.max(touched.end);
        }
        self.push(ChunkRange { start: position, end: range.end }, PlanKind::Keep);
    }

    /// Keeps an allocated range, but for one chunk in each stretch of `sample_every` chunks kept.
    fn sampled(&mut self, range: ChunkRange, hints: &HintPlan<'_>) {
        let mut position = range.start;
        while hints.sample_every > 0 && position < range.end {
            let stretch = self.kept / hints.sample_every;
            let pick = stretch * hints.sample_every + spread(hints.sample_seed ^ stretch) % hints.sample_every;
            let stretch_end = (position + (stretch + 1) * hints.sample_every - self.kept).min(range.end);
            if let Some(pick) = pick.checked_sub(self.kept).map(|ahead| position + ahead).filter(|pick| *pick < stretch_end) {
                self.push(ChunkRange { start: position, end: pick }, PlanKind::Keep);
                self.push(ChunkRange { start: pick, end: pick + 1 }, PlanKind::Sample);
                self.push(ChunkRange { start: pick + 1, end: stretch_end }, PlanKind::Keep);
            } else {
                self.push(ChunkRange { start: position, end: stretch_end }, PlanKind::Keep);
            }
            self.kept += stretch_end - position;
            position = stretch_end;
        }
        self.kept += range.end.saturating_sub(position);
        self.push(ChunkRange { start: position, end: range.end }, PlanKind::Keep);
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): spreads a counter over all 64 bits.
fn spread(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Bytes that a plan reads.
pub fn planned_read_bytes(grid: &Grid, steps: &[PlanStep]) -> u64 {
    let read = steps.iter().filter(|step| matches!(step.kind, PlanKind::Read | PlanKind::Sample));
    read.map(|step| grid.range_extent(step.chunks).length()).sum()
}
