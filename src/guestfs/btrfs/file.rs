//! The contents of a file: its extents are looked up in the tree as they are needed, so that an open file takes no memory.

use std::io;
use std::sync::Arc;

use super::super::{FileData, GuestError, GuestResult, Place, Run};
use super::data::{Data, Packed};
use super::items::{FileExtent, Stored};
use super::layout::{Key, kind};
use super::tree::{Bytes, Tree};
use crate::io::ReadAt;

/// Stored bytes of compressed extents that are read together.
const TOGETHER_BYTES: u64 = 1 << 20;

/// Parts that are put together into one run.
const MOST_JOINED: usize = 256;

/// Where bytes of a part of a file come from.
enum Source {
    Zeros,
    /// Inline: the item's data from this byte on; compressed or not.
    Inline {
        item: Bytes,
        at: usize,
        extent: FileExtent,
        skip_bytes: u64,
    },
    /// As they are, from this address.
    Plain {
        logical: u64,
    },
    /// From within a compressed extent.
    Packed {
        extent: Packed,
        skip_bytes: u64,
    },
}

/// A part of a file.
struct Part {
    start_bytes: u64,
    length_bytes: u64,
    source: Source,
}

/// A file of one subvolume.
pub(super) struct File {
    pub(super) tree: Arc<Tree>,
    pub(super) data: Arc<Data>,
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    /// Whether its data has checksums.
    pub(super) is_checked: bool,
}

impl File {
    fn object(&self) -> String {
        format!("inode {}", self.inode)
    }

    fn key(&self, offset: u64) -> Key {
        Key::new(self.inode, kind::EXTENT_DATA, offset)
    }

    /// Calls `visit` with the parts of the file from `at` to `end`, without gaps, until it returns false.
    fn each_part(&self, mut at: u64, end: u64, mut visit: impl FnMut(Part) -> bool) -> GuestResult<()> {
        let tree = &self.tree;
        let before = tree.last_up_to(self.key(0), self.key(at))?;
        let from = before.as_ref().map_or(at, |item| item.key.offset.saturating_add(1));
        let after = tree.range(self.key(from), self.key(end.saturating_sub(1)));
        for item in before.into_iter().map(Ok).chain(after) {
            let item = item?;
            let extent = FileExtent::parse(|| self.object(), &item.data)?;
            let start = item.key.offset;
            if start > at && !visit(Part { start_bytes: at, length_bytes: start.min(end).saturating_sub(at), source: Source::Zeros }) {
                return Ok(());
            }
            at = at.max(start);
            let stop = start.saturating_add(extent.length_bytes).min(end);
            if stop <= at {
                continue;
            }
            let skip = at.saturating_sub(start);
            let part = Part { start_bytes: at, length_bytes: stop.saturating_sub(at), source: self.source(item.data, extent, skip)? };
            if !visit(part) {
                return Ok(());
            }
            at = stop;
        }
        if at < end {
            visit(Part { start_bytes: at, length_bytes: end.saturating_sub(at), source: Source::Zeros });
        }
        Ok(())
    }

    fn source(&self, item: Bytes, extent: FileExtent, skip_bytes: u64) -> GuestResult<Source> {
        let FileExtent { plain_bytes, compression, .. } = extent;
        match extent.stored {
            Stored::Hole => Ok(Source::Zeros),
            Stored::Inline(at) => Ok(Source::Inline { item, at, extent, skip_bytes }),
            Stored::Extent { logical, offset_bytes, .. } if compression == 0 => {
                let address = logical.checked_add(offset_bytes).and_then(|address| address.checked_add(skip_bytes));
                let logical = address.ok_or_else(|| GuestError::damaged(self.object(), "an extent ends past the end of numbers"))?;
                Ok(Source::Plain { logical })
            }
            Stored::Extent { logical, bytes: stored_bytes, offset_bytes } => {
                let extent = Packed { logical, stored_bytes, plain_bytes, compression };
                extent.check()?;
                Ok(Source::Packed { extent, skip_bytes: offset_bytes.saturating_add(skip_bytes) })
            }
        }
    }

    fn copy_out(&self, bytes: &[u8], skip_bytes: u64, target: &mut [u8]) -> GuestResult<()> {
        let start = usize::try_from(skip_bytes).unwrap_or(usize::MAX);
        let found = bytes.get(start..start.saturating_add(target.len()));
        let found = found.ok_or_else(|| GuestError::damaged(self.object(), "an extent has less data than it says"))?;
        target.copy_from_slice(found);
        Ok(())
    }

    fn read_inline(&self, item: &[u8], extent: &FileExtent, skip_bytes: u64, target: &mut [u8]) -> GuestResult<()> {
        if extent.compression == 0 {
            return self.copy_out(item, skip_bytes, target);
        }
        let sector = self.data.pool().sector_bytes;
        let plain = super::compress::decompress(extent.compression, item, extent.plain_bytes, sector)
            .map_err(|problem| GuestError::damaged(self.object(), problem))?;
        self.copy_out(&plain, skip_bytes, target)
    }

    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> GuestResult<()> {
        let end = offset_bytes.saturating_add(buffer.len() as u64);
        let mut parts = Vec::new();
        self.each_part(offset_bytes, end, |part| {
            match (parts.last_mut(), &part.source) {
                (Some(Part { length_bytes, source: Source::Plain { logical: before }, .. }), Source::Plain { logical })
                    if before.checked_add(*length_bytes) == Some(*logical) =>
                {
                    *length_bytes = length_bytes.saturating_add(part.length_bytes);
                }
                _ => parts.push(part),
            }
            true
        })?;
        let mut rest = buffer;
        let mut parts = parts.as_slice();
        while let Some(part) = parts.first() {
            let count = self.together(parts);
            let (these, after) = parts.split_at_checked(count).unwrap_or((parts, &[]));
            let length = these.iter().map(|part| part.length_bytes).fold(0, u64::saturating_add);
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            let (target, behind) = std::mem::take(&mut rest).split_at_mut(length);
            match &part.source {
                Source::Zeros => target.fill(0),
                Source::Inline { item, at, extent, skip_bytes } => {
                    self.read_inline(item.get(*at..).unwrap_or_default(), extent, *skip_bytes, target)?;
                }
                Source::Plain { logical } => self.data.read(*logical, target, self.is_checked)?,
                Source::Packed { .. } => self.read_packed(these, target)?,
            }
            rest = behind;
            parts = after;
        }
        Ok(())
    }

    /// How many of the first parts are best read together: compressed extents that follow each other on the devices.
    fn together(&self, parts: &[Part]) -> usize {
        let mut next = None;
        let mut bytes = 0_u64;
        let follows = parts.iter().take_while(|part| {
            let Source::Packed { extent, .. } = &part.source else { return false };
            let fits = next.is_none_or(|next| next == extent.logical) && bytes < TOGETHER_BYTES;
            next = extent.logical.checked_add(extent.stored_bytes);
            bytes = bytes.saturating_add(extent.stored_bytes);
            fits
        });
        follows.count().max(1)
    }

    fn read_packed(&self, parts: &[Part], mut target: &mut [u8]) -> GuestResult<()> {
        let packed = parts.iter().filter_map(|part| match &part.source {
            Source::Packed { extent, skip_bytes } => Some((*extent, *skip_bytes, part.length_bytes)),
            _ => None,
        });
        let extents: Vec<Packed> = packed.clone().map(|(extent, ..)| extent).collect();
        let plain = self.data.unpack(&extents, self.is_checked)?;
        for (bytes, (_, skip_bytes, length)) in plain.iter().zip(packed) {
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(target.len());
            let (part, rest) = std::mem::take(&mut target).split_at_mut(length);
            self.copy_out(bytes, skip_bytes, part)?;
            target = rest;
        }
        Ok(())
    }

    fn place(&self, part: &Part) -> GuestResult<Run> {
        let length_bytes = part.length_bytes;
        Ok(match part.source {
            Source::Zeros => Run { length_bytes, place: Place::Hole },
            Source::Inline { .. } | Source::Packed { .. } => Run { length_bytes, place: Place::Computed },
            Source::Plain { logical } => {
                let (piece, place) = self.data.pool().place(logical)?;
                let place = match place {
                    Some((device, offset_bytes)) => Place::Device { device, offset_bytes },
                    None => Place::Computed,
                };
                Run { length_bytes: length_bytes.min(piece), place }
            }
        })
    }
}

/// Whether a run goes on where another ends, in the same way.
fn continues(run: &Run, next: &Run) -> bool {
    match (run.place, next.place) {
        (Place::Device { device, offset_bytes }, Place::Device { device: next_device, offset_bytes: next_bytes }) => {
            device == next_device && offset_bytes.checked_add(run.length_bytes) == Some(next_bytes)
        }
        (place, next_place) => place == next_place,
    }
}

impl ReadAt for File {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buffer.is_empty() { Ok(()) } else { Ok(self.read(offset_bytes, buffer)?) }
    }
}

impl FileData for File {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let mut run = Run { length_bytes: 0, place: Place::Hole };
        let mut problem = None;
        let mut joined = 0_usize;
        if offset_bytes < self.size_bytes {
            self.each_part(offset_bytes, self.size_bytes, |part| {
                joined = joined.saturating_add(1);
                match self.place(&part) {
                    Ok(next) if run.length_bytes == 0 => run = next,
                    Ok(next) if continues(&run, &next) => run.length_bytes = run.length_bytes.saturating_add(next.length_bytes),
                    Ok(_) => return false,
                    Err(error) => {
                        problem = Some(error).filter(|_| run.length_bytes == 0);
                        return false;
                    }
                }
                // A part of which only a piece lies together ends the run.
                run.length_bytes >= part.start_bytes.saturating_add(part.length_bytes).saturating_sub(offset_bytes) && joined < MOST_JOINED
            })?;
        }
        match problem {
            Some(error) => Err(error.into()),
            None => Ok(run),
        }
    }
}
