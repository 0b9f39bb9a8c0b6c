//! What Linux has no place for, as extended attributes: named streams, and under the names that ntfs-3g uses, what Windows knows.

use super::names::to_utf8;
use super::object::Object;
use super::record::{Attribute, kind};
use super::reparse::Reparse;
use super::security;
use super::volume::Volume;
use super::wof;
use crate::guestfs::GuestResult;

/// Bytes of a value: what Linux takes. Longer streams are only named; `FILE:STREAM` as a name opens them.
const LONGEST_BYTES: u64 = 64 << 10;
/// Bytes of all values of a file.
const MOST_BYTES: u64 = 4 << 20;

/// All of a file's.
///
/// # Errors
/// Damage.
pub(super) fn all(volume: &Volume, object: &Object) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = vec![(b"system.ntfs_attrib_be".to_vec(), object.standard.flags.to_be_bytes().to_vec())];
    for (name, kind) in
        [("system.ntfs_reparse_data", kind::REPARSE_POINT), ("system.ntfs_ea", kind::EA), ("system.ntfs_object_id", kind::OBJECT_ID)]
    {
        if let Some(value) = volume.value(&object.inode, kind, &[], LONGEST_BYTES)? {
            all.push((name.as_bytes().to_vec(), value));
        }
    }
    if let Some(descriptor) = security::descriptor(volume, object)? {
        all.push((b"system.ntfs_acl".to_vec(), descriptor));
    }
    let mut bytes = 0_u64;
    for stream in streams(volume, object)? {
        let name = to_utf8(&stream.name);
        let size_bytes = stream.size_bytes();
        bytes = bytes.saturating_add(size_bytes.min(LONGEST_BYTES));
        let value = if size_bytes <= LONGEST_BYTES && bytes <= MOST_BYTES {
            volume.value(&object.inode, kind::DATA, &stream.name, LONGEST_BYTES)?
        } else {
            None
        };
        let head: &[u8] = if value.is_some() { b"user.stream." } else { b"user.long_stream." };
        all.push(([head, &name].concat(), value.unwrap_or_else(|| format!("{size_bytes} bytes").into_bytes())));
    }
    Ok(all)
}

/// The named streams of a file in the order in which it has them, without the one in which WOF keeps its contents.
///
/// # Errors
/// Damage.
pub(super) fn streams(volume: &Volume, object: &Object) -> GuestResult<Vec<Attribute>> {
    let mut streams = volume.attributes(&object.inode, kind::DATA)?;
    let of_wof = if matches!(object.reparse, Some(Reparse::Wof(_))) { wof::stream_name() } else { Vec::new() };
    streams.retain(|stream| !stream.name.is_empty() && stream.name != of_wof);
    Ok(streams)
}
