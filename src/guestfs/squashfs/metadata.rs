//! Metadata: streams of bytes in blocks of 8 KiB, each compressed for itself behind two bytes of header, and tables of such blocks.

use std::sync::Arc;

use super::superblock::Compressor;
use crate::guestfs::pages::Pages;
use crate::guestfs::recent::Recent;
use crate::guestfs::{GuestError, GuestResult};

/// Bytes that a block holds, but for the last of a stream.
pub(super) const METADATA_BYTES: usize = 8192;
/// In the header: the block is stored as it is.
const STORED: u16 = 0x8000;

/// A decompressed block.
struct Block {
    bytes: Vec<u8>,
    /// Where the block behind it begins, in bytes of the volume.
    next: u64,
}

/// All metadata of one filesystem.
pub(super) struct Metadata {
    pages: Pages,
    compressor: Compressor,
    blocks: Recent<u64, Block>,
}

/// A place in metadata: the block that begins at a byte of the volume, and a byte in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) block: u64,
    pub(super) offset: usize,
}

impl Position {
    /// The place of a reference: 48 bits for the block counted from `table`, 16 for the byte in it.
    ///
    /// # Errors
    /// Damage where it is past the end of numbers.
    pub(super) fn of_reference(table: u64, reference: u64) -> GuestResult<Self> {
        let block = table
            .checked_add(reference >> 16)
            .ok_or_else(|| GuestError::damaged("a reference to metadata", format!("{reference:#x} is past the end of numbers")))?;
        Ok(Self { block, offset: usize::from(reference as u16) })
    }
}

impl Metadata {
    pub(super) fn new(pages: Pages, compressor: Compressor, cache_bytes: usize) -> Self {
        Self { pages, compressor, blocks: Recent::new(cache_bytes, 8) }
    }

    /// Bytes of the volume as they are.
    pub(super) fn raw<const N: usize>(&self, at: u64) -> GuestResult<[u8; N]> {
        let mut bytes = [0; N];
        self.raw_into(at, &mut bytes)?;
        Ok(bytes)
    }

    fn raw_into(&self, at: u64, bytes: &mut [u8]) -> GuestResult<()> {
        self.pages.read(at, bytes).map_err(|error| GuestError::of_read(error, || format!("the metadata at byte {at}")))
    }

    fn block(&self, at: u64) -> GuestResult<Arc<Block>> {
        if let Some(block) = self.blocks.get(at) {
            return Ok(block);
        }
        let damaged = |problem: String| GuestError::damaged(format!("the metadata block at byte {at}"), problem);
        let header = u16::from_le_bytes(self.raw(at)?);
        let length = usize::from(header & !STORED);
        if length == 0 || length > METADATA_BYTES {
            return Err(damaged(format!("{length} bytes, expected 1 to {METADATA_BYTES}")));
        }
        let start = at.saturating_add(2);
        let mut bytes = vec![0; length];
        self.raw_into(start, &mut bytes)?;
        if header & STORED == 0 {
            let mut output = vec![0; METADATA_BYTES];
            let written = self.compressor.decompress(&bytes, &mut output).map_err(damaged)?;
            if written == 0 {
                return Err(damaged("it holds nothing".to_owned()));
            }
            output.truncate(written);
            bytes = output;
        }
        let weight = bytes.len().saturating_add(100);
        let block = Arc::new(Block { bytes, next: start.saturating_add(length as u64) });
        self.blocks.put(at, Arc::clone(&block), weight);
        Ok(block)
    }

    /// Reads from `position` on, over the ends of blocks.
    pub(super) fn cursor(&self, position: Position) -> Cursor<'_> {
        Cursor { metadata: self, position, block: None }
    }
}

/// Reads metadata forward.
pub(super) struct Cursor<'a> {
    metadata: &'a Metadata,
    position: Position,
    block: Option<Arc<Block>>,
}

impl Cursor<'_> {
    /// Where the next byte is.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Goes over `length` bytes in the present block and those behind it; calls `take` with each piece.
    fn pieces(&mut self, mut length: usize, mut take: impl FnMut(&[u8])) -> GuestResult<()> {
        while length > 0 {
            let block = match &self.block {
                Some(block) => Arc::clone(block),
                None => self.metadata.block(self.position.block)?,
            };
            let rest = block.bytes.get(self.position.offset..).ok_or_else(|| {
                let problem = format!("it has {} bytes, and byte {} is asked for", block.bytes.len(), self.position.offset);
                GuestError::damaged(format!("the metadata block at byte {}", self.position.block), problem)
            })?;
            let piece = rest.len().min(length);
            take(rest.get(..piece).unwrap_or_default());
            length = length.saturating_sub(piece);
            if piece == rest.len() {
                self.position = Position { block: block.next, offset: 0 };
                self.block = None;
            } else {
                self.position.offset = self.position.offset.saturating_add(piece);
                self.block = Some(block);
            }
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> GuestResult<[u8; N]> {
        let mut bytes = [0; N];
        let mut rest = &mut bytes[..];
        self.pieces(N, |piece| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(piece.len());
            head.copy_from_slice(piece);
            rest = tail;
        })?;
        Ok(bytes)
    }

    /// The next `length` bytes; the caller has seen to it that it is no number that ends the memory.
    pub(super) fn take_vec(&mut self, length: usize) -> GuestResult<Vec<u8>> {
        let mut bytes = Vec::new();
        self.pieces(length, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Goes over `length` bytes.
    pub(super) fn skip(&mut self, length: usize) -> GuestResult<()> {
        self.pieces(length, |_| ())
    }

    /// The next 32-bit number.
    pub(super) fn le32(&mut self) -> GuestResult<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

/// A table of entries of one size in metadata blocks, found by a list of where the blocks are.
pub(super) struct Table {
    /// What its entries are.
    pub(super) object: &'static str,
    /// Where the list is, in bytes of the volume.
    pub(super) list: u64,
    /// How many entries there are.
    pub(super) count: u32,
}

impl Table {
    /// The entry of `N` bytes with this number.
    ///
    /// # Errors
    /// Damage where there is none.
    pub(super) fn entry<const N: usize>(&self, metadata: &Metadata, index: u32) -> GuestResult<[u8; N]> {
        if index >= self.count {
            return Err(GuestError::damaged(format!("{} {index}", self.object), format!("there are only {}", self.count)));
        }
        let per_block = (METADATA_BYTES / N.max(1)).max(1) as u64;
        let (number, within) = (u64::from(index) / per_block, u64::from(index) % per_block);
        let pointer = self.list.saturating_add(number.saturating_mul(8));
        let block = u64::from_le_bytes(metadata.raw(pointer)?);
        let offset = usize::try_from(within).unwrap_or(0).saturating_mul(N);
        metadata.cursor(Position { block, offset }).take()
    }
}
