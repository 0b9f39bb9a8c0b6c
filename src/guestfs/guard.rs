//! What stands between readers and everybody else: no panic comes through, no name that could break anything, no call that reads for
//! ever. Readers written elsewhere get no other protection than this one.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::panics::caught;
use super::{About, Attributes, Device, Entry, FileData, FileSystem, GuestError, GuestResult, Identify, Identity, Node, Open, OpenOptions};
use crate::io::ReadAt;

/// Device reads that one call may make. Listing a directory of a million entries takes about 100,000 blocks of 4 KiB; opening a
/// filesystem, with the replay of a journal of 1 GiB, 300,000.
const MOST_READS: u64 = 4_000_000;

/// Bytes of a name: what FUSE takes. (255 letters of NTFS can be 765 bytes of UTF-8.)
const LONGEST_NAME: usize = 1024;

thread_local! {
    /// How many device reads the running call has left.
    static READS_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A device that ends calls that read without end.
struct Metered(Device);

impl ReadAt for Metered {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        READS_LEFT.with(|left| match left.get().checked_sub(1) {
            Some(fewer) => {
                left.set(fewer);
                Ok(())
            }
            None => Err(GuestError::limit("the filesystem", format!("one question took more than {MOST_READS} reads"))),
        })?;
        self.0.read_at(offset_bytes, buffer)
    }
}

/// Runs a reader's code.
fn shielded<T>(object: &dyn Fn() -> String, call: impl FnOnce() -> GuestResult<T>) -> GuestResult<T> {
    // A visitor of entries may ask again from within: the call outside goes on with what it had.
    let outside = READS_LEFT.with(|left| left.replace(MOST_READS));
    let result = caught(call);
    READS_LEFT.with(|left| left.set(outside));
    if let Ok(Err(GuestError::Device(error))) = &result
        && error.kind() == io::ErrorKind::UnexpectedEof
    {
        // Not the device's fault: the filesystem is larger than it, or says that something lies where nothing is.
        return Err(GuestError::damaged(object(), "a part of it lies past the end of the volume"));
    }
    result.unwrap_or_else(|said| {
        Err(GuestError::damaged(object(), format!("its reader gave up in the middle (a fault of Cairn: please report it): {said}")))
    })
}

/// Asks a reader what a device holds.
pub(super) fn identify(identify: Identify, device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    match shielded(&|| "the superblock".to_owned(), || identify(device)) {
        Err(error @ GuestError::Device(_)) => Err(error),
        other => Ok(other.ok().flatten()),
    }
}

/// Opens a filesystem, guarded.
pub(super) fn open(open: Open, devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let metered: Vec<Device> = devices.iter().map(|device| Arc::new(Metered(Arc::clone(device))) as Device).collect();
    let inner = shielded(&|| "the filesystem".to_owned(), || open(&metered, options))?;
    Ok(Box::new(Guarded(inner)))
}

struct Guarded(Box<dyn FileSystem>);

fn named(node: Node) -> impl Fn() -> String {
    move || format!("object {}", node.0)
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && name != b"." && name != b".." && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

impl FileSystem for Guarded {
    fn about(&self) -> &About {
        self.0.about()
    }

    fn root(&self) -> Node {
        self.0.root()
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        shielded(&named(node), || self.0.attributes(node))
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let mut refused = 0_u64;
        shielded(&named(directory), || {
            self.0.entries(directory, &mut |entry| {
                if is_plain(&entry.name) {
                    return visit(entry);
                }
                refused += 1;
                ControlFlow::Continue(())
            })
        })?;
        if refused == 0 {
            return Ok(());
        }
        Err(GuestError::damaged(
            named(directory)(),
            format!("{refused} of its names are none that a system would allow; they are left out"),
        ))
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        if !is_plain(name) {
            return Ok(None);
        }
        shielded(&named(directory), || self.0.lookup(directory, name))
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        shielded(&named(node), || self.0.link_target(node))
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        shielded(&named(node), || self.0.extended_attributes(node))
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let inner = shielded(&named(node), || self.0.open(node))?;
        Ok(Arc::new(GuardedFile { inner, node }))
    }
}

struct GuardedFile {
    inner: Arc<dyn FileData>,
    node: Node,
}

impl ReadAt for GuardedFile {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|end| *end <= self.size_bytes());
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(shielded(&named(self.node), || Ok(self.inner.read_at(offset_bytes, buffer)?))?)
    }
}

impl FileData for GuardedFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<super::Run> {
        Ok(shielded(&named(self.node), || Ok(self.inner.run_at(offset_bytes)?))?)
    }
}
