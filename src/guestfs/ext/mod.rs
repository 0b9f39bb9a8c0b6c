//! ext2, ext3 and ext4: own code, since whatever a filesystem of this family may be (an unclean one with fast commits, one whose
//! directories lie in lists of blocks, one with contents in inodes) must be read, in few reads, from many threads, whatever it says.
//!
//! `superblock` and `volume` find blocks and inodes, `inode`, `extents`, `directory`, `xattr` and `contents` what these say. What the
//! journal holds is laid over the device (`journal`); what its fast commits hold, over inodes and directories (`fast_commit`).

mod contents;
mod directory;
mod encrypted;
mod extents;
mod fast_commit;
mod fields;
mod hash;
mod inode;
mod journal;
mod superblock;
#[cfg(test)]
mod tests;
mod volume;
mod xattr;

use std::ops::ControlFlow;
use std::sync::Arc;

pub(super) use superblock::{identify, identify_by_copy};

use self::contents::{InlineFile, ReplayedFile};
use self::inode::Inode;
use self::journal::Overlay;
use self::superblock::{COMPAT_HAS_JOURNAL, INCOMPAT_RECOVER, Superblock};
use self::volume::Volume;
use super::lookups::Lookups;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Node, OpenOptions};

/// The longest target of a link.
const MOST_LINK_BYTES: u64 = 64 << 10;

/// An opened filesystem.
struct Ext {
    volume: Volume,
    overlay: Option<Arc<Overlay>>,
    lookups: Lookups,
    about: About,
}

/// Opens it; replays the journal in memory where it must be.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("ext4 without a device"))?;
    let superblock = Superblock::read(device.as_ref())?;
    let mut notes = Vec::new();
    let mut overlay = None;
    let mut volume = Volume::new(superblock, Arc::clone(device), options.cache_bytes);
    let is_copy = volume.superblock.copy_in_group != 0;
    if is_copy {
        notes.push(format!("its first superblock is damaged: the copy in group {} was used", volume.superblock.copy_in_group));
    }
    // A copy does not say whether there is anything in the journal.
    let may_have_changes = volume.superblock.has(INCOMPAT_RECOVER) || is_copy && volume.superblock.journal_inode != 0;
    if may_have_changes && volume.superblock.compat & COMPAT_HAS_JOURNAL != 0 {
        if options.replay {
            (volume, overlay) = replay(volume, options, &mut notes)?;
        } else {
            notes.push(format!("its journal {} changes that are not shown", if is_copy { "may hold" } else { "holds" }));
        }
    } else if volume.superblock.unclean && !is_copy {
        notes.push("it was not unmounted cleanly and has no journal to replay".to_owned());
    }
    if volume.superblock.had_errors {
        notes.push("its own kernel found errors in it".to_owned());
    }
    let superblock = &volume.superblock;
    let block_bytes = superblock.block_bytes;
    let size_bytes = superblock.blocks.saturating_mul(u64::from(block_bytes));
    if size_bytes > device.size_bytes() {
        notes.push(format!("it has {size_bytes} bytes, more than its volume with {}", device.size_bytes()));
    }
    let used = superblock.blocks.checked_sub(superblock.free_blocks).filter(|_| superblock.copy_in_group == 0);
    let used_bytes = used.map(|blocks| blocks.saturating_mul(u64::from(block_bytes)));
    let about = About { block_bytes, size_bytes, used_bytes, notes };
    Ok(Box::new(Ext { volume, overlay, lookups: Lookups::default(), about }))
}

/// The same filesystem with all that its journal holds.
fn replay(volume: Volume, options: &OpenOptions, notes: &mut Vec<String>) -> GuestResult<(Volume, Option<Arc<Overlay>>)> {
    if volume.superblock.journal_inode == 0 {
        return Err(GuestError::unsupported("ext4 with changes in an external journal, unless they are left out"));
    }
    let replayed = journal::read(&volume)?;
    if volume.superblock.has(INCOMPAT_RECOVER) || replayed.has_changes {
        notes.push("its journal was replayed in memory".to_owned());
    }
    if replayed.damaged_blocks > 0 {
        notes.push(format!("{} blocks of its journal are damaged and were left out", replayed.damaged_blocks));
    }
    let overlay = Arc::new(replayed.overlay);
    let device: Device = Arc::clone(&overlay) as Device;
    // The superblock itself may have been in the journal, with other counts.
    let superblock = Superblock::read(device.as_ref())?;
    let volume = Volume::new(superblock, device, options.cache_bytes);
    let tags = fast_commit::read(&replayed.fast_commits, replayed.next_sequence);
    let changes = fast_commit::apply(&volume, tags)?;
    Ok((volume.with_changes(changes), Some(overlay)))
}

impl Ext {
    fn inode(&self, node: Node) -> GuestResult<Inode> {
        let number = u32::try_from(node.0).map_err(|_| GuestError::NotFound { object: format!("inode {}", node.0) })?;
        self.volume.inode(number)
    }

    fn target(&self, inode: &Inode) -> GuestResult<Vec<u8>> {
        if inode.kind != FileKind::Link {
            return Err(GuestError::WrongKind { object: format!("inode {}", inode.number), expected: "symbolic link" });
        }
        let mut target = if inode.has_inline_data() {
            contents::inline(&self.volume, inode)?
        } else if inode.is_fast_link(&self.volume.superblock) {
            inode.block().get(..inode.size_bytes as usize).unwrap_or_default().to_vec()
        } else {
            self.volume.whole(inode, MOST_LINK_BYTES)?
        };
        if inode.is_encrypted() {
            // Two bytes of length, then the target as it is stored.
            let length = usize::from(fields::Fields(&target).le16(0));
            return Ok(encrypted::shown_name(fields::Fields(&target).bytes(2, length), [0; 2]));
        }
        let end = target.iter().position(|&byte| byte == 0).unwrap_or(target.len());
        target.truncate(end);
        Ok(target)
    }
}

impl FileSystem for Ext {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(u64::from(inode::ROOT))
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let inode = self.inode(node)?;
        let mut found = inode.attributes(&self.volume.superblock);
        if inode.kind == FileKind::Link && inode.is_encrypted() {
            found.size_bytes = self.target(&inode)?.len() as u64;
        }
        Ok(found)
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        directory::entries(&self.volume, &self.inode(directory)?, visit)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let inode = self.inode(directory)?;
        self.lookups.find(directory, name, |visit| directory::entries(&self.volume, &inode, visit))
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        self.target(&self.inode(node)?)
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        xattr::all(&self.volume, &self.inode(node)?)
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let inode = self.inode(node)?;
        if inode.kind != FileKind::Regular {
            return Err(GuestError::WrongKind { object: format!("inode {}", inode.number), expected: "regular file" });
        }
        if inode.is_encrypted() {
            return Err(GuestError::unsupported(format!("the encrypted contents of inode {}", inode.number)));
        }
        if inode.has_inline_data() {
            return Ok(Arc::new(InlineFile::new(contents::inline(&self.volume, &inode)?)));
        }
        let file = self.volume.contents(&inode, false)?;
        Ok(match &self.overlay {
            Some(overlay) => Arc::new(ReplayedFile::new(file, Arc::clone(overlay))),
            None => Arc::new(file),
        })
    }
}
