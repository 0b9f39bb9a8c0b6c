//! Two maps compared: the chunks that a restore would give differently, found by walking only nodes whose content hashes differ.
//!
//! `Hole`, `Zero` and `Free` are the same here, and a smaller disk counts as going on with zeros: a disk that only grew by a hole
//! has no changed chunk, but a chunk that the old end cut short and that has data is changed, for its bytes are others.

use std::sync::Arc;

use super::MapReader;
use super::cursor::{Cursor, leaf_entries};
use super::shape::{FAN, Place};
use crate::catalogue::CatalogueError;
use crate::format::map::{ABSENT, Child, Node, NodeRef};
use crate::units::{ChunkHash, ChunkRange, LEAF_CHUNKS};

/// The chunks in which two maps differ, as ranges, ascending and not touching. They are numbered on either grid; the larger disk has all of
/// them. Reads nothing before the first range is asked for.
///
/// # Errors
/// [`CatalogueError::DifferentGrids`] where the grids have different offsets: their chunks are of different bytes, so that nothing
/// can be said from the maps.
pub fn diff<'a>(a: &MapReader<'a>, b: &MapReader<'a>) -> Result<Diff<'a>, CatalogueError> {
    let (a_bytes, b_bytes) = (a.grid().offset_bytes(), b.grid().offset_bytes());
    if a_bytes != b_bytes {
        return Err(CatalogueError::DifferentGrids { a_bytes, b_bytes });
    }
    let (a_cursor, b_cursor) = (a.cursor(), b.cursor());
    let top = a_cursor.shape().root().level.max(b_cursor.shape().root().level);
    Ok(Diff {
        end: a.grid().chunk_count().max(b.grid().chunk_count()),
        a: a_cursor,
        b: b_cursor,
        top,
        position: 0,
        announced: vec![None; usize::from(top) + 1],
    })
}

/// Iterates over changed ranges: [`diff`]. After an error it ends.
pub struct Diff<'a> {
    a: Cursor<'a>,
    b: Cursor<'a>,
    /// The higher root's level.
    top: u8,
    position: u64,
    end: u64,
    /// By level: the inner node whose differing children were announced.
    announced: Vec<Option<u64>>,
}

/// What a map has at a place, as far as a comparison needs it.
enum Side {
    /// The whole map is a part of what is below this place.
    Above,
    /// No data.
    Zeros,
    Node(NodeRef),
}

impl Diff<'_> {
    /// Whether the chunk at the position differs, and up to where that answer holds.
    fn step(&mut self) -> Result<(bool, u64), CatalogueError> {
        let start = self.position;
        for level in (0..=self.top).rev() {
            let place = Place::covering(level, start);
            let sides = (side(&mut self.a, place)?, side(&mut self.b, place)?);
            if equal(&sides) {
                return Ok((false, self.range(place).end));
            }
            if level > 0 {
                self.announce(place, &sides)?;
            } else {
                return self.step_in_leaf(place, &sides);
            }
        }
        Ok((false, self.end))
    }

    /// [`Diff::step`] inside a leaf that differs somewhere.
    fn step_in_leaf(&mut self, place: Place, sides: &(Side, Side)) -> Result<(bool, u64), CatalogueError> {
        let (a, b) = (leaf(&mut self.a, place, &sides.0)?, leaf(&mut self.b, place, &sides.1)?);
        let range = self.range(place);
        let differs = |chunk: u64| hash_of(&a, chunk - range.start) != hash_of(&b, chunk - range.start);
        let first = differs(self.position);
        let end = (self.position..range.end).find(|&chunk| differs(chunk) != first);
        Ok((first, end.unwrap_or(range.end)))
    }

    /// The chunks below a place in the larger of both disks.
    fn range(&self, place: Place) -> ChunkRange {
        let (a, b) = (self.a.shape().range(place), self.b.shape().range(place));
        if a.end >= b.end { a } else { b }
    }

    /// Tells both stores of the children that will be read: those that differ.
    fn announce(&mut self, place: Place, sides: &(Side, Side)) -> Result<(), CatalogueError> {
        if matches!(sides, (Side::Above, _) | (_, Side::Above)) {
            return Ok(());
        }
        match self.announced.get_mut(usize::from(place.level)) {
            Some(last) if *last != Some(place.index) => *last = Some(place.index),
            _ => return Ok(()),
        }
        let (mut in_a, mut in_b) = (Vec::new(), Vec::new());
        for nth in 0..FAN {
            let below = place.child(nth);
            if self.range(below).end <= self.position {
                continue;
            }
            let sides = (side(&mut self.a, below)?, side(&mut self.b, below)?);
            if equal(&sides) {
                continue;
            }
            if let Side::Node(node) = sides.0 {
                in_a.push(node);
            }
            if let Side::Node(node) = sides.1 {
                in_b.push(node);
            }
        }
        for (cursor, nodes) in [(&self.a, in_a), (&self.b, in_b)] {
            if nodes.len() > 1 {
                cursor.store().prefetch(&nodes);
            }
        }
        Ok(())
    }

    /// The next changed range, or `None` at the end.
    fn advance(&mut self) -> Result<Option<ChunkRange>, CatalogueError> {
        let mut start = None;
        while self.position < self.end {
            let (differs, until) = self.step()?;
            match start {
                Some(start) if !differs => return Ok(Some(ChunkRange { start, end: self.position })),
                None if differs => start = Some(self.position),
                _ => {}
            }
            self.position = until.max(self.position + 1);
        }
        Ok(start.map(|start| ChunkRange { start, end: self.position.min(self.end) }))
    }
}

impl Iterator for Diff<'_> {
    type Item = Result<ChunkRange, CatalogueError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.position = self.end;
        }
        next.transpose()
    }
}

fn side(cursor: &mut Cursor<'_>, place: Place) -> Result<Side, CatalogueError> {
    let range = cursor.shape().range(place);
    if range.start >= range.end {
        return Ok(Side::Zeros);
    }
    let above = place.level > cursor.shape().root().level;
    let place = if above { cursor.shape().root() } else { place };
    Ok(match cursor.child(place)? {
        child if child.content() == ABSENT => Side::Zeros,
        Child::Node(node) if !above => Side::Node(node),
        _ => Side::Above,
    })
}

/// Whether the content hashes alone say that nothing below differs. They are of the same place; a chunk's hash is of all its bytes, so
/// a subtree that one disk's end cuts shorter has no equal, unless it is all zeros.
fn equal(sides: &(Side, Side)) -> bool {
    match sides {
        (Side::Zeros, Side::Zeros) => true,
        (Side::Node(a), Side::Node(b)) => a.content == b.content,
        _ => false,
    }
}

/// The leaf at a place, `None` where there is no data.
fn leaf(cursor: &mut Cursor<'_>, place: Place, side: &Side) -> Result<Option<Arc<Node>>, CatalogueError> {
    match side {
        Side::Node(node) => Ok(Some(cursor.node(place, node)?)),
        Side::Above | Side::Zeros => Ok(None),
    }
}

fn hash_of(leaf: &Option<Arc<Node>>, nth: u64) -> Option<&ChunkHash> {
    let nth = usize::try_from(nth).ok().filter(|&nth| nth < LEAF_CHUNKS)?;
    leaf_entries(leaf.as_deref()?).get(nth)?.data_hash()
}
