//! What it costs to read: every read of a device, counted, and how much of it anybody had to read at least.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use crate::guestfs::{Device, FileKind, FileSystem};
use crate::io::ReadAt;

/// A device that notes what is read of it.
pub(in crate::guestfs) struct Traced {
    device: Device,
    reads: Mutex<Vec<(u64, u64)>>,
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(in crate::guestfs) struct Cost {
    pub(in crate::guestfs) reads: usize,
    pub(in crate::guestfs) bytes: u64,
    /// Pieces of 4 KiB of which at least a part was read.
    pub(in crate::guestfs) pieces_of_4_kib: usize,
    /// The same of 64 KiB.
    pub(in crate::guestfs) pieces_of_64_kib: usize,
}

impl Traced {
    pub(in crate::guestfs) fn new(device: Device) -> Arc<Self> {
        Arc::new(Self { device, reads: Mutex::default() })
    }

    /// What was read since the last time that somebody asked.
    pub(in crate::guestfs) fn cost(&self) -> Cost {
        let reads = std::mem::take(&mut *self.reads.lock().expect("no reader panics"));
        let pieces = |bytes: u64| {
            let touched = reads.iter().filter(|(_, length)| *length > 0).flat_map(|(at, length)| at / bytes..=(at + length - 1) / bytes);
            touched.collect::<BTreeSet<u64>>().len()
        };
        let bytes = reads.iter().map(|(_, length)| length).sum();
        Cost { reads: reads.len(), bytes, pieces_of_4_kib: pieces(4 << 10), pieces_of_64_kib: pieces(64 << 10) }
    }
}

impl ReadAt for Traced {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.lock().expect("no reader panics").push((offset_bytes, buffer.len() as u64));
        self.device.read_at(offset_bytes, buffer)
    }
}

/// Lists all directories and asks for the attributes of everything in them, as `ls -lR` does; gives the number of objects.
pub(in crate::guestfs) fn list_all(fs: &dyn FileSystem) -> usize {
    let mut left = vec![fs.root()];
    let mut objects = 1;
    while let Some(directory) = left.pop() {
        let mut nodes = Vec::new();
        let listed = fs.entries(directory, &mut |entry| {
            nodes.push(entry.node);
            ControlFlow::Continue(())
        });
        listed.expect("a sound directory");
        for node in nodes {
            objects += 1;
            if fs.attributes(node).expect("a sound object").kind == FileKind::Directory {
                left.push(node);
            }
        }
    }
    objects
}
