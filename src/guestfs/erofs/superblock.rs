//! The superblock: sizes, where metadata is, and which features must be understood.

use crate::guestfs::crc32c::crc32c;
use crate::guestfs::fields::{array, byte, le16, le32, le64};
use crate::guestfs::{GuestError, GuestResult};
use crate::io::ReadAt;

/// Where the superblock is, in bytes.
pub(super) const SUPERBLOCK_AT: u64 = 1024;
/// Its bytes with all fields that are known.
const SUPERBLOCK_BYTES: usize = 144;
const MAGIC: u32 = 0xe0f5_e1e2;

/// A checksum is there.
const COMPAT_CHECKSUM: u32 = 1;
/// Shared extended attributes lie in the compressed metadata.
const COMPAT_SHARED_IN_METABOX: u32 = 8;
/// Long prefixes of names of attributes lie among the metadata as it is, whatever else is compressed.
const COMPAT_PLAIN_PREFIXES: u32 = 0x10;
/// Compressed data ends with the end of its cluster, and zeros are before it.
const ZERO_PADDING: u32 = 1;
/// Two bytes of a block's number more in many places.
const WIDE: u32 = 0x80;
/// Metadata in a compressed file.
const METABOX: u32 = 0x100;
/// All features that are read here, by the names that the format's tools give them: lz4_0padding, compr_cfgs (and big_pcluster),
/// chunked_file, device_table (and compr_head2), ztailpacking, fragments (and dedupe), xattr_prefixes, 48bit, metabox.
const KNOWN: u32 = 0x1ff;

/// What a superblock says.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    /// The binary logarithm of the bytes of a block.
    pub(super) block_bits: u32,
    pub(super) root: u64,
    pub(super) epoch_seconds: u64,
    pub(super) epoch_nanoseconds: u32,
    pub(super) blocks: u64,
    /// Blocks in which inodes and shared extended attributes begin.
    pub(super) metadata_block: u32,
    pub(super) xattr_block: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: Vec<u8>,
    /// Where long prefixes are, in units of 4 bytes, and how many.
    pub(super) prefixes_at: u32,
    pub(super) prefix_count: u8,
    /// The file with the ends of other files; 0: none.
    pub(super) packed: u64,
    /// The file with compressed metadata, if there is one.
    pub(super) metabox: Option<u64>,
    /// Other devices, and where the table of them is, in units of 128 bytes.
    pub(super) extra_devices: u16,
    pub(super) devices_at: u16,
    compatible: u32,
    incompatible: u32,
}

/// The bytes of a superblock, if the volume has one of EROFS.
///
/// # Errors
/// The device's.
pub(super) fn raw(device: &dyn ReadAt) -> GuestResult<Option<[u8; SUPERBLOCK_BYTES]>> {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    if device.size_bytes() < SUPERBLOCK_AT + SUPERBLOCK_BYTES as u64 {
        return Ok(None);
    }
    device.read_at(SUPERBLOCK_AT, &mut bytes)?;
    Ok((le32(&bytes, 0) == MAGIC).then_some(bytes))
}

fn damaged(problem: String) -> GuestError {
    GuestError::damaged("the superblock of EROFS", problem)
}

impl Superblock {
    /// What the bytes say, without judging it: for naming a volume.
    pub(super) fn parse(bytes: &[u8; SUPERBLOCK_BYTES]) -> Self {
        let incompatible = le32(bytes, 80);
        let wide = incompatible & WIDE != 0;
        let high = if wide { u64::from(le16(bytes, 14)) << 32 } else { 0 };
        let long_root = le64(bytes, 112);
        let name: [u8; 16] = array(bytes, 64);
        Self {
            block_bits: u32::from(byte(bytes, 12)),
            root: if wide && long_root != 0 { long_root } else { u64::from(le16(bytes, 14)) },
            epoch_seconds: le64(bytes, 24),
            epoch_nanoseconds: le32(bytes, 32),
            blocks: u64::from(le32(bytes, 36)) | high,
            metadata_block: le32(bytes, 40),
            xattr_block: le32(bytes, 44),
            uuid: array(bytes, 48),
            label: name.iter().copied().take_while(|&byte| byte != 0).collect(),
            prefixes_at: le32(bytes, 92),
            prefix_count: byte(bytes, 91),
            packed: le64(bytes, 96),
            metabox: (incompatible & METABOX != 0).then(|| le64(bytes, 128)),
            extra_devices: if incompatible & 8 != 0 { le16(bytes, 86) } else { 0 },
            devices_at: le16(bytes, 88),
            compatible: le32(bytes, 8),
            incompatible,
        }
    }

    /// The superblock of a volume that has one, checked.
    ///
    /// # Errors
    /// Unknown features are unsupported; a wrong checksum and impossible sizes are damage.
    pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Self> {
        let bytes = raw(device)?.ok_or_else(|| damaged("it is none".to_owned()))?;
        let this = Self::parse(&bytes);
        let unknown = this.incompatible & !KNOWN;
        if unknown != 0 {
            return Err(GuestError::unsupported(format!("EROFS with the incompatible features {unknown:#x}")));
        }
        if byte(&bytes, 90) != 0 {
            return Err(GuestError::unsupported("EROFS with directory blocks of another size (dirblkbits)"));
        }
        if !(9..=16).contains(&this.block_bits) {
            return Err(damaged(format!("blocks of 2^{} bytes, expected 2^9 to 2^16", this.block_bits)));
        }
        if this.compatible & COMPAT_CHECKSUM != 0 {
            this.check(device, le32(&bytes, 4))?;
        }
        Ok(this)
    }

    /// The checksum covers the superblock and all behind it in its block (of small blocks: one block from its beginning on), with
    /// zeros in its own place.
    fn check(&self, device: &dyn ReadAt, expected: u32) -> GuestResult<()> {
        let block = self.block_bytes();
        let length = if block > SUPERBLOCK_AT { block - SUPERBLOCK_AT } else { block };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        device.read_at(SUPERBLOCK_AT, &mut bytes)?;
        if let Some(place) = bytes.get_mut(4..8) {
            place.fill(0);
        }
        let found = crc32c(!0, &bytes);
        if found == expected { Ok(()) } else { Err(damaged(format!("checksum {found:08x}, expected {expected:08x}"))) }
    }

    /// Bytes of a block.
    pub(super) fn block_bytes(&self) -> u64 {
        1_u64.checked_shl(self.block_bits).unwrap_or(0)
    }

    /// Where a block begins; past all devices where that is past the end of numbers.
    pub(super) fn block_at(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_bytes())
    }

    pub(super) fn is_wide(&self) -> bool {
        self.incompatible & WIDE != 0
    }

    pub(super) fn zero_padding(&self) -> bool {
        self.incompatible & ZERO_PADDING != 0
    }

    pub(super) fn shared_in_metabox(&self) -> bool {
        self.compatible & COMPAT_SHARED_IN_METABOX != 0
    }

    pub(super) fn plain_prefixes(&self) -> bool {
        self.compatible & COMPAT_PLAIN_PREFIXES != 0
    }
}
