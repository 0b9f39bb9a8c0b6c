//! The volumes of a point's disks and the filesystems on them, opened when somebody looks.

use std::sync::{Arc, Mutex, PoisonError};

use super::names::Names;
use crate::guestfs::{self, Device, FileSystem, GuestError, GuestResult, Identity, OpenOptions};
use crate::volume::{AnyLayer, Closed, Disk, Volume, discover, luks::Secret};

/// A volume, and the filesystem that it may hold.
pub struct FoundVolume {
    /// The name of its directory; none where there is nothing to enter.
    pub name: Option<String>,
    /// Where it is, and how it was found.
    pub volume: Volume,
    /// What it holds, as far as its superblock tells; `None` where nobody knows it.
    pub identity: Option<Identity>,
    /// Why it cannot be known what it holds.
    pub problem: Option<String>,
    /// The volume that has the filesystem, where this is a further device of it.
    pub part_of: Option<usize>,
    /// The devices of the filesystem: this one and, where it has several, the others.
    pub(super) layers: Vec<AnyLayer>,
    replay: bool,
    opened: Mutex<Option<Arc<dyn FileSystem>>>,
}

impl FoundVolume {
    /// Whether it holds files, as far as is known without opening it.
    pub fn has_files(&self) -> bool {
        self.name.is_some()
    }

    /// Its filesystem, opened by the first who asks. A failure is not remembered: the vault may be back.
    ///
    /// # Errors
    /// [`GuestError`] of the filesystem.
    pub fn filesystem(&self) -> GuestResult<Arc<dyn FileSystem>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filesystem) = opened.as_ref() {
            return Ok(Arc::clone(filesystem));
        }
        let options = OpenOptions { replay: self.replay, ..OpenOptions::default() };
        let devices: Vec<Device> = self.layers.iter().map(|layer| Arc::clone(layer) as Device).collect();
        let filesystem: Arc<dyn FileSystem> = Arc::from(guestfs::open(&devices, &options)?);
        *opened = Some(Arc::clone(&filesystem));
        Ok(filesystem)
    }
}

/// All volumes of a point.
pub(super) struct Volumes {
    pub(super) found: Vec<FoundVolume>,
    pub(super) closed: Vec<Closed>,
}

impl Volumes {
    /// Finds them; reads tables and superblocks only.
    pub(super) fn find(disks: Vec<Disk>, secrets: &[Secret], replay: bool) -> Self {
        let discovery = discover(disks, secrets);
        let found = discovery.volumes.into_iter().map(|volume| identify(volume, replay)).collect();
        let mut volumes = Self { found, closed: discovery.closed };
        volumes.gather_pools();
        volumes.give_names();
        volumes
    }

    /// Gives a filesystem on several devices all of them.
    fn gather_pools(&mut self) {
        let pool = |volume: &FoundVolume| volume.identity.as_ref().and_then(|identity| identity.member.as_ref()).map(|member| member.pool);
        let pools: Vec<_> = self.found.iter().map(pool).collect();
        for index in 0..self.found.len() {
            let Some(own) = pools.get(index).copied().flatten() else { continue };
            let Some(first) = pools.iter().position(|pool| *pool == Some(own)).filter(|&first| first < index) else { continue };
            let layer = self.found.get(index).and_then(|volume| volume.layers.first()).map(Arc::clone);
            if let (Some(volume), Some(layer)) = (self.found.get_mut(first), layer) {
                volume.layers.push(layer);
            }
            if let Some(volume) = self.found.get_mut(index) {
                volume.part_of = Some(first);
            }
        }
    }

    fn give_names(&mut self) {
        let mut names = Names::default();
        for volume in &mut self.found {
            let holds_files = volume.identity.as_ref().is_some_and(|identity| identity.kind != "swap");
            if !holds_files || volume.part_of.is_some() {
                continue;
            }
            let label = volume.identity.as_ref().and_then(|identity| identity.label.clone()).unwrap_or_default();
            let partition = volume.volume.partition_name.clone().unwrap_or_default();
            volume.name = Some(names.give([label.as_str(), partition.as_str(), volume.volume.name.as_str()]));
        }
    }
}

fn identify(volume: Volume, replay: bool) -> FoundVolume {
    let layer = Arc::clone(&volume.layer);
    let (identity, problem) = match guestfs::identify(layer.as_ref()) {
        Ok(identity) => (identity, None),
        Err(error) => (None, Some(error.to_string())),
    };
    FoundVolume { name: None, volume, identity, problem, part_of: None, layers: vec![layer], replay, opened: Mutex::new(None) }
}

/// The volume of a number that a spot has.
pub(super) fn numbered(volumes: &Volumes, number: u32) -> GuestResult<&FoundVolume> {
    let found = usize::try_from(number).ok().and_then(|number| volumes.found.get(number));
    found.ok_or_else(|| GuestError::NotFound { object: format!("volume {number}") })
}
