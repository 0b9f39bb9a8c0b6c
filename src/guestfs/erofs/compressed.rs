//! Contents of compressed files: extents are read together where they lie together, decompressed whole, and kept for the next read.

use std::io;
use std::sync::Arc;

use super::core::Image;
use super::index::{Coding, Extent, Index, MOST_UNPACKED};
use super::inode::Inode;
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run, codec};
use crate::io::ReadAt;

/// Compressed bytes that are read at once, at least one extent.
const READ_BYTES: u64 = 1 << 20;

/// An open file. It does not hold the whole reader, which itself holds such files.
pub(super) struct Compressed {
    image: Arc<Image>,
    node: u64,
    size_bytes: u64,
    index: Index,
    /// The file of fragments, and where in it this file's last extent is.
    fragment: Option<(Arc<dyn FileData>, u64)>,
}

/// A part of a read: the number of an extent, from which of its bytes, and where it goes.
struct Part<'a> {
    number: usize,
    within: u64,
    target: &'a mut [u8],
}

impl Compressed {
    pub(super) fn new(image: &Arc<Image>, inode: &Inode, index: Index, fragment: Option<(Arc<dyn FileData>, u64)>) -> Self {
        Self { image: Arc::clone(image), node: inode.node.0, size_bytes: inode.size_bytes, index, fragment }
    }

    fn damaged(&self, extent: &Extent, problem: impl std::fmt::Display) -> GuestError {
        GuestError::damaged(format!("the extent at byte {} of inode {}", extent.start, self.node), problem.to_string())
    }

    fn number_at(&self, offset_bytes: u64) -> usize {
        self.index.extents.partition_point(|extent| extent.start <= offset_bytes).saturating_sub(1)
    }

    fn extent(&self, number: usize) -> io::Result<&Extent> {
        self.index.extents.get(number).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn end_of(&self, number: usize) -> u64 {
        self.index.extents.get(number.saturating_add(1)).map_or(self.size_bytes, |next| next.start)
    }

    /// Bytes of the file in an extent.
    fn length_of(&self, number: usize) -> GuestResult<usize> {
        let extent = self.extent(number)?;
        let length = self.end_of(number).saturating_sub(extent.start);
        if length > MOST_UNPACKED {
            return Err(self.damaged(extent, format!("{length} bytes, more than {MOST_UNPACKED}")));
        }
        Ok(usize::try_from(length).unwrap_or(0))
    }

    fn fill(&self, parts: Vec<Part<'_>>) -> GuestResult<()> {
        let mut missing: Vec<Part<'_>> = Vec::new();
        let mut gathered: Option<(u64, u64)> = None;
        for part in parts {
            let extent = self.extent(part.number)?;
            match extent.coding {
                Coding::Hole => {
                    part.target.fill(0);
                    continue;
                }
                Coding::Fragment => {
                    let (file, at) = self.fragment.as_ref().ok_or_else(|| self.damaged(extent, "there is no file of fragments"))?;
                    file.read_at(at.saturating_add(part.within), part.target)?;
                    continue;
                }
                _ => {}
            }
            if let Some(known) = self.image.extents.get((self.node, extent.start)) {
                self.copy(extent, &known, part)?;
                continue;
            }
            if extent.inline {
                self.unpack_into(part, &self.index.inline)?;
                continue;
            }
            let end = extent.at.saturating_add(u64::from(extent.packed_bytes));
            gathered = match gathered {
                Some((start, last)) if last == extent.at && end.saturating_sub(start) <= READ_BYTES => Some((start, end)),
                _ => {
                    self.fetch(gathered, std::mem::take(&mut missing))?;
                    Some((extent.at, end))
                }
            };
            missing.push(part);
        }
        self.fetch(gathered, missing)
    }

    /// Reads a range of the volume and decompresses the extents in it.
    fn fetch(&self, range: Option<(u64, u64)>, parts: Vec<Part<'_>>) -> GuestResult<()> {
        let Some((start, end)) = range else { return Ok(()) };
        let mut raw = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        let named = || format!("the {} compressed bytes at byte {start}", end.saturating_sub(start));
        self.image.device.read_at(start, &mut raw).map_err(|error| GuestError::of_read(error, named))?;
        for part in parts {
            let extent = self.extent(part.number)?;
            let from = usize::try_from(extent.at.saturating_sub(start)).unwrap_or(usize::MAX);
            let input = raw.get(from..).and_then(|rest| rest.get(..extent.packed_bytes as usize)).unwrap_or_default();
            self.unpack_into(part, input)?;
        }
        Ok(())
    }

    /// Decompresses an extent straight to where it goes, if all of it does; else for this read and the next one.
    fn unpack_into(&self, part: Part<'_>, input: &[u8]) -> GuestResult<()> {
        let extent = *self.extent(part.number)?;
        let length = self.length_of(part.number)?;
        if part.target.len() == length {
            return self.unpack(&extent, input, part.target);
        }
        let mut bytes = vec![0; length];
        self.unpack(&extent, input, &mut bytes)?;
        self.copy(&extent, &bytes, part)?;
        self.image.extents.put((self.node, extent.start), Arc::new(bytes), length.saturating_add(100));
        Ok(())
    }

    fn copy(&self, extent: &Extent, bytes: &[u8], part: Part<'_>) -> GuestResult<()> {
        let from = usize::try_from(part.within).unwrap_or(usize::MAX);
        let source = bytes.get(from..).and_then(|rest| rest.get(..part.target.len()));
        part.target.copy_from_slice(source.ok_or_else(|| self.damaged(extent, "it is shorter than it was"))?);
        Ok(())
    }

    /// Makes all of the file's bytes in an extent.
    fn unpack(&self, extent: &Extent, input: &[u8], output: &mut [u8]) -> GuestResult<()> {
        let block_bytes = self.image.superblock.block_bytes();
        let padded = || {
            // Zeros come before the compressed bytes, in the first block only.
            let most = usize::try_from(block_bytes.saturating_sub(extent.at % block_bytes.max(1))).unwrap_or(usize::MAX);
            let zeros = input.iter().take(most).take_while(|&&byte| byte == 0).count();
            input.get(zeros..).unwrap_or_default()
        };
        let written = match extent.coding {
            Coding::Shifted => plain(input, 0, output),
            Coding::Interlaced => {
                let to_end = block_bytes.saturating_sub(extent.start % block_bytes.max(1));
                let behind = usize::try_from(to_end).unwrap_or(usize::MAX);
                input.len().checked_sub(behind).ok_or_else(|| "its end is not there".to_owned()).and_then(|at| plain(input, at, output))
            }
            Coding::Lz4 if !self.image.superblock.zero_padding() => codec::lz4::decompress(input, output).map_err(str::to_owned),
            Coding::Lz4 => codec::lz4::decompress(padded(), output).map_err(str::to_owned),
            Coding::Lzma => codec::micro_lzma(padded(), output),
            Coding::Deflate => codec::deflate(padded(), output),
            Coding::Zstd if extent.partial => codec::zstd_beginning(padded(), output),
            Coding::Zstd => codec::zstd(padded(), output),
            Coding::Hole | Coding::Fragment => Ok(0),
        };
        match written.map_err(|problem| self.damaged(extent, problem))? {
            found if found == output.len() => Ok(()),
            found => Err(self.damaged(extent, format!("it holds {found} bytes, expected {}", output.len()))),
        }
    }
}

/// Copies bytes from `at` on, and then from the beginning on.
fn plain(input: &[u8], at: usize, output: &mut [u8]) -> Result<usize, String> {
    let (before, behind) = input.split_at_checked(at).unwrap_or_default();
    let length = output.len().min(behind.len());
    let (head, rest) = output.split_at_mut(length);
    head.copy_from_slice(behind.get(..length).unwrap_or_default());
    let source = before.get(..rest.len()).ok_or_else(|| "it is shorter than what it holds".to_owned())?;
    rest.copy_from_slice(source);
    Ok(output.len())
}

impl ReadAt for Compressed {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset_bytes, buffer);
        let mut number = self.number_at(at);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let extent = self.extent(number)?;
            let left = usize::try_from(self.end_of(number).saturating_sub(at)).unwrap_or(usize::MAX);
            let length = left.min(rest.len());
            let (target, tail) = std::mem::take(&mut rest).split_at_mut(length);
            parts.push(Part { number, within: at.saturating_sub(extent.start), target });
            rest = tail;
            at = at.saturating_add(length as u64);
            number = number.saturating_add(1);
        }
        Ok(self.fill(parts)?)
    }
}

impl FileData for Compressed {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        if offset_bytes >= self.size_bytes {
            return Ok(Run { length_bytes: 0, place: Place::Hole });
        }
        let first = self.number_at(offset_bytes);
        let hole = self.extent(first)?.coding == Coding::Hole;
        let same = self.index.extents.iter().skip(first).take_while(|extent| (extent.coding == Coding::Hole) == hole).count();
        let end = self.index.extents.get(first.saturating_add(same)).map_or(self.size_bytes, |next| next.start);
        let place = if hole { Place::Hole } else { Place::Computed };
        Ok(Run { length_bytes: end.saturating_sub(offset_bytes), place })
    }
}
