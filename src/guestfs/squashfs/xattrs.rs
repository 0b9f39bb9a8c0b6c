//! Extended attributes: lists that inodes name by number; a value that occurs more than once is stored once, elsewhere.

use super::metadata::{Cursor, Metadata, Position, Table};
use super::superblock::NOWHERE;
use crate::guestfs::fields::{le16, le32, le64};
use crate::guestfs::{GuestError, GuestResult};

/// In the type: the value is a reference to where it is.
const ELSEWHERE: u16 = 0x100;
/// The longest value; Linux allows 64 KiB.
const LONGEST_VALUE: u32 = 1 << 20;
/// Most bytes of all names and values of one object.
const MOST_BYTES: usize = 16 << 20;

/// All lists of a filesystem.
pub(super) struct Xattrs {
    /// Where their table is described, in bytes of the volume.
    table: u64,
}

impl Xattrs {
    /// The lists of the filesystem, if it has any.
    pub(super) fn new(table: u64) -> Option<Self> {
        (table != NOWHERE).then_some(Self { table })
    }

    /// A list: its entry in the table, and where names and values begin.
    fn entry(&self, metadata: &Metadata, number: u32) -> GuestResult<([u8; 16], u64)> {
        let head: [u8; 16] = metadata.raw(self.table)?;
        let lists = Table { object: "list of extended attributes", list: self.table.saturating_add(16), count: le32(&head, 8) };
        Ok((lists.entry(metadata, number)?, le64(&head, 0)))
    }

    /// Bytes that a list takes on the volume before compression, for the count of what an object occupies.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn size_bytes(&self, metadata: &Metadata, number: u32) -> GuestResult<u32> {
        Ok(le32(&self.entry(metadata, number)?.0, 12))
    }

    fn value(metadata: &Metadata, values: u64, cursor: &mut Cursor<'_>, elsewhere: bool) -> GuestResult<Vec<u8>> {
        let length = cursor.le32()?;
        if !elsewhere {
            return Self::bytes(cursor, length);
        }
        let reference = u64::from_le_bytes(cursor.take()?);
        let mut cursor = metadata.cursor(Position::of_reference(values, reference)?);
        let length = cursor.le32()?;
        Self::bytes(&mut cursor, length)
    }

    fn bytes(cursor: &mut Cursor<'_>, length: u32) -> GuestResult<Vec<u8>> {
        if length > LONGEST_VALUE {
            return Err(GuestError::limit("an extended attribute", format!("{length} bytes, more than {LONGEST_VALUE}")));
        }
        cursor.take_vec(length as usize)
    }

    /// Names and values of a list.
    ///
    /// # Errors
    /// Damage; more than any system would set.
    pub(super) fn list(&self, metadata: &Metadata, number: u32) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let (entry, values) = self.entry(metadata, number)?;
        let mut cursor = metadata.cursor(Position::of_reference(values, le64(&entry, 0))?);
        let (mut all, mut bytes) = (Vec::new(), 0_usize);
        for _ in 0..le32(&entry, 8) {
            let head: [u8; 4] = cursor.take()?;
            let name = cursor.take_vec(usize::from(le16(&head, 2)))?;
            let kind = le16(&head, 0);
            let value = Self::value(metadata, values, &mut cursor, kind & ELSEWHERE != 0)?;
            bytes = bytes.saturating_add(name.len()).saturating_add(value.len()).saturating_add(64);
            if bytes > MOST_BYTES {
                return Err(GuestError::limit("a list of extended attributes", format!("more than {MOST_BYTES} bytes")));
            }
            let prefix: &[u8] = match kind & 0xff {
                0 => b"user.",
                1 => b"trusted.",
                2 => b"security.",
                // The kernel shows none of a namespace that it does not know.
                _ => continue,
            };
            all.push(([prefix, &name].concat(), value));
        }
        Ok(all)
    }
}
