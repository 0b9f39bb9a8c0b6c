//! A file or directory as the rest of Cairn sees it: kind, attributes, links, special files.

use super::bytes::{u32_at, u64_at};
use super::directory::{self, Directories, flag};
use super::ea::{Wsl, wsl};
use super::links;
use super::names::letters;
use super::names::to_utf8;
use super::record::{Attribute, Reference, kind};
use super::reparse::Reparse;
use super::time::timestamp;
use super::volume::{Inode, Volume};
use super::wof;
use crate::guestfs::{Attributes, DeviceNumber, FileKind, GuestError, GuestResult, Timestamp};

/// Bytes of a reparse point, or of all extended attributes: Windows allows 16 and 64 KiB.
const LONGEST_VALUE: u64 = 64 << 10;
/// Bytes of a link that Interix keeps in a file.
const LONGEST_INTERIX: u64 = 8 + 2 * 4096;

/// `$STANDARD_INFORMATION`.
pub(super) struct Standard {
    created: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    accessed: Timestamp,
    /// See [`flag`].
    pub(super) flags: u32,
    /// Which security descriptor of those that the volume shares.
    pub(super) security: Option<u32>,
}

impl Standard {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let at = |place| u64_at(bytes, place).map(timestamp);
        Some(Self {
            created: at(0)?,
            modified: at(8)?,
            changed: at(16)?,
            accessed: at(24)?,
            flags: u32_at(bytes, 32)?,
            security: u32_at(bytes, 52).filter(|id| *id != 0),
        })
    }
}

/// A file with what makes it what it is.
pub(super) struct Object {
    /// Its records.
    pub(super) inode: Inode,
    /// Times and flags.
    pub(super) standard: Standard,
    /// What happens instead of opening it.
    pub(super) reparse: Option<Reparse>,
    /// Its kind.
    pub(super) kind: FileKind,
    wsl: Wsl,
    interix: Option<Interix>,
}

/// A special file as Interix (and ntfs-3g) keeps it: a system file with a mark. Its pipes and sockets, empty files and files of one
/// byte, have no mark: they stay files, since a system file of Windows may be just that.
enum Interix {
    Link(Vec<u8>),
    Device(FileKind, DeviceNumber),
}

impl Object {
    /// The file that `reference` leads to.
    ///
    /// # Errors
    /// Not found; damage of what says what it is.
    pub(super) fn load(volume: &Volume, reference: Reference) -> GuestResult<Self> {
        let inode = volume.inode(reference)?;
        let standard = volume.attribute(&inode, kind::STANDARD_INFORMATION, &[])?;
        let standard = standard.as_ref().and_then(Attribute::resident).and_then(Standard::parse);
        let standard = standard.ok_or_else(|| GuestError::damaged(inode.name(), "it has no $STANDARD_INFORMATION"))?;
        let reparse = if standard.flags & flag::REPARSE_POINT == 0 {
            None
        } else {
            volume.value(&inode, kind::REPARSE_POINT, &[], LONGEST_VALUE)?.map(|point| {
                Reparse::parse(&point).unwrap_or_else(|| Reparse::Other("a file whose reparse point contradicts itself".to_owned()))
            })
        };
        let wsl = volume.value(&inode, kind::EA, &[], LONGEST_VALUE)?.map(|all| wsl(&all)).unwrap_or_default();
        let interix = interix(volume, &inode, &standard)?;
        let kind = match (&reparse, &interix) {
            (Some(Reparse::Link { .. } | Reparse::PosixLink(_)), _) | (_, Some(Interix::Link(_))) => FileKind::Link,
            (Some(Reparse::Special(kind)), _) | (_, Some(Interix::Device(kind, _))) => *kind,
            _ if inode.record.is_directory() => FileKind::Directory,
            _ => FileKind::Regular,
        };
        Ok(Self { inode, standard, reparse, kind, wsl, interix })
    }

    /// Where a link leads.
    ///
    /// # Errors
    /// Wrong kind where it is none; damage.
    pub(super) fn target(&self, volume: &Volume, directories: &Directories) -> GuestResult<Vec<u8>> {
        match (&self.reparse, &self.interix) {
            (Some(Reparse::Link { path, is_relative }), _) => links::translate(volume, directories, &self.inode, path, *is_relative),
            (Some(Reparse::PosixLink(target)), _) | (_, Some(Interix::Link(target))) => Ok(target.clone()),
            _ => Err(GuestError::WrongKind { object: self.inode.name(), expected: "symbolic link" }),
        }
    }

    /// What is known of it.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn attributes(&self, volume: &Volume, directories: &Directories) -> GuestResult<Attributes> {
        let (size_bytes, allocated_bytes) = match self.kind {
            FileKind::Directory => {
                let name: Vec<u16> = "$I30".encode_utf16().collect();
                let blocks = volume.attribute(&self.inode, kind::INDEX_ALLOCATION, &name)?;
                blocks.map_or((0, 0), |blocks| (blocks.size_bytes(), blocks.occupied_bytes()))
            }
            FileKind::Link => (self.target(volume, directories)?.len() as u64, 0),
            FileKind::Regular => self.data_bytes(volume)?,
            _ => (0, 0),
        };
        let names = directory::names(volume, &self.inode)?.iter().filter(|name| !name.is_dos).count();
        Ok(Attributes {
            kind: self.kind,
            size_bytes,
            allocated_bytes,
            mode: self.mode(),
            uid: self.wsl.uid.unwrap_or(0),
            gid: self.wsl.gid.unwrap_or(0),
            links: u32::try_from(names).unwrap_or(u32::MAX).max(1),
            device: self.device(),
            modified: self.standard.modified,
            changed: Some(self.standard.changed),
            accessed: Some(self.standard.accessed),
            created: Some(self.standard.created),
        })
    }

    fn data_bytes(&self, volume: &Volume) -> GuestResult<(u64, u64)> {
        let data = volume.attribute(&self.inode, kind::DATA, &[])?;
        let (size, mut occupied) = data.map_or((0, 0), |data| (data.size_bytes(), data.occupied_bytes()));
        if let Some(Reparse::Wof(_)) = self.reparse {
            let packed = volume.attribute(&self.inode, kind::DATA, &wof::stream_name())?;
            occupied = packed.map_or(0, |packed| packed.occupied_bytes());
        }
        Ok((size, occupied))
    }

    /// What WSL says, or what everybody may do with such a file where nobody is known: 0o644, directories 0o755, links 0o777. A file
    /// (never a directory, where the flag means something else) that is read-only has no `w`.
    fn mode(&self) -> u16 {
        if let Some(mode) = self.wsl.mode {
            return u16::try_from(mode & 0o7777).unwrap_or(0);
        }
        match self.kind {
            FileKind::Directory => 0o755,
            FileKind::Link => 0o777,
            _ if self.standard.flags & flag::READ_ONLY != 0 => 0o444,
            _ => 0o644,
        }
    }

    fn device(&self) -> Option<DeviceNumber> {
        match (&self.interix, self.kind) {
            (Some(Interix::Device(_, device)), _) => Some(*device),
            (_, FileKind::CharacterDevice | FileKind::BlockDevice) => {
                let (major, minor) = self.wsl.device.unwrap_or_default();
                Some(DeviceNumber { major, minor })
            }
            _ => None,
        }
    }
}

fn interix(volume: &Volume, inode: &Inode, standard: &Standard) -> GuestResult<Option<Interix>> {
    let may_be = standard.flags & (flag::SYSTEM | flag::HIDDEN | flag::REPARSE_POINT) == flag::SYSTEM && !inode.record.is_directory();
    let data = if may_be { volume.attribute(inode, kind::DATA, &[])? } else { None };
    if !data.is_some_and(|data| (8..=LONGEST_INTERIX).contains(&data.size_bytes())) {
        return Ok(None);
    }
    // A file that cannot be read here is a file.
    let Ok(Some(contents)) = volume.metadata(inode, kind::DATA, &[]) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(contents.size_bytes()).unwrap_or(0)];
    contents.read_at(0, &mut bytes)?;
    let number = |at| u64_at(&bytes, at).and_then(|number| u32::try_from(number).ok());
    let device = number(8).zip(number(16)).filter(|_| bytes.len() == 24).map(|(major, minor)| DeviceNumber { major, minor });
    Ok(match (bytes.get(..8), device) {
        (Some(b"IntxLNK\x01"), _) => Some(Interix::Link(to_utf8(&letters(bytes.get(8..).unwrap_or_default())))),
        (Some(b"IntxCHR\0"), Some(device)) => Some(Interix::Device(FileKind::CharacterDevice, device)),
        (Some(b"IntxBLK\0"), Some(device)) => Some(Interix::Device(FileKind::BlockDevice, device)),
        _ => None,
    })
}
