//! Image files out of a fuzzer's bytes: a file is told in pieces, so that one of many MiB is an input of a few hundred bytes, and lies
//! in memory. Beside it lies a small raw file that it can rest on.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn::source::{Format, Source, detect_grid_offset, open};
use cairn::units::Extent;
use rustix::fs::{MemfdFlags, memfd_create};

/// Descriptors of the image and of the raw file: images name the raw file as `901`, relative to their own place.
const IMAGE: i32 = 900;
const BELOW: i32 = 901;
/// Largest image that is made.
const MAX_BYTES: usize = 8 << 20;
const PAGE: usize = 4096;
/// Most bytes of a disk that are read from its start.
const READ_BYTES: u64 = 128 << 10;

/// A file in memory that is filled anew for each input.
pub struct Workshop {
    image: File,
    _below: File,
}

/// An empty file in memory with the given number or one above it.
fn memory_file(number: i32) -> File {
    let file = memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory");
    let file: OwnedFd = rustix::io::fcntl_dupfd_cloexec(&file, number).expect("a high descriptor");
    assert_eq!(file.as_raw_fd(), number, "the descriptor is taken");
    file.into()
}

impl Default for Workshop {
    fn default() -> Self {
        let (image, below) = (memory_file(IMAGE), memory_file(BELOW));
        below.write_all_at(&[0xbb; 100_000], 0).expect("memory");
        Self { image, _below: below }
    }
}

/// An image and the pages of it that an input has told; all others are zeros and are not touched, for speed.
#[derive(Default)]
pub struct Image {
    pub bytes: Vec<u8>,
    pages: BTreeSet<usize>,
}

/// The pieces of an input: offset (4 bytes), length (2 bytes), that many bytes; and again.
fn pieces(mut input: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        let ([a, b, c, d, e, f], rest) = input.split_first_chunk::<6>()?;
        let start = u32::from_le_bytes([*a, *b, *c, *d]) as usize % MAX_BYTES;
        let (piece, behind) = rest.split_at(rest.len().min(u16::from_le_bytes([*e, *f]).into()));
        input = behind;
        Some((start, piece))
    })
}

/// The image that an input tells. What lies between pieces reads as zeros; a piece without bytes makes the image as long as its place.
pub fn assemble(input: &[u8]) -> Image {
    let length = pieces(input).map(|(start, piece)| start + piece.len()).max().unwrap_or(0);
    let mut image = Image { bytes: vec![0; length], pages: BTreeSet::new() };
    for (start, piece) in pieces(input) {
        image.bytes[start..start + piece.len()].copy_from_slice(piece);
        image.pages.extend(start / PAGE..(start + piece.len()).div_ceil(PAGE));
    }
    image
}

impl Image {
    /// The bytes of a structure, where something was told of it.
    pub fn structure(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.pages.range(range.start / PAGE..range.end.div_ceil(PAGE)).next()?;
        self.bytes.get_mut(range)
    }
}

impl Workshop {
    /// Makes the image the file's content, opens it, and reads of it what must hold together.
    pub fn check(&mut self, image: &Image, format: Format) {
        self.image.set_len(0).expect("memory");
        self.image.set_len(image.bytes.len() as u64).expect("memory");
        for start in image.pages.iter().map(|page| page * PAGE) {
            let page = &image.bytes[start..image.bytes.len().min(start + PAGE)];
            self.image.write_all_at(page, start as u64).expect("memory");
        }
        if let Ok(source) = open(Path::new(&format!("/proc/self/fd/{IMAGE}")), format) {
            check_source(source.as_ref());
        }
    }
}

/// What is read in one piece is what is read in many, and what is in no extent is zeros.
fn check_source(source: &dyn Source) {
    let _ = (source.description(), detect_grid_offset(source));
    let size = source.size_bytes();
    let mut whole = vec![0; size.min(READ_BYTES) as usize];
    let read = source.read_at(0, &mut whole).is_ok();
    let mut again = vec![1; whole.len()];
    let pieces: Result<(), _> =
        again.chunks_mut(10_007).enumerate().try_for_each(|(number, piece)| source.read_at(number as u64 * 10_007, piece));
    if read && pieces.is_ok() {
        assert!(whole == again, "a disk reads differently in pieces");
    }
    let Ok(data) = source.data_extents() else { return };
    assert!(data.iter().all(|extent| extent.end() <= size), "data past the end of the disk");
    if read {
        for (number, sector) in whole.chunks(512).enumerate() {
            let range = Extent::between(number as u64 * 512, number as u64 * 512 + sector.len() as u64);
            assert!(data.overlaps(range) || sector.iter().all(|&byte| byte == 0), "data that no extent tells");
        }
    }
    for extent in data.iter().take(8) {
        let mut end = [0; 700];
        let start = extent.end().saturating_sub(end.len() as u64);
        let length = (extent.end() - start) as usize;
        let _ = source.read_at(start, &mut end[..length]);
    }
}
