//! What the room's tests share: seeded disks, the tools of others that serve as oracles, and what must hold for any image.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Format, Source, open};
use crate::units::Extent;

/// Runs a tool of another project and gives what it printed; `None`, said loudly, where it is not installed.
///
/// A tool that fails fails the test.
pub(super) fn run(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: {program} cannot be run ({error}); install it to test against it");
            }
            None
        }
    }
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are plain")
}

/// Numbers that look random and are the same for one seed (SplitMix64).
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("a length")).expect("a length")
    }
}

/// A disk with zeros, noise, text and single bytes in pieces from 512 bytes to half a megabyte.
pub(super) fn seeded_disk(size: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut disk = Vec::with_capacity(size);
    while disk.len() < size {
        let length = (512 << noise.below(11)).min(size - disk.len());
        let kind = noise.below(5);
        let start = disk.len();
        match kind {
            0 | 1 => disk.resize(start + length, 0),
            2 => disk.extend((0..length).map(|_| noise.next().to_le_bytes()[0])),
            3 => disk.extend(b"the quick brown fox ".iter().cycle().take(length)),
            _ => {
                disk.resize(start + length, 0);
                disk[start + noise.below(length)] = 1;
            }
        }
    }
    disk
}

/// A directory with a seeded raw disk, `disk.raw`, to make images of.
pub(super) struct Workshop {
    directory: tempfile::TempDir,
    pub(super) disk: Vec<u8>,
}

impl Workshop {
    pub(super) fn new(size: usize, seed: u64) -> Self {
        let workshop = Self { directory: tempfile::tempdir().expect("a directory"), disk: seeded_disk(size, seed) };
        std::fs::write(workshop.path("disk.raw"), &workshop.disk).expect("a file");
        workshop
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Converts the disk to an image of this name; `None` without qemu-img.
    pub(super) fn convert(&self, format: &str, options: &[&str], name: &str) -> Option<PathBuf> {
        let (raw, image) = (self.path("disk.raw"), self.path(name));
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        arguments.extend(options);
        arguments.extend([text(&raw), text(&image)]);
        run("qemu-img", &arguments).map(|_| image)
    }
}

/// Opens an image and checks that it gives exactly `disk`, to several threads at once, and tells all of its data.
pub(super) fn check_equal(image: &Path, format: Format, disk: &[u8]) -> Box<dyn Source> {
    let source = open(image, format).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(source.size_bytes(), u64::try_from(disk.len()).expect("a length"), "{}", source.description());
    std::thread::scope(|scope| {
        for piece in [4096, 10_007, 1 << 18, 3 << 20] {
            let source = &source;
            scope.spawn(move || check_reads(source.as_ref(), disk, piece));
        }
    });
    check_extents(source.as_ref(), disk);
    source.check_unchanged().expect("nobody has written to it");
    source
}

/// Reads all of a disk in pieces of this size, the last one first.
fn check_reads(source: &dyn Source, disk: &[u8], piece: usize) {
    for (number, expected) in disk.chunks(piece).enumerate().collect::<Vec<_>>().into_iter().rev() {
        let mut found = vec![0xee; expected.len()];
        let offset = number * piece;
        source.read_at(u64::try_from(offset).expect("an offset"), &mut found).unwrap_or_else(|error| panic!("{error}"));
        if found != expected {
            let at = found.iter().zip(expected).position(|(one, other)| one != other).expect("they differ");
            panic!("{}: offset {} is {} instead of {}", source.description(), offset + at, found[at], expected[at]);
        }
    }
}

/// What is not in the extents must be zeros.
fn check_extents(source: &dyn Source, disk: &[u8]) {
    let data = source.data_extents().unwrap_or_else(|error| panic!("{error}"));
    for (number, block) in disk.chunks(512).enumerate() {
        let start = u64::try_from(number * 512).expect("an offset");
        let range = Extent::between(start, start + u64::try_from(block.len()).expect("a length"));
        let covered: u64 = data.within(range).map(|extent| extent.length()).sum();
        assert!(
            covered == range.length() || block.iter().all(|&byte| byte == 0),
            "{}: data at {start} is told as none",
            source.description()
        );
    }
}

/// Damages an image in many seeded ways and reads each result whole: it may give an error or wrong bytes, but must not panic,
/// hang or need much memory. `spots` are where the format's tables lie, which are hit more often than the rest.
pub(super) fn survive_damage(image: &Path, format: Format, spots: &[std::ops::Range<usize>], rounds: u64) {
    let original = std::fs::read(image).expect("the image");
    let damaged = image.with_extension("damaged");
    for seed in 0..rounds {
        let mut noise = Noise::new(seed);
        let mut bytes = original.clone();
        for _ in 0..=noise.below(8) {
            let spot = spots.get(noise.below(spots.len() + 1)).cloned().unwrap_or(0..bytes.len());
            let at = spot.start + noise.below(spot.len());
            let value = [0, 0xff, 0x80, noise.next().to_le_bytes()[0]][noise.below(4)];
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if noise.below(4) == 0 {
            bytes.truncate(noise.below(bytes.len()));
        }
        std::fs::write(&damaged, &bytes).expect("a file");
        if catch_unwind(AssertUnwindSafe(|| read_all(&damaged, format))).is_err() {
            panic!("seed {seed} makes a panic");
        }
    }
}

/// Opens and reads what can be, up to 64 MiB: a damaged size must not make a long test.
fn read_all(image: &Path, format: Format) {
    let Ok(source) = open(image, format) else { return };
    let _ = source.description();
    let _ = source.data_extents();
    let mut buffer = vec![0; 1 << 20];
    for offset in (0..source.size_bytes().min(64 << 20)).step_by(1 << 20) {
        let length = usize::try_from((source.size_bytes() - offset).min(1 << 20)).expect("a length");
        let _ = source.read_at(offset, &mut buffer[..length]);
    }
}
