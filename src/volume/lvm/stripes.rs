//! Data in stripes over several legs: plain, or each chunk in copies beside each other (raid10).

use std::io;

use crate::volume::{AnyLayer, Place, Run, Runs};

/// Stripes over legs. Chunk `c` lies, `copies` times, at the places `c * copies` and following, counted row by row over the legs.
pub(super) struct Stripes {
    /// Each with the offset at which it begins; none where it is missing.
    legs: Vec<Option<(AnyLayer, u64)>>,
    chunk_bytes: u64,
    copies: u64,
    size_bytes: u64,
}

impl Stripes {
    /// `size_bytes` of data in chunks of `chunk_bytes`.
    ///
    /// # Errors
    /// In words, where the numbers make no sense.
    pub(super) fn new(legs: Vec<Option<(AnyLayer, u64)>>, chunk_bytes: u64, copies: u64, size_bytes: u64) -> Result<Self, String> {
        if legs.is_empty() || chunk_bytes == 0 {
            return Err(format!("it has {} stripes of {chunk_bytes} bytes", legs.len()));
        }
        if copies == 0 || copies > legs.len() as u64 {
            return Err(format!("it has {copies} copies on {} devices", legs.len()));
        }
        Ok(Self { legs, chunk_bytes, copies, size_bytes })
    }

    /// Whether every chunk has a copy on a leg that is there.
    pub(super) fn is_complete(&self) -> bool {
        let legs = self.legs.len() as u64;
        (0..legs).all(|chunk| self.copy(chunk).is_some())
    }

    /// The first copy of a chunk that is there: its leg, and the row on it.
    fn copy(&self, chunk: u64) -> Option<(&(AnyLayer, u64), u64)> {
        let legs = self.legs.len() as u64;
        (0..self.copies).find_map(|copy| {
            let place = chunk.checked_mul(self.copies)?.checked_add(copy)?;
            let leg = self.legs.get(usize::try_from(place.checked_rem(legs)?).ok()?)?.as_ref()?;
            Some((leg, place.checked_div(legs)?))
        })
    }
}

impl Runs for Stripes {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn run_at(&self, offset_bytes: u64) -> io::Result<Run<'_>> {
        let left = self.size_bytes.checked_sub(offset_bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let within = offset_bytes.checked_rem(self.chunk_bytes).unwrap_or(0);
        let chunk = offset_bytes.checked_div(self.chunk_bytes).unwrap_or(0);
        let place = match self.copy(chunk) {
            None => Place::Lost("all its copies are on missing devices"),
            Some(((layer, start), row)) => {
                let at = row.checked_mul(self.chunk_bytes).and_then(|at| at.checked_add(within)?.checked_add(*start));
                at.map_or(Place::Lost("it lies past the end of numbers"), |at| Place::On(layer, at))
            }
        };
        Ok(Run { length_bytes: self.chunk_bytes.saturating_sub(within).min(left), place })
    }
}
