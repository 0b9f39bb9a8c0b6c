//! The table of files ($MFT): a file itself, whose own record says where its records lie.

use std::io;

use super::boot::Geometry;
use super::bytes::index;
use super::list;
use super::record::{Body, Mapped, Record, Reference, kind, record_name};
use super::runs::extents;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{Device, GuestError, GuestResult};
use crate::io::ReadAt;

/// Records of which the mirror has copies.
const MIRRORED: u64 = 4;
/// Records over which the table's own list of runs may be spread: some thousand runs each.
const MOST_PARTS: usize = 1024;

/// The table of files.
pub(super) struct Mft {
    file: MappedFile,
    device: Device,
    record_bytes: u32,
    mirror_bytes: u64,
    /// What a person should know of it.
    pub(super) notes: Vec<String>,
}

impl Mft {
    /// Finds the table. `device` is read in small pieces, so it should keep pages.
    ///
    /// # Errors
    /// Damage of its first record and of the mirror's.
    pub(super) fn open(device: Device, geometry: &Geometry) -> GuestResult<Self> {
        let record_bytes = geometry.record_bytes;
        let mut notes = Vec::new();
        let first = read_record(device.as_ref(), geometry.mft_bytes, record_bytes, 0).and_then(own_record).or_else(|error| {
            let copy = read_record(device.as_ref(), geometry.mirror_bytes, record_bytes, 0).and_then(own_record);
            copy.map_err(|_| error).inspect(|_| {
                notes.push("the first record of the $MFT is damaged, the one in $MFTMirr was used".to_owned());
            })
        })?;
        let mut parts = data_parts(&first);
        let size_bytes = parts.iter().map(|part| part.size_bytes).next().unwrap_or(0);
        let map = |parts: &[Mapped]| {
            MappedFile::new("the $MFT", device.clone(), size_bytes, extents("the $MFT", parts.to_vec(), geometry.cluster_bytes)?)
        };
        let mut file = map(&parts)?;
        if let Some(attribute) = first.attributes.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST) {
            let mut records: Vec<Reference> = list::read(attribute, &device, geometry.cluster_bytes, &record_name(0))?
                .into_iter()
                .filter(|entry| entry.kind == kind::DATA && entry.name.is_empty() && entry.first_vcn > 0)
                .map(|entry| entry.reference)
                .collect();
            records.dedup();
            for reference in records.into_iter().filter(|reference| reference.record != 0).take(MOST_PARTS) {
                // Each part lies where those before it say.
                let part = read_record(&file, place(reference.record, record_bytes)?, record_bytes, reference.record);
                match part.map(|record| data_parts(&record)) {
                    Ok(more) => {
                        parts.extend(more);
                        file = map(&parts)?;
                    }
                    Err(error) => notes.push(format!("a part of the $MFT cannot be found: {error}")),
                }
            }
        }
        Ok(Self { file, device, record_bytes, mirror_bytes: geometry.mirror_bytes, notes })
    }

    /// The record with this number, in use or not.
    ///
    /// # Errors
    /// Not found past the end of the table; damage, where the mirror has no copy either.
    pub(super) fn record(&self, number: u64) -> GuestResult<Record> {
        let at = place(number, self.record_bytes)?;
        if at.saturating_add(u64::from(self.record_bytes)) > self.file.size_bytes() {
            return Err(GuestError::NotFound { object: record_name(number) });
        }
        read_record(&self.file, at, self.record_bytes, number).or_else(|error| {
            if number >= MIRRORED {
                return Err(error);
            }
            read_record(self.device.as_ref(), self.mirror_bytes.saturating_add(at), self.record_bytes, number).map_err(|_| error)
        })
    }
}

/// Record 0 must place the table, or it is not record 0.
fn own_record(record: Record) -> GuestResult<Record> {
    if record.is_in_use() && data_parts(&record).iter().any(|part| part.first_vcn == 0) {
        return Ok(record);
    }
    Err(GuestError::damaged(record_name(0), record.damage.unwrap_or_else(|| "it does not say where the $MFT lies".to_owned())))
}

fn data_parts(record: &Record) -> Vec<Mapped> {
    let unnamed = record.attributes.iter().filter(|attribute| attribute.kind == kind::DATA && attribute.name.is_empty());
    unnamed
        .filter_map(|attribute| match &attribute.body {
            Body::Mapped(mapped) => Some(mapped.clone()),
            Body::Resident(_) => None,
        })
        .collect()
}

fn place(number: u64, record_bytes: u32) -> GuestResult<u64> {
    number.checked_mul(u64::from(record_bytes)).ok_or_else(|| GuestError::NotFound { object: record_name(number) })
}

/// Reads a record directly.
pub(super) fn read_record(source: &dyn ReadAt, at_bytes: u64, record_bytes: u32, number: u64) -> GuestResult<Record> {
    let mut bytes = vec![0; index(record_bytes)];
    source.read_at(at_bytes, &mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => GuestError::damaged(record_name(number), "it lies past the end of the volume"),
        _ => error.into(),
    })?;
    Record::parse(number, bytes)
}
