//! A tree as a reader shows it, every promise of the trait checked on the way. It ends on any image, hostile ones too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::files::check_file;
use super::kernel::joined;
use super::noise::Noise;
use super::tree::{Item, Tree, name_first};
use crate::guestfs::{Attributes, Device, Entry, FileKind, FileSystem, GuestResult, Node};

/// Bytes of one read, as FUSE asks.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// A hash of contents that costs nothing for zeros: of the pieces that are not all zeros, each with its offset, and the size.
pub(super) struct ContentHash(blake3::Hasher);

impl ContentHash {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// A piece at a multiple of [`PIECE_BYTES`], whole but for the last. Pieces of zeros may be left out.
    pub(super) fn piece(&mut self, offset_bytes: u64, bytes: &[u8]) {
        if bytes.iter().any(|&byte| byte != 0) {
            self.0.update(&offset_bytes.to_le_bytes()).update(bytes);
        }
    }

    pub(super) fn finish(mut self, size_bytes: u64) -> blake3::Hash {
        self.0.update(&size_bytes.to_le_bytes()).finalize()
    }
}

/// How far a walk goes.
#[derive(Clone)]
pub(in crate::guestfs) struct Limits {
    /// Objects.
    pub(in crate::guestfs) objects: usize,
    /// Directories within directories.
    pub(in crate::guestfs) depth: usize,
    /// Bytes read of one file; of a longer one there is no hash.
    pub(in crate::guestfs) file_bytes: u64,
    /// Bytes read of all files, about.
    pub(in crate::guestfs) bytes: u64,
    /// Threads that read contents.
    pub(in crate::guestfs) threads: usize,
    /// The devices of the filesystem, if what is said to lie on them as it is shall be compared with them.
    pub(in crate::guestfs) devices: Vec<Device>,
}

impl Limits {
    /// For sound images.
    pub(in crate::guestfs) fn sound() -> Self {
        Self { objects: 2_000_000, depth: 4096, file_bytes: u64::MAX, bytes: u64::MAX, threads: 4, devices: Vec::new() }
    }

    /// For images that somebody damaged.
    pub(in crate::guestfs) fn hostile() -> Self {
        Self { objects: 5_000, depth: 64, file_bytes: 2 << 20, bytes: 32 << 20, threads: 1, devices: Vec::new() }
    }

    /// The same, and compare what is said to lie on `devices`.
    pub(in crate::guestfs) fn on(self, devices: &[Device]) -> Self {
        Self { devices: devices.to_vec(), ..self }
    }
}

/// What a walk found.
pub(in crate::guestfs) struct Walked {
    pub(in crate::guestfs) tree: Tree,
    /// What could not be read, and what the reader says of itself that is not so.
    pub(in crate::guestfs) problems: Vec<String>,
}

/// The whole tree; any problem fails the test.
pub(in crate::guestfs) fn guest_tree(fs: &dyn FileSystem) -> Tree {
    let walked = walk(fs, &Limits::sound());
    let shown = walked.problems.iter().take(25).map(|problem| format!("  {problem}\n")).collect::<String>();
    assert!(walked.problems.is_empty(), "{} problems:\n{shown}", walked.problems.len());
    walked.tree
}

/// Walks all that the limits allow.
pub(in crate::guestfs) fn walk(fs: &dyn FileSystem, limits: &Limits) -> Walked {
    let mut walk = Walk { fs, limits, tree: Tree::new(), numbers: BTreeMap::new(), problems: Vec::new(), noise: Noise::new(1) };
    let mut seen = BTreeSet::from([fs.root()]);
    let mut left = vec![(Vec::new(), fs.root(), 0)];
    while let Some((path, node, depth)) = left.pop() {
        if walk.object(&path, node) != Some(FileKind::Directory) {
            walk.refuses_to_list(&path, node);
            continue;
        }
        if depth == limits.depth {
            walk.problem(&path, "lies too deep");
            continue;
        }
        for entry in walk.list(&path, node) {
            // A directory that is found again leads back into itself; a file has several names.
            if entry.kind == Some(FileKind::Directory) && !seen.insert(entry.node) {
                walk.problem(&joined(&path, &entry.name), "is a directory that was seen before");
                continue;
            }
            left.push((joined(&path, &entry.name), entry.node, depth + 1));
        }
    }
    walk.contents();
    name_first(&mut walk.tree, &walk.numbers);
    Walked { tree: walk.tree, problems: walk.problems }
}

struct Walk<'walk> {
    fs: &'walk dyn FileSystem,
    limits: &'walk Limits,
    tree: Tree,
    numbers: BTreeMap<Vec<u8>, u64>,
    problems: Vec<String>,
    noise: Noise,
}

impl Walk<'_> {
    fn problem(&mut self, path: &[u8], problem: impl std::fmt::Display) {
        if self.problems.len() < 10_000 {
            self.problems.push(format!("'{}': {problem}", path.escape_ascii()));
        }
    }

    fn noted<T>(&mut self, path: &[u8], result: GuestResult<T>) -> Option<T> {
        result.map_err(|error| self.problem(path, error)).ok()
    }

    fn object(&mut self, path: &[u8], node: Node) -> Option<FileKind> {
        if self.tree.len() >= self.limits.objects {
            return None;
        }
        let attributes = self.fs.attributes(node);
        let found = self.noted(path, attributes)?;
        let kind = found.kind;
        let mut item = item(found);
        let extended = self.fs.extended_attributes(node);
        let extended = self.noted(path, extended).unwrap_or_default();
        let count = extended.len();
        item.attributes = extended.into_iter().collect();
        if item.attributes.len() != count {
            self.problem(path, "has two extended attributes of one name");
        }
        let target = self.fs.link_target(node);
        if kind == FileKind::Link {
            item.target = self.noted(path, target);
        } else if target.is_ok() {
            self.problem(path, "is no link and has a target");
        }
        self.numbers.insert(path.to_vec(), node.0);
        self.tree.insert(path.to_vec(), item);
        Some(kind)
    }

    fn refuses_to_list(&mut self, path: &[u8], node: Node) {
        if self.numbers.contains_key(path) && self.fs.entries(node, &mut |_| ControlFlow::Continue(())).is_ok() {
            self.problem(path, "is no directory and has entries");
        }
    }

    fn list(&mut self, path: &[u8], node: Node) -> Vec<Entry> {
        let most = self.limits.objects.saturating_sub(self.tree.len()) + 1;
        let mut entries = Vec::new();
        let listed = self.fs.entries(node, &mut |entry| {
            entries.push(entry);
            if entries.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        self.noted(path, listed);
        let names: BTreeSet<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
        if names.len() != entries.len() {
            self.problem(path, "has two entries of one name");
        }
        // Where every name were looked up, a reader without an index would take a quadratic time.
        let step = entries.len() / 50 + 1;
        for entry in entries.iter().skip(self.noise.below(step)).step_by(step) {
            self.check_entry(path, node, entry);
        }
        if let Some(found) = self.fs.lookup(node, b"no such name \xff").ok().flatten() {
            self.problem(path, format!("has a name that it does not list, leading to {found:?}"));
        }
        for entry in entries.iter_mut().filter(|entry| entry.kind.is_none()) {
            entry.kind = self.fs.attributes(entry.node).ok().map(|found| found.kind);
        }
        entries
    }

    fn check_entry(&mut self, path: &[u8], node: Node, entry: &Entry) {
        let path = joined(path, &entry.name);
        let looked_up = self.fs.lookup(node, &entry.name);
        if let Some(found) = self.noted(&path, looked_up)
            && found != Some(entry.node)
        {
            self.problem(&path, format!("looked up it is {found:?}, listed {:?}", entry.node));
        }
        if let (Some(listed), Ok(found)) = (entry.kind, self.fs.attributes(entry.node))
            && listed != found.kind
        {
            self.problem(&path, format!("listed as {listed:?} it is {:?}", found.kind));
        }
    }

    /// Reads all files from several threads at once.
    fn contents(&mut self) {
        let mut files: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, item) in self.tree.iter().filter(|(_, item)| item.kind == FileKind::Regular) {
            if let Some(number) = self.numbers.get(path) {
                files.entry(*number).or_default().push(path.clone());
            }
            debug_assert!(item.content.is_none());
        }
        let files: Vec<(u64, Vec<Vec<u8>>)> = files.into_iter().collect();
        let (next, read, results) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.limits.threads {
                scope.spawn(|| {
                    while let Some((number, _)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if read.load(Ordering::Relaxed) as u64 >= self.limits.bytes {
                            break;
                        }
                        let checked = check_file(self.fs, Node(*number), self.limits, &read);
                        results.lock().expect("no reader panics").push((*number, checked));
                    }
                });
            }
        });
        let results: BTreeMap<u64, _> = results.into_inner().expect("no reader panics").into_iter().collect();
        for (number, paths) in &files {
            let Some((hash, problems)) = results.get(number) else { continue };
            for path in paths {
                if let Some(item) = self.tree.get_mut(path) {
                    item.content = *hash;
                }
            }
            for problem in problems {
                self.problem(&paths[0], problem);
            }
        }
    }
}

fn item(found: Attributes) -> Item {
    Item {
        kind: found.kind,
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        links: found.links,
        first_name: Vec::new(),
        device: found.device,
        size_bytes: found.size_bytes,
        allocated_bytes: found.allocated_bytes,
        modified: found.modified,
        changed: found.changed,
        accessed: found.accessed,
        created: found.created,
        attributes: BTreeMap::new(),
        target: None,
        content: None,
    }
}
