//! Security descriptors: each is stored once in the stream $SDS of $Secure, found by its number in the index $SII. Layout: the Linux-NTFS
//! project's documentation ("$Secure").

use std::ops::ControlFlow;

use super::bytes::{index, slice_at, u16_at, u32_at, u64_at};
use super::index::Index;
use super::object::Object;
use super::record::{Reference, kind};
use super::volume::{Volume, system};
use crate::guestfs::{GuestError, GuestResult};

/// Bytes of a descriptor: what an extended attribute of Linux can be.
const LONGEST_BYTES: u64 = 64 << 10;
/// Bytes before a descriptor in the stream: its hash, number, place and length.
const HEADER_BYTES: usize = 20;

/// The descriptor of a file as it is stored (self-relative), if it has one.
///
/// # Errors
/// Damage.
pub(super) fn descriptor(volume: &Volume, object: &Object) -> GuestResult<Option<Vec<u8>>> {
    // Volumes before Windows 2000, and a few system files, have their own.
    if let Some(own) = volume.value(&object.inode, kind::SECURITY_DESCRIPTOR, &[], LONGEST_BYTES)? {
        return Ok(Some(own));
    }
    match object.standard.security {
        Some(id) => shared(volume, id),
        None => Ok(None),
    }
}

fn shared(volume: &Volume, id: u32) -> GuestResult<Option<Vec<u8>>> {
    let secure = volume.inode(Reference { record: system::SECURE, sequence: 0 })?;
    let mut place = None;
    let by_number = Index::open(volume, &secure, "$SII")?;
    by_number.find(&mut |key| u32_at(key, 0).unwrap_or(0).cmp(&id), &mut |entry| {
        let data = u16_at(entry.whole, 0).and_then(|at| slice_at(entry.whole, usize::from(at), HEADER_BYTES));
        place = data.and_then(|data| u64_at(data, 8).zip(u32_at(data, 16)));
        ControlFlow::Break(())
    })?;
    let Some((offset_bytes, length)) = place else { return Ok(None) };
    let wrong = || GuestError::damaged(format!("security descriptor {id}"), "it is not where $SII says");
    let stream = volume.metadata(&secure, kind::DATA, &"$SDS".encode_utf16().collect::<Vec<u16>>())?.ok_or_else(wrong)?;
    if u64::from(length) > LONGEST_BYTES {
        return Err(wrong());
    }
    let mut bytes = vec![0; index(length)];
    stream.read_at(offset_bytes, &mut bytes)?;
    if u32_at(&bytes, 4) != Some(id) || u64_at(&bytes, 8) != Some(offset_bytes) {
        return Err(wrong());
    }
    bytes.get(HEADER_BYTES..).map(|descriptor| Some(descriptor.to_vec())).ok_or_else(wrong)
}
