//! The journal of ext3 and ext4 (jbd2): what it holds is laid over the device, where it lies already: nothing is copied into memory but
//! the places. Layout: `Documentation/filesystems/ext4/journal.rst` of Linux.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::extents::extents_of;
use super::fields::Fields;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::mapped::FileExtent;
use crate::guestfs::{Device, FileKind, GuestError, GuestResult};
use crate::io::ReadAt;

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// revoke, 64bit, async_commit, csum_v2, csum_v3, fast_commit.
const UNDERSTOOD: u32 = 0x3f;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
/// Blocks for fast commits where the journal does not say.
const DEFAULT_FAST_BLOCKS: u32 = 256;
/// The most blocks of fast commits that are read: 64 times the default.
const MOST_FAST_BLOCKS: u32 = 16 << 10;

/// A block of the filesystem as the journal has it.
#[derive(Clone, Copy, Debug)]
struct Copied {
    /// Where its bytes lie on the device.
    device_bytes: u64,
    /// Its first four bytes are the magic number of the journal, and zeros in their place there.
    escaped: bool,
}

/// The device with all blocks that the journal holds in the place of older ones.
pub(super) struct Overlay {
    device: Device,
    block_bytes: u64,
    copies: BTreeMap<u64, Copied>,
}

impl Overlay {
    /// From a place on the device: how far it is to the next bytes that come from the journal, and how many these are.
    pub(super) fn replaced_from(&self, device_bytes: u64) -> Option<(u64, u64)> {
        let block = device_bytes / self.block_bytes;
        let first = *self.copies.range(block..).next()?.0;
        let mut end = first;
        for (&next, _) in self.copies.range(first..) {
            if next != end {
                break;
            }
            end = end.saturating_add(1);
        }
        let start = first.saturating_mul(self.block_bytes).max(device_bytes);
        Some((start.saturating_sub(device_bytes), end.saturating_mul(self.block_bytes).saturating_sub(start)))
    }

    /// Lays one block over the part of `buffer` (which begins at `offset_bytes` of the device) that it shares with it.
    fn patch(&self, number: u64, copied: Copied, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut block = vec![0; self.block_bytes as usize];
        self.device.read_at(copied.device_bytes, &mut block)?;
        if copied.escaped
            && let Some(head) = block.get_mut(..4)
        {
            head.copy_from_slice(&MAGIC.to_be_bytes());
        }
        let start = number.saturating_mul(self.block_bytes);
        let skipped = offset_bytes.saturating_sub(start) as usize;
        let source = block.get(skipped..).unwrap_or_default();
        let target = buffer.get_mut(start.saturating_sub(offset_bytes) as usize..).unwrap_or_default();
        for (target, source) in target.iter_mut().zip(source) {
            *target = *source;
        }
        Ok(())
    }
}

impl ReadAt for Overlay {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset_bytes, buffer)?;
        let end = offset_bytes.saturating_add(buffer.len() as u64);
        for (&number, &copied) in self.copies.range(offset_bytes / self.block_bytes..end.div_ceil(self.block_bytes)) {
            self.patch(number, copied, offset_bytes, buffer)?;
        }
        Ok(())
    }
}

/// What a journal holds that the filesystem does not have yet.
pub(super) struct Replay {
    pub(super) overlay: Overlay,
    /// Blocks whose checksum is wrong: they are left as they were.
    pub(super) damaged_blocks: u64,
    /// The blocks of fast commits, and the transaction that they must belong to.
    pub(super) fast_commits: Vec<Vec<u8>>,
    pub(super) next_sequence: u32,
    /// Whether it holds anything.
    pub(super) has_changes: bool,
}

/// Reads the journal of a filesystem.
pub(super) fn read(volume: &Volume) -> GuestResult<Replay> {
    let log = Log::open(volume)?;
    let mut scan = Scan { log: &log, sequence: log.sequence, copies: Vec::new(), pending: Vec::new(), revoked: HashMap::new(), damaged: 0 };
    if log.start != 0 {
        scan.transactions()?;
    }
    let next_sequence = scan.sequence;
    let damaged_blocks = scan.damaged;
    let mut copies = BTreeMap::new();
    for (number, sequence, copied) in scan.copies {
        // A block that was freed later may have become something else since, which was not journaled.
        let freed = scan.revoked.get(&number).is_some_and(|revoked| revoked.wrapping_sub(sequence).cast_signed() >= 0);
        if !freed {
            copies.insert(number, copied);
        }
    }
    let fast_commits = if log.start == 0 { Vec::new() } else { log.fast_commits()? };
    let overlay = Overlay { device: std::sync::Arc::clone(&volume.device), block_bytes: log.block_bytes, copies };
    Ok(Replay { overlay, damaged_blocks, fast_commits, next_sequence, has_changes: log.start != 0 })
}

/// The journal's own geometry.
struct Log<'log> {
    volume: &'log Volume,
    extents: Vec<FileExtent>,
    block_bytes: u64,
    first: u32,
    /// The block after the last one of ordinary transactions.
    end: u32,
    /// The block after the last one of fast commits.
    fast_end: u32,
    start: u32,
    sequence: u32,
    incompat: u32,
    /// From which checksums continue, if it has those of version 2 or 3.
    seed: Option<u32>,
}

fn damaged(problem: impl Into<String>) -> GuestError {
    GuestError::damaged("the journal", problem)
}

impl<'log> Log<'log> {
    fn open(volume: &'log Volume) -> GuestResult<Self> {
        let Superblock { journal_inode, block_bytes, .. } = volume.superblock;
        let inode = volume.inode(journal_inode)?;
        if inode.kind != FileKind::Regular {
            return Err(damaged(format!("inode {journal_inode} is no file")));
        }
        let block_bytes = u64::from(block_bytes);
        let mut log = Self {
            volume,
            extents: extents_of(volume, &inode)?,
            block_bytes,
            first: 0,
            end: 0,
            fast_end: 0,
            start: 0,
            sequence: 0,
            incompat: 0,
            seed: None,
        };
        let head = log.block(0)?;
        let fields = Fields(&head);
        if fields.be32(0) != MAGIC || !matches!(fields.be32(4), 3 | 4) || u64::from(fields.be32(12)) != block_bytes {
            return Err(damaged("its superblock is none"));
        }
        log.incompat = if fields.be32(4) == 4 { fields.be32(40) } else { 0 };
        if log.incompat & !UNDERSTOOD != 0 {
            return Err(GuestError::unsupported(format!("ext4 journal feature incompat {:#x}", log.incompat & !UNDERSTOOD)));
        }
        if log.incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0 {
            log.seed = Some(crc32c(!0, &fields.id(48)));
        }
        let blocks = fields.be32(16);
        if u64::from(blocks) > inode.size_bytes / block_bytes {
            return Err(damaged(format!("it has {blocks} blocks in {} bytes", inode.size_bytes)));
        }
        let fast = match fields.be32(84) {
            _ if log.incompat & INCOMPAT_FAST_COMMIT == 0 => 0,
            0 => DEFAULT_FAST_BLOCKS,
            stated => stated,
        };
        (log.first, log.sequence, log.start) = (fields.be32(20), fields.be32(24), fields.be32(28));
        (log.end, log.fast_end) = (blocks.saturating_sub(fast), blocks);
        if log.first == 0 || log.first >= log.end || (log.start != 0 && !(log.first..log.end).contains(&log.start)) {
            return Err(damaged(format!("it starts at {} between {} and {}", log.start, log.first, log.end)));
        }
        Ok(log)
    }

    /// Where a block of the journal lies on the device, in bytes.
    fn place(&self, block: u32) -> GuestResult<u64> {
        let at = u64::from(block).saturating_mul(self.block_bytes);
        let after = self.extents.partition_point(|extent| extent.start_bytes <= at);
        let extent = after.checked_sub(1).and_then(|before| self.extents.get(before));
        let found = extent.filter(|extent| at - extent.start_bytes < extent.length_bytes);
        found.map(|extent| extent.device_bytes + (at - extent.start_bytes)).ok_or_else(|| damaged(format!("its block {block} is a hole")))
    }

    fn block(&self, block: u32) -> GuestResult<Vec<u8>> {
        self.volume.block(self.place(block)? / self.block_bytes)
    }

    fn after(&self, block: u32) -> u32 {
        let next = block.saturating_add(1);
        if next >= self.end { self.first } else { next }
    }

    fn fast_commits(&self) -> GuestResult<Vec<Vec<u8>>> {
        // The kernel leaves one block between ordinary transactions and fast commits unused.
        let first = self.end.saturating_add(1);
        (first..self.fast_end.min(first.saturating_add(MOST_FAST_BLOCKS))).map(|block| self.block(block)).collect()
    }

    /// Whether the checksum at the end of a block of the journal is right.
    fn tail_is_right(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let end = block.len().saturating_sub(4);
        crc32c(crc32c(seed, Fields(block).bytes(0, end)), &[0; 4]) == Fields(block).be32(end)
    }

    fn commit_is_right(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let mut clear = block.to_vec();
        if let Some(field) = clear.get_mut(16..20) {
            field.fill(0);
        }
        crc32c(seed, &clear) == Fields(block).be32(16)
    }
}

/// A block that a descriptor announces.
struct Tag {
    block: u64,
    escaped: bool,
    checksum: u32,
    /// Where it lies in the journal.
    journal_block: u32,
}

struct Scan<'scan> {
    log: &'scan Log<'scan>,
    sequence: u32,
    /// Blocks of transactions that were committed: number, transaction, place.
    copies: Vec<(u64, u32, Copied)>,
    /// Blocks of the transaction that is being read.
    pending: Vec<Tag>,
    /// Freed blocks, each with the last transaction that freed it.
    revoked: HashMap<u64, u32>,
    damaged: u64,
}

impl Scan<'_> {
    /// Reads transactions until what follows is none.
    fn transactions(&mut self) -> GuestResult<()> {
        let log = self.log;
        let mut at = log.start;
        let mut left = log.end - log.first;
        let mut revoked = Vec::new();
        while left > 0 {
            let block = log.block(at)?;
            let fields = Fields(&block);
            if fields.be32(0) != MAGIC || fields.be32(8) != self.sequence {
                break;
            }
            at = log.after(at);
            left -= 1;
            match fields.be32(4) {
                DESCRIPTOR if log.tail_is_right(&block) => {
                    for mut tag in self.tags(&block) {
                        tag.journal_block = at;
                        self.pending.push(tag);
                        at = log.after(at);
                        left = left.saturating_sub(1);
                    }
                }
                REVOKE if log.tail_is_right(&block) => revoked.extend(self.revocations(&block)),
                COMMIT if log.commit_is_right(&block) => {
                    self.commit()?;
                    for number in revoked.drain(..) {
                        self.revoked.insert(number, self.sequence);
                    }
                    self.sequence = self.sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// The blocks that a descriptor announces.
    fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let (v3, v2) = (self.log.incompat & INCOMPAT_CSUM_V3 != 0, self.log.incompat & INCOMPAT_CSUM_V2 != 0);
        let wide = self.log.incompat & INCOMPAT_64BIT != 0;
        let tag_bytes = if v3 { 16 } else { 8 + if v2 { 2 } else { 0 } + if wide { 4 } else { 0 } };
        let end = block.len().saturating_sub(if self.log.seed.is_some() { 4 } else { 0 });
        let mut tags = Vec::new();
        let mut at = 12;
        while at + tag_bytes <= end {
            let fields = Fields(Fields(block).bytes(at, tag_bytes));
            let flags = if v3 { fields.be32(4) } else { u32::from(fields.be16(6)) };
            let high = if wide { u64::from(fields.be32(8)) << 32 } else { 0 };
            let checksum = if v3 { fields.be32(12) } else { u32::from(fields.be16(4)) };
            let escaped = flags & TAG_ESCAPED != 0;
            tags.push(Tag { block: u64::from(fields.be32(0)) | high, escaped, checksum, journal_block: 0 });
            at += tag_bytes + if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    fn revocations(&self, block: &[u8]) -> Vec<u64> {
        let wide = self.log.incompat & INCOMPAT_64BIT != 0;
        let used = (Fields(block).be32(12) as usize).min(block.len());
        let records = block.get(16..used).unwrap_or_default();
        let number = |record: &[u8]| if wide { Fields(record).be64(0) } else { u64::from(Fields(record).be32(0)) };
        records.chunks_exact(if wide { 8 } else { 4 }).map(number).collect()
    }

    /// Takes over the blocks of a transaction that is complete.
    fn commit(&mut self) -> GuestResult<()> {
        for tag in std::mem::take(&mut self.pending) {
            if let Some(seed) = self.log.seed {
                let bytes = self.log.block(tag.journal_block)?;
                let found = crc32c(crc32c(seed, &self.sequence.to_be_bytes()), &bytes);
                let found = if self.log.incompat & INCOMPAT_CSUM_V3 != 0 { found } else { found & 0xffff };
                if found != tag.checksum {
                    self.damaged += 1;
                    continue;
                }
            }
            let copied = Copied { device_bytes: self.log.place(tag.journal_block)?, escaped: tag.escaped };
            self.copies.push((tag.block, self.sequence, copied));
        }
        Ok(())
    }
}
