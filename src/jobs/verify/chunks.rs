//! The chunks of one span of a map: read, hashed, compared; each recipe once.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;

use super::Slots;
use crate::catalogue::map::Span;
use crate::format::map::{ChunkEntry, Run};
use crate::monitor::{Counter, Monitor};
use crate::store::PackReader;
use crate::units::{ChunkHash, ChunkIndex, ChunkRange, Grid};

/// Recipes remembered as whole: bounds the memory at about 0.5 GiB, for 4 TiB of unique chunks. Past it chunks are read again.
const REMEMBERED_RECIPES: usize = 16 << 20;

/// A walk over many maps that remembers what it has seen.
pub(super) struct Walk {
    packs: Arc<PackReader>,
    /// Of 2^32 chunks, so many are read.
    share: u64,
    seed: u64,
    whole: HashSet<[u8; 16]>,
    damaged: Vec<Slots>,
    read_bytes: u64,
}

/// A data chunk to look at.
struct Candidate<'a> {
    index: u64,
    hash: &'a ChunkHash,
    runs: &'a [Run],
    recipe: [u8; 16],
}

/// Why a chunk is damaged, and which slots are.
struct Damage {
    reason: String,
    slots: Vec<Slots>,
}

impl Walk {
    pub(super) fn new(packs: Arc<PackReader>, sample_percent: f64, seed: u64) -> Self {
        let share = ((sample_percent.clamp(0.0, 100.0) / 100.0) * 2_f64.powi(32)) as u64;
        Self { packs, share, seed, whole: HashSet::new(), damaged: Vec::new(), read_bytes: 0 }
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    pub(super) fn damaged_slots(&self) -> &[Slots] {
        &self.damaged
    }

    /// The damaged chunks of a span, ascending, each with what is wrong.
    pub(super) fn span(&mut self, span: &Span, grid: &Grid, monitor: &dyn Monitor) -> Vec<(ChunkRange, String)> {
        let Span::Leaf(leaf) = span else { return Vec::new() };
        let entries = (leaf.chunks().start..).zip(leaf.entries());
        let candidates: Vec<Candidate<'_>> = entries.filter_map(|(index, entry)| self.candidate(index, entry)).collect();
        let examine = |candidate: &Candidate<'_>| {
            let length = grid.chunk_extent(ChunkIndex(candidate.index)).length();
            monitor.count(Counter::ReadBytes, length);
            (length, examine(&self.packs, candidate, length as usize))
        };
        let results: Vec<_> = candidates.par_iter().map(examine).collect();
        let mut failed = Vec::new();
        for (candidate, (length, result)) in candidates.iter().zip(results) {
            self.read_bytes += length;
            match result {
                Ok(()) if self.whole.len() < REMEMBERED_RECIPES => drop(self.whole.insert(candidate.recipe)),
                Ok(()) => {}
                Err(damage) => {
                    self.damaged.extend(damage.slots);
                    failed.push((ChunkRange { start: candidate.index, end: candidate.index + 1 }, damage.reason));
                }
            }
        }
        failed
    }

    /// The chunk, if it is data, in the sample, and not known to be whole.
    fn candidate<'a>(&self, index: u64, entry: &'a ChunkEntry) -> Option<Candidate<'a>> {
        let ChunkEntry::Data { hash, runs } = entry else { return None };
        let recipe = recipe(hash, runs);
        let [a, b, c, d, ..] = recipe;
        let drawn = u64::from(u32::from_le_bytes([a, b, c, d]) ^ self.seed as u32);
        (drawn < self.share && !self.whole.contains(&recipe)).then_some(Candidate { index, hash, runs, recipe })
    }
}

/// What a recipe is, in 16 bytes.
fn recipe(hash: &ChunkHash, runs: &[Run]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hash.as_bytes());
    for run in runs {
        hasher.update(&run.blocks().to_le_bytes());
        if let Run::Blocks { address, .. } = run {
            hasher.update(address.pack.as_bytes()).update(&address.slot.to_le_bytes());
        }
    }
    let mut recipe = [0; 16];
    hasher.finalize_xof().fill(&mut recipe);
    recipe
}

fn examine(packs: &PackReader, chunk: &Candidate<'_>, length: usize) -> Result<(), Damage> {
    let mut bytes = vec![0; length];
    match packs.read_runs(chunk.runs, &mut bytes) {
        Err(error) => Err(Damage { reason: error.to_string(), slots: unreadable(packs, chunk.runs) }),
        Ok(()) if blake3::hash(&bytes).as_bytes() == chunk.hash.as_bytes() => Ok(()),
        Ok(()) => {
            let blocks = chunk.runs.iter().filter_map(|run| match *run {
                Run::Zero { .. } => None,
                Run::Blocks { address, blocks } => Some((address, u32::from(blocks))),
            });
            Err(Damage { reason: "its bytes do not have the hash that its map names".to_owned(), slots: blocks.collect() })
        }
    }
}

/// The runs of a chunk that cannot be read.
fn unreadable(packs: &PackReader, runs: &[Run]) -> Vec<Slots> {
    let readable =
        |run: &Run| packs.read_runs(std::slice::from_ref(run), &mut vec![0; usize::from(run.blocks()) * crate::units::BLOCK_BYTES]);
    let failed = runs.iter().filter(|run| readable(run).is_err());
    let slots = failed.filter_map(|run| if let Run::Blocks { address, blocks } = *run { Some((address, u32::from(blocks))) } else { None });
    slots.collect()
}
