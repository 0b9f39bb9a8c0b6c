//! Reparse points: what Windows does instead of opening a file, named by a tag. Layouts and tags: [MS-FSCC] 2.1.2.

use super::bytes::{slice_at, u16_at, u32_at, u64_at};
use super::names::letters;
use crate::guestfs::FileKind;

/// Tags that have a meaning here.
mod tag {
    pub(super) const MOUNT_POINT: u32 = 0xA000_0003;
    pub(super) const SYMLINK: u32 = 0xA000_000C;
    pub(super) const DEDUP: u32 = 0x8000_0013;
    pub(super) const NFS: u32 = 0x8000_0014;
    pub(super) const WOF: u32 = 0x8000_0017;
    pub(super) const WCI: u32 = 0x8000_0018;
    pub(super) const APP_EXEC_LINK: u32 = 0x8000_001B;
    pub(super) const LX_SYMLINK: u32 = 0xA000_001D;
    pub(super) const LX_SOCKET: u32 = 0x8000_0023;
    pub(super) const LX_PIPE: u32 = 0x8000_0024;
    pub(super) const LX_CHARACTER: u32 = 0x8000_0025;
    pub(super) const LX_BLOCK: u32 = 0x8000_0026;
    /// Files of OneDrive and its like: sixteen tags.
    pub(super) const CLOUD: u32 = 0x9000_001A;
    pub(super) const CLOUD_MASK: u32 = 0xFFFF_0FFF;
}

/// What a reparse point is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A link with a path of Windows; the flag says that it begins at the link's own directory.
    Link {
        /// The path, with backslashes.
        path: Vec<u16>,
        /// Whether it is relative.
        is_relative: bool,
    },
    /// A link with a path of Linux.
    PosixLink(Vec<u8>),
    /// A special file of WSL.
    Special(FileKind),
    /// Compressed by the Windows Overlay Filter, with this algorithm.
    Wof(WofAlgorithm),
    /// A file that is, or was, kept in a cloud.
    Cloud,
    /// Something that cannot be read here, by name.
    Other(String),
}

/// How the Windows Overlay Filter compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WofAlgorithm {
    /// XPRESS with Huffman codes, in chunks of so many bytes.
    Xpress(u32),
    /// LZX in chunks of 32 KiB.
    Lzx,
}

/// The kind of a file with this tag; `None` where the tag says nothing of it.
pub(super) fn kind_of_tag(number: u32) -> Option<FileKind> {
    match number {
        tag::MOUNT_POINT | tag::SYMLINK | tag::LX_SYMLINK => Some(FileKind::Link),
        tag::LX_SOCKET => Some(FileKind::Socket),
        tag::LX_PIPE => Some(FileKind::Pipe),
        tag::LX_CHARACTER => Some(FileKind::CharacterDevice),
        tag::LX_BLOCK => Some(FileKind::BlockDevice),
        _ => None,
    }
}

impl Reparse {
    /// Takes the contents of a reparse point apart. `None`: they contradict themselves.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let number = u32_at(bytes, 0)?;
        let data = slice_at(bytes, 8, usize::from(u16_at(bytes, 4)?))?;
        Some(match number {
            tag::SYMLINK => Self::Link { path: path(data, 12)?, is_relative: u32_at(data, 8)? & 1 != 0 },
            tag::MOUNT_POINT => Self::Link { path: path(data, 8)?, is_relative: false },
            // A version comes before the path.
            tag::LX_SYMLINK => Self::PosixLink(data.get(4..)?.to_vec()),
            tag::LX_SOCKET | tag::LX_PIPE | tag::LX_CHARACTER | tag::LX_BLOCK => Self::Special(kind_of_tag(number)?),
            tag::WOF => wof(data)?,
            cloud if cloud & tag::CLOUD_MASK == tag::CLOUD => Self::Cloud,
            tag::DEDUP => Self::Other("data deduplication of Windows Server (reparse tag 0x80000013)".to_owned()),
            tag::NFS => Self::Other("a special file of Windows' NFS server (reparse tag 0x80000014)".to_owned()),
            tag::WCI => Self::Other("a file of a Windows container's base image (reparse tag 0x80000018)".to_owned()),
            tag::APP_EXEC_LINK => Self::Other("an alias of a Store program (reparse tag 0x8000001B)".to_owned()),
            other => Self::Other(format!("a file with reparse tag {other:#010X}")),
        })
    }
}

/// The path that counts (not the one for display) of a link whose paths begin at `buffer`.
fn path(data: &[u8], buffer: usize) -> Option<Vec<u16>> {
    let at = buffer.checked_add(usize::from(u16_at(data, 0)?))?;
    Some(letters(slice_at(data, at, usize::from(u16_at(data, 2)?))?))
}

/// Version and provider, then version and algorithm of the provider "file".
fn wof(data: &[u8]) -> Option<Reparse> {
    if u64_at(data, 0)? != 0x0000_0002_0000_0001 {
        return Some(Reparse::Other("a file that is kept in a WIM archive (WIMBoot, reparse tag 0x80000017)".to_owned()));
    }
    Some(match (u32_at(data, 8)?, u32_at(data, 12)?) {
        (1, 0) => Reparse::Wof(WofAlgorithm::Xpress(4096)),
        (1, 1) => Reparse::Wof(WofAlgorithm::Lzx),
        (1, 2) => Reparse::Wof(WofAlgorithm::Xpress(8192)),
        (1, 3) => Reparse::Wof(WofAlgorithm::Xpress(16384)),
        (version, algorithm) => Reparse::Other(format!("WOF compression, version {version}, algorithm {algorithm}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tag: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn tags_that_cannot_be_read_are_named() {
        for (tag, part) in [(tag::DEDUP, "deduplication"), (0x8000_0006, "0x80000006"), (tag::WCI, "container")] {
            let Some(Reparse::Other(name)) = Reparse::parse(&point(tag, &[0; 8])) else { panic!("{tag:#x} is not known") };
            assert!(name.contains(part), "{name}");
        }
        assert_eq!(Reparse::parse(&point(0x9000_601A, b"")), Some(Reparse::Cloud));
        assert_eq!(
            Reparse::parse(&point(tag::WOF, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])),
            Some(Reparse::Wof(WofAlgorithm::Lzx))
        );
    }

    #[test]
    fn a_link_whose_path_lies_outside_is_none() {
        let data = [0, 0, 2, 0, 0, 0, 0, 0, 0x41, 0x00];
        let link = Reparse::Link { path: vec![0x41], is_relative: false };
        assert_eq!(Reparse::parse(&point(tag::MOUNT_POINT, &data)), Some(link));
        for length in 0..data.len() {
            assert_eq!(Reparse::parse(&point(tag::MOUNT_POINT, &data[..length])), None);
        }
    }
}
