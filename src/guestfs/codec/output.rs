//! The end of a decompressor of the Lempel-Ziv family: literals go in, and copies of what went in before.

/// What comes out, in a buffer that is filled from its beginning.
pub(super) struct Output<'a> {
    bytes: &'a mut [u8],
    written: usize,
}

/// A copy from before the beginning.
pub(super) struct BadDistance;

impl<'a> Output<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, written: 0 }
    }

    /// Bytes that have come out.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Bytes for which there is still room.
    pub(super) fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }

    /// Takes as many `literals` as there is room for.
    pub(super) fn put(&mut self, literals: &[u8]) {
        let length = literals.len().min(self.room());
        let end = self.written.saturating_add(length);
        if let (Some(target), Some(source)) = (self.bytes.get_mut(self.written..end), literals.get(..length)) {
            target.copy_from_slice(source);
        }
        self.written = end;
    }

    /// Copies `length` bytes, as far as there is room, from `distance` (at least 1) back; what is copied may be what this copy itself
    /// has written.
    pub(super) fn copy(&mut self, distance: usize, length: usize) -> Result<(), BadDistance> {
        let start = self.written;
        let from = start.checked_sub(distance).ok_or(BadDistance)?;
        let length = length.min(self.room());
        // The bytes between `from` and `start` repeat themselves; each round doubles what there is of them.
        let mut done = 0;
        while done < length {
            let piece = distance.saturating_add(done).min(length.saturating_sub(done));
            self.bytes.copy_within(from..from.saturating_add(piece), start.saturating_add(done));
            done = done.saturating_add(piece.max(1));
        }
        self.written = start.saturating_add(length);
        Ok(())
    }
}
