//! Directories: runs of up to 256 entries behind a header, sorted by name; large ones with an index of where in them which name is.

use std::ops::ControlFlow;

use super::inode::{Directory, kind_of};
use super::metadata::{METADATA_BYTES, Metadata, Position};
use crate::guestfs::fields::{le16, le32};
use crate::guestfs::{Entry, GuestError, GuestResult, Node};

/// `.` and `..` count in the size of a directory, and are not there.
const DOTS_BYTES: u32 = 3;
/// The longest listing that is read: a million names of the greatest length.
const MOST_LISTING_BYTES: u32 = 512 << 20;

/// Reads listings.
pub(super) struct Listings<'a> {
    pub(super) metadata: &'a Metadata,
    /// Where the directory table begins, in bytes of the volume.
    pub(super) table: u64,
}

/// Where in a listing to begin: the place, and how many bytes of the listing are before it.
struct Start {
    position: Position,
    before: u32,
}

fn damaged(problem: String) -> GuestError {
    GuestError::damaged("a directory of squashfs", problem)
}

impl Listings<'_> {
    fn position(&self, block: u32, offset: usize) -> GuestResult<Position> {
        let block = self.table.checked_add(u64::from(block)).ok_or_else(|| damaged("it begins past the end of numbers".to_owned()))?;
        Ok(Position { block, offset })
    }

    /// Calls `visit` with each entry.
    ///
    /// # Errors
    /// Damage, after what comes before it.
    pub(super) fn visit(&self, directory: &Directory, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let position = self.position(directory.block, usize::from(directory.offset))?;
        self.visit_from(directory, Start { position, before: 0 }, visit)
    }

    fn visit_from(&self, directory: &Directory, start: Start, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let whole = directory.size_bytes.saturating_sub(DOTS_BYTES);
        if whole > MOST_LISTING_BYTES {
            return Err(GuestError::limit("a directory of squashfs", format!("{whole} bytes, more than {MOST_LISTING_BYTES}")));
        }
        let mut left = whole.saturating_sub(start.before);
        let mut spend = |bytes: u32| {
            left = left.checked_sub(bytes).ok_or_else(|| damaged(format!("its listing of {whole} bytes ends within an entry")))?;
            Ok::<bool, GuestError>(left > 0)
        };
        let mut cursor = self.metadata.cursor(start.position);
        let mut more = whole > start.before;
        while more {
            spend(12)?;
            let header: [u8; 12] = cursor.take()?;
            let (count, block) = (le32(&header, 0), u64::from(le32(&header, 4)));
            if count > 255 {
                return Err(damaged(format!("a run of {} entries, expected 1 to 256", u64::from(count) + 1)));
            }
            for _ in 0..=count {
                let fixed: [u8; 8] = cursor.take()?;
                let length = u32::from(le16(&fixed, 6)).saturating_add(1);
                more = spend(length.saturating_add(8))?;
                if length > 256 {
                    return Err(damaged(format!("a name of {length} bytes, expected 1 to 256")));
                }
                let name = cursor.take_vec(length as usize)?;
                let node = Node(block << 16 | u64::from(le16(&fixed, 0)));
                let kind = kind_of(le16(&fixed, 4)).map(|(kind, _)| kind);
                if visit(Entry { name, node, kind }).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The last place that the index of a large directory names before `name`; without one, its beginning.
    fn start(&self, directory: &Directory, name: &[u8]) -> GuestResult<Start> {
        let mut start = Start { position: self.position(directory.block, usize::from(directory.offset))?, before: 0 };
        let mut cursor = self.metadata.cursor(directory.index);
        for _ in 0..directory.index_count {
            let fixed: [u8; 12] = cursor.take()?;
            let (before, length) = (le32(&fixed, 0), le32(&fixed, 8));
            if length > 255 {
                return Err(damaged(format!("a name of {} bytes in its index, expected 1 to 256", u64::from(length) + 1)));
            }
            let first = cursor.take_vec(length as usize + 1)?;
            if first.as_slice() > name {
                break;
            }
            let offset = usize::from(directory.offset).saturating_add(before as usize) % METADATA_BYTES;
            start = Start { position: self.position(le32(&fixed, 4), offset)?, before };
        }
        Ok(start)
    }

    /// The node of a name.
    ///
    /// # Errors
    /// Damage, unless the name comes before it.
    pub(super) fn lookup(&self, directory: &Directory, name: &[u8]) -> GuestResult<Option<Node>> {
        let mut found = None;
        let start = self.start(directory, name)?;
        let walked = self.visit_from(directory, start, &mut |entry| match entry.name.as_slice().cmp(name) {
            std::cmp::Ordering::Less => ControlFlow::Continue(()),
            order => {
                found = order.is_eq().then_some(entry.node);
                ControlFlow::Break(())
            }
        });
        if found.is_some() { Ok(found) } else { walked.map(|()| None) }
    }
}
