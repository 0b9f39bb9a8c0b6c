//! What is to be looked at, in the order of the disk: batches of a map's chunks, and what a target has where the disk has nothing.
//!
//! Walks the map and asks the target for holes; reads no chunk and writes nothing. Ranges without data on either side cost nothing,
//! however large they are.

use super::RestoreError;
use super::target::Target;
use crate::catalogue::map::{LeafSpan, MapReader, Span, Spans};
use crate::format::map::ChunkEntry;
use crate::units::{CHUNK_BYTES, ChunkIndex, ChunkRange, Extent, Grid};

/// Chunks that a worker takes at a time.
const BATCH_CHUNKS: u64 = 16;
/// Their bytes: 4 MiB, a few frames.
pub(super) const BATCH_BYTES: u64 = BATCH_CHUNKS * CHUNK_BYTES as u64;

/// Chunks of one leaf, for one worker.
pub(super) struct Batch {
    leaf: LeafSpan,
    chunks: ChunkRange,
}

impl Batch {
    pub(super) fn chunks(&self) -> ChunkRange {
        self.chunks
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (ChunkIndex, &ChunkEntry)> {
        let all = (self.leaf.chunks().start..).zip(self.leaf.entries());
        all.filter(|(index, _)| (self.chunks.start..self.chunks.end).contains(index)).map(|(index, entry)| (ChunkIndex(index), entry))
    }
}

/// One step of a plan.
pub(super) enum Step {
    /// Chunks with and without data.
    Chunks(Batch),
    /// Bytes that are zeros on the disk, but maybe not in the target.
    Zeros(Extent),
    /// Bytes that are zeros on both sides.
    Nothing(Extent),
}

/// Gives the steps of ascending ranges of a map.
pub(super) struct Plan<'m, 'a, R> {
    map: &'m MapReader<'a>,
    target: &'m dyn Target,
    ranges: R,
    spans: Option<Spans<'a>>,
    leaf: Option<Batch>,
    absent: Extent,
}

impl<'m, 'a, R: Iterator<Item = ChunkRange>> Plan<'m, 'a, R> {
    pub(super) fn new(map: &'m MapReader<'a>, target: &'m dyn Target, ranges: R) -> Self {
        Self { map, target, ranges, spans: None, leaf: None, absent: Extent::between(0, 0) }
    }

    fn grid(&self) -> &Grid {
        self.map.grid()
    }

    /// The next batch of the leaf under way.
    fn next_of_leaf(&mut self) -> Option<Step> {
        let Batch { leaf, chunks } = self.leaf.take()?;
        // Batches start on a grid of their own, so that they are whole whatever the range starts with.
        let end = ((chunks.start / BATCH_CHUNKS + 1) * BATCH_CHUNKS).min(chunks.end);
        if end < chunks.end {
            self.leaf = Some(Batch { leaf: leaf.clone(), chunks: ChunkRange { start: end, end: chunks.end } });
        }
        Some(Step::Chunks(Batch { leaf, chunks: ChunkRange { start: chunks.start, end } }))
    }

    /// The next part of a range that the disk has no data in.
    fn next_of_absent(&mut self) -> Result<Step, RestoreError> {
        let range = self.absent;
        let found = self.target.next_data(range).map_err(|source| RestoreError::target("looking for data in", range, source))?;
        let Some(data) = found else {
            self.absent = Extent::between(range.end(), range.end());
            return Ok(Step::Nothing(range));
        };
        // From the start of the chunk where the data is, so that what is written are whole chunks.
        let start = self.grid().chunk_extent(self.grid().chunk_at(data.offset())).offset().max(range.offset());
        if start > range.offset() {
            self.absent = Extent::between(start, range.end());
            return Ok(Step::Nothing(Extent::between(range.offset(), start)));
        }
        let last = self.grid().chunk_extent(self.grid().chunk_at(data.end() - 1)).end();
        let end = last.min(start.saturating_add(BATCH_BYTES)).min(range.end());
        self.absent = Extent::between(end, range.end());
        Ok(Step::Zeros(Extent::between(start, end)))
    }

    /// Takes the next span of the map, or the next range.
    fn advance(&mut self) -> Option<Result<(), RestoreError>> {
        let grid = *self.grid();
        let Some(span) = self.spans.as_mut().and_then(Iterator::next) else {
            self.spans = Some(self.map.spans(self.ranges.next()?));
            return Some(Ok(()));
        };
        Some(match span {
            Ok(Span::Absent { chunks, .. }) => {
                self.absent = grid.range_extent(chunks);
                Ok(())
            }
            Ok(Span::Leaf(leaf)) => {
                self.leaf = Some(Batch { chunks: leaf.chunks(), leaf });
                Ok(())
            }
            Err(damaged) => Err(RestoreError::Map { range: grid.range_extent(damaged.chunks), source: damaged.error }),
        })
    }
}

impl<R: Iterator<Item = ChunkRange>> Iterator for Plan<'_, '_, R> {
    type Item = Result<Step, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.next_of_leaf() {
                return Some(Ok(step));
            }
            if !self.absent.is_empty() {
                return Some(self.next_of_absent());
            }
            if let Err(error) = self.advance()? {
                return Some(Err(error));
            }
        }
    }
}
