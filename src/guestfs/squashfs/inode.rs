//! Inodes: seven kinds in a short and a long form each.

use super::metadata::{Cursor, Metadata, Position};
use crate::guestfs::fields::{le16, le32, le64};
use crate::guestfs::{FileKind, GuestError, GuestResult};

/// In place of the number of a fragment or of a list of extended attributes: there is none.
const NONE: u32 = u32::MAX;

/// What is known of an object.
pub(super) struct Inode {
    pub(super) kind: FileKind,
    pub(super) mode: u16,
    /// Numbers in the table of owners and groups.
    pub(super) uid_index: u16,
    pub(super) gid_index: u16,
    pub(super) modified: u32,
    pub(super) links: u32,
    /// Number of its list of extended attributes.
    pub(super) xattrs: Option<u32>,
    pub(super) body: Body,
}

/// What only objects of one kind have.
pub(super) enum Body {
    Directory(Directory),
    File(File),
    Link { length: u32, target: Position },
    Device(u32),
    Other,
}

/// A directory's listing.
pub(super) struct Directory {
    /// The block in which it begins, from the beginning of the directory table.
    pub(super) block: u32,
    /// The byte in it.
    pub(super) offset: u16,
    /// Its length, and 3 for `.` and `..`, which are not in it.
    pub(super) size_bytes: u32,
    /// Entries of its index and where they are: none in the short form.
    pub(super) index_count: u16,
    pub(super) index: Position,
}

/// A file's contents.
pub(super) struct File {
    /// Where its blocks begin, in bytes of the volume.
    pub(super) start: u64,
    pub(super) size_bytes: u64,
    /// Bytes of it that are holes.
    pub(super) sparse_bytes: u64,
    /// The fragment that holds its end, and the byte in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Where the list of the sizes of its blocks is.
    pub(super) sizes: Position,
}

/// The kind of an inode's type number, and whether the form is the long one. The numbers up to 7 are those in directories, too.
pub(super) fn kind_of(number: u16) -> Option<(FileKind, bool)> {
    let kind = match number {
        1 | 8 => FileKind::Directory,
        2 | 9 => FileKind::Regular,
        3 | 10 => FileKind::Link,
        4 | 11 => FileKind::BlockDevice,
        5 | 12 => FileKind::CharacterDevice,
        6 | 13 => FileKind::Pipe,
        7 | 14 => FileKind::Socket,
        _ => return None,
    };
    Some((kind, number > 7))
}

fn some(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}

impl Inode {
    /// The inode at a place of metadata.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn read(metadata: &Metadata, at: Position) -> GuestResult<Self> {
        let mut cursor = metadata.cursor(at);
        let head: [u8; 16] = cursor.take()?;
        let number = le16(&head, 0);
        let Some((kind, long)) = kind_of(number) else {
            let object = format!("inode {} at {}:{}", le32(&head, 12), at.block, at.offset);
            return Err(GuestError::damaged(object, format!("type {number}, expected 1 to 14")));
        };
        let mut inode = Self {
            kind,
            mode: le16(&head, 2) & 0o7777,
            uid_index: le16(&head, 4),
            gid_index: le16(&head, 6),
            modified: le32(&head, 8),
            links: 1,
            xattrs: None,
            body: Body::Other,
        };
        match (kind, long) {
            (FileKind::Directory, false) => inode.short_directory(&mut cursor)?,
            (FileKind::Directory, true) => inode.long_directory(&mut cursor)?,
            (FileKind::Regular, false) => inode.short_file(&mut cursor)?,
            (FileKind::Regular, true) => inode.long_file(&mut cursor)?,
            (FileKind::Link, _) => inode.link(&mut cursor, long)?,
            (FileKind::BlockDevice | FileKind::CharacterDevice, _) => {
                inode.links = cursor.le32()?;
                inode.body = Body::Device(cursor.le32()?);
                inode.long_end(&mut cursor, long)?;
            }
            (FileKind::Pipe | FileKind::Socket, _) => {
                inode.links = cursor.le32()?;
                inode.long_end(&mut cursor, long)?;
            }
        }
        Ok(inode)
    }

    /// What the long forms of special files end with.
    fn long_end(&mut self, cursor: &mut Cursor<'_>, long: bool) -> GuestResult<()> {
        if long {
            self.xattrs = some(cursor.le32()?);
        }
        Ok(())
    }

    fn short_directory(&mut self, cursor: &mut Cursor<'_>) -> GuestResult<()> {
        let bytes: [u8; 16] = cursor.take()?;
        self.links = le32(&bytes, 4);
        self.body = Body::Directory(Directory {
            block: le32(&bytes, 0),
            offset: le16(&bytes, 10),
            size_bytes: u32::from(le16(&bytes, 8)),
            index_count: 0,
            index: cursor.position(),
        });
        Ok(())
    }

    fn long_directory(&mut self, cursor: &mut Cursor<'_>) -> GuestResult<()> {
        let bytes: [u8; 24] = cursor.take()?;
        self.links = le32(&bytes, 0);
        self.xattrs = some(le32(&bytes, 20));
        self.body = Body::Directory(Directory {
            block: le32(&bytes, 8),
            offset: le16(&bytes, 18),
            size_bytes: le32(&bytes, 4),
            index_count: le16(&bytes, 16),
            index: cursor.position(),
        });
        Ok(())
    }

    fn short_file(&mut self, cursor: &mut Cursor<'_>) -> GuestResult<()> {
        let bytes: [u8; 16] = cursor.take()?;
        self.body = Body::File(File {
            start: u64::from(le32(&bytes, 0)),
            size_bytes: u64::from(le32(&bytes, 12)),
            sparse_bytes: 0,
            fragment: some(le32(&bytes, 4)).map(|number| (number, le32(&bytes, 8))),
            sizes: cursor.position(),
        });
        Ok(())
    }

    fn long_file(&mut self, cursor: &mut Cursor<'_>) -> GuestResult<()> {
        let bytes: [u8; 40] = cursor.take()?;
        self.links = le32(&bytes, 24);
        self.xattrs = some(le32(&bytes, 36));
        self.body = Body::File(File {
            start: le64(&bytes, 0),
            size_bytes: le64(&bytes, 8),
            sparse_bytes: le64(&bytes, 16),
            fragment: some(le32(&bytes, 28)).map(|number| (number, le32(&bytes, 32))),
            sizes: cursor.position(),
        });
        Ok(())
    }

    fn link(&mut self, cursor: &mut Cursor<'_>, long: bool) -> GuestResult<()> {
        self.links = cursor.le32()?;
        let length = cursor.le32()?;
        self.body = Body::Link { length, target: cursor.position() };
        if long {
            // Behind the target. One that is too long is told when somebody asks for it.
            cursor.skip(usize::try_from(length).unwrap_or(usize::MAX).min(super::LONGEST_TARGET))?;
            self.xattrs = some(cursor.le32()?);
        }
        Ok(())
    }
}
