//! Contents of regular files: in blocks, of which some may come from the journal, or inside the inode.

use std::io;

use super::inode::{BLOCK_BYTES, Inode};
use super::journal::Overlay;
use super::volume::Volume;
use super::xattr;
use crate::guestfs::mapped::MappedFile;
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run};
use crate::io::{MemoryAt, ReadAt};

/// The bytes inside an inode, all of them.
pub(super) fn inline(volume: &Volume, inode: &Inode) -> GuestResult<Vec<u8>> {
    let mut bytes = inode.block().to_vec();
    if inode.size_bytes > BLOCK_BYTES as u64 {
        bytes.extend(xattr::inline_rest(volume, inode)?);
    }
    if inode.size_bytes > bytes.len() as u64 {
        let problem = format!("it holds {} bytes of {}", bytes.len(), inode.size_bytes);
        return Err(GuestError::damaged(format!("inode {}", inode.number), problem));
    }
    bytes.truncate(inode.size_bytes as usize);
    Ok(bytes)
}

/// A file inside its inode.
pub(super) struct InlineFile(MemoryAt);

impl InlineFile {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(MemoryAt::new(bytes))
    }
}

impl ReadAt for InlineFile {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset_bytes, buffer)
    }
}

impl FileData for InlineFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let length_bytes = self.size_bytes().saturating_sub(offset_bytes);
        Ok(Run { length_bytes, place: if length_bytes == 0 { Place::Hole } else { Place::Computed } })
    }
}

/// A file in blocks of a device over which a journal lies: what comes from the journal is not found at its place on the device.
pub(super) struct ReplayedFile {
    file: MappedFile,
    overlay: std::sync::Arc<Overlay>,
}

impl ReplayedFile {
    pub(super) fn new(file: MappedFile, overlay: std::sync::Arc<Overlay>) -> Self {
        Self { file, overlay }
    }
}

impl ReadAt for ReplayedFile {
    fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset_bytes, buffer)
    }
}

impl FileData for ReplayedFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let run = self.file.run_at(offset_bytes)?;
        let Place::Device { offset_bytes: place, .. } = run.place else { return Ok(run) };
        Ok(match self.overlay.replaced_from(place) {
            Some((0, length_bytes)) => Run { length_bytes: length_bytes.min(run.length_bytes), place: Place::Computed },
            Some((distance, _)) => Run { length_bytes: distance.min(run.length_bytes), ..run },
            None => run,
        })
    }
}
