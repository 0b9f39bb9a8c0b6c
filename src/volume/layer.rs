//! Layers that are made of runs of other layers: a disk at the bottom, pieces put together, and everything else that can say where a
//! run of its bytes lies. Reading and tracing back to disks is written once, here, for all of them.

use std::io;
use std::sync::Arc;

use super::{AnyLayer, Layer, Origin};
use crate::io::ReadAt;
use crate::units::Extent;

/// A disk of the machine as it is.
pub struct DiskLayer {
    /// Its place in the order in which the disks were given.
    pub disk: u32,
    /// Its bytes.
    pub device: Arc<dyn ReadAt>,
}

impl ReadAt for DiskLayer {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset_bytes, buffer)
    }
}

impl Layer for DiskLayer {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        if let Some(range) = range.intersection(&Extent::between(0, self.size_bytes())) {
            visit(Origin { disk: self.disk, range });
        }
        Ok(())
    }
}

/// Bytes of a layer that come from one place.
pub struct Run<'a> {
    /// How many, at least 1 before the end of the layer.
    pub length_bytes: u64,
    /// Where they come from.
    pub place: Place<'a>,
}

/// Where bytes of a layer come from.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// From the layer below, in one piece from this offset on.
    On(&'a AnyLayer, u64),
    /// From nowhere: zeros.
    Zeros,
    /// They are lost; reading them fails with these words.
    Lost(&'a str),
}

/// Something that can say where each run of its bytes lies; [`MadeOf`] makes a layer of it.
pub trait Runs: Send + Sync {
    /// Bytes in all.
    fn size_bytes(&self) -> u64;

    /// The run that begins at `offset_bytes`, which is below the size.
    ///
    /// # Errors
    /// Where finding out takes reading, the error of that.
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run<'_>>;
}

/// The layer of what is made of runs. Runs that continue each other are read at once.
pub struct MadeOf<T>(pub T);

/// A range of the layer, and where it lies.
struct Stretch<'a> {
    length_bytes: u64,
    place: Place<'a>,
}

impl<T: Runs> MadeOf<T> {
    /// All that begins at `offset_bytes` and lies in one piece, at most `most_bytes` (not 0).
    fn stretch(&self, offset_bytes: u64, most_bytes: u64) -> io::Result<Stretch<'_>> {
        let first = self.0.run_at(offset_bytes)?;
        let mut stretch = Stretch { length_bytes: first.length_bytes.clamp(1, most_bytes), place: first.place };
        while stretch.length_bytes < most_bytes {
            let next = self.0.run_at(offset_bytes.saturating_add(stretch.length_bytes))?;
            let joined = match (stretch.place, next.place) {
                (Place::Zeros, Place::Zeros) => true,
                (Place::On(one, from), Place::On(other, to)) => {
                    Arc::ptr_eq(one, other) && from.checked_add(stretch.length_bytes) == Some(to)
                }
                _ => false,
            };
            if !joined {
                break;
            }
            stretch.length_bytes = stretch.length_bytes.saturating_add(next.length_bytes.max(1)).min(most_bytes);
        }
        Ok(stretch)
    }
}

impl<T: Runs> ReadAt for MadeOf<T> {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size_bytes() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset_bytes;
        while !buffer.is_empty() {
            let stretch = self.stretch(at, buffer.len() as u64)?;
            let length = usize::try_from(stretch.length_bytes).unwrap_or(usize::MAX).min(buffer.len());
            let (head, rest) = std::mem::take(&mut buffer).split_at_mut(length);
            match stretch.place {
                Place::On(layer, offset_bytes) => layer.read_at(offset_bytes, head)?,
                Place::Zeros => head.fill(0),
                Place::Lost(why) => return Err(io::Error::other(why.to_owned())),
            }
            buffer = rest;
            at = at.saturating_add(length as u64);
        }
        Ok(())
    }
}

impl<T: Runs> Layer for MadeOf<T> {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        let end = range.end().min(self.size_bytes());
        let mut at = range.offset();
        while at < end {
            let stretch = self.stretch(at, end.saturating_sub(at))?;
            if let Place::On(layer, offset_bytes) = stretch.place {
                layer.origins(Extent::between(offset_bytes, offset_bytes.saturating_add(stretch.length_bytes)), visit)?;
            }
            at = at.saturating_add(stretch.length_bytes);
        }
        Ok(())
    }
}

/// Pieces of other layers, one after the other without gaps.
#[derive(Default)]
pub struct Pieces {
    /// Each with its end in this layer, ascending.
    pieces: Vec<Piece>,
}

struct Piece {
    end_bytes: u64,
    from: From,
}

enum From {
    /// A layer, and what to add to an offset in this layer (wrapping) for the offset in that one.
    Layer(AnyLayer, u64),
    Zeros,
    Lost(Arc<str>),
}

impl Pieces {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The range of a layer as a layer of its own, cut where the layer ends.
    pub fn slice(layer: &AnyLayer, range: Extent) -> AnyLayer {
        let range = range.intersection(&Extent::between(0, layer.size_bytes())).unwrap_or(Extent::between(0, 0));
        let mut pieces = Self::new();
        pieces.push(layer, range.offset(), range.length());
        pieces.layer()
    }

    /// Adds `length_bytes` of `layer` from `offset_bytes` on; what lies past the end of the layer cannot be read.
    pub fn push(&mut self, layer: &AnyLayer, offset_bytes: u64, length_bytes: u64) {
        let there = layer.size_bytes().saturating_sub(offset_bytes).min(length_bytes);
        self.add(From::Layer(Arc::clone(layer), offset_bytes.wrapping_sub(self.size_bytes())), there);
        if there < length_bytes {
            self.push_lost("it lies past the end of the disk below", length_bytes.saturating_sub(there));
        }
    }

    /// Adds zeros.
    pub fn push_zeros(&mut self, length_bytes: u64) {
        self.add(From::Zeros, length_bytes);
    }

    /// Adds bytes that cannot be read, and why.
    pub fn push_lost(&mut self, why: &str, length_bytes: u64) {
        self.add(From::Lost(Arc::from(why)), length_bytes);
    }

    /// All of it as a layer.
    pub fn layer(self) -> AnyLayer {
        Arc::new(MadeOf(self))
    }

    fn add(&mut self, from: From, length_bytes: u64) {
        let end_bytes = self.size_bytes().saturating_add(length_bytes);
        if end_bytes == self.size_bytes() {
            return;
        }
        if let (Some(last), From::Layer(layer, shift)) = (self.pieces.last_mut(), &from)
            && let From::Layer(before, before_shift) = &last.from
            && Arc::ptr_eq(before, layer)
            && before_shift == shift
        {
            last.end_bytes = end_bytes;
            return;
        }
        self.pieces.push(Piece { end_bytes, from });
    }
}

impl Runs for Pieces {
    fn size_bytes(&self) -> u64 {
        self.pieces.last().map_or(0, |last| last.end_bytes)
    }

    fn run_at(&self, offset_bytes: u64) -> io::Result<Run<'_>> {
        let at = self.pieces.partition_point(|piece| piece.end_bytes <= offset_bytes);
        let piece = self.pieces.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
        let place = match &piece.from {
            From::Layer(layer, shift) => Place::On(layer, offset_bytes.wrapping_add(*shift)),
            From::Zeros => Place::Zeros,
            From::Lost(why) => Place::Lost(why),
        };
        Ok(Run { length_bytes: piece.end_bytes.saturating_sub(offset_bytes), place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::testing::{Counted, origins};

    fn two_disks() -> (AnyLayer, AnyLayer, Arc<Counted>) {
        let counted = Arc::new(Counted::new((0..100).collect()));
        let one: AnyLayer = Arc::new(DiskLayer { disk: 0, device: Arc::clone(&counted) as Arc<dyn ReadAt> });
        let other: AnyLayer = Arc::new(DiskLayer { disk: 1, device: Arc::new(Counted::new((100..200).collect())) });
        (one, other, counted)
    }

    #[test]
    fn pieces_read_as_put_together_and_neighbours_at_once() {
        let (one, other, counted) = two_disks();
        let mut pieces = Pieces::new();
        pieces.push(&one, 10, 5);
        pieces.push(&one, 15, 5);
        pieces.push_zeros(3);
        pieces.push(&other, 50, 4);
        let layer = pieces.layer();
        let mut all = [9; 17];
        layer.read_at(0, &mut all).expect("all there");
        assert_eq!(all, [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0, 150, 151, 152, 153]);
        assert_eq!(counted.reads(), 1, "two pieces that continue each other are one read");
        assert_eq!(layer.read_at(16, &mut [0; 2]).expect_err("past the end").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(origins(&layer, 8, 100), [(0, 18, 20), (1, 50, 54)]);
    }

    #[test]
    fn what_lies_past_the_disk_is_lost_and_the_rest_is_not() {
        let (one, _, _) = two_disks();
        let mut pieces = Pieces::new();
        pieces.push(&one, 90, 20);
        pieces.push(&one, 0, 1);
        let layer = pieces.layer();
        layer.read_at(0, &mut [0; 10]).expect("what is there");
        assert_eq!(layer.read_at(5, &mut [0; 10]).expect_err("lost").to_string(), "it lies past the end of the disk below");
        layer.read_at(20, &mut [0; 1]).expect("what follows");
        assert_eq!(Pieces::slice(&one, Extent::between(95, 1000)).size_bytes(), 5);
        assert_eq!(Pieces::slice(&one, Extent::between(200, 1000)).size_bytes(), 0);
    }
}
