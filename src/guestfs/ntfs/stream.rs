//! The contents of an attribute as something to read: in the record, in clusters, or compressed.

use std::io;
use std::sync::Arc;

use super::boot::Geometry;
use super::bytes::{index, slice_at};
use super::compressed::CompressedFile;
use super::record::{Attribute, Body, COMPRESSED_LZNT1, COMPRESSION_MASK, ENCRYPTED, Mapped};
use super::runs::extents;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{Device, FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// Clusters that may be compressed together, in bytes. Windows makes 64 KiB of them.
const LARGEST_UNIT_BYTES: u64 = 4 << 20;

/// Contents that are in memory.
pub(super) struct Resident(pub(super) Vec<u8>);

impl ReadAt for Resident {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = slice_at(&self.0, index(offset_bytes), buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl FileData for Resident {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        Ok(match self.size_bytes().saturating_sub(offset_bytes) {
            0 => Run { length_bytes: 0, place: Place::Hole },
            length_bytes => Run { length_bytes, place: Place::Computed },
        })
    }
}

/// Opens the contents of an attribute from its first part and the places of all parts.
///
/// # Errors
/// Damage; EFS encryption and kinds of compression that nobody has seen.
pub(super) fn open(
    object: &str,
    first: Attribute,
    parts: Vec<Mapped>,
    geometry: &Geometry,
    device: &Device,
) -> GuestResult<Arc<dyn FileData>> {
    if first.flags & ENCRYPTED != 0 {
        return Err(GuestError::unsupported("EFS encryption (a file that Windows encrypted for one of its users)"));
    }
    let mapped = match first.body {
        Body::Resident(value) => return Ok(Arc::new(Resident(value))),
        Body::Mapped(mapped) => mapped,
    };
    let mut extents = extents(object, parts, geometry.cluster_bytes)?;
    let initialized = mapped.initialized_bytes.min(mapped.size_bytes);
    match first.flags & COMPRESSION_MASK {
        0 => {
            // What was never written reads as zeros, whatever its clusters hold.
            extents.retain(|extent| extent.start_bytes < initialized);
            for extent in &mut extents {
                extent.length_bytes = extent.length_bytes.min(initialized.saturating_sub(extent.start_bytes));
            }
            Ok(Arc::new(MappedFile::new(object, device.clone(), mapped.size_bytes, extents)?))
        }
        COMPRESSED_LZNT1 => {
            let unit = u64::from(geometry.cluster_bytes).checked_shl(u32::from(mapped.unit_log)).filter(|unit| *unit <= LARGEST_UNIT_BYTES);
            let unit_bytes = unit.filter(|_| mapped.unit_log > 0);
            let unit_bytes = unit_bytes
                .ok_or_else(|| GuestError::damaged(object, format!("it is compressed in units of 2^{} clusters", mapped.unit_log)))?;
            let raw = MappedFile::new(object, device.clone(), mapped.allocated_bytes.max(mapped.size_bytes), extents)?;
            Ok(Arc::new(CompressedFile::new(object, raw, mapped.size_bytes, initialized, unit_bytes)))
        }
        other => Err(GuestError::unsupported(format!("NTFS compression method {other}"))),
    }
}
