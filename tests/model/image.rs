//! A disk image twice: as a sparse file that is backed up, and as plain blocks in memory that nothing of the library touches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes of a block of the plain copy.
pub(crate) const BLOCK: usize = 4096;

/// The plain copy: blocks that are not all zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) size_bytes: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// What is written into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes that do not compress.
    Noise(u8),
    /// Bytes that repeat.
    Text(u8),
    Zeros,
}

impl Content {
    pub(crate) fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        match self {
            Self::Noise(seed) => blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes),
            Self::Text(seed) => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 97) as u8 ^ seed),
            Self::Zeros => {}
        }
        bytes
    }
}

impl Plain {
    /// An image of zeros.
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { size_bytes, blocks: BTreeMap::new() }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let position = at + done as u64;
            let (number, inside) = (position / BLOCK as u64, (position % BLOCK as u64) as usize);
            let part = (BLOCK - inside).min(bytes.len() - done);
            let block = self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK]);
            block[inside..inside + part].copy_from_slice(&bytes[done..done + part]);
            if block.iter().all(|&byte| byte == 0) {
                self.blocks.remove(&number);
            }
            done += part;
        }
    }

    fn resize(&mut self, size_bytes: u64) {
        if size_bytes < self.size_bytes {
            let end = size_bytes.next_multiple_of(BLOCK as u64);
            self.write(size_bytes, &vec![0; (end - size_bytes) as usize]);
            self.blocks.split_off(&(end / BLOCK as u64));
        }
        self.size_bytes = size_bytes;
    }

    /// The bytes of a range inside the image; `None` where all are zero.
    pub(crate) fn data(&self, start: u64, end: u64) -> Option<Vec<u8>> {
        let first = start / BLOCK as u64;
        let mut bytes = vec![0; (end - first * BLOCK as u64) as usize];
        for (number, block) in self.blocks.range(first..end.div_ceil(BLOCK as u64)) {
            let at = ((number - first) as usize) * BLOCK;
            let part = BLOCK.min(bytes.len() - at);
            bytes[at..at + part].copy_from_slice(&block[..part]);
        }
        let bytes = bytes.split_off((start - first * BLOCK as u64) as usize);
        bytes.iter().any(|&byte| byte != 0).then_some(bytes)
    }

    /// The ranges of bytes, in whole blocks, in which an image differs from another, past the end of the shorter too.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<(u64, u64)> {
        let numbers: BTreeSet<&u64> = self.blocks.keys().chain(before.blocks.keys()).collect();
        let changed = numbers.into_iter().filter(|number| self.blocks.get(number) != before.blocks.get(number));
        let start = |number: &u64| number * BLOCK as u64;
        changed.map(|number| (start(number), start(number) + BLOCK as u64)).filter(|range| range.0 < self.size_bytes).collect()
    }

    /// Asserts that a file has these bytes and this length.
    pub(crate) fn assert_is(&self, path: &Path, what: &str) {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(bytes.len() as u64, self.size_bytes, "{what}: another size");
        let zeros = [0; BLOCK];
        for (number, found) in (0..).zip(bytes.chunks(BLOCK)) {
            let expected = self.blocks.get(&number).map_or(&zeros[..], Vec::as_slice);
            assert!(found == &expected[..found.len()], "{what}: other bytes in block {number}");
        }
    }
}

/// A file, and its plain copy.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) plain: Plain,
    file: File,
}

impl Image {
    /// A new sparse file.
    pub(crate) fn create(path: PathBuf, size_bytes: u64) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(size_bytes).unwrap();
        Self { path, plain: Plain::new(size_bytes), file }
    }

    pub(crate) fn write(&mut self, at: u64, content: Content, length: usize) {
        self.write_bytes(at, &content.bytes(length));
    }

    /// Writes as much as fits.
    pub(crate) fn write_bytes(&mut self, at: u64, bytes: &[u8]) {
        let fits = self.plain.size_bytes.saturating_sub(at).min(bytes.len() as u64) as usize;
        self.file.write_all_at(&bytes[..fits], at).unwrap();
        self.plain.write(at, &bytes[..fits]);
    }

    /// Copies a range inside the image to another place, as far as both fit.
    pub(crate) fn copy(&mut self, from: u64, to: u64, length: usize) {
        let end = (from + length as u64).min(self.plain.size_bytes);
        let bytes = self.plain.data(from, end).unwrap_or_else(|| vec![0; (end - from) as usize]);
        self.write_bytes(to, &bytes);
    }

    /// Makes a hole.
    pub(crate) fn punch(&mut self, at: u64, length: u64) {
        let length = length.min(self.plain.size_bytes - at);
        if length > 0 {
            fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length).unwrap();
            self.plain.write(at, &vec![0; length as usize]);
        }
    }

    pub(crate) fn resize(&mut self, size_bytes: u64) {
        self.file.set_len(size_bytes).unwrap();
        self.plain.resize(size_bytes);
    }
}
