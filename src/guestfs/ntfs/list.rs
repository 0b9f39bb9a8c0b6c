//! Attribute lists: where the attributes of a file lie that needs more than one record. Layout: the Linux-NTFS project's documentation
//! ("$ATTRIBUTE_LIST").

use super::bytes::{index, slice_at, u8_at, u16_at, u32_at, u64_at};
use super::names::letters;
use super::record::{Attribute, Body, Reference};
use super::runs::extents;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{Device, GuestError, GuestResult};
use crate::io::ReadAt;

/// Windows ends lists at 256 KiB.
const LONGEST_BYTES: u64 = 256 << 10;

/// One attribute, or one part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its kind.
    pub(super) kind: u32,
    /// Its name.
    pub(super) name: Vec<u16>,
    /// The first cluster that the part places.
    pub(super) first_vcn: u64,
    /// The record that holds it.
    pub(super) reference: Reference,
    /// Its number within that record.
    pub(super) instance: u16,
}

/// Reads a list.
///
/// # Errors
/// Damage; a limit above what Windows makes.
pub(super) fn read(attribute: &Attribute, device: &Device, cluster_bytes: u32, object: &str) -> GuestResult<Vec<Listed>> {
    match &attribute.body {
        Body::Resident(value) => parse(value, object),
        Body::Mapped(mapped) => {
            if mapped.size_bytes > LONGEST_BYTES {
                return Err(GuestError::limit(object, format!("its attribute list has more than {LONGEST_BYTES} bytes")));
            }
            let extents = extents(object, vec![mapped.clone()], cluster_bytes)?;
            let file = MappedFile::new(object, device.clone(), mapped.size_bytes, extents)?;
            let mut value = vec![0; index(mapped.size_bytes)];
            file.read_at(0, &mut value)?;
            parse(&value, object)
        }
    }
}

fn parse(value: &[u8], object: &str) -> GuestResult<Vec<Listed>> {
    let mut all = Vec::new();
    let mut at = 0_usize;
    while at < value.len() {
        let length = u16_at(value, at.saturating_add(4)).map_or(0, usize::from);
        let entry = slice_at(value, at, length).filter(|entry| entry.len() >= 26).and_then(parse_entry);
        let Some(entry) = entry else {
            return Err(GuestError::damaged(object, format!("its attribute list contradicts itself at byte {at}")));
        };
        all.push(entry);
        at = at.saturating_add(length);
    }
    Ok(all)
}

fn parse_entry(entry: &[u8]) -> Option<Listed> {
    let name_bytes = usize::from(u8_at(entry, 6)?).checked_mul(2)?;
    Some(Listed {
        kind: u32_at(entry, 0)?,
        name: if name_bytes == 0 { Vec::new() } else { letters(slice_at(entry, usize::from(u8_at(entry, 7)?), name_bytes)?) },
        first_vcn: u64_at(entry, 8)?,
        reference: Reference::new(u64_at(entry, 16)?),
        instance: u16_at(entry, 24)?,
    })
}
