//! Extended attributes: behind the inode, or shared by several inodes in a place of their own.

use super::core::{Core, Place, Use};
use super::inode::Inode;
use crate::guestfs::fields::{array, byte, le16, le32};
use crate::guestfs::{GuestError, GuestResult};

/// Bytes before the numbers of the shared ones.
const HEAD_BYTES: u64 = 12;
/// In the number of a prefix: it is one of the filesystem's own.
const LONG: u8 = 0x80;

/// Prefixes that the filesystem itself defines: the number of a common one, and what comes behind it.
#[derive(Default)]
pub(super) struct Prefixes(Vec<(u8, Vec<u8>)>);

fn common(number: u8) -> Option<&'static [u8]> {
    Some(match number {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        _ => return None,
    })
}

impl Prefixes {
    /// Reads those of the filesystem, from the file of fragments or the compressed metadata if there is one.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn read(core: &Core) -> GuestResult<Self> {
        let superblock = &core.image.superblock;
        let mut prefixes = Vec::new();
        let plain = superblock.plain_prefixes();
        let mut at = u64::from(superblock.prefixes_at) * 4;
        let read = |at: u64, bytes: &mut [u8]| {
            if !plain && superblock.metabox.is_none() && superblock.packed != 0 {
                return Ok(core.packed()?.read_at(at, bytes)?);
            }
            core.read(Place { metabox: !plain && superblock.metabox.is_some(), at }, bytes)
        };
        for _ in 0..superblock.prefix_count {
            let mut length = [0; 2];
            read(at, &mut length)?;
            let length = u16::from_le_bytes(length);
            let mut bytes = vec![0; usize::from(length)];
            read(at.saturating_add(2), &mut bytes)?;
            let (base, infix) = bytes.split_first().ok_or_else(|| GuestError::damaged("a prefix of extended attributes", "it is empty"))?;
            prefixes.push((*base, infix.to_vec()));
            at = at.saturating_add(2 + u64::from(length)).next_multiple_of(4);
        }
        Ok(Self(prefixes))
    }

    /// A whole name; `None` for a namespace that no system shows.
    fn name(&self, number: u8, rest: &[u8]) -> GuestResult<Option<Vec<u8>>> {
        if number & LONG == 0 {
            return Ok(common(number).map(|common| [common, rest].concat()));
        }
        let (base, infix) = self.0.get(usize::from(number & !LONG)).ok_or_else(|| {
            GuestError::damaged(format!("prefix {} of extended attributes", number & !LONG), format!("there are {}", self.0.len()))
        })?;
        Ok(common(*base).map(|common| [common, infix, rest].concat()))
    }
}

/// One attribute at the beginning of `bytes`: its prefix, its name, its value, and the bytes that it takes.
struct Attribute<'a> {
    prefix: u8,
    name: &'a [u8],
    value: &'a [u8],
    bytes: usize,
}

fn attribute(bytes: &[u8]) -> Option<Attribute<'_>> {
    let (name, value) = (usize::from(byte(bytes, 0)), usize::from(le16(bytes, 2)));
    let rest = bytes.get(4..)?;
    let (name, rest) = rest.split_at_checked(name)?;
    let taken = (4 + name.len() + value).next_multiple_of(4);
    Some(Attribute { prefix: byte(bytes, 1), name, value: rest.get(..value)?, bytes: taken })
}

/// Names and values of an inode.
///
/// # Errors
/// Damage.
pub(super) fn list(core: &Core, prefixes: &Prefixes, inode: &Inode) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
    if inode.xattr_bytes <= HEAD_BYTES {
        return Ok(Vec::new());
    }
    // At most 12 + 4 * 65,534 bytes.
    let mut bytes = vec![0; usize::try_from(inode.xattr_bytes).unwrap_or(0)];
    core.read(inode.place.behind(inode.own_bytes), &mut bytes)?;
    let shared = usize::from(byte(&bytes, 4));
    let own = bytes.get(12 + 4 * shared..).ok_or_else(|| inode.problem(format!("{shared} shared extended attributes do not fit")))?;
    let mut all = Vec::new();
    for index in 0..shared {
        let raw = read_shared(core, le32(&bytes, 12 + 4 * index))?;
        let found = attribute(&raw).ok_or_else(|| inode.problem("a shared extended attribute breaks off".to_owned()))?;
        all.extend(prefixes.name(found.prefix, found.name)?.map(|name| (name, found.value.to_vec())));
    }
    let mut rest = own;
    while rest.len() >= 4 {
        // Zeros fill the room behind the last one.
        if array::<4>(rest, 0) == [0; 4] {
            break;
        }
        let found = attribute(rest).ok_or_else(|| inode.problem("an extended attribute breaks off".to_owned()))?;
        all.extend(prefixes.name(found.prefix, found.name)?.map(|name| (name, found.value.to_vec())));
        rest = rest.get(found.bytes..).unwrap_or_default();
    }
    Ok(all)
}

fn read_shared(core: &Core, number: u32) -> GuestResult<Vec<u8>> {
    let superblock = &core.image.superblock;
    let at = superblock.block_at(u64::from(superblock.xattr_block)).saturating_add(u64::from(number) * 4);
    let place = Place { metabox: superblock.shared_in_metabox(), at };
    let mut head = [0; 4];
    core.read(place, &mut head)?;
    let mut bytes = vec![0; 4 + usize::from(byte(&head, 0)) + usize::from(le16(&head, 2))];
    core.read(place, &mut bytes)?;
    Ok(bytes)
}

/// Contents of a link.
///
/// # Errors
/// Where it is none; damage; a target that no system would follow.
pub(super) fn link_target(core: &Core, inode: &Inode) -> GuestResult<Vec<u8>> {
    if inode.kind != crate::guestfs::FileKind::Link {
        return Err(GuestError::WrongKind { object: format!("inode {}", inode.node.0), expected: "symbolic link" });
    }
    const LONGEST_TARGET: u64 = 64 << 10;
    if inode.size_bytes > LONGEST_TARGET {
        return Err(GuestError::limit("the target of a link", format!("{} bytes, more than {LONGEST_TARGET}", inode.size_bytes)));
    }
    let mut target = vec![0; usize::try_from(inode.size_bytes).unwrap_or(0)];
    core.data(inode, Use::Metadata)?.read_at(0, &mut target)?;
    Ok(target)
}
