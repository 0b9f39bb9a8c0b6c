//! Reading a map: the spans of a range in order, and single chunks at random.

use std::sync::{Arc, Mutex, PoisonError};

use super::cursor::{Cursor, Failed, Found, leaf_entries};
use super::{Absent, NodeStore};
use crate::catalogue::CatalogueError;
use crate::format::map::{Child, ChunkEntry, Node};
use crate::units::{ChunkIndex, ChunkRange, Grid};

/// Walkers kept for the next access: as many threads read at once without re-reading each other's nodes.
const IDLE_CURSORS: usize = 8;

/// Walkers that keep the path to the chunk they last found.
type Idle<'a> = Mutex<Vec<Cursor<'a>>>;

/// A map of a disk, read by many threads at once.
pub struct MapReader<'a> {
    store: Arc<dyn NodeStore + 'a>,
    root: Child,
    grid: Grid,
    idle: Arc<Idle<'a>>,
}

/// Chunks of a map that lie together.
#[derive(Debug, Clone)]
pub enum Span {
    /// Chunks of one kind without data. Neighbouring subtrees of one kind are one span.
    Absent {
        /// Why they are not there.
        kind: Absent,
        /// Which.
        chunks: ChunkRange,
    },
    /// Chunks of one leaf: data, and single chunks without.
    Leaf(LeafSpan),
}

impl Span {
    /// Which chunks.
    pub fn chunks(&self) -> ChunkRange {
        match self {
            Self::Absent { chunks, .. } => *chunks,
            Self::Leaf(leaf) => leaf.chunks,
        }
    }
}

/// Entries of one leaf, shared with its reader.
#[derive(Debug, Clone)]
pub struct LeafSpan {
    chunks: ChunkRange,
    /// Entries of the leaf before the first of this span.
    skip: usize,
    leaf: Arc<Node>,
}

impl LeafSpan {
    /// Which chunks.
    pub fn chunks(&self) -> ChunkRange {
        self.chunks
    }

    /// One entry for each of [`LeafSpan::chunks`].
    pub fn entries(&self) -> &[ChunkEntry] {
        // At most 256, so the cast cannot cut.
        let count = (self.chunks.end - self.chunks.start) as usize;
        leaf_entries(&self.leaf).get(self.skip..self.skip + count).unwrap_or_default()
    }
}

/// Chunks that cannot be known because a node above them cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("chunks {} to {}: {error}", .chunks.start, .chunks.end)]
pub struct DamagedSpan {
    /// Which chunks.
    pub chunks: ChunkRange,
    /// Why.
    #[source]
    pub error: CatalogueError,
}

impl From<DamagedSpan> for CatalogueError {
    fn from(damaged: DamagedSpan) -> Self {
        damaged.error
    }
}

impl<'a> MapReader<'a> {
    /// A map by its root. Reads nothing yet.
    pub fn new(store: Arc<dyn NodeStore + 'a>, root: Child, grid: Grid) -> Self {
        Self { store, root, grid, idle: Arc::default() }
    }

    /// The disk's size and grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The root, as the recovery point names it.
    pub fn root(&self) -> Child {
        self.root
    }

    /// A walker of this map with an empty path.
    pub(super) fn cursor(&self) -> Cursor<'a> {
        Cursor::new(Arc::clone(&self.store), self.root, &self.grid)
    }

    /// What the map knows of one chunk; a chunk past the end of the disk is a hole. Reads at most one node a level, and none where
    /// one of the last few calls was for the same leaf.
    ///
    /// # Errors
    /// [`CatalogueError::NodeUnreadable`], [`CatalogueError::NodeDamaged`].
    pub fn entry(&self, chunk: ChunkIndex) -> Result<ChunkEntry, CatalogueError> {
        if chunk.0 >= self.grid.chunk_count() {
            return Ok(ChunkEntry::Hole);
        }
        let mut cursor = self.take_cursor();
        cursor.stay();
        let entry = match cursor.find(chunk.0) {
            Ok(Found::Absent(kind, _)) => Ok(kind.entry()),
            Ok(Found::Leaf(leaf, chunks)) => {
                // At most 255, so the cast cannot cut; the cursor checked the leaf's length.
                let nth = (chunk.0 - chunks.start) as usize;
                Ok(leaf_entries(&leaf).get(nth).cloned().unwrap_or(ChunkEntry::Hole))
            }
            Err(failed) => Err(failed.error),
        };
        put_cursor(&self.idle, cursor);
        entry
    }

    /// The spans of `chunks` (cut to the disk) in ascending order. Holds one node a level; announces the nodes ahead to the
    /// store. A walk that goes on where another ended does not read the path to it again.
    /// Chunks below an unreadable node come as one error, and the walk goes on after them.
    pub fn spans(&self, chunks: ChunkRange) -> Spans<'a> {
        let end = chunks.end.min(self.grid.chunk_count());
        let mut cursor = self.take_cursor();
        cursor.walk_ahead(ChunkRange { start: chunks.start, end });
        Spans { cursor: Some(cursor), idle: Arc::clone(&self.idle), position: chunks.start, end, looked_ahead: None }
    }

    /// All spans of the disk: [`MapReader::spans`].
    pub fn all_spans(&self) -> Spans<'a> {
        self.spans(ChunkRange { start: 0, end: self.grid.chunk_count() })
    }

    fn take_cursor(&self) -> Cursor<'a> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.cursor())
    }
}

fn put_cursor<'a>(idle: &Idle<'a>, cursor: Cursor<'a>) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < IDLE_CURSORS {
        idle.push(cursor);
    }
}

/// Iterates over the spans of a map: [`MapReader::spans`].
pub struct Spans<'a> {
    /// Always there; taken when the walk is dropped.
    cursor: Option<Cursor<'a>>,
    idle: Arc<Idle<'a>>,
    /// The next chunk to find.
    position: u64,
    end: u64,
    /// What was found while an absent span was drawn out as far as it goes.
    looked_ahead: Option<Result<Span, DamagedSpan>>,
}

impl Spans<'_> {
    /// The leaf, the absent subtree or the unreadable node at the position, and moves behind it.
    fn step(&mut self) -> Option<Result<Span, DamagedSpan>> {
        if self.position >= self.end {
            return None;
        }
        let start = self.position;
        let found = self.cursor.as_mut()?.find(start);
        let cut = |chunks: ChunkRange| ChunkRange { start, end: chunks.end.min(self.end) };
        let (span, chunks) = match found {
            Ok(Found::Absent(kind, chunks)) => {
                let chunks = cut(chunks);
                (Ok(Span::Absent { kind, chunks }), chunks)
            }
            Ok(Found::Leaf(leaf, whole)) => {
                let chunks = cut(whole);
                // At most 255, so the cast cannot cut.
                let skip = (start - whole.start) as usize;
                (Ok(Span::Leaf(LeafSpan { chunks, skip, leaf })), chunks)
            }
            Err(Failed { chunks, error }) => {
                let chunks = cut(chunks);
                (Err(DamagedSpan { chunks, error }), chunks)
            }
        };
        // An empty range would not end; a found one always holds its chunk.
        self.position = chunks.end.max(start + 1);
        Some(span)
    }
}

impl Drop for Spans<'_> {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            put_cursor(&self.idle, cursor);
        }
    }
}

impl Iterator for Spans<'_> {
    type Item = Result<Span, DamagedSpan>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.looked_ahead.take().or_else(|| self.step())?;
        let Ok(Span::Absent { kind, mut chunks }) = first else {
            return Some(first);
        };
        loop {
            match self.step() {
                Some(Ok(Span::Absent { kind: next, chunks: more })) if next == kind => chunks.end = more.end,
                other => {
                    self.looked_ahead = other;
                    return Some(Ok(Span::Absent { kind, chunks }));
                }
            }
        }
    }
}
