//! Small files made in memory: manifests as JSON, configuration kept with a point.

use std::io;
use std::sync::Arc;

use crate::guestfs::{Attributes, FileData, FileKind, Place, Run, Timestamp};
use crate::io::ReadAt;

/// The contents of a small file.
pub struct Bytes(pub Arc<Vec<u8>>);

impl ReadAt for Bytes {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).ok();
        let found = start.and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl FileData for Bytes {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        Ok(Run { length_bytes: self.size_bytes().saturating_sub(offset_bytes), place: Place::Computed })
    }
}

/// A directory that Cairn made: read and entered by everybody.
pub(super) fn directory(time: Timestamp) -> Attributes {
    made(FileKind::Directory, 0o555, 0, time)
}

/// A file that Cairn made.
pub(super) fn file(size_bytes: u64, time: Timestamp) -> Attributes {
    made(FileKind::Regular, 0o444, size_bytes, time)
}

/// A link that Cairn made.
pub(super) fn link(target: &[u8], time: Timestamp) -> Attributes {
    made(FileKind::Link, 0o777, target.len() as u64, time)
}

fn made(kind: FileKind, mode: u16, size_bytes: u64, time: Timestamp) -> Attributes {
    Attributes {
        kind,
        size_bytes,
        allocated_bytes: size_bytes.div_ceil(512) * 512,
        mode,
        uid: 0,
        gid: 0,
        links: if kind == FileKind::Directory { 2 } else { 1 },
        device: None,
        modified: time,
        changed: Some(time),
        accessed: Some(time),
        created: Some(time),
    }
}
