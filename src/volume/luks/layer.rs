//! The decrypted volume as a layer.

use std::io;

use super::SECTOR_BYTES;
use super::cipher::SectorCipher;
use crate::io::ReadAt;
use crate::units::Extent;
use crate::volume::{AnyLayer, Layer, Origin};

/// Reads that do not begin and end with a sector go through a copy if they are at most this long; longer ones are cut.
const COPIED_BYTES: usize = 64 << 10;

/// A volume that is open.
pub(super) struct Decrypted {
    pub(super) below: AnyLayer,
    /// Where the encrypted sectors are; a whole number of them.
    pub(super) data: Extent,
    pub(super) sector_bytes: usize,
    /// The number of the first sector, in units of 512 bytes.
    pub(super) first_number: u64,
    pub(super) cipher: Box<dyn SectorCipher>,
}

impl Decrypted {
    /// The range widened to whole sectors.
    fn whole(&self, range: Extent) -> Extent {
        let unit = self.sector_bytes as u64;
        let start = range.offset() / unit * unit;
        Extent::between(start, range.end().checked_next_multiple_of(unit).unwrap_or(self.data.length()).min(self.data.length()))
    }

    /// Reads whole sectors.
    fn read_sectors(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(self.data.offset().saturating_add(offset_bytes), buffer)?;
        let number = self.first_number.wrapping_add(offset_bytes / SECTOR_BYTES);
        self.cipher.decrypt(buffer, self.sector_bytes, number);
        Ok(())
    }

    /// Reads any range through a copy of its sectors.
    fn read_copied(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let whole = self.whole(Extent::between(offset_bytes, offset_bytes.saturating_add(buffer.len() as u64)));
        let mut sectors = vec![0; usize::try_from(whole.length()).map_err(|_| io::ErrorKind::UnexpectedEof)?];
        self.read_sectors(whole.offset(), &mut sectors)?;
        let skipped = usize::try_from(offset_bytes - whole.offset()).unwrap_or(usize::MAX);
        let wanted = sectors.get(skipped..).and_then(|rest| rest.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(wanted);
        Ok(())
    }
}

impl ReadAt for Decrypted {
    fn size_bytes(&self) -> u64 {
        self.data.length()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|&end| end <= self.size_bytes());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let unit = self.sector_bytes as u64;
        if offset_bytes.is_multiple_of(unit) && end.is_multiple_of(unit) {
            return self.read_sectors(offset_bytes, buffer);
        }
        if buffer.len() <= COPIED_BYTES {
            return self.read_copied(offset_bytes, buffer);
        }
        // Longer than two sectors, so that the middle is not empty.
        let head = (offset_bytes.next_multiple_of(unit) - offset_bytes) as usize;
        let (head, rest) = buffer.split_at_mut(head);
        let (middle, tail) = rest.split_at_mut(rest.len() / self.sector_bytes * self.sector_bytes);
        let start = offset_bytes + head.len() as u64;
        self.read_sectors(start, middle)?;
        for (at, part) in [(offset_bytes, head), (start + middle.len() as u64, tail)] {
            if !part.is_empty() {
                self.read_copied(at, part)?;
            }
        }
        Ok(())
    }
}

impl Layer for Decrypted {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        let Some(range) = range.intersection(&Extent::between(0, self.size_bytes())) else { return Ok(()) };
        let whole = self.whole(range);
        let start = self.data.offset().saturating_add(whole.offset());
        self.below.origins(Extent::between(start, start.saturating_add(whole.length())), visit)
    }
}
