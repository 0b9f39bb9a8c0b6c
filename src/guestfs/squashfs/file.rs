//! Contents of files: blocks that are compressed each for itself and lie one behind the other, and an end that may share a block
//! (a fragment) with the ends of other files.

use std::io;
use std::sync::Arc;

use super::Core;
use super::inode::File;
use crate::guestfs::fields::{le32, le64};
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// In a size: the block is stored as it is.
const STORED: u32 = 1 << 24;
/// Most blocks of one file: 64 MiB of sizes in memory, a file of 2 TiB in blocks of 128 KiB.
const MOST_BLOCKS: u64 = 1 << 24;
/// The sum of the sizes is kept for each of so many blocks.
const SUMMED: usize = 64;
/// Sizes that are taken from the list at once.
const SIZES_AT_ONCE: u64 = 2048;
/// Compressed bytes that are read at once, at least one block.
const READ_BYTES: u64 = 1 << 20;

/// Where a compressed block is, and how long: the low 24 bits and [`STORED`]. A size of 0 is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    at: u64,
    size: u32,
}

impl Packed {
    fn length(self) -> u32 {
        self.size & (STORED - 1)
    }

    fn is_stored(self) -> bool {
        self.size & STORED != 0
    }
}

/// An open file.
pub(super) struct SquashFile {
    core: Arc<Core>,
    size_bytes: u64,
    start: u64,
    sizes: Vec<u32>,
    /// Bytes of the compressed blocks before each block whose number is a multiple of [`SUMMED`].
    sums: Vec<u64>,
    /// The block with its end, and the byte in it.
    fragment: Option<(Packed, u32)>,
}

/// A part of a read: which block, from which byte of it, and where it goes.
struct Part<'a> {
    block: usize,
    within: usize,
    target: &'a mut [u8],
}

impl SquashFile {
    /// Reads the list of a file's blocks.
    ///
    /// # Errors
    /// Damage; a file of too many blocks.
    pub(super) fn open(core: &Arc<Core>, file: &File) -> GuestResult<Self> {
        let block_bytes = u64::from(core.superblock.block_bytes);
        let count = match file.fragment {
            Some(_) => file.size_bytes / block_bytes,
            None => file.size_bytes.div_ceil(block_bytes),
        };
        if count > MOST_BLOCKS {
            return Err(GuestError::limit("a file of squashfs", format!("{count} blocks, more than {MOST_BLOCKS}")));
        }
        let (mut sizes, mut sums, mut sum) = (Vec::new(), Vec::new(), file.start);
        let mut cursor = core.metadata.cursor(file.sizes);
        let mut piece = Vec::new();
        for number in 0..count {
            let within = usize::try_from(number % SIZES_AT_ONCE).unwrap_or(0);
            if within == 0 {
                let left = count.saturating_sub(number).min(SIZES_AT_ONCE);
                piece = cursor.take_vec(usize::try_from(left).unwrap_or(0).saturating_mul(4))?;
            }
            let packed = Packed { at: sum, size: le32(&piece, within.saturating_mul(4)) };
            if packed.length() > core.superblock.block_bytes {
                let problem = format!("block {number} has {} bytes, more than {block_bytes}", packed.length());
                return Err(GuestError::damaged("a file of squashfs", problem));
            }
            if sizes.len() % SUMMED == 0 {
                sums.push(sum);
            }
            sizes.push(packed.size);
            sum = sum.saturating_add(u64::from(packed.length()));
        }
        let in_fragment = file.size_bytes % block_bytes;
        let fragment = match file.fragment.filter(|_| in_fragment > 0) {
            Some((number, offset)) => Some((core.fragment(number)?, offset)),
            None => None,
        };
        Ok(Self { core: Arc::clone(core), size_bytes: file.size_bytes, start: file.start, sizes, sums, fragment })
    }

    fn block_bytes(&self) -> u64 {
        u64::from(self.core.superblock.block_bytes)
    }

    /// Bytes of the file in this block.
    fn length_of(&self, block: usize) -> usize {
        let before = (block as u64).saturating_mul(self.block_bytes());
        usize::try_from(self.size_bytes.saturating_sub(before).min(self.block_bytes())).unwrap_or(0)
    }

    fn packed(&self, block: usize) -> Packed {
        let summed = block / SUMMED;
        let before = self.sizes.get(summed * SUMMED..block).unwrap_or_default();
        let sum = self.sums.get(summed).copied().unwrap_or(self.start);
        let at = before.iter().fold(sum, |sum, size| sum.saturating_add(u64::from(size & (STORED - 1))));
        Packed { at, size: self.sizes.get(block).copied().unwrap_or(0) }
    }

    /// Fills parts, each from blocks that are known or have to be read; those to be read are gathered.
    fn fill(&self, parts: Vec<Part<'_>>) -> GuestResult<()> {
        let mut missing = Vec::new();
        let mut missing_from = 0;
        for part in parts {
            let packed = self.packed(part.block);
            if packed.size == 0 {
                part.target.fill(0);
                continue;
            }
            if let Some(known) = self.core.blocks.get(packed) {
                copy_part(&known, part.within, part.target)?;
                self.fetch(std::mem::take(&mut missing))?;
                continue;
            }
            let end = packed.at.saturating_add(u64::from(packed.length()));
            if !missing.is_empty() && end.saturating_sub(missing_from) > READ_BYTES {
                self.fetch(std::mem::take(&mut missing))?;
            }
            if missing.is_empty() {
                missing_from = packed.at;
            }
            missing.push((packed, part));
        }
        self.fetch(missing)
    }

    /// Reads blocks that lie one behind the other in one go, and decompresses them.
    fn fetch(&self, parts: Vec<(Packed, Part<'_>)>) -> GuestResult<()> {
        let (Some((first, _)), Some((last, _))) = (parts.first(), parts.last()) else { return Ok(()) };
        let (start, end) = (first.at, last.at.saturating_add(u64::from(last.length())));
        let mut raw = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        self.core.device.read_at(start, &mut raw).map_err(|error| GuestError::of_read(error, || first.named()))?;
        for (packed, part) in parts {
            let from = usize::try_from(packed.at.saturating_sub(start)).unwrap_or(usize::MAX);
            let input = raw.get(from..).and_then(|rest| rest.get(..packed.length() as usize)).unwrap_or_default();
            let length = self.length_of(part.block);
            let check = |found: usize| match found == length {
                true => Ok(()),
                false => Err(packed.damaged(format!("it holds {found} bytes, expected {length}"))),
            };
            if packed.is_stored() {
                check(input.len())?;
                copy_part(input, part.within, part.target)?;
            } else if part.target.len() == length {
                let written = self.core.superblock.compressor.decompress(input, part.target);
                check(written.map_err(|problem| packed.damaged(problem))?)?;
            } else {
                let bytes = self.core.unpack(packed, input, length)?;
                check(bytes.len())?;
                copy_part(&bytes, part.within, part.target)?;
            }
        }
        Ok(())
    }

    fn fill_from_fragment(&self, offset_bytes: u64, target: &mut [u8]) -> GuestResult<()> {
        let Some((packed, start)) = self.fragment else { return Err(GuestError::damaged("a file of squashfs", "it has no end")) };
        let block = self.core.fragment_bytes(packed)?;
        let within = usize::try_from(offset_bytes % self.block_bytes()).unwrap_or(usize::MAX);
        copy_part(&block, within.saturating_add(start as usize), target)
    }
}

impl Packed {
    fn named(self) -> String {
        format!("the block of {} bytes at byte {}", self.length(), self.at)
    }

    fn damaged(self, problem: String) -> GuestError {
        GuestError::damaged(self.named(), problem)
    }
}

fn copy_part(block: &[u8], within: usize, target: &mut [u8]) -> GuestResult<()> {
    let source = block.get(within..).and_then(|rest| rest.get(..target.len())).ok_or_else(|| {
        let problem = format!("it has {} bytes, and {} from byte {within} on are asked for", block.len(), target.len());
        GuestError::damaged("a block of squashfs", problem)
    })?;
    target.copy_from_slice(source);
    Ok(())
}

impl Core {
    /// Where a fragment is.
    fn fragment(&self, number: u32) -> GuestResult<Packed> {
        let entry: [u8; 16] = self.fragments.entry(&self.metadata, number)?;
        let packed = Packed { at: le64(&entry, 0), size: le32(&entry, 8) };
        match packed.length() {
            1.. if packed.length() <= self.superblock.block_bytes => Ok(packed),
            length => Err(GuestError::damaged(format!("fragment {number}"), format!("{length} bytes"))),
        }
    }

    /// Decompresses a block of up to `most` bytes and keeps it.
    fn unpack(&self, packed: Packed, input: &[u8], most: usize) -> GuestResult<Arc<Vec<u8>>> {
        let mut bytes = vec![0; most];
        let written = self.superblock.compressor.decompress(input, &mut bytes).map_err(|problem| packed.damaged(problem))?;
        bytes.truncate(written);
        let bytes = Arc::new(bytes);
        self.blocks.put(packed, Arc::clone(&bytes), most.saturating_add(100));
        Ok(bytes)
    }

    fn fragment_bytes(&self, packed: Packed) -> GuestResult<Arc<Vec<u8>>> {
        if let Some(known) = self.blocks.get(packed) {
            return Ok(known);
        }
        let mut input = vec![0; packed.length() as usize];
        self.device.read_at(packed.at, &mut input).map_err(|error| GuestError::of_read(error, || packed.named()))?;
        if !packed.is_stored() {
            return self.unpack(packed, &input, self.superblock.block_bytes as usize);
        }
        let weight = input.len().saturating_add(100);
        let bytes = Arc::new(input);
        self.blocks.put(packed, Arc::clone(&bytes), weight);
        Ok(bytes)
    }
}

impl ReadAt for SquashFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset_bytes, buffer);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let block = usize::try_from(at / self.block_bytes()).unwrap_or(usize::MAX);
            if block >= self.sizes.len() {
                self.fill_from_fragment(at, rest)?;
                break;
            }
            let within = usize::try_from(at % self.block_bytes()).unwrap_or(0);
            let length = self.length_of(block).saturating_sub(within).min(rest.len());
            let (target, tail) = std::mem::take(&mut rest).split_at_mut(length);
            parts.push(Part { block, within, target });
            rest = tail;
            at = at.saturating_add(length as u64);
        }
        Ok(self.fill(parts)?)
    }
}

impl FileData for SquashFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let left = self.size_bytes.saturating_sub(offset_bytes);
        if left == 0 {
            return Ok(Run { length_bytes: 0, place: Place::Hole });
        }
        let block = usize::try_from(offset_bytes / self.block_bytes()).unwrap_or(usize::MAX);
        let Some(&size) = self.sizes.get(block) else { return Ok(Run { length_bytes: left, place: Place::Computed }) };
        // Blocks that are stored as they are lie one behind the other without gaps, as long as each but the last is whole.
        let whole = STORED | self.core.superblock.block_bytes;
        let alike = |other: u32| match size {
            0 => other == 0,
            _ if size == whole => other == whole,
            _ if size & STORED != 0 => false,
            _ => other & STORED == 0 && other != 0,
        };
        let same = self.sizes.iter().skip(block.saturating_add(1)).take_while(|&&other| alike(other)).count();
        let end = (block as u64).saturating_add(same as u64).saturating_add(1).saturating_mul(self.block_bytes());
        let packed = self.packed(block);
        let place = match size {
            0 => Place::Hole,
            _ if packed.is_stored() && packed.length() as usize == self.length_of(block) => {
                Place::Device { device: 0, offset_bytes: packed.at.saturating_add(offset_bytes % self.block_bytes()) }
            }
            _ => Place::Computed,
        };
        Ok(Run { length_bytes: end.saturating_sub(offset_bytes).min(left), place })
    }
}
