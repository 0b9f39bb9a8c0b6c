//! A disk inside image files: one reader for all formats, each of which only says where a disk's bytes lie.
//!
//! The reader does what the formats have in common: cutting a request into runs, zeros, the image below (backing file, parent),
//! compressed clusters and their cache, and the list of ranges that hold data.

use std::fs::File;
use std::io;

use super::cache::Cache;
use super::fields::split;
use super::host::{HostFile, length_of};
use super::{Format, Source, SourceError};
use crate::io::{ReadAt, data_extents};
use crate::units::{Extent, ExtentSet};

/// Bytes of decoded clusters that are kept for one image.
const DECODED_BYTES: usize = 16 << 20;

/// Where a run of a disk's bytes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// They are zeros.
    Zero,
    /// The image below has them at the same offset; zeros where there is none.
    Below,
    /// They lie as they are in a file of the image.
    Stored {
        /// Number of the file.
        file: usize,
        /// Offset in the file.
        offset_bytes: u64,
    },
    /// They are part of a compressed cluster.
    Packed(Packed),
}

/// A compressed cluster of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    /// First byte of the cluster on the disk.
    pub(super) start_bytes: u64,
    /// Bytes of the cluster, decoded.
    pub(super) length_bytes: usize,
    /// Number of the file.
    pub(super) file: usize,
    /// Offset of the compressed bytes in the file.
    pub(super) offset_bytes: u64,
    /// Most compressed bytes that there can be, 0 where their place tells.
    pub(super) stored_bytes: u64,
}

/// Bytes of a disk that come from one place, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Bytes, at least 1; may go past the end of the disk.
    pub(super) length_bytes: u64,
    /// Where the first of them comes from.
    pub(super) place: Place,
}

impl Run {
    /// Makes the run longer by one that follows it on the disk, where that one also follows it in its place.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let continues = match (self.place, next.place) {
            (Place::Zero, Place::Zero) | (Place::Below, Place::Below) => true,
            (Place::Stored { file, offset_bytes }, Place::Stored { file: next_file, offset_bytes: next_offset }) => {
                file == next_file && offset_bytes.checked_add(self.length_bytes) == Some(next_offset)
            }
            _ => false,
        };
        if continues {
            self.length_bytes = self.length_bytes.saturating_add(next.length_bytes);
        }
        continues
    }
}

/// The bit `first` of bytes whose lowest bit comes first, and how many bits from it on are the same, up to about `limit`; `None`
/// where the bytes have no such bit.
pub(super) fn bitmap_run(mut bytes: impl Iterator<Item = u8>, first: u64, limit: u64) -> Option<(bool, u64)> {
    let (skip, bit) = split(first, 8);
    let start = u32::try_from(bit).ok()?;
    let byte = bytes.nth(usize::try_from(skip).ok()?)?.checked_shr(start)?;
    let here = byte & 1 != 0;
    let same = |byte: u8| if here { byte.trailing_ones() } else { byte.trailing_zeros() };
    let width = 8_u32.saturating_sub(start);
    let mut count = u64::from(same(byte).min(width));
    if count == u64::from(width) {
        while count < limit {
            let more = u64::from(bytes.next().map_or(0, same));
            count = count.saturating_add(more);
            if more < 8 {
                break;
            }
        }
    }
    Some((here, count))
}

/// What a format knows.
pub(super) trait BlockMap: Send + Sync {
    /// The run that starts at `offset_bytes` of the disk. It may be cut short; looking further than `limit_bytes` is of no use.
    fn run_at(&self, files: &[HostFile], offset_bytes: u64, limit_bytes: u64) -> Result<Run, SourceError>;

    /// Decodes a compressed cluster into exactly its bytes.
    fn unpack(&self, files: &[HostFile], packed: Packed, cluster: &mut [u8]) -> Result<(), SourceError>;

    /// Bytes past the end of a file that read as zeros, since the writer did not fill the last cluster.
    fn slack_bytes(&self, _file_bytes: u64) -> u64 {
        0
    }

    /// Whether [`BlockMap::patch`] changes anything.
    fn is_patched(&self) -> bool {
        false
    }

    /// Changes bytes as they are read from offset `offset_bytes` of the first file: a log that was not written back.
    fn patch(&self, _offset_bytes: u64, _bytes: &mut [u8]) {}
}

/// What [`MappedImage::new`] makes a disk of.
pub(super) struct Parts<M> {
    pub(super) format: Format,
    /// The image file first, then others that it names.
    pub(super) files: Vec<HostFile>,
    pub(super) map: M,
    pub(super) size_bytes: u64,
    /// The image that this one rests on.
    pub(super) below: Option<Box<dyn Source>>,
}

/// A disk inside image files.
pub(super) struct MappedImage<M> {
    parts: Parts<M>,
    decoded: Cache,
}

impl<M: BlockMap> MappedImage<M> {
    pub(super) fn new(parts: Parts<M>) -> Self {
        Self { parts, decoded: Cache::new(DECODED_BYTES) }
    }

    fn fill(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let mut offset = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let wanted = length_of(rest);
            let run = self.parts.map.run_at(&self.parts.files, offset, wanted)?;
            let length = usize::try_from(run.length_bytes.min(wanted)).unwrap_or(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            if part.is_empty() {
                return Err(self.damaged(format!("nothing is known of the disk's offset {offset}")));
            }
            self.fill_run(offset, run.place, part)?;
            offset = offset.saturating_add(length_of(part));
            rest = behind;
        }
        Ok(())
    }

    fn fill_run(&self, offset: u64, place: Place, part: &mut [u8]) -> Result<(), SourceError> {
        match place {
            Place::Zero => part.fill(0),
            Place::Below => self.fill_below(offset, part)?,
            Place::Stored { file, offset_bytes } => self.fill_stored(offset, file, offset_bytes, part)?,
            Place::Packed(packed) => self.fill_packed(offset, packed, part)?,
        }
        Ok(())
    }

    /// An image below may be shorter than this one: zeros follow.
    fn fill_below(&self, offset: u64, part: &mut [u8]) -> Result<(), SourceError> {
        let Some(below) = &self.parts.below else {
            part.fill(0);
            return Ok(());
        };
        let there = usize::try_from(below.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
        let (there, zeros) = part.split_at_mut(there.min(part.len()));
        zeros.fill(0);
        if there.is_empty() {
            return Ok(());
        }
        below.read_at(offset, there).map_err(|error| self.chained(error, offset, length_of(there)))
    }

    /// An error of the image below as one of this image.
    fn chained(&self, error: io::Error, offset_bytes: u64, length_bytes: u64) -> SourceError {
        let path = self.path();
        match error.downcast::<SourceError>() {
            Ok(source) => SourceError::Chain { path, source: Box::new(source) },
            Err(source) => SourceError::Read { path, offset_bytes, length_bytes, source },
        }
    }

    fn fill_stored(&self, offset: u64, file: usize, offset_bytes: u64, part: &mut [u8]) -> Result<(), SourceError> {
        let host = self.file(file)?;
        let size = host.size_bytes();
        let end = offset_bytes.saturating_add(length_of(part));
        if end > size.saturating_add(self.parts.map.slack_bytes(size)) {
            let name = host.path().display();
            let what = format!("the disk's offset {offset} should lie at {offset_bytes} of {name}, which ends at {size}: it was cut short");
            return Err(self.damaged(what));
        }
        let there = usize::try_from(size.saturating_sub(offset_bytes)).unwrap_or(usize::MAX);
        let (there, zeros) = part.split_at_mut(there.min(part.len()));
        zeros.fill(0);
        if !there.is_empty() {
            host.read(offset_bytes, there)?;
        }
        if file == 0 {
            self.parts.map.patch(offset_bytes, part);
        }
        Ok(())
    }

    /// A request for the whole of a cluster is decoded in place; parts go through the cache.
    fn fill_packed(&self, offset: u64, packed: Packed, part: &mut [u8]) -> Result<(), SourceError> {
        if offset == packed.start_bytes && part.len() == packed.length_bytes {
            return self.parts.map.unpack(&self.parts.files, packed, part);
        }
        let cluster = self.decoded.get_or_load(packed.start_bytes, || {
            let mut cluster = vec![0; packed.length_bytes];
            self.parts.map.unpack(&self.parts.files, packed, &mut cluster)?;
            Ok(cluster)
        })?;
        let within = usize::try_from(offset.saturating_sub(packed.start_bytes)).unwrap_or(usize::MAX);
        match cluster.get(within..).and_then(|behind| behind.get(..part.len())) {
            Some(bytes) => part.copy_from_slice(bytes),
            None => return Err(self.damaged(format!("the compressed cluster at the disk's offset {offset} is too short"))),
        }
        Ok(())
    }

    fn file(&self, number: usize) -> Result<&HostFile, SourceError> {
        self.parts.files.get(number).ok_or_else(|| self.damaged(format!("it refers to file {number} that it does not name")))
    }

    fn path(&self) -> std::path::PathBuf {
        self.parts.files.first().map_or_else(std::path::PathBuf::new, |host| host.path().to_owned())
    }

    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { path: self.path(), format: self.parts.format.name(), what }
    }
}

impl<M: BlockMap> ReadAt for MappedImage<M> {
    fn size_bytes(&self) -> u64 {
        self.parts.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset_bytes.checked_add(length_of(buffer)).is_none_or(|end| end > self.parts.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.fill(offset_bytes, buffer).map_err(SourceError::into_io)
    }
}

impl<M: BlockMap> Source for MappedImage<M> {
    fn description(&self) -> String {
        let below = self.parts.below.as_ref().map_or_else(String::new, |below| format!(", over {}", below.description()));
        format!("{} ({}{below})", self.path().display(), self.parts.format)
    }

    fn data_extents(&self) -> Result<ExtentSet, SourceError> {
        let below = self.parts.below.as_ref().map_or_else(|| Ok(ExtentSet::new()), |below| below.data_extents())?;
        let mut stored = self.parts.files.iter().map(file_data).collect::<Result<Vec<_>, _>>()?;
        if let (true, Some(first)) = (self.parts.map.is_patched(), stored.first_mut()) {
            // The log may put data where the file has a hole.
            *first = ExtentSet::whole(u64::MAX);
        }
        let mut data = ExtentSet::new();
        let mut offset = 0;
        while offset < self.parts.size_bytes {
            let rest = self.parts.size_bytes.saturating_sub(offset);
            let run = self.parts.map.run_at(&self.parts.files, offset, rest)?;
            let length = run.length_bytes.min(rest);
            if length == 0 {
                return Err(self.damaged(format!("nothing is known of the disk's offset {offset}")));
            }
            let range = Extent::between(offset, offset.saturating_add(length));
            match run.place {
                Place::Zero => {}
                Place::Below => below.within(range).for_each(|extent| data.push(extent)),
                Place::Packed(_) => data.push(range),
                // Holes of the file are zeros of the disk: clusters that were allocated and never written.
                Place::Stored { file, offset_bytes } => {
                    let there = Extent::between(offset_bytes, offset_bytes.saturating_add(length));
                    for extent in stored.get(file).into_iter().flat_map(|stored| stored.within(there)) {
                        let start = offset.saturating_add(extent.offset().saturating_sub(offset_bytes));
                        data.push(Extent::between(start, start.saturating_add(extent.length())));
                    }
                }
            }
            offset = range.end();
        }
        Ok(data)
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        self.parts.files.iter().try_for_each(HostFile::check_unwritten)?;
        self.parts.below.as_ref().map_or(Ok(()), |below| below.check_unchanged())
    }

    fn raw_file(&self) -> Option<&File> {
        None
    }
}

/// The ranges of a file that its filesystem has data for; what should lie past its end counts as data, so that reading it names
/// the fault.
fn file_data(host: &HostFile) -> Result<ExtentSet, SourceError> {
    let size = host.size_bytes();
    let mut data = if host.is_block_device() {
        ExtentSet::whole(size)
    } else {
        data_extents(host.file(), size).map_err(|source| SourceError::Open { path: host.path().to_owned(), source })?
    };
    data.push(Extent::between(size, u64::MAX));
    Ok(data)
}
