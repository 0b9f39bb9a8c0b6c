//! Takes over what transactions changed: runs of 128 bytes within buffers, new inodes, inodes (`inodes`), and what was begun (`intents`).
//!
//! A structure that was written to its place after the transaction is left alone: it tells so by its log sequence number. What a buffer
//! is, its first bytes tell, as the kernel finds it out (`xlog_recover_get_buf_lsn` in `fs/xfs/xfs_buf_item_recover.c`).

use std::collections::HashMap;

use super::intents::Intents;
use super::overlay::Overlay;
use super::transactions::{Item, Transaction};
use super::{Replayed, UNIT, damaged};
use crate::guestfs::fields::{array, be16, be32, be64, le16, le32, le64};
use crate::guestfs::xfs::superblock::Superblock;
use crate::guestfs::xfs::volume::Volume;
use crate::guestfs::{GuestError, GuestResult};
use crate::io::ReadAt;

/// `XFS_LI_*`: what items are.
const BUFFER: u16 = 0x123c;
const INODE: u16 = 0x123b;
const NEW_INODES: u16 = 0x123f;
/// Quotas, and unlinked inodes of old kernels: they change no file.
const LEFT_OUT: [u16; 3] = [0x1238, 0x123d, 0x123e];

/// `XFS_BLF_*`: what a buffer is.
const OF_INODES: u16 = 1;
const CANCEL: u16 = 1 << 1;
const OF_QUOTAS: u16 = 7 << 2;
const KIND_SHIFT: u16 = 11;
const REAL_TIME_KINDS: [u16; 2] = [19, 20];
/// Bytes of which a bit of a buffer's map tells that they changed.
const RUN_BYTES: usize = 128;

/// Buffers that were given up, each as often as it was: their number and length, in sectors.
#[derive(Default)]
pub(super) struct Cancelled(HashMap<(u64, u64), u32>);

impl Cancelled {
    /// Notes those that a transaction gives up.
    pub(super) fn note(&mut self, transaction: &Transaction) -> GuestResult<()> {
        for buffer in transaction.items.iter().filter(|item| item.kind() == BUFFER).map(Buffer) {
            if buffer.flags() & CANCEL != 0 {
                *self.0.entry(buffer.key()).or_default() += 1;
            }
        }
        Ok(())
    }

    fn has(&self, sector: u64, count: u64) -> bool {
        self.0.get(&(sector, count)).is_some_and(|&times| times > 0)
    }

    fn take_back(&mut self, key: (u64, u64)) {
        if let Some(times) = self.0.get_mut(&key) {
            *times = times.saturating_sub(1);
        }
    }
}

/// `struct xfs_buf_log_format`.
struct Buffer<'item>(&'item Item);

impl Buffer<'_> {
    fn flags(&self) -> u16 {
        le16(self.0.region(0), 4)
    }

    fn sector(&self) -> u64 {
        le64(self.0.region(0), 8)
    }

    fn key(&self) -> (u64, u64) {
        (self.sector(), u64::from(le16(self.0.region(0), 6)))
    }

    fn bytes(&self) -> usize {
        usize::from(le16(self.0.region(0), 6)) * UNIT
    }

    /// The changed runs: where in the buffer, how many bytes.
    fn runs(&self) -> Vec<(usize, usize)> {
        let format = self.0.region(0);
        let words = (le32(format, 16) as usize).min(format.len().saturating_sub(20) / 4);
        let is_set = |bit: usize| le32(format, 20 + bit / 32 * 4) >> (bit % 32) & 1 != 0;
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for bit in (0..words * 32).filter(|&bit| is_set(bit)) {
            match runs.last_mut() {
                Some((start, length)) if *start + *length == bit * RUN_BYTES => *length += RUN_BYTES,
                _ => runs.push((bit * RUN_BYTES, RUN_BYTES)),
            }
        }
        runs
    }
}

/// The second pass.
pub(super) struct Apply<'volume> {
    pub(super) volume: &'volume Volume,
    pub(super) overlay: Overlay,
    cancelled: Cancelled,
    intents: Intents,
}

impl<'volume> Apply<'volume> {
    pub(super) fn new(volume: &'volume Volume, cancelled: Cancelled) -> Self {
        let overlay = Overlay::new(volume.metadata().clone());
        Self { volume, overlay, cancelled, intents: Intents::default() }
    }

    pub(super) fn finish(self) -> Replayed {
        Replayed { overlay: self.overlay, unfinished: self.intents.left() }
    }

    /// Buffers first, then what lies in them: an inode may be in a buffer that the same transaction made.
    pub(super) fn transaction(&mut self, transaction: Transaction) -> GuestResult<()> {
        let lsn = transaction.lsn;
        let is_buffer = |item: &&Item| matches!(item.kind(), BUFFER | NEW_INODES);
        for item in transaction.items.iter().filter(is_buffer) {
            if item.kind() == BUFFER { self.buffer(&Buffer(item), lsn)? } else { self.new_inodes(item)? }
        }
        for item in transaction.items.iter().filter(|item| !is_buffer(item)) {
            match item.kind() {
                INODE => self.inode(item, lsn)?,
                kind if LEFT_OUT.contains(&kind) => {}
                _ => self.intents.add(item)?,
            }
        }
        for buffer in transaction.items.iter().filter(|item| item.kind() == BUFFER).map(Buffer) {
            if buffer.flags() & CANCEL != 0 {
                self.cancelled.take_back(buffer.key());
            }
        }
        Ok(())
    }

    /// Whether a buffer is given up later.
    pub(super) fn is_cancelled(&self, sector: u64, count: u64) -> bool {
        self.cancelled.has(sector, count)
    }

    /// Bytes as they are by now.
    pub(super) fn read(&self, at_bytes: u64, length: usize, object: &dyn Fn() -> String) -> GuestResult<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.overlay.read_at(at_bytes, &mut bytes).map_err(|error| GuestError::of_read(error, object))?;
        Ok(bytes)
    }

    fn buffer(&mut self, buffer: &Buffer<'_>, lsn: u64) -> GuestResult<()> {
        let (sector, count) = buffer.key();
        // Of buffers of inodes only the list of unlinked ones is replayed, which no reader follows.
        if buffer.flags() & (CANCEL | OF_QUOTAS | OF_INODES) != 0 || self.is_cancelled(sector, count) {
            return Ok(());
        }
        let object = || format!("the buffer at sector {sector}, which the log changes,");
        let start = sector.checked_mul(UNIT as u64).ok_or_else(|| damaged(format!("there is no sector {sector}")))?;
        let head = self.read(start, buffer.bytes().min(512), &object)?;
        let has_numbers = self.volume.superblock.has_checksums && !REAL_TIME_KINDS.contains(&(buffer.flags() >> KIND_SHIFT));
        if has_numbers && written_lsn(&self.volume.superblock, &head).is_some_and(|written| written != 0 && written >= lsn) {
            return Ok(());
        }
        for (nth, (at, length)) in buffer.runs().into_iter().enumerate() {
            let region = buffer.0.region(nth + 1);
            if at + length > buffer.bytes() {
                return Err(damaged(format!("{length} bytes at {at} leave the buffer at sector {sector}")));
            }
            // Shorter than announced, the rest was not logged.
            let length = length.min(region.len() / RUN_BYTES * RUN_BYTES);
            self.overlay.write(start + at as u64, region.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    /// `struct xfs_icreate_log`: free inodes in some blocks of a group.
    fn new_inodes(&mut self, item: &Item) -> GuestResult<()> {
        let format = item.region(0);
        let (group, block, length) = (be32(format, 4), be32(format, 8), be32(format, 20));
        let superblock = &self.volume.superblock;
        let (inode_bytes, block_bytes) = (superblock.inode_bytes as usize, u64::from(superblock.block_bytes));
        let start = superblock.place_of_group(group).saturating_add(u64::from(block).saturating_mul(block_bytes));
        let bytes = u64::from(length).saturating_mul(block_bytes);
        // A chunk has 64 inodes, and blocks of 64 KiB have room for more.
        let most = (64 * inode_bytes as u64).max(block_bytes);
        let inside = group < superblock.groups && start.saturating_add(bytes) <= superblock.blocks.saturating_mul(block_bytes);
        if !inside || bytes == 0 || bytes > most || be32(format, 16) as usize != inode_bytes {
            return Err(damaged(format!("new inodes in {length} blocks at block {block} of group {group} cannot be")));
        }
        // The kernel makes them in buffers of one cluster, and makes none if one of these was given up.
        let (first, last) = (start / UNIT as u64, (start + bytes) / UNIT as u64);
        if self.cancelled.0.iter().any(|(&(sector, _), &times)| times > 0 && (first..last).contains(&sector)) {
            return Ok(());
        }
        let free = self.free_inode(be32(format, 24));
        for at in (0..bytes).step_by(inode_bytes) {
            let number = superblock.inode_of_place(start + at);
            let mut inode = free.clone();
            for (target, source) in inode.iter_mut().skip(152).zip(number.to_be_bytes()) {
                *target = source;
            }
            self.overlay.write(start + at, &inode)?;
        }
        Ok(())
    }

    /// An inode of version 3 that is free.
    fn free_inode(&self, generation: u32) -> Vec<u8> {
        let superblock = &self.volume.superblock;
        let parts: [&[u8]; 6] = [b"IN\0\0\x03\0", &[0; 86], &generation.to_be_bytes(), &[0xff; 4], &[0; 60], &superblock.structure_uuid];
        let mut inode = parts.concat();
        inode.resize(superblock.inode_bytes as usize, 0);
        inode
    }
}

/// The log sequence number with which a buffer was written; `None` where that cannot be told, and the log's must be taken.
fn written_lsn(superblock: &Superblock, bytes: &[u8]) -> Option<u64> {
    // Where the number and the UUID are, by the magic number.
    let (lsn_at, uuid_at) = match bytes.first_chunk::<4>()? {
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (24, 32),
        b"BMA3" | b"MAPR" | b"RCNT" => (32, 40),
        b"XAGF" => (208, 64),
        b"XAFL" => (24, 8),
        b"XAGI" => (320, 296),
        b"XSLM" => (48, 16),
        b"XDB3" | b"XDD3" | b"XDF3" => (16, 24),
        b"XFSB" => (240, if superblock.uuid == superblock.structure_uuid { 32 } else { 248 }),
        _ if matches!(be16(bytes, 8), 0x3df1 | 0x3dff | 0x3bee | 0x3ebe) => (24, 32),
        _ => return None,
    };
    // What another filesystem left there says nothing.
    (array(bytes, uuid_at) == superblock.structure_uuid).then(|| be64(bytes, lsn_at))
}
