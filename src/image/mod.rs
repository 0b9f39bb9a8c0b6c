//! A recovery point's disk as a device: read at any offset by many threads at once, decoding no more frames than the bytes lie in, and
//! reading ahead where somebody reads on.
//!
//! Memory: decoded frames in the [`PackReader`]'s cache, decoded map nodes in [`CachedNodes`], nothing that grows with the disk.

mod ahead;
mod error;
mod nodes;
mod runs;
pub use error::ImageError;
pub use nodes::CachedNodes;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::catalogue::CatalogueError;
use crate::catalogue::map::{MapReader, NodeStore, Span};
use crate::format::map::{Child, ChunkEntry, Run};
use crate::io::ReadAt;
use crate::store::{FramePlace, PackReader};
use crate::units::{BLOCK_BYTES, ChunkIndex, ChunkRange, Extent, Grid};
use ahead::ReadAhead;

/// Reads longer than this are shared out to all cores. Not those of a mount, a megabyte at most, of which several are under way.
const PARALLEL_BYTES: usize = 2 << 20;

/// Called with every range that could not be read, and why.
pub type OnDamage = dyn Fn(Extent, &ImageError) + Send + Sync;

/// A disk of a recovery point.
#[derive(Clone)]
pub struct Image {
    shared: Arc<Shared>,
}

struct Shared {
    map: MapReader<'static>,
    packs: Arc<PackReader>,
    ahead: ReadAhead,
    allocated: OnceLock<u64>,
    on_damage: Option<Arc<OnDamage>>,
}

/// What bytes of a disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRun {
    /// How many are of this kind; at least 1 before the end of the disk.
    pub length_bytes: u64,
    /// Whether they are stored. Else they are zeros.
    pub data: bool,
}

impl Image {
    /// The disk whose map has this root. Reads nothing yet. `on_damage` hears of every failure to read, beside the reader itself.
    pub fn new(nodes: Arc<dyn NodeStore>, packs: Arc<PackReader>, root: Child, grid: Grid, on_damage: Option<Arc<OnDamage>>) -> Self {
        let map = MapReader::new(nodes, root, grid);
        let shared = Shared { map, packs, ahead: ReadAhead::default(), allocated: OnceLock::new(), on_damage };
        Self { shared: Arc::new(shared) }
    }

    /// What the bytes from `offset_bytes` on are, up to where that changes or a leaf of the map (64 MiB) ends. Reads no block. Past
    /// the end of the disk: nothing, 0 bytes long.
    ///
    /// # Errors
    /// [`ImageError::Map`] where the map cannot be read there.
    pub fn run_at(&self, offset_bytes: u64) -> Result<ImageRun, ImageError> {
        self.shared.run_at(offset_bytes)
    }

    /// Bytes of the disk that are stored: those of runs that are not zeros. Walks the whole map the first time.
    ///
    /// # Errors
    /// [`ImageError::Map`] where a part of the map cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, ImageError> {
        if let Some(known) = self.shared.allocated.get() {
            return Ok(*known);
        }
        let mut sum = 0;
        for span in self.shared.map.all_spans() {
            let Span::Leaf(leaf) = span.map_err(|damaged| ImageError::Map(damaged.error))? else { continue };
            let blocks: u64 = leaf.entries().iter().map(runs::data_blocks).sum();
            sum += blocks * BLOCK_BYTES as u64;
        }
        let sum = sum.min(self.size_bytes());
        Ok(*self.shared.allocated.get_or_init(|| sum))
    }
}

impl Image {
    /// Adds to `hasher` what decides the bytes of a range: where its blocks were born. Two ranges of one length that add the same are equal;
    /// the opposite does not follow. Reads no block.
    ///
    /// # Errors
    /// [`ImageError::Map`] where the map cannot be read there.
    pub fn add_identity(&self, range: Extent, hasher: &mut blake3::Hasher) -> Result<(), ImageError> {
        let grid = self.shared.map.grid();
        for chunk in chunks_of(grid.chunks_touching(range)) {
            let Some(part) = grid.chunk_extent(chunk).intersection(&range) else { continue };
            let entry = self.shared.map.entry(chunk).map_err(ImageError::Map)?;
            // Within a chunk, so the cast cannot cut.
            let start = (part.offset() - grid.chunk_extent(chunk).offset()) as usize;
            runs::add_identity(&entry, start..start + part.length() as usize, hasher);
        }
        Ok(())
    }
}

impl ReadAt for Image {
    fn size_bytes(&self) -> u64 {
        self.shared.map.grid().size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = Extent::new(offset_bytes, buffer.len() as u64).filter(|range| range.end() <= self.size_bytes());
        let range = range.ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(soon) = self.shared.ahead.advance(range, self.size_bytes()) {
            self.read_ahead(soon);
        }
        self.shared.read(range, buffer).map_err(io::Error::from)
    }
}

impl Image {
    /// Has the frames of a range decoded by whichever cores are free. Failures are told to whoever reads there.
    fn read_ahead(&self, soon: Extent) {
        let shared = Arc::clone(&self.shared);
        rayon::spawn_fifo(move || {
            for place in shared.frames(soon) {
                let shared = Arc::clone(&shared);
                // One frame a task: a task for a frame that another one decodes would only wait.
                rayon::spawn_fifo(move || drop(shared.packs.frame(place)));
            }
        });
    }
}

fn chunks_of(range: ChunkRange) -> impl Iterator<Item = ChunkIndex> {
    (range.start..range.end).map(ChunkIndex)
}

impl Shared {
    fn read(&self, range: Extent, mut buffer: &mut [u8]) -> Result<(), ImageError> {
        let grid = self.map.grid();
        let mut parts = Vec::new();
        for chunk in chunks_of(grid.chunks_touching(range)) {
            let Some(part) = grid.chunk_extent(chunk).intersection(&range) else { continue };
            // A chunk at most, so the cast cannot cut.
            let (head, rest) = std::mem::take(&mut buffer).split_at_mut(part.length() as usize);
            parts.push((chunk, part, head));
            buffer = rest;
        }
        if range.length() as usize > PARALLEL_BYTES {
            return parts.into_par_iter().try_for_each(|(chunk, part, buffer)| self.told(part, self.read_part(chunk, part, buffer)));
        }
        parts.into_iter().try_for_each(|(chunk, part, buffer)| self.told(part, self.read_part(chunk, part, buffer)))
    }

    fn told(&self, part: Extent, result: Result<(), ImageError>) -> Result<(), ImageError> {
        if let (Err(error), Some(on_damage)) = (&result, &self.on_damage) {
            on_damage(part, error);
        }
        result
    }

    /// Reads a part of one chunk.
    fn read_part(&self, chunk: ChunkIndex, part: Extent, buffer: &mut [u8]) -> Result<(), ImageError> {
        let entry = self.map.entry(chunk).map_err(ImageError::Map)?;
        let ChunkEntry::Data { runs, .. } = entry else {
            buffer.fill(0);
            return Ok(());
        };
        // Within a chunk, so the cast cannot cut.
        let start = (part.offset() - self.map.grid().chunk_extent(chunk).offset()) as usize;
        let read = |runs: &[Run], blocks: &mut [u8]| self.packs.read_runs(runs, blocks);
        runs::read_range(&runs, start, buffer, read).map_err(|source| ImageError::Blocks { range: part, source })
    }

    /// The frames that a range lies in, each once, in the order of the disk; without those of chunks that cannot be found.
    fn frames(&self, range: Extent) -> Vec<FramePlace> {
        let mut places = Vec::new();
        for chunk in chunks_of(self.map.grid().chunks_touching(range)) {
            let Ok(ChunkEntry::Data { runs, .. }) = self.map.entry(chunk) else { continue };
            for run in runs {
                let Run::Blocks { address, blocks } = run else { continue };
                let pieces = self.packs.locate(address, u32::from(blocks)).unwrap_or_default();
                places.extend(pieces.into_iter().map(|piece| piece.place));
            }
        }
        let mut seen = HashSet::new();
        places.retain(|place| seen.insert(*place));
        places
    }

    fn run_at(&self, offset_bytes: u64) -> Result<ImageRun, ImageError> {
        let grid = self.map.grid();
        let size_bytes = grid.size_bytes();
        if offset_bytes >= size_bytes {
            return Ok(ImageRun { length_bytes: 0, data: false });
        }
        let first = grid.chunk_at(offset_bytes);
        let span = self.map.spans(ChunkRange { start: first.0, end: grid.chunk_count() }).next();
        let leaf = match span.transpose().map_err(|damaged| ImageError::Map(CatalogueError::from(damaged)))? {
            Some(Span::Leaf(leaf)) => leaf,
            Some(Span::Absent { chunks, .. }) => {
                let end = grid.range_extent(chunks).end().min(size_bytes);
                return Ok(ImageRun { length_bytes: end - offset_bytes, data: false });
            }
            None => return Ok(ImageRun { length_bytes: size_bytes - offset_bytes, data: false }),
        };
        let entries = chunks_of(leaf.chunks()).zip(leaf.entries()).map(|(chunk, entry)| (grid.chunk_extent(chunk), entry));
        Ok(runs::kind_from(offset_bytes, entries))
    }
}
