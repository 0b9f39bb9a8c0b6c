//! Files that are not compressed: chunks, and ends that lie elsewhere.

use std::io;

use super::core::{Core, Place as MetadataPlace};
use super::inode::Inode;
use crate::guestfs::fields::{le16, le32};
use crate::guestfs::mapped::{FileExtent, MOST_EXTENTS, MappedFile};
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// Eight bytes for each chunk instead of four.
const INDEXES: u32 = 0x20;
/// Numbers of blocks have 48 bits.
const WIDE: u32 = 0x40;
/// Bytes of the description of a device.
const DEVICE_BYTES: u64 = 128;
/// Most chunks of one file.
const MOST_CHUNKS: u64 = 1 << 28;
/// Bytes of the list of chunks that are read at once.
const PIECE_BYTES: u64 = 32 << 10;

/// The extents of a file of chunks.
///
/// # Errors
/// Damage; chunks on devices that are not there.
pub(super) fn extents(core: &Core, inode: &Inode) -> GuestResult<Vec<FileExtent>> {
    if inode.word & 0xffff & !0x7f != 0 {
        return Err(GuestError::unsupported(format!("EROFS chunk format {:#x}", inode.word & 0xffff)));
    }
    let bits = core.image.superblock.block_bits.saturating_add(inode.word & 0x1f);
    let chunk_bytes = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
    let unit: u64 = if inode.word & INDEXES != 0 { 8 } else { 4 };
    let count = inode.size_bytes.div_ceil(chunk_bytes);
    if count > MOST_CHUNKS {
        return Err(GuestError::limit(format!("inode {}", inode.node.0), format!("{count} chunks, more than {MOST_CHUNKS}")));
    }
    let list = inode.body(unit);
    let mut extents: Vec<FileExtent> = Vec::new();
    let mut done = 0;
    while done < count {
        let piece = count.saturating_sub(done).min(PIECE_BYTES / unit);
        let mut bytes = vec![0; usize::try_from(piece.saturating_mul(unit)).unwrap_or(0)];
        core.read(list.behind(done.saturating_mul(unit)), &mut bytes)?;
        for entry in bytes.chunks_exact(usize::try_from(unit).unwrap_or(8)) {
            let start_bytes = done.saturating_mul(chunk_bytes);
            done = done.saturating_add(1);
            let Some(device_bytes) = address(core, inode, entry)? else { continue };
            let length_bytes = inode.size_bytes.saturating_sub(start_bytes).min(chunk_bytes);
            push(&mut extents, FileExtent { start_bytes, length_bytes, device_bytes });
        }
        if extents.len() > MOST_EXTENTS {
            break;
        }
    }
    Ok(extents)
}

/// Adds an extent, as part of the last one if it goes on with it.
fn push(extents: &mut Vec<FileExtent>, extent: FileExtent) {
    let end = |start: u64, length: u64| start.checked_add(length);
    match extents.last_mut() {
        Some(last)
            if end(last.start_bytes, last.length_bytes) == Some(extent.start_bytes)
                && end(last.device_bytes, last.length_bytes) == Some(extent.device_bytes) =>
        {
            last.length_bytes = last.length_bytes.saturating_add(extent.length_bytes);
        }
        _ => extents.push(extent),
    }
}

/// Where a chunk is, in bytes of the volume; `None`: a hole.
fn address(core: &Core, inode: &Inode, entry: &[u8]) -> GuestResult<Option<u64>> {
    let superblock = &core.image.superblock;
    let (low, device, high) = match inode.word & INDEXES {
        0 => (le32(entry, 0), 0, 0),
        _ => (le32(entry, 4), le16(entry, 2), if inode.word & WIDE != 0 { le16(entry, 0) } else { 0 }),
    };
    let block = u64::from(low) | u64::from(high) << 32;
    let nowhere = if inode.word & (INDEXES | WIDE) == INDEXES | WIDE { (1 << 48) - 1 } else { u64::from(u32::MAX) };
    if block == nowhere {
        return Ok(None);
    }
    // Some of the upper bits may be of other use one day: only so many as there are devices count.
    let mask = superblock.extra_devices.checked_add(1).and_then(u16::checked_next_power_of_two).map_or(u16::MAX, |devices| devices - 1);
    match device & mask {
        0 => Ok(Some(superblock.block_at(block))),
        number => Ok(Some(superblock.block_at(on_device(core, number)?.saturating_add(block)))),
    }
}

/// The block of this volume at which another device's blocks were put. That it has a place of its own for them is the only case that
/// can be read: other volumes are not at hand.
fn on_device(core: &Core, number: u16) -> GuestResult<u64> {
    let superblock = &core.image.superblock;
    if number > superblock.extra_devices {
        return Err(GuestError::damaged("a chunk", format!("it is on device {number} of {}", superblock.extra_devices)));
    }
    let slot = u64::from(superblock.devices_at).saturating_add(u64::from(number) - 1);
    let mut bytes = [0; 128];
    core.read(MetadataPlace { metabox: false, at: slot.saturating_mul(DEVICE_BYTES) }, &mut bytes)?;
    let wide = |at: usize| if superblock.is_wide() { u64::from(le16(&bytes, at)) << 32 } else { 0 };
    let (blocks, start) = (u64::from(le32(&bytes, 64)) | wide(72), u64::from(le32(&bytes, 68)) | wide(76));
    let end = superblock.block_at(start.saturating_add(blocks));
    if start == 0 || end > core.image.device.size_bytes() {
        return Err(GuestError::unsupported(format!("EROFS with data on another device (number {number}, made with --blobdev)")));
    }
    Ok(start)
}

/// A file whose end is in memory.
pub(super) struct Tailed {
    pub(super) blocks: MappedFile,
    pub(super) tail: Vec<u8>,
}

impl ReadAt for Tailed {
    fn size_bytes(&self) -> u64 {
        self.blocks.size_bytes().saturating_add(self.tail.len() as u64)
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let in_blocks = self.blocks.size_bytes().saturating_sub(offset_bytes);
        let (head, rest) = buffer.split_at_mut(usize::try_from(in_blocks).unwrap_or(usize::MAX).min(buffer.len()));
        if !head.is_empty() {
            self.blocks.read_at(offset_bytes, head)?;
        }
        let from = usize::try_from(offset_bytes.saturating_sub(self.blocks.size_bytes())).unwrap_or(usize::MAX);
        let source = self.tail.get(from..).and_then(|tail| tail.get(..rest.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        rest.copy_from_slice(source);
        Ok(())
    }
}

impl FileData for Tailed {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        if offset_bytes < self.blocks.size_bytes() {
            return self.blocks.run_at(offset_bytes);
        }
        let length_bytes = self.size_bytes().saturating_sub(offset_bytes);
        Ok(Run { length_bytes, place: if length_bytes == 0 { Place::Hole } else { Place::Computed } })
    }
}
