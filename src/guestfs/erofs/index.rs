//! Where the extents of a compressed file are: a list of them, or an entry for each block of the file that says whether an extent
//! begins in it. Entries take 8 bytes, or 2 to 4 in packs that name a block's number once.

use super::core::{Core, Place};
use super::inode::{Inode, Layout};
use crate::guestfs::fields::{byte, le16, le32, le64};
use crate::guestfs::mapped::MOST_EXTENTS;
use crate::guestfs::{GuestError, GuestResult};

/// Advice of the header, by the names of the format's description.
const COMPACTED_2B: u16 = 1;
const EXTENTS: u16 = 1;
const BIG_1: u16 = 2;
const BIG_2: u16 = 4;
const INLINE: u16 = 8;
const INTERLACED: u16 = 0x10;
const FRAGMENT: u16 = 0x20;

/// Of an entry that begins no extent: its number is how many blocks the extent before it takes.
const BLOCK_COUNT: u32 = 1 << 11;
/// Of an 8-byte entry: only the beginning of what the extent holds belongs to the file.
const PARTIAL: u16 = 1 << 15;
/// Compressed bytes of an extent, and bytes that come out of it, at most.
const MOST_PACKED: u64 = 1 << 20;
pub(super) const MOST_UNPACKED: u64 = 12 << 20;
/// Bytes of an index that are read at once; a multiple of all packs.
const PIECE_BYTES: u64 = 16 << 10;

/// How the bytes of an extent become those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// All zeros.
    Hole,
    /// As they are.
    Shifted,
    /// As they are, each at the place in its block that it has in the file: what does not fit behind is at the beginning.
    Interlaced,
    Lz4,
    Lzma,
    Deflate,
    Zstd,
    /// From the file of fragments.
    Fragment,
}

/// A range of the file up to the next extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Where in the file it begins.
    pub(super) start: u64,
    /// Where on the volume; of the inline end: nothing.
    pub(super) at: u64,
    /// Bytes there.
    pub(super) packed_bytes: u32,
    pub(super) coding: Coding,
    /// Whether it is the end that is kept with the inode.
    pub(super) inline: bool,
    /// Whether more comes out of it than belongs to the file.
    pub(super) partial: bool,
}

/// All extents of a file.
pub(super) struct Index {
    pub(super) extents: Vec<Extent>,
    /// The end that is kept with the inode.
    pub(super) inline: Vec<u8>,
    /// Where in the file of fragments the last extent is.
    pub(super) fragment: Option<u64>,
}

/// What an entry says of its block.
enum Entry {
    /// An extent begins in it.
    Head { kind: u8, offset: u32, block: u64, partial: bool },
    /// None does; perhaps with the number of blocks of the extent whose second block this is.
    Other { blocks: Option<u32> },
}

pub(super) fn coding(number: u8) -> GuestResult<Coding> {
    Ok(match number {
        0 => Coding::Lz4,
        1 => Coding::Lzma,
        2 => Coding::Deflate,
        3 => Coding::Zstd,
        other => return Err(GuestError::unsupported(format!("EROFS compression algorithm number {other}"))),
    })
}

/// Reads the index of a compressed file.
///
/// # Errors
/// Damage; forms that are not known.
pub(super) fn read(core: &Core, inode: &Inode) -> GuestResult<Index> {
    let place = inode.body(8);
    let mut header = [0; 8];
    core.read(place, &mut header)?;
    if byte(&header, 7) & 0x80 != 0 {
        let whole = Extent { start: 0, at: 0, packed_bytes: 0, coding: Coding::Fragment, inline: false, partial: false };
        let extents = if inode.size_bytes > 0 { vec![whole] } else { Vec::new() };
        return Ok(Index { extents, inline: Vec::new(), fragment: Some(le64(&header, 0) & !(1 << 63)) });
    }
    let advice = le16(&header, 4);
    if inode.layout == Layout::CompressedFull && advice & EXTENTS != 0 {
        return super::extents::read(core, inode, &header);
    }
    let mut builder = Builder::new(core, inode, &header)?;
    let start = place.behind(8);
    let end = match inode.layout {
        Layout::CompressedFull => builder.full(start.behind(8))?,
        _ => builder.compact(start)?,
    };
    builder.finish(end, &header)
}

struct Builder<'a> {
    core: &'a Core,
    inode: &'a Inode,
    advice: u16,
    heads: [Coding; 2],
    extents: Vec<Extent>,
    /// The kind of the extent that begins in the block before.
    fresh: Option<u8>,
    /// Of the last extent, its number as it is.
    last_block: u64,
}

impl<'a> Builder<'a> {
    fn new(core: &'a Core, inode: &'a Inode, header: &[u8; 8]) -> GuestResult<Self> {
        if byte(header, 7) & 15 != 0 {
            return Err(GuestError::unsupported("EROFS with logical clusters larger than a block"));
        }
        let algorithms = byte(header, 6);
        let heads = [coding(algorithms & 15)?, coding(algorithms >> 4)?];
        Ok(Self { core, inode, advice: le16(header, 4), heads, extents: Vec::new(), fresh: None, last_block: 0 })
    }

    fn blocks(&self) -> u64 {
        self.inode.size_bytes.div_ceil(self.core.image.superblock.block_bytes())
    }

    /// Takes the entry of the next block.
    fn add(&mut self, number: u64, entry: &Entry) -> GuestResult<()> {
        let superblock = &self.core.image.superblock;
        let block_bytes = superblock.block_bytes();
        match *entry {
            Entry::Head { kind, offset, block, partial } => {
                if u64::from(offset) >= block_bytes {
                    return Err(self.inode.problem(format!("an extent begins at byte {offset} of a block of {block_bytes}")));
                }
                let coding = match kind {
                    0 if self.advice & INTERLACED != 0 => Coding::Interlaced,
                    0 => Coding::Shifted,
                    1 => self.heads[0],
                    _ => self.heads[1],
                };
                let start = number.saturating_mul(block_bytes).saturating_add(u64::from(offset));
                let packed_bytes = u32::try_from(block_bytes).unwrap_or(0);
                self.extents.push(Extent { start, at: superblock.block_at(block), packed_bytes, coding, inline: false, partial });
                self.last_block = block;
                self.fresh = Some(kind);
                if self.extents.len() > MOST_EXTENTS {
                    return Err(GuestError::limit(format!("inode {}", self.inode.node.0), format!("more than {MOST_EXTENTS} extents")));
                }
            }
            Entry::Other { blocks } => {
                let big = match self.fresh.take() {
                    Some(1) => self.advice & BIG_1 != 0,
                    Some(3) => self.advice & BIG_2 != 0,
                    _ => false,
                };
                if let (true, Some(blocks), Some(extent)) = (big, blocks, self.extents.last_mut()) {
                    let bytes = u64::from(blocks).saturating_mul(block_bytes);
                    // None are told of an extent that is a fragment.
                    if bytes > MOST_PACKED {
                        return Err(self.inode.problem(format!("an extent of {blocks} compressed blocks")));
                    }
                    extent.packed_bytes = u32::try_from(bytes).unwrap_or(0);
                }
            }
        }
        Ok(())
    }

    /// Entries of 8 bytes. Gives where they end.
    fn full(&mut self, start: Place) -> GuestResult<Place> {
        let count = self.blocks();
        let mut done = 0;
        while done < count {
            let piece = count.saturating_sub(done).min(PIECE_BYTES / 8);
            let mut bytes = vec![0; usize::try_from(piece * 8).unwrap_or(0)];
            self.core.read(start.behind(done.saturating_mul(8)), &mut bytes)?;
            for raw in bytes.chunks_exact(8) {
                let kind = (le16(raw, 0) & 3) as u8;
                let count = u32::from(le16(raw, 4));
                let entry = match kind {
                    2 => Entry::Other { blocks: (count & BLOCK_COUNT != 0).then_some(count & !BLOCK_COUNT) },
                    _ => Entry::Head {
                        kind,
                        offset: u32::from(le16(raw, 2)),
                        block: u64::from(le32(raw, 4)),
                        partial: le16(raw, 0) & PARTIAL != 0,
                    },
                };
                self.add(done, &entry)?;
                done = done.saturating_add(1);
            }
        }
        Ok(start.behind(count.saturating_mul(8)))
    }

    /// Packs: of 2 entries in 8 bytes up to a multiple of 32 bytes, of 16 in 32 bytes as far as they are full, then of 2 again. Gives
    /// where the last one ends.
    fn compact(&mut self, start: Place) -> GuestResult<Place> {
        let bits = self.core.image.superblock.block_bits;
        if bits > 14 {
            return Err(GuestError::unsupported("EROFS with compact indexes of blocks above 16 KiB"));
        }
        let count = self.blocks();
        let to_align = start.at.wrapping_neg() % 32 / 4;
        let small = self.advice & COMPACTED_2B != 0 && bits <= 12 && to_align < count;
        let first = if small { to_align } else { count };
        let middle = if small { (count - first) / 16 * 16 } else { 0 };
        let mut at = start;
        let mut done = 0;
        for (entries, pack_bytes, in_pack) in [(first, 8, 2), (middle, 32, 16), (count - first - middle, 8, 2)] {
            let mut left = entries;
            while left > 0 {
                let packs = left.div_ceil(in_pack).min(PIECE_BYTES / pack_bytes);
                let mut bytes = vec![0; usize::try_from(packs * pack_bytes).unwrap_or(0)];
                self.core.read(at, &mut bytes)?;
                at = at.behind(packs * pack_bytes);
                for pack in bytes.chunks_exact(usize::try_from(pack_bytes).unwrap_or(8)) {
                    let taken = left.min(in_pack);
                    self.pack(done, pack, in_pack, taken)?;
                    done = done.saturating_add(taken);
                    left = left.saturating_sub(taken);
                }
            }
        }
        Ok(at)
    }

    /// The first `taken` of the `count` entries of a pack, whose last 4 bytes are the number of a block from which extents are counted.
    fn pack(&mut self, first: u64, pack: &[u8], count: u64, taken: u64) -> GuestResult<()> {
        let low_bits = self.core.image.superblock.block_bits.max(12);
        let base_at = pack.len().saturating_sub(4);
        let base = u64::from(le32(pack, base_at));
        let bits = (base_at as u64).saturating_mul(8) / count.max(1);
        let big = self.advice & BIG_1 != 0;
        // Without large extents, the number is that before the first extent; with them, that of the first one.
        let mut block = if big { base } else { base.wrapping_add(1) };
        let mut last_was_head = false;
        for index in 0..taken {
            let bit = index.saturating_mul(bits);
            let at = usize::try_from(bit / 8).unwrap_or(0);
            // The bits of an entry lie within 4 bytes, the last of which may be those of the number.
            let value = le32(pack, at) >> (bit % 8);
            let low = value & ((1_u32 << low_bits).wrapping_sub(1));
            let kind = (value >> low_bits & 3) as u8;
            if kind == 2 {
                let blocks = (low & BLOCK_COUNT != 0).then_some(low & !BLOCK_COUNT);
                if let Some(blocks) = blocks.filter(|_| big) {
                    // The extent's own block was counted where it began, if that was in this pack.
                    block = block.wrapping_add(u64::from(blocks)).wrapping_sub(u64::from(last_was_head));
                }
                last_was_head = false;
                self.add(first.saturating_add(index), &Entry::Other { blocks })?;
            } else {
                self.add(
                    first.saturating_add(index),
                    &Entry::Head { kind, offset: low, block: block & u64::from(u32::MAX), partial: false },
                )?;
                block = block.wrapping_add(1);
                last_was_head = true;
            }
        }
        Ok(())
    }

    /// Says where the end of the file is, if that is not among its blocks.
    fn finish(mut self, end: Place, header: &[u8; 8]) -> GuestResult<Index> {
        let size = self.inode.size_bytes;
        let in_file = self.extents.partition_point(|extent| extent.start < size);
        let cut = in_file < self.extents.len();
        self.extents.truncate(in_file);
        if size > 0 && self.extents.first().is_none_or(|extent| extent.start != 0) {
            return Err(self.inode.problem("no extent begins at its first byte".to_owned()));
        }
        let mut index = Index { extents: self.extents, inline: Vec::new(), fragment: None };
        let Some(last) = index.extents.last_mut() else { return Ok(index) };
        if self.advice & FRAGMENT != 0 {
            let high = if self.inode.layout == Layout::CompressedFull && !cut { self.last_block << 32 } else { 0 };
            last.coding = Coding::Fragment;
            index.fragment = Some(u64::from(le32(header, 0)) | high);
        } else if self.advice & INLINE != 0 && le16(header, 2) != 0 {
            let length = le16(header, 2);
            if u64::from(length) > self.core.image.superblock.block_bytes() {
                return Err(self.inode.problem(format!("an inline end of {length} bytes, more than a block")));
            }
            index.inline = vec![0; usize::from(length)];
            self.core.read(end, &mut index.inline)?;
            last.inline = true;
            last.packed_bytes = u32::from(length);
        }
        Ok(index)
    }
}
