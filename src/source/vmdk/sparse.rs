//! The header of a sparse extent, from bytes to checked numbers.
//!
//! Layout: VMware's "Virtual Disk Format 5.0", section "Hosted Sparse Extents". Little-endian, counted in sectors.

use super::descriptor::unsupported;
use crate::source::fields::{Fields, Flaw};
use crate::units::Grid;

const SECTOR: u64 = 512;
/// Largest grain that is read; writers make it 64 KiB.
const MAX_GRAIN_BYTES: u64 = 16 << 20;
/// Largest table of grains that is read; writers make it 512.
const MAX_TABLE_ENTRIES: u32 = 4096;
/// Largest descriptor that is read; writers make it 10 KiB.
pub(super) const MAX_DESCRIPTOR_BYTES: u64 = 1 << 20;
/// The directory's place where only the footer at the end of the file tells it.
const AT_END: u64 = u64::MAX;

const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;

/// What a sparse extent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) capacity_bytes: u64,
    pub(super) grain_bytes: u64,
    /// Grains of one table.
    pub(super) table_entries: u64,
    pub(super) directory_at: u64,
    /// Where the descriptor lies, in the only extent of a disk.
    pub(super) descriptor: Option<(u64, u64)>,
    /// An entry of 1 is a grain of zeros.
    pub(super) zero_grains: bool,
    pub(super) compressed: bool,
}

impl Header {
    /// Bytes of disk that one table tells of.
    pub(super) fn table_span_bytes(&self) -> u64 {
        self.grain_bytes.saturating_mul(self.table_entries)
    }
}

/// Whether the directory's place stands in the footer, a second header two sectors before the end.
pub(super) fn is_at_end(bytes: &[u8; 512]) -> bool {
    Fields { what: "header", bytes }.le64(56) == Ok(AT_END)
}

/// Reads the header, or the footer in its place, of an extent in a file of `file_bytes`.
pub(super) fn header(bytes: &[u8; 512], file_bytes: u64) -> Result<Header, Flaw> {
    let fields = Fields { what: "header", bytes };
    if bytes.starts_with(b"COWD") {
        return Err(unsupported("it is a sparse extent of an ESX host (COWD), which is not read".to_owned()));
    }
    if !bytes.starts_with(b"KDMV") {
        return Err(Flaw::Damaged("it does not start with KDMV".to_owned()));
    }
    let (version, flags) = (fields.le32(4)?, fields.le32(8)?);
    if !(1..=3).contains(&version) {
        return Err(unsupported(format!("it is of version {version} of the format, and only 1 to 3 are read")));
    }
    let bytes_of = |at: usize| fields.le64(at).map(|sectors| sectors.saturating_mul(SECTOR));
    let compressed = flags & COMPRESSED != 0;
    if compressed && (fields.le16(77)? != 1 || flags & MARKERS == 0) {
        return Err(unsupported(format!("its grains are compressed by method {} without markers or by an unknown one", fields.le16(77)?)));
    }
    let descriptor = (bytes_of(28)?, bytes_of(36)?);
    let header = Header {
        capacity_bytes: bytes_of(12)?,
        grain_bytes: bytes_of(20)?,
        table_entries: fields.le32(44)?.into(),
        directory_at: bytes_of(56)?,
        descriptor: (descriptor.0 != 0).then_some(descriptor),
        zero_grains: flags & ZERO_GRAINS != 0,
        compressed,
    };
    check(&header, fields.le32(44)?, file_bytes)?;
    Ok(header)
}

fn check(header: &Header, table_entries: u32, file_bytes: u64) -> Result<(), Flaw> {
    let Header { capacity_bytes, grain_bytes, directory_at, .. } = *header;
    if capacity_bytes > Grid::MAX_DISK_BYTES {
        return Err(Flaw::Damaged(format!("its disk has {capacity_bytes} bytes, more than 1 EiB")));
    }
    if !grain_bytes.is_power_of_two() || !(SECTOR..=MAX_GRAIN_BYTES).contains(&grain_bytes) {
        return Err(Flaw::Damaged(format!("its grains have {grain_bytes} bytes; powers of two up to {MAX_GRAIN_BYTES} are read")));
    }
    if !(1..=MAX_TABLE_ENTRIES).contains(&table_entries) {
        return Err(Flaw::Damaged(format!("its tables have {table_entries} grains; 1 to {MAX_TABLE_ENTRIES} are read")));
    }
    let tables = capacity_bytes.div_ceil(header.table_span_bytes().max(1));
    if directory_at.checked_add(tables.saturating_mul(4)).is_none_or(|end| end > file_bytes) {
        return Err(Flaw::Damaged(format!(
            "its directory of {tables} tables should lie at {directory_at}, and the file ends at {file_bytes}"
        )));
    }
    if let Some((at, length)) = header.descriptor
        && (length > MAX_DESCRIPTOR_BYTES || at.checked_add(length).is_none_or(|end| end > file_bytes))
    {
        return Err(Flaw::Damaged(format!("its descriptor should be {length} bytes at {at}, and the file ends at {file_bytes}")));
    }
    Ok(())
}
