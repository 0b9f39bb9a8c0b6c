//! What all parts of the reader ask: files by their record, their attributes wherever they lie, and contents of attributes.

use std::collections::HashMap;
use std::sync::Arc;

use super::boot::Geometry;
use super::bytes::index;
use super::list::{self, Listed};
use super::mft::Mft;
use super::record::{Attribute, Body, Mapped, Record, Reference, kind, record_name};
use super::stream;
use crate::guestfs::pages::Pages;
use crate::guestfs::{Device, FileData, GuestError, GuestResult, OpenOptions};

/// The records of the files that NTFS keeps for itself.
pub(super) mod system {
    pub(in crate::guestfs::ntfs) const LOG_FILE: u64 = 2;
    pub(in crate::guestfs::ntfs) const VOLUME: u64 = 3;
    pub(in crate::guestfs::ntfs) const ROOT: u64 = 5;
    pub(in crate::guestfs::ntfs) const BITMAP: u64 = 6;
    pub(in crate::guestfs::ntfs) const SECURE: u64 = 9;
    pub(in crate::guestfs::ntfs) const UP_CASE: u64 = 10;
    /// The first record that is free for everybody; those below do not appear in listings.
    pub(in crate::guestfs::ntfs) const FIRST_FREE: u64 = 16;
}

/// The device with what is known of its layout.
pub(super) struct Volume {
    /// Sizes.
    pub(super) geometry: Geometry,
    /// For contents: read as it is.
    pub(super) device: Device,
    /// For metadata: with its pages kept.
    pub(super) cached: Device,
    /// The table of files.
    pub(super) mft: Mft,
}

/// A file: its first record, and where its attributes are if it has more.
pub(super) struct Inode {
    /// Its first record.
    pub(super) record: Record,
    list: Option<Vec<Listed>>,
}

impl Inode {
    /// What errors call it.
    pub(super) fn name(&self) -> String {
        record_name(self.record.number)
    }
}

impl Volume {
    /// Lays out a volume.
    ///
    /// # Errors
    /// Those of [`Mft::open`].
    pub(super) fn new(device: Device, geometry: Geometry, options: &OpenOptions) -> GuestResult<Self> {
        let cached: Device = Arc::new(Pages::new(Arc::clone(&device), options.cache_bytes));
        let mft = Mft::open(Arc::clone(&cached), &geometry)?;
        Ok(Self { geometry, device, cached, mft })
    }

    /// The file that a reference leads to.
    ///
    /// # Errors
    /// Not found where the record is free or was used again since; damage.
    pub(super) fn inode(&self, reference: Reference) -> GuestResult<Inode> {
        let record = self.mft.record(reference.record)?;
        let gone = |why: &str| GuestError::NotFound { object: format!("{}, {why},", record_name(reference.record)) };
        if !record.is_in_use() {
            return Err(gone("which is free"));
        }
        if record.base.record != 0 || record.base.sequence != 0 {
            return Err(gone("which is a part of another"));
        }
        if reference.sequence != 0 && reference.sequence != record.sequence {
            return Err(gone("which holds another file now"));
        }
        let listed = record.attributes.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST);
        let list = match listed {
            Some(attribute) => Some(list::read(attribute, &self.cached, self.geometry.cluster_bytes, &record_name(record.number))?),
            None => None,
        };
        Ok(Inode { record, list })
    }

    /// All attributes of a kind, of each the part that begins it, in the order of the file.
    ///
    /// # Errors
    /// Damage that could hide one of them.
    pub(super) fn attributes(&self, inode: &Inode, kind: u32) -> GuestResult<Vec<Attribute>> {
        self.parts(inode, kind, None, true)
    }

    /// The attribute of a kind with a name (the part that begins it).
    ///
    /// # Errors
    /// Damage that could hide it.
    pub(super) fn attribute(&self, inode: &Inode, kind: u32, name: &[u16]) -> GuestResult<Option<Attribute>> {
        Ok(self.parts(inode, kind, Some(name), true)?.into_iter().next())
    }

    /// The contents of an attribute as something to read, with pages kept.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn metadata(&self, inode: &Inode, kind: u32, name: &[u16]) -> GuestResult<Option<Arc<dyn FileData>>> {
        self.contents(inode, kind, name, &self.cached)
    }

    /// The contents of an attribute as something to read from `device`.
    ///
    /// # Errors
    /// Damage; encryption, and compression of an unknown kind.
    pub(super) fn contents(&self, inode: &Inode, kind: u32, name: &[u16], device: &Device) -> GuestResult<Option<Arc<dyn FileData>>> {
        let mut parts = self.parts(inode, kind, Some(name), false)?;
        parts.sort_by_key(Attribute::first_vcn);
        let Some(first) = parts.first() else { return Ok(None) };
        if first.first_vcn() != 0 {
            return Err(GuestError::damaged(inode.name(), "the first part of its contents is missing"));
        }
        let first = first.clone();
        let mapped = parts.into_iter().filter_map(|part| match part.body {
            Body::Mapped(mapped) => Some(mapped),
            Body::Resident(_) => None,
        });
        stream::open(&inode.name(), first, mapped.collect::<Vec<Mapped>>(), &self.geometry, device).map(Some)
    }

    /// All of a short attribute.
    ///
    /// # Errors
    /// Damage; a limit above `most_bytes`.
    pub(super) fn value(&self, inode: &Inode, kind: u32, name: &[u16], most_bytes: u64) -> GuestResult<Option<Vec<u8>>> {
        let Some(contents) = self.metadata(inode, kind, name)? else { return Ok(None) };
        let size_bytes = contents.size_bytes();
        if size_bytes > most_bytes {
            return Err(GuestError::limit(inode.name(), format!("an attribute of {size_bytes} bytes where {most_bytes} are usual")));
        }
        let mut value = vec![0; index(size_bytes)];
        contents.read_at(0, &mut value)?;
        Ok(Some(value))
    }

    fn parts(&self, inode: &Inode, kind: u32, name: Option<&[u16]>, beginnings: bool) -> GuestResult<Vec<Attribute>> {
        let wanted = |attribute: &Attribute| {
            attribute.kind == kind && name.is_none_or(|name| attribute.name == name) && (!beginnings || attribute.first_vcn() == 0)
        };
        let base = &inode.record;
        let Some(list) = &inode.list else {
            let found: Vec<Attribute> = base.attributes.iter().filter(|attribute| wanted(attribute)).cloned().collect();
            return match &base.damage {
                Some(damage) if found.is_empty() => Err(GuestError::damaged(inode.name(), damage.clone())),
                _ => Ok(found),
            };
        };
        let mut others: HashMap<u64, Record> = HashMap::new();
        let mut found = Vec::new();
        for entry in list {
            let concerns = entry.kind == kind && name.is_none_or(|name| entry.name == name) && (!beginnings || entry.first_vcn == 0);
            if !concerns {
                continue;
            }
            let record = if entry.reference.record == base.number {
                base
            } else {
                // Entries of one record follow each other; two are never needed at once.
                if !others.contains_key(&entry.reference.record) {
                    others.clear();
                    others.insert(entry.reference.record, self.part_record(base, entry)?);
                }
                match others.get(&entry.reference.record) {
                    Some(record) => record,
                    None => continue,
                }
            };
            let attribute = record.attributes.iter().find(|attribute| wanted(attribute) && attribute.instance == entry.instance);
            let attribute = attribute.ok_or_else(|| {
                let why = record.damage.clone().unwrap_or_else(|| format!("it lacks attribute {kind:#x}, which a list places there"));
                GuestError::damaged(record_name(record.number), why)
            })?;
            found.push(attribute.clone());
        }
        Ok(found)
    }

    fn part_record(&self, base: &Record, entry: &Listed) -> GuestResult<Record> {
        let record = self.mft.record(entry.reference.record)?;
        let reused = entry.reference.sequence != 0 && entry.reference.sequence != record.sequence;
        if !record.is_in_use() || record.base.record != base.number || reused {
            let problem = format!("it should be a part of {}, but belongs to {}", record_name(base.number), record.base.record);
            return Err(GuestError::damaged(record_name(record.number), problem));
        }
        Ok(record)
    }
}
