//! What is on a machine's disks: every volume that nothing above it takes, whatever lies between it and the disks.
//!
//! Each layer is asked in one order what it is: an encrypted container, a member of an array, a physical volume, a disk with partitions.
//! A member of an array comes before all that its contents look like, since a superblock at the end leaves the beginning as the array's.
//! Parts wait for the other parts of the same whole, until nothing else is left to look at.

mod names;
mod search;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::luks::Secret;
use super::{AnyLayer, VolumeError};
use crate::io::ReadAt;

/// A disk of a machine.
pub struct Disk {
    /// Its name: "vda".
    pub name: String,
    /// Its bytes.
    pub device: Arc<dyn ReadAt>,
}

/// A volume that may hold a filesystem.
#[derive(Clone)]
pub struct Volume {
    /// Its bytes.
    pub layer: AnyLayer,
    /// A short name that can be a directory's: "vda1", "vg-root", "md-boot".
    pub name: String,
    /// The disk that it lies on, where it is one disk.
    pub disk: Option<String>,
    /// The number of its partition, where it is one of a disk.
    pub partition: Option<u32>,
    /// What its partition table calls it: "Linux filesystem", "EFI system".
    pub partition_type: Option<String>,
    /// Its name in the partition table.
    pub partition_name: Option<String>,
    /// Its UUID in the partition table, as blkid writes it.
    pub partition_uuid: Option<String>,
    /// Names that a guest surely has for it: "/dev/mapper/vg-root", "/dev/vg/root", "/dev/md/boot".
    pub device_names: Vec<String>,
    /// How it was found, for a person: "vda, partition 2 (GPT 'root', Linux filesystem), LUKS2, LVM vg/root".
    pub found: String,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
}

/// Something on the way to volumes that cannot be opened.
#[derive(Debug)]
pub struct Closed {
    /// How it was found.
    pub found: String,
    /// Why it cannot be opened.
    pub error: VolumeError,
}

/// All volumes of a machine.
#[derive(Default)]
pub struct Discovery {
    /// Those that can be read, in the order of their names.
    pub volumes: Vec<Volume>,
    /// What cannot.
    pub closed: Vec<Closed>,
}

/// Finds the volumes on a machine's disks. Nothing that is wrong with one keeps others from being found.
pub fn discover(disks: Vec<Disk>, secrets: &[Secret]) -> Discovery {
    search::run(disks, secrets)
}
