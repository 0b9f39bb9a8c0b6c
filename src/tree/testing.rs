//! A tree in memory for tests, which may be as hostile as a test wishes: any names, loops, contents of any size.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Tree, TreeEntry};
use crate::guestfs::{Attributes, DeviceNumber, FileData, FileKind, GuestError, GuestResult, Place, Run, Timestamp};
use crate::io::ReadAt;

/// The number of an object; 0 is the top.
pub(crate) type Number = u64;

struct Object {
    known: Attributes,
    entries: Vec<(Vec<u8>, Number)>,
    target: Vec<u8>,
    extended: Vec<(Vec<u8>, Vec<u8>)>,
    contents: Arc<Pieces>,
}

/// The contents of a file: pieces of data at offsets, holes between them.
struct Pieces {
    size_bytes: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
    damaged: bool,
}

/// The tree.
pub(crate) struct FakeTree {
    objects: Vec<Object>,
    damaged: HashSet<Number>,
}

impl FakeTree {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        let mut tree = Self { objects: Vec::new(), damaged: HashSet::new() };
        tree.add(FileKind::Directory, 0);
        tree
    }

    fn add(&mut self, kind: FileKind, size_bytes: u64) -> Number {
        let time = Timestamp { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
        let known = Attributes {
            kind,
            size_bytes,
            allocated_bytes: size_bytes,
            mode: if kind == FileKind::Directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            links: 1,
            device: None,
            modified: time,
            changed: Some(time),
            accessed: Some(time),
            created: None,
        };
        let contents = Arc::new(Pieces { size_bytes, pieces: BTreeMap::new(), damaged: false });
        self.objects.push(Object { known, entries: Vec::new(), target: Vec::new(), extended: Vec::new(), contents });
        self.objects.len() as Number - 1
    }

    /// A name for an object that exists, or not.
    pub(crate) fn name(&mut self, directory: Number, name: &[u8], object: Number) {
        self.objects[directory as usize].entries.push((name.to_vec(), object));
    }

    /// A further name for a file.
    pub(crate) fn hard_link(&mut self, directory: Number, name: &[u8], object: Number) {
        self.name(directory, name, object);
        self.known(object).links += 1;
    }

    /// A directory.
    pub(crate) fn directory(&mut self, parent: Number, name: &[u8]) -> Number {
        let number = self.add(FileKind::Directory, 0);
        self.name(parent, name, number);
        number
    }

    /// A file with these contents.
    pub(crate) fn file(&mut self, parent: Number, name: &[u8], contents: &[u8]) -> Number {
        self.sparse(parent, name, contents.len() as u64, &[(0, contents)])
    }

    /// A file with holes but for these pieces.
    pub(crate) fn sparse(&mut self, parent: Number, name: &[u8], size_bytes: u64, pieces: &[(u64, &[u8])]) -> Number {
        let number = self.add(FileKind::Regular, size_bytes);
        self.name(parent, name, number);
        let pieces = pieces.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        self.objects[number as usize].contents = Arc::new(Pieces { size_bytes, pieces, damaged: false });
        number
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, parent: Number, name: &[u8], target: &[u8]) -> Number {
        let number = self.add(FileKind::Link, target.len() as u64);
        self.name(parent, name, number);
        self.objects[number as usize].target = target.to_vec();
        number
    }

    /// A device node, a pipe or a socket.
    pub(crate) fn special(&mut self, parent: Number, name: &[u8], kind: FileKind, device: Option<(u32, u32)>) -> Number {
        let number = self.add(kind, 0);
        self.name(parent, name, number);
        self.known(number).device = device.map(|(major, minor)| DeviceNumber { major, minor });
        number
    }

    /// What is known of an object, to be changed.
    pub(crate) fn known(&mut self, object: Number) -> &mut Attributes {
        &mut self.objects[object as usize].known
    }

    /// Gives an object an extended attribute.
    pub(crate) fn extended(&mut self, object: Number, name: &[u8], value: &[u8]) {
        self.objects[object as usize].extended.push((name.to_vec(), value.to_vec()));
    }

    /// Lets the reading of what is in a directory or file fail.
    pub(crate) fn damage(&mut self, object: Number) {
        self.damaged.insert(object);
        let contents = &self.objects[object as usize].contents;
        let pieces = Pieces { size_bytes: contents.size_bytes, pieces: contents.pieces.clone(), damaged: true };
        self.objects[object as usize].contents = Arc::new(pieces);
    }

    fn object(&self, number: Number) -> GuestResult<&Object> {
        self.objects.get(number as usize).ok_or_else(|| GuestError::NotFound { object: number.to_string() })
    }
}

impl Tree for FakeTree {
    type Spot = Number;

    fn top(&self) -> Number {
        0
    }

    fn attributes(&self, spot: &Number) -> GuestResult<Attributes> {
        Ok(self.object(*spot)?.known.clone())
    }

    fn lookup(&self, directory: &Number, name: &[u8]) -> GuestResult<Option<Number>> {
        Ok(self.object(*directory)?.entries.iter().find(|(found, _)| found == name).map(|(_, number)| *number))
    }

    fn entries(&self, directory: &Number, visit: &mut dyn FnMut(TreeEntry<Number>) -> ControlFlow<()>) -> GuestResult<()> {
        for (name, number) in &self.object(*directory)?.entries {
            if visit(TreeEntry { name: name.clone(), spot: *number, kind: None }).is_break() {
                return Ok(());
            }
        }
        if self.damaged.contains(directory) {
            return Err(GuestError::damaged("the directory", "as the test wishes"));
        }
        Ok(())
    }

    fn link_target(&self, spot: &Number) -> GuestResult<Vec<u8>> {
        Ok(self.object(*spot)?.target.clone())
    }

    fn extended_attributes(&self, spot: &Number) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.object(*spot)?.extended.clone())
    }

    fn open(&self, spot: &Number) -> GuestResult<Arc<dyn FileData>> {
        Ok(Arc::clone(&self.object(*spot)?.contents) as Arc<dyn FileData>)
    }

    fn is_settled(&self, _: &Number) -> bool {
        true
    }

    fn base_of(&self, _: &Number) -> Number {
        0
    }
}

impl ReadAt for Pieces {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.damaged {
            return Err(GuestError::damaged("the file", "as the test wishes").into());
        }
        buffer.fill(0);
        let end = offset_bytes + buffer.len() as u64;
        for (&start, bytes) in self.pieces.range(..end) {
            for (at, &byte) in (start..).zip(bytes) {
                if (offset_bytes..end).contains(&at) {
                    buffer[(at - offset_bytes) as usize] = byte;
                }
            }
        }
        Ok(())
    }
}

impl FileData for Pieces {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let before = self.pieces.range(..=offset_bytes).next_back();
        if let Some((start, bytes)) = before.filter(|(start, bytes)| offset_bytes - **start < bytes.len() as u64) {
            return Ok(Run { length_bytes: start + bytes.len() as u64 - offset_bytes, place: Place::Computed });
        }
        let next = self.pieces.range(offset_bytes..).next().map_or(self.size_bytes, |(start, _)| *start);
        Ok(Run { length_bytes: next.saturating_sub(offset_bytes), place: Place::Hole })
    }
}
