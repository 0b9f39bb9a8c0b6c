//! Inodes of ext2, ext3 and ext4. Layout: `Documentation/filesystems/ext4/inodes.rst` of Linux.

use super::fields::Fields;
use super::superblock::{INCOMPAT_LARGEDIR, RO_COMPAT_HUGE_FILE, Superblock};
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::{Attributes, DeviceNumber, FileKind, GuestError, GuestResult, Timestamp};

/// The number of the topmost directory's inode.
pub(super) const ROOT: u32 = 2;
/// Bytes of the inode that older filesystems have, and every one at least.
const OLD_BYTES: usize = 128;
/// Where the 60 bytes of block numbers, extents or contents begin.
pub(super) const BLOCK_AT: usize = 0x28;
pub(super) const BLOCK_BYTES: usize = 60;

const FLAG_ENCRYPT: u32 = 0x800;
const FLAG_INDEX: u32 = 0x1000;
const FLAG_HUGE_FILE: u32 = 0x4_0000;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_EA_INODE: u32 = 0x20_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;
const FLAG_CASEFOLD: u32 = 0x4000_0000;

/// An inode as it lies on disk, with its number.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    /// All its bytes, extended attributes inside included.
    pub(super) raw: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) size_bytes: u64,
}

impl Inode {
    /// Checks an inode that exists.
    pub(super) fn parse(superblock: &Superblock, number: u32, raw: Vec<u8>) -> GuestResult<Self> {
        let object = || format!("inode {number}");
        let fields = Fields(&raw);
        let mode = u32::from(fields.le16(0));
        if mode == 0 || (fields.le16(0x1a) == 0 && fields.le32(0x14) != 0) {
            return Err(GuestError::NotFound { object: object() });
        }
        if let Some(seed) = superblock.checksum_seed {
            check_sum(seed, number, &raw).map_err(|problem| GuestError::damaged(object(), problem))?;
        }
        let kind = FileKind::of_mode(mode).ok_or_else(|| GuestError::damaged(object(), format!("its mode {mode:o} is of no kind")))?;
        let high = kind == FileKind::Regular || superblock.has(INCOMPAT_LARGEDIR);
        let size_bytes = if high { fields.le64_halves(4, 0x6c) } else { u64::from(fields.le32(4)) };
        if size_bytes > i64::MAX as u64 {
            return Err(GuestError::damaged(object(), format!("its size {size_bytes} is more than can be")));
        }
        Ok(Self { number, size_bytes, kind, raw })
    }

    fn fields(&self) -> Fields<'_> {
        Fields(&self.raw)
    }

    fn flags(&self) -> u32 {
        self.fields().le32(0x20)
    }

    /// Whether this directory has an index of hashes.
    pub(super) fn is_indexed(&self) -> bool {
        self.flags() & FLAG_INDEX != 0
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags() & FLAG_EXTENTS != 0
    }

    pub(super) fn has_inline_data(&self) -> bool {
        self.flags() & FLAG_INLINE_DATA != 0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags() & FLAG_ENCRYPT != 0
    }

    /// Whether names in this encrypted directory, which ignores case, have their hashes beside them.
    pub(super) fn has_stored_hashes(&self) -> bool {
        self.is_encrypted() && self.flags() & FLAG_CASEFOLD != 0
    }

    /// The 60 bytes of block numbers, extents or contents.
    pub(super) fn block(&self) -> &[u8] {
        self.fields().bytes(BLOCK_AT, BLOCK_BYTES)
    }

    /// The block of its extended attributes; 0: none.
    pub(super) fn attribute_block(&self) -> u64 {
        u64::from(self.fields().le32(0x68)) | u64::from(self.fields().le16(0x76)) << 32
    }

    /// The part after all fields, where extended attributes lie, if it has that part.
    pub(super) fn attribute_space(&self) -> Option<&[u8]> {
        self.raw.get(OLD_BYTES.checked_add(self.extra_bytes())?..).filter(|_| self.raw.len() > OLD_BYTES && self.extra_bytes() > 0)
    }

    /// Bytes of fields after the first 128.
    fn extra_bytes(&self) -> usize {
        usize::from(self.fields().le16(0x80))
    }

    /// Whether this inode holds the value of an attribute.
    pub(super) fn is_attribute_value(&self) -> bool {
        self.flags() & FLAG_EA_INODE != 0
    }

    /// Bytes that it occupies.
    fn allocated_bytes(&self, superblock: &Superblock) -> u64 {
        let fields = self.fields();
        if superblock.ro_compat & RO_COMPAT_HUGE_FILE == 0 {
            return u64::from(fields.le32(0x1c)).saturating_mul(512);
        }
        let count = u64::from(fields.le32(0x1c)) | u64::from(fields.le16(0x74)) << 32;
        let unit = if self.flags() & FLAG_HUGE_FILE != 0 { u64::from(superblock.block_bytes) } else { 512 };
        count.saturating_mul(unit)
    }

    /// Whether the target of this link lies in the 60 bytes themselves.
    pub(super) fn is_fast_link(&self, superblock: &Superblock) -> bool {
        let attributes = if self.attribute_block() == 0 { 0 } else { u64::from(superblock.cluster_bytes.max(superblock.block_bytes)) };
        let no_blocks = self.allocated_bytes(superblock) == attributes || superblock.has(super::superblock::INCOMPAT_EA_INODE);
        self.kind == FileKind::Link && !self.has_inline_data() && no_blocks && self.size_bytes < BLOCK_BYTES as u64
    }

    /// What the kernel's stat(2) shows of it.
    pub(super) fn attributes(&self, superblock: &Superblock) -> Attributes {
        let fields = self.fields();
        let wide = |low: usize, high: usize| u32::from(fields.le16(low)) | u32::from(fields.le16(high)) << 16;
        let is_device = matches!(self.kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        // The kernel counts contents inside the inode of a file as if they occupied sectors.
        let inline = if self.has_inline_data() && self.kind == FileKind::Regular { self.size_bytes.div_ceil(512) * 512 } else { 0 };
        Attributes {
            kind: self.kind,
            size_bytes: self.size_bytes,
            allocated_bytes: self.allocated_bytes(superblock).saturating_add(inline),
            mode: fields.le16(0) & 0o7777,
            uid: wide(2, 0x78),
            gid: wide(0x18, 0x7a),
            links: u32::from(fields.le16(0x1a)),
            device: is_device.then(|| self.device()),
            modified: self.time(0x10, 0x88),
            changed: Some(self.time(0xc, 0x84)),
            accessed: Some(self.time(8, 0x8c)),
            created: self.has_field(0x90).then(|| self.time(0x90, 0x94)),
        }
    }

    /// Whether a field of 4 bytes after the first 128 is there.
    fn has_field(&self, at: usize) -> bool {
        OLD_BYTES.saturating_add(self.extra_bytes()) >= at.saturating_add(4) && self.raw.len() > at
    }

    /// Seconds in 32 bits with sign; 2 bits more and 30 of nanoseconds in another field, if it is there.
    fn time(&self, at: usize, extra_at: usize) -> Timestamp {
        let seconds = i64::from(self.fields().le32(at).cast_signed());
        if !self.has_field(extra_at) {
            return Timestamp { seconds, nanoseconds: 0 };
        }
        let extra = self.fields().le32(extra_at);
        Timestamp { seconds: seconds.saturating_add(i64::from(extra & 3) << 32), nanoseconds: (extra >> 2).min(999_999_999) }
    }

    /// The old form of 8 and 8 bits, or the new one of 12 and 20.
    fn device(&self) -> DeviceNumber {
        let old = self.fields().le32(BLOCK_AT);
        if old != 0 {
            return DeviceNumber { major: old >> 8 & 0xff, minor: old & 0xff };
        }
        let new = self.fields().le32(BLOCK_AT.saturating_add(4));
        DeviceNumber { major: new >> 8 & 0xfff, minor: (new & 0xff) | (new >> 12 & 0xf_ff00) }
    }

    /// From which the checksums of this inode's own blocks continue.
    pub(super) fn checksum_seed(&self, superblock: &Superblock) -> Option<u32> {
        superblock.checksum_seed.map(|seed| own_seed(seed, self.number, &self.raw))
    }
}

fn own_seed(seed: u32, number: u32, raw: &[u8]) -> u32 {
    crc32c(crc32c(seed, &number.to_le_bytes()), Fields(raw).bytes(0x64, 4))
}

/// Compares the checksum of an inode with its bytes, its own two fields taken as zeros.
fn check_sum(seed: u32, number: u32, raw: &[u8]) -> Result<(), String> {
    let fields = Fields(raw);
    let has_high = raw.len() > OLD_BYTES && fields.le16(0x80) >= 4;
    let expected = inode_checksum(seed, number, raw);
    let low = u32::from(fields.le16(0x7c));
    let (expected, found) = if has_high { (expected, low | u32::from(fields.le16(0x82)) << 16) } else { (expected & 0xffff, low) };
    if expected == found { Ok(()) } else { Err(format!("its checksum is {found:08x}, not {expected:08x}")) }
}

/// Writes the checksum that belongs to an inode that was changed.
pub(super) fn set_checksum(seed: u32, number: u32, raw: &mut [u8]) {
    let [a, b, c, d] = inode_checksum(seed, number, raw).to_le_bytes();
    if let Some(low) = raw.get_mut(0x7c..0x7e) {
        low.copy_from_slice(&[a, b]);
    }
    if raw.len() > OLD_BYTES
        && Fields(raw).le16(0x80) >= 4
        && let Some(high) = raw.get_mut(0x82..0x84)
    {
        high.copy_from_slice(&[c, d]);
    }
}

/// The checksum that an inode should have.
fn inode_checksum(seed: u32, number: u32, raw: &[u8]) -> u32 {
    let mut clear = raw.to_vec();
    if let Some(low) = clear.get_mut(0x7c..0x7e) {
        low.fill(0);
    }
    if raw.len() > OLD_BYTES
        && Fields(raw).le16(0x80) >= 4
        && let Some(high) = clear.get_mut(0x82..0x84)
    {
        high.fill(0);
    }
    crc32c(own_seed(seed, number, raw), &clear)
}
