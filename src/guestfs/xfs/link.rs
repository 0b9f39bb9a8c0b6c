//! Targets of symbolic links: in the inode, or in blocks. Layout: `struct xfs_dsymlink_hdr` in `fs/xfs/libxfs/xfs_format.h` of Linux.

use super::inode::{Format, Inode};
use super::mapping::Fork;
use super::sealed;
use super::volume::Volume;
use crate::guestfs::fields::be32;
use crate::guestfs::{FileKind, GuestError, GuestResult};

/// `XFS_SYMLINK_MAXLEN`.
const MOST_BYTES: u64 = 1024;
/// Blocks that a target can take, in one piece, with heads and the smallest blocks; what is longer is damage.
const MOST_BLOCKS: u64 = 8;
/// Bytes before the target in version 5.
const HEAD_BYTES: usize = 56;

/// Where a link leads.
pub(super) fn target(volume: &Volume, inode: &Inode) -> GuestResult<Vec<u8>> {
    let object = || format!("inode {}", inode.number);
    if inode.kind != FileKind::Link {
        return Err(GuestError::WrongKind { object: object(), expected: "symbolic link" });
    }
    if inode.size_bytes > MOST_BYTES {
        return Err(GuestError::damaged(object(), format!("a target of {} bytes", inode.size_bytes)));
    }
    let size = inode.size_bytes as usize;
    let mut target = match inode.format(Fork::Data)? {
        Format::Local => inode.fork(Fork::Data).to_vec(),
        _ => in_blocks(volume, inode, size)?,
    };
    if target.len() < size {
        return Err(GuestError::damaged(object(), format!("its target has {} bytes of {size}", target.len())));
    }
    target.truncate(size);
    Ok(target)
}

/// Each piece of blocks has one head.
fn in_blocks(volume: &Volume, inode: &Inode, size: usize) -> GuestResult<Vec<u8>> {
    let object = || format!("the target of inode {}", inode.number);
    let superblock = &volume.superblock;
    let mut target = Vec::new();
    for mapping in volume.mappings(inode, Fork::Data)? {
        let at = superblock.place_of_blocks(mapping.block, mapping.count).filter(|_| mapping.count <= MOST_BLOCKS);
        let at = at.ok_or_else(|| GuestError::damaged(object(), format!("it has {} blocks from {} on", mapping.count, mapping.block)))?;
        let length = mapping.count as usize * superblock.block_bytes as usize;
        if !superblock.has_checksums {
            target.extend(volume.read(at, length, &object)?);
            continue;
        }
        let block = sealed::REMOTE.read(volume, at, length, &object)?;
        let part = (be32(&block, 8) as usize).checked_add(HEAD_BYTES).and_then(|end| block.get(HEAD_BYTES..end));
        let part = part.filter(|part| block.starts_with(b"XSLM") && be32(&block, 4) as usize == target.len() && !part.is_empty());
        target.extend_from_slice(part.ok_or_else(|| GuestError::damaged(object(), format!("byte {} is not there", target.len())))?);
        if target.len() >= size {
            break;
        }
    }
    Ok(target)
}
