//! The contents of a file whose bytes lie as they are on the device: a sorted list of extents, read in as few and as large reads as
//! they allow, whatever the size of the filesystem's blocks.

use std::io;

use super::{Device, FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// The most extents of one file that are kept in memory (about 100 MiB of them).
pub(super) const MOST_EXTENTS: usize = 1 << 22;

/// A range of a file that lies in one piece on the device. What lies in no extent is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileExtent {
    /// Where in the file, in bytes.
    pub(super) start_bytes: u64,
    /// How many bytes, at least 1.
    pub(super) length_bytes: u64,
    /// Where on the device.
    pub(super) device_bytes: u64,
}

/// A file of extents on one device.
pub(super) struct MappedFile {
    device: Device,
    size_bytes: u64,
    extents: Vec<FileExtent>,
}

impl MappedFile {
    /// `extents` in any order; those that continue each other are put together.
    ///
    /// # Errors
    /// Damage where extents overlap or overflow; a limit above [`MOST_EXTENTS`]. Extents past the end of the device are an error of the
    /// read that comes there, so that the rest of the file can be read.
    pub(super) fn new(object: &str, device: Device, size_bytes: u64, mut extents: Vec<FileExtent>) -> GuestResult<Self> {
        if extents.len() > MOST_EXTENTS {
            return Err(GuestError::limit(object, format!("more than {MOST_EXTENTS} extents")));
        }
        extents.retain(|extent| extent.length_bytes > 0);
        extents.sort_unstable_by_key(|extent| extent.start_bytes);
        let mut joined: Vec<FileExtent> = Vec::with_capacity(extents.len());
        for extent in extents {
            let (Some(end), Some(_)) =
                (extent.start_bytes.checked_add(extent.length_bytes), extent.device_bytes.checked_add(extent.length_bytes))
            else {
                return Err(GuestError::damaged(object, format!("its extent at {} ends past the end of numbers", extent.start_bytes)));
            };
            debug_assert!(end > extent.start_bytes);
            match joined.last_mut() {
                Some(last) if last.start_bytes + last.length_bytes > extent.start_bytes => {
                    return Err(GuestError::damaged(object, format!("two of its extents overlap at byte {}", extent.start_bytes)));
                }
                Some(last)
                    if last.start_bytes + last.length_bytes == extent.start_bytes
                        && last.device_bytes + last.length_bytes == extent.device_bytes =>
                {
                    last.length_bytes += extent.length_bytes;
                }
                _ => joined.push(extent),
            }
        }
        Ok(Self { device, size_bytes, extents: joined })
    }

    /// The extent that holds `offset_bytes`, or the distance to the next one (`u64::MAX`: none follows).
    fn extent_at(&self, offset_bytes: u64) -> Result<FileExtent, u64> {
        let after = self.extents.partition_point(|extent| extent.start_bytes <= offset_bytes);
        match after.checked_sub(1).and_then(|before| self.extents.get(before)) {
            Some(extent) if offset_bytes - extent.start_bytes < extent.length_bytes => Ok(*extent),
            _ => Err(self.extents.get(after).map_or(u64::MAX, |next| next.start_bytes - offset_bytes)),
        }
    }
}

impl ReadAt for MappedFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset_bytes;
        while !buffer.is_empty() {
            let run = self.run_at(at)?;
            let length = usize::try_from(run.length_bytes).unwrap_or(usize::MAX).min(buffer.len());
            let (head, rest) = std::mem::take(&mut buffer).split_at_mut(length);
            match run.place {
                Place::Device { offset_bytes, .. } => self.device.read_at(offset_bytes, head)?,
                Place::Hole | Place::Computed => head.fill(0),
            }
            buffer = rest;
            at += length as u64;
        }
        Ok(())
    }
}

impl FileData for MappedFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let left = self.size_bytes.saturating_sub(offset_bytes);
        Ok(match self.extent_at(offset_bytes) {
            _ if left == 0 => Run { length_bytes: 0, place: Place::Hole },
            Ok(extent) => {
                let within = offset_bytes - extent.start_bytes;
                let place = Place::Device { device: 0, offset_bytes: extent.device_bytes + within };
                Run { length_bytes: (extent.length_bytes - within).min(left), place }
            }
            Err(distance) => Run { length_bytes: distance.min(left), place: Place::Hole },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::MemoryAt;

    fn file(size_bytes: u64, extents: &[(u64, u64, u64)]) -> GuestResult<MappedFile> {
        let bytes: Vec<u8> = (0..=255).collect();
        let extents =
            extents.iter().map(|&(start_bytes, length_bytes, device_bytes)| FileExtent { start_bytes, length_bytes, device_bytes });
        MappedFile::new("inode 7", Arc::new(MemoryAt::new(bytes)), size_bytes, extents.collect())
    }

    #[test]
    fn extents_holes_and_the_end_read_as_they_should() {
        let file = file(30, &[(20, 5, 0), (0, 4, 100), (4, 4, 104)]).expect("sound");
        assert_eq!(file.extents.len(), 2, "neighbours become one");
        let mut all = [9; 30];
        file.read_at(0, &mut all).expect("inside");
        let expected: Vec<u8> = (100..108).chain([0; 12]).chain(0..5).chain([0; 5]).collect();
        assert_eq!(all.to_vec(), expected);
        assert_eq!(file.run_at(8).expect("a hole"), Run { length_bytes: 12, place: Place::Hole });
        assert_eq!(file.run_at(6).expect("data"), Run { length_bytes: 2, place: Place::Device { device: 0, offset_bytes: 106 } });
        assert_eq!(file.run_at(30).expect("the end").length_bytes, 0);
        assert_eq!(file.read_at(29, &mut [0; 2]).expect_err("past the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_extent_past_the_size_is_cut() {
        let file = file(3, &[(0, 10, 50)]).expect("sound");
        assert_eq!(file.run_at(1).expect("data").length_bytes, 2);
    }

    #[test]
    fn extents_that_overlap_or_overflow_are_damage() {
        for extents in [&[(0, 10, 0), (5, 10, 100)][..], &[(u64::MAX, 2, 0)], &[(0, 2, u64::MAX)]] {
            assert!(matches!(file(100, extents), Err(GuestError::Damaged { .. })), "{extents:?}");
        }
    }

    #[test]
    fn a_device_that_is_too_short_fails_only_the_reads_that_come_there() {
        let file = file(600, &[(0, 600, 0)]).expect("sound");
        file.read_at(0, &mut [0; 256]).expect("what is there");
        file.read_at(200, &mut [0; 100]).expect_err("what is not");
    }
}
