//! Filesystems and volumes out of a fuzzer's bytes: an input says what is changed in an image that real tools made (`tools/fuzz-bases`).
//! Checksums of changed pages are made right where the format has them in the page itself, so that what is behind them is reached.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use cairn::guestfs::{Device, FileKind, FileSystem, Node, OpenOptions, open};
use cairn::io::ReadAt;

const PAGE: usize = 4096;
/// Most changes of one input.
const MOST_CHANGES: usize = 64;
/// Most objects that are looked at, and most bytes read of each file.
const MOST_OBJECTS: usize = 400;
const MOST_BYTES: u64 = 64 << 10;

/// A page of an image.
pub type Page = [u8; PAGE];

/// An image: its pages that are not zeros.
pub struct Base {
    size_bytes: u64,
    pages: BTreeMap<u64, Page>,
}

/// A base with some of its pages changed.
pub struct Changed {
    base: &'static Base,
    pages: BTreeMap<u64, Page>,
}

/// The images of a target, in the order of their names.
pub fn bases(target: &str) -> Vec<&'static Base> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/bases/").to_owned() + target;
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}; run tools/fuzz-bases"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| &*Box::leak(Box::new(Base::new(&std::fs::read(path).expect("a base"))))).collect()
}

impl Base {
    fn new(bytes: &[u8]) -> Self {
        let mut pages = BTreeMap::new();
        for (number, part) in (0..).zip(bytes.chunks(PAGE)) {
            if part.iter().any(|&byte| byte != 0) {
                let mut page = [0; PAGE];
                page[..part.len()].copy_from_slice(part);
                pages.insert(number, page);
            }
        }
        Self { size_bytes: bytes.len() as u64, pages }
    }
}

/// The image that an input tells: its first byte picks the base; then changes: page (2 bytes, among those that are not zeros), offset in it
/// (2 bytes), length (1 byte), that many bytes.
pub fn assemble(bases: &[&'static Base], input: &[u8], mend: fn(&mut Page)) -> Option<Changed> {
    let (first, mut rest) = input.split_first()?;
    let base = bases.get(usize::from(*first) % bases.len().max(1))?;
    let numbers: Vec<u64> = base.pages.keys().copied().collect();
    let mut pages = BTreeMap::new();
    for _ in 0..MOST_CHANGES {
        let Some(([a, b, c, d, length], behind)) = rest.split_first_chunk::<5>() else { break };
        let (bytes, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        let number = numbers[usize::from(u16::from_le_bytes([*a, *b])) % numbers.len()];
        let at = usize::from(u16::from_le_bytes([*c, *d])) % PAGE;
        let page = pages.entry(number).or_insert_with(|| base.pages[&number]);
        let end = (at + bytes.len()).min(PAGE);
        page[at..end].copy_from_slice(&bytes[..end - at]);
        rest = behind;
    }
    pages.values_mut().for_each(mend);
    Some(Changed { base, pages })
}

impl ReadAt for Changed {
    fn size_bytes(&self) -> u64 {
        self.base.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.base.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = offset_bytes + done as u64;
            let (number, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let length = (PAGE - within).min(buffer.len() - done);
            let part = &mut buffer[done..done + length];
            match self.pages.get(&number).or_else(|| self.base.pages.get(&number)) {
                Some(page) => part.copy_from_slice(&page[within..within + length]),
                None => part.fill(0),
            }
            done += length;
        }
        Ok(())
    }
}

/// Checksums that need no mending, or that the format does not have.
pub fn as_it_is(_: &mut Page) {}

/// Opens the filesystem, with its journal replayed and without, and looks at what is in it.
pub fn walk(image: Changed) {
    let device: Device = Arc::new(image);
    for replay in [true, false] {
        let options = OpenOptions { replay, ..OpenOptions::default() };
        if let Ok(filesystem) = open(std::slice::from_ref(&device), &options) {
            look(filesystem.as_ref());
        }
    }
}

fn look(filesystem: &dyn FileSystem) {
    let _ = filesystem.about();
    let mut todo: Vec<Node> = vec![filesystem.root()];
    let mut seen = std::collections::HashSet::new();
    while let Some(node) = todo.pop() {
        if seen.len() >= MOST_OBJECTS || !seen.insert(node) {
            continue;
        }
        let Ok(known) = filesystem.attributes(node) else { continue };
        let _ = filesystem.extended_attributes(node);
        match known.kind {
            FileKind::Directory => {
                let mut names = Vec::new();
                let _ = filesystem.entries(node, &mut |entry| {
                    assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0), "a name that cannot be");
                    assert!(entry.name != b"." && entry.name != b"..", "a name that leads elsewhere");
                    names.push(entry);
                    if names.len() < MOST_OBJECTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                if let Some(last) = names.last() {
                    let _ = filesystem.lookup(node, &last.name);
                }
                todo.extend(names.into_iter().map(|entry| entry.node));
            }
            FileKind::Link => drop(filesystem.link_target(node)),
            FileKind::Regular => read(filesystem, node),
            _ => {}
        }
    }
}

fn read(filesystem: &dyn FileSystem, node: Node) {
    let Ok(file) = filesystem.open(node) else { return };
    let size_bytes = file.size_bytes();
    let mut buffer = vec![0; size_bytes.min(MOST_BYTES) as usize];
    let _ = file.read_at(0, &mut buffer);
    let end = size_bytes.saturating_sub(700);
    let _ = file.read_at(end, &mut buffer[..(size_bytes - end).min(MOST_BYTES) as usize]);
    let mut at = 0;
    for _ in 0..64 {
        let Ok(run) = file.run_at(at) else { break };
        if at >= size_bytes {
            break;
        }
        assert!(run.length_bytes > 0, "a run without bytes before the end of the file");
        at = at.saturating_add(run.length_bytes);
    }
}
