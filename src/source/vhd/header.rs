//! The footer and the dynamic header of a VHD, from bytes to checked numbers.
//!
//! Layout: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0. Big-endian.

use crate::source::fields::{Fields, Flaw};
use crate::units::Grid;

/// Bytes of a footer.
pub(super) const FOOTER_BYTES: u64 = 512;
/// Bytes of a dynamic header.
pub(super) const HEADER_BYTES: u64 = 1024;

/// What kind of disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The disk's bytes as they are, and the footer.
    Fixed,
    /// Blocks where they were written.
    Dynamic,
    /// Blocks with what differs from a parent.
    Differencing,
}

/// A footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    pub(super) size_bytes: u64,
    /// Offset of the dynamic header.
    pub(super) header_at: u64,
    pub(super) id: [u8; 16],
}

/// A dynamic header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) table_at: u64,
    pub(super) block_bytes: u64,
    pub(super) parent_id: [u8; 16],
    pub(super) locators: Vec<Locator>,
}

/// Where a parent's path stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locator {
    /// What kind of path it is.
    pub(super) code: [u8; 4],
    pub(super) at: u64,
    pub(super) length_bytes: u32,
}

/// The complement of the sum of all bytes but those of the checksum itself.
fn checksum(bytes: &[u8], field: std::ops::Range<usize>) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    !sum(bytes).wrapping_sub(sum(bytes.get(field).unwrap_or_default()))
}

/// Reads a footer; `None` where the bytes are none.
pub(super) fn footer(bytes: &[u8; 512]) -> Result<Option<Footer>, Flaw> {
    let fields = Fields { what: "footer", bytes };
    if !bytes.starts_with(b"conectix") || fields.be32(64)? != checksum(bytes, 64..68) {
        return Ok(None);
    }
    if fields.be16(12)? != 1 {
        return Err(unsupported(format!("it is of version {} of the format, and only 1 is read", fields.be16(12)?)));
    }
    let kind = match fields.be32(60)? {
        2 => Kind::Fixed,
        3 => Kind::Dynamic,
        4 => Kind::Differencing,
        other => return Err(unsupported(format!("it is a disk of type {other}, which is not understood"))),
    };
    let size_bytes = fields.be64(48)?;
    if size_bytes > Grid::MAX_DISK_BYTES {
        return Err(Flaw::Damaged(format!("its disk has {size_bytes} bytes, more than 1 EiB")));
    }
    Ok(Some(Footer { kind, size_bytes, header_at: fields.be64(16)?, id: fields.array(68)? }))
}

/// Reads the dynamic header of a disk of `size_bytes` in a file of `file_bytes`.
pub(super) fn header(bytes: &[u8], size_bytes: u64, file_bytes: u64) -> Result<Header, Flaw> {
    let fields = Fields { what: "dynamic header", bytes };
    if !bytes.starts_with(b"cxsparse") || fields.be32(36)? != checksum(bytes, 36..40) {
        return Err(Flaw::Damaged("its dynamic header has a wrong mark or checksum".to_owned()));
    }
    let (table_at, entries, block_bytes) = (fields.be64(16)?, u64::from(fields.be32(28)?), u64::from(fields.be32(32)?));
    // Blocks of 2 MiB are the rule; fewer than eight sectors would have less than a byte of bitmap.
    if !block_bytes.is_power_of_two() || block_bytes < 4096 {
        return Err(Flaw::Damaged(format!("its blocks have {block_bytes} bytes, which is no power of two from 4096 on")));
    }
    let needed = size_bytes.div_ceil(block_bytes);
    if entries < needed {
        return Err(Flaw::Damaged(format!("its table has {entries} blocks, and its disk of {size_bytes} bytes needs {needed}")));
    }
    if table_at.checked_add(needed.saturating_mul(4)).is_none_or(|end| end > file_bytes) {
        return Err(Flaw::Damaged(format!("its table of {needed} blocks should lie at {table_at}, and the file ends at {file_bytes}")));
    }
    let mut locators = Vec::new();
    for entry in fields.slice(576, 8 * 24)?.chunks_exact(24) {
        let fields = Fields { what: "parent locator", bytes: entry };
        locators.push(Locator { code: fields.array(0)?, at: fields.be64(16)?, length_bytes: fields.be32(8)? });
    }
    Ok(Header { table_at, block_bytes, parent_id: fields.array(40)?, locators })
}

fn unsupported(what: String) -> Flaw {
    Flaw::Unsupported { what, cure: "convert it: qemu-img convert -f vpc -O qcow2".to_owned() }
}
