//! The superblock of squashfs 4.0, and which others there are.

use crate::guestfs::fields::{le16, le32, le64};
use crate::guestfs::{GuestError, GuestResult, codec};
use crate::io::ReadAt;

/// Bytes of a superblock.
const SUPERBLOCK_BYTES: usize = 96;
/// `hsqs`, as a little-endian number.
const MAGIC: u32 = 0x7371_7368;
/// Where a table is not there.
pub(super) const NOWHERE: u64 = u64::MAX;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compressor {
    Gzip,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    fn of_number(number: u16) -> GuestResult<Self> {
        Ok(match number {
            1 => Self::Gzip,
            2 => Self::Lzma,
            3 => Self::Lzo,
            4 => Self::Xz,
            5 => Self::Lz4,
            6 => Self::Zstd,
            _ => return Err(GuestError::unsupported(format!("squashfs compressor number {number}"))),
        })
    }

    /// Decompresses a block and says how many bytes came out.
    pub(super) fn decompress(self, input: &[u8], output: &mut [u8]) -> Result<usize, String> {
        match self {
            Self::Gzip => codec::zlib(input, output),
            Self::Lzma => codec::lzma(input, output),
            Self::Lzo => codec::lzo_whole(input, output),
            Self::Xz => codec::xz(input, output),
            Self::Lz4 => codec::lz4_whole(input, output),
            Self::Zstd => codec::zstd(input, output),
        }
    }
}

/// What a superblock says. Offsets are in bytes from the beginning of the volume.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_bytes: u32,
    pub(super) fragment_count: u32,
    pub(super) compressor: Compressor,
    pub(super) id_count: u16,
    pub(super) root: u64,
    pub(super) used_bytes: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
}

/// A superblock, and what can be known of it before it is understood.
pub(super) struct Raw {
    bytes: [u8; SUPERBLOCK_BYTES],
}

impl Raw {
    /// The superblock, if the volume begins with the magic number of any squashfs.
    ///
    /// # Errors
    /// The device's.
    pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Option<Self>> {
        if device.size_bytes() < SUPERBLOCK_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        device.read_at(0, &mut bytes)?;
        let magic = le32(&bytes, 0);
        let raw = Self { bytes };
        let known = (magic == MAGIC || magic == MAGIC.swap_bytes()) && (1..=4).contains(&raw.version().0);
        Ok(known.then_some(raw))
    }

    fn is_big_endian(&self) -> bool {
        le32(&self.bytes, 0) == MAGIC.swap_bytes()
    }

    fn version(&self) -> (u16, u16) {
        let version = (le16(&self.bytes, 28), le16(&self.bytes, 30));
        if self.is_big_endian() { (version.0.swap_bytes(), version.1.swap_bytes()) } else { version }
    }

    /// The bytes that the filesystem has, if the version is one that is read here.
    pub(super) fn used_bytes(&self) -> Option<u64> {
        (self.version() == (4, 0) && !self.is_big_endian()).then(|| le64(&self.bytes, 40))
    }

    /// What it says.
    ///
    /// # Errors
    /// Other versions and compressors are unsupported; sizes that contradict each other are damage.
    pub(super) fn parse(&self) -> GuestResult<Superblock> {
        let (major, minor) = self.version();
        if (major, minor) != (4, 0) || self.is_big_endian() {
            let order = if self.is_big_endian() { "big-endian " } else { "" };
            return Err(GuestError::unsupported(format!("{order}squashfs of version {major}.{minor}")));
        }
        let bytes = &self.bytes;
        let (block_bytes, block_log) = (le32(bytes, 12), le16(bytes, 22));
        if !(12..=20).contains(&block_log) || Some(block_bytes) != 1_u32.checked_shl(u32::from(block_log)) {
            let problem = format!("blocks of {block_bytes} bytes and of 2^{block_log}, expected 2^12 to 2^20");
            return Err(GuestError::damaged("the superblock of squashfs", problem));
        }
        Ok(Superblock {
            block_bytes,
            fragment_count: le32(bytes, 16),
            compressor: Compressor::of_number(le16(bytes, 20))?,
            id_count: le16(bytes, 26),
            root: le64(bytes, 32),
            used_bytes: le64(bytes, 40),
            id_table: le64(bytes, 48),
            xattr_table: le64(bytes, 56),
            inode_table: le64(bytes, 64),
            directory_table: le64(bytes, 72),
            fragment_table: le64(bytes, 80),
        })
    }
}
