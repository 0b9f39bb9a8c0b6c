//! What is on a machine's disks: every volume that nothing above it takes, whatever lies between it and the disks.

use std::sync::Arc;

use super::luks::Secret;
use super::{AnyLayer, DiskLayer, VolumeError};
use crate::io::ReadAt;

/// A disk of a machine.
pub struct Disk {
    /// Its name: "vda".
    pub name: String,
    /// Its bytes.
    pub device: Arc<dyn ReadAt>,
}

/// A volume that may hold a filesystem.
pub struct Volume {
    /// Its bytes.
    pub layer: AnyLayer,
    /// A short name that can be a directory's: "vda1", "vg-root", "md-boot".
    pub name: String,
    /// The disk that it lies on, where it is one disk.
    pub disk: Option<String>,
    /// The number of its partition, where it is one.
    pub partition: Option<u32>,
    /// What its partition table calls it: "Linux filesystem", "EFI system".
    pub partition_type: Option<String>,
    /// Its name in the partition table.
    pub partition_name: Option<String>,
    /// Its UUID in the partition table, as blkid writes it.
    pub partition_uuid: Option<String>,
    /// Names that a guest surely has for it: "/dev/mapper/vg-root", "/dev/vg/root", "/dev/md/boot".
    pub device_names: Vec<String>,
    /// How it was found, for a person: "vda, partition 2, LUKS, LVM vg/root".
    pub found: String,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
}

/// Something on the way to volumes that cannot be opened.
pub struct Closed {
    /// How it was found.
    pub found: String,
    /// Why it cannot be opened.
    pub error: VolumeError,
}

/// All volumes of a machine.
pub struct Discovery {
    /// Those that can be read.
    pub volumes: Vec<Volume>,
    /// What cannot.
    pub closed: Vec<Closed>,
}

/// Finds the volumes on a machine's disks.
pub fn discover(disks: Vec<Disk>, _secrets: &[Secret]) -> Discovery {
    let volume = |(number, disk): (u32, Disk)| Volume {
        layer: Arc::new(DiskLayer { disk: number, device: disk.device }),
        name: disk.name.clone(),
        disk: Some(disk.name.clone()),
        partition: None,
        partition_type: None,
        partition_name: None,
        partition_uuid: None,
        device_names: Vec::new(),
        found: disk.name,
        notes: Vec::new(),
    };
    Discovery { volumes: (0_u32..).zip(disks).map(volume).collect(), closed: Vec::new() }
}
