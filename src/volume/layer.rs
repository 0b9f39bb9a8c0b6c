//! The lowest layer: a disk itself.

use std::io;
use std::sync::Arc;

use super::{Layer, Origin};
use crate::io::ReadAt;
use crate::units::Extent;

/// A disk of the machine.
pub struct DiskLayer {
    /// Its number among the machine's disks.
    pub disk: u32,
    /// Its bytes.
    pub device: Arc<dyn ReadAt>,
}

impl ReadAt for DiskLayer {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset_bytes, buffer)
    }
}

impl Layer for DiskLayer {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        if let Some(range) = range.intersection(&Extent::between(0, self.size_bytes())) {
            visit(Origin { disk: self.disk, range });
        }
        Ok(())
    }
}
