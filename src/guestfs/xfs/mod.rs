//! XFS of versions 4 and 5: own code, since a filesystem that was in use must be seen as its kernel would show it after a crash, in few
//! reads, from many threads, whatever it says.
//!
//! `superblock` and `volume` find blocks and inodes, `inode`, `mapping`, `directory`, `xattr` and `link` what these say, `sealed` checks
//! what they say of themselves. What the log holds is laid over the device (`log`); operations that it left unfinished are done (`changes`).
//!
//! Sources of the layout: the headers in `fs/xfs/libxfs` and `Documentation/filesystems/xfs` of Linux, and "XFS Algorithms & Data
//! Structures" by the authors of XFS.

mod changes;
mod directory;
mod inode;
mod link;
mod log;
mod mapping;
mod sealed;
mod superblock;
#[cfg(test)]
mod tests;
mod volume;
mod xattr;

use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) use superblock::identify;

use self::changes::Changes;
use self::inode::Inode;
use self::log::{Log, State};
use self::superblock::Superblock;
use self::volume::Volume;
use super::lookups::Lookups;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Node, OpenOptions};

/// An opened filesystem.
struct Xfs {
    volume: Volume,
    lookups: Lookups,
    about: About,
}

/// Opens it; replays the log in memory where it must be.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("XFS without a device"))?;
    let superblock = Superblock::read(device.as_ref(), false)?;
    let mut notes = Vec::new();
    if superblock.needs_repair {
        notes.push("it is marked as in need of xfs_repair".to_owned());
    }
    let (volume, free_blocks) = with_log(Volume::new(superblock, Arc::clone(device), options.cache_bytes), options, &mut notes)?;
    let superblock = &volume.superblock;
    let block_bytes = superblock.block_bytes;
    let size_bytes = superblock.blocks.saturating_mul(u64::from(block_bytes));
    if size_bytes > device.size_bytes() {
        notes.push(format!("it has {size_bytes} bytes, more than its volume with {}", device.size_bytes()));
    }
    let used_bytes = superblock.blocks.checked_sub(free_blocks).map(|blocks| blocks.saturating_mul(u64::from(block_bytes)));
    let about = About { block_bytes, size_bytes, used_bytes, notes };
    Ok(Box::new(Xfs { volume, lookups: Lookups::default(), about }))
}

/// The same filesystem with all that its log holds, and its free blocks.
fn with_log(volume: Volume, options: &OpenOptions, notes: &mut Vec<String>) -> GuestResult<(Volume, u64)> {
    let free_blocks = volume.superblock.free_blocks;
    if volume.superblock.log_start == 0 {
        notes.push("its log is on another device; what that holds is not shown".to_owned());
        return Ok((volume, free_blocks));
    }
    let found = Log::open(&volume).and_then(|log| log.state().map(|state| (log, state)));
    let (log, range) = match found {
        Ok((_, State::Clean)) => return Ok((volume, free_blocks)),
        Ok((log, State::Dirty(range))) if options.replay => (log, range),
        Ok(_) => {
            notes.push("its log holds changes that are not shown".to_owned());
            return Ok((volume, free_blocks));
        }
        Err(error) if options.replay => return Err(error),
        Err(error) => {
            notes.push(format!("what its log holds is not shown, and not known: {error}"));
            return Ok((volume, free_blocks));
        }
    };
    volume.superblock.check_log_features()?;
    let replayed = log.replay(&volume, range)?;
    notes.push("its log was replayed in memory".to_owned());
    // The superblock itself may have been in the log.
    let superblock = Superblock::read(&replayed.overlay, true)?;
    let volume = volume.with_overlay(superblock, replayed.overlay);
    if !replayed.unfinished.is_empty() {
        notes.push(format!("{} operations that its log left unfinished were finished in memory", replayed.unfinished.len()));
    }
    let changes = Changes::finish(&volume, replayed.unfinished)?;
    let volume = volume.with_changes(changes);
    let free_blocks = volume.count_free_blocks()?;
    Ok((volume, free_blocks))
}

impl Xfs {
    fn inode(&self, node: Node) -> GuestResult<Inode> {
        self.volume.inode(node.0)
    }
}

impl FileSystem for Xfs {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(self.volume.superblock.root)
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        Ok(self.inode(node)?.attributes(&self.volume.superblock))
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        directory::entries(&self.volume, &self.inode(directory)?, visit)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let inode = self.inode(directory)?;
        self.lookups.find(directory, name, |visit| directory::entries(&self.volume, &inode, visit))
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        link::target(&self.volume, &self.inode(node)?)
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        xattr::all(&self.volume, &self.inode(node)?)
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let inode = self.inode(node)?;
        if inode.kind != FileKind::Regular {
            return Err(GuestError::WrongKind { object: format!("inode {}", inode.number), expected: "regular file" });
        }
        if inode.is_real_time() {
            let feature = format!("the contents of inode {}, which lie on the real-time device of XFS,", inode.number);
            return Err(GuestError::unsupported(feature));
        }
        Ok(Arc::new(self.volume.contents(&inode)?))
    }
}
