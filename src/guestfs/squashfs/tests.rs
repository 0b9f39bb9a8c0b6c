//! Images of mksquashfs, compared with what the kernel and unsquashfs make of them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};

use tempfile::TempDir;

use super::*;
use crate::guestfs::testing::{
    Field, Limits, Mounted, Population, assert_same, device, guest_tree, kernel_tree, populate, run, survive_damage, text, walk,
};
use crate::guestfs::{identify, open};
use crate::io::MemoryAt;

#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A nasty tree, made once for all tests that run at the same time; without the mebibytes that every image would have to compress.
fn source() -> Option<Arc<TempDir>> {
    static SOURCE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    if !rustix::process::geteuid().is_root() {
        skipped("device nodes cannot be made without root");
        return None;
    }
    let mut shared = SOURCE.lock().unwrap();
    if let Some(made) = shared.upgrade() {
        return Some(made);
    }
    let directory = tempfile::tempdir().unwrap();
    let small =
        Population { big_bytes: 3 << 20, sparse_bytes: 64 << 20, times: vec![0, 1_700_000_000, 4_102_444_800], ..Population::posix() };
    populate(directory.path(), &small);
    let made = Arc::new(directory);
    *shared = Arc::downgrade(&made);
    Some(made)
}

/// An image of `source`; `None`: there is no mksquashfs.
fn image(source: &Path, directory: &Path, options: &[&str]) -> Option<PathBuf> {
    let image = directory.join("image");
    let _ = std::fs::remove_file(&image);
    let fixed = [text(source), text(&image), "-noappend", "-no-progress", "-quiet", "-processors", "2"];
    run("mksquashfs", &[&fixed[..], options].concat())?;
    Some(image)
}

fn opened(image: &Path) -> Box<dyn FileSystem> {
    open(&[device(image)], &OpenOptions::default()).unwrap()
}

/// Compares an image with the kernel's view of it; device, places and all.
fn compare(options: &[&str]) {
    let Some(source) = source() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(image) = image(source.path(), directory.path(), options) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "squashfs", "ro") else { return };
    let filesystem = opened(&image);
    let walked = walk(filesystem.as_ref(), &Limits::sound().on(&[device(&image)]));
    assert_eq!(walked.problems, [""; 0], "{options:?}");
    assert!(walked.tree.len() > 2_000);
    assert_same(&kernel_tree(mounted.path()), &walked.tree, &[]);
}

#[test]
fn gzip_is_as_the_kernel_shows_it() {
    compare(&["-comp", "gzip", "-Xcompression-level", "1"]);
}

#[test]
fn small_blocks_of_lzo_are_as_the_kernel_shows_them() {
    compare(&["-comp", "lzo", "-b", "4K"]);
}

#[test]
fn large_blocks_of_zstd_are_as_the_kernel_shows_them() {
    compare(&["-comp", "zstd", "-Xcompression-level", "2", "-b", "1M", "-always-use-fragments"]);
}

#[test]
fn lz4_without_fragments_is_as_the_kernel_shows_it() {
    compare(&["-comp", "lz4", "-b", "64K", "-no-fragments", "-no-exports"]);
}

#[test]
fn xz_with_filters_is_as_the_kernel_shows_it() {
    compare(&["-comp", "xz", "-Xdict-size", "8K", "-b", "32K", "-Xbcj", "x86"]);
}

#[test]
fn what_is_not_compressed_is_as_the_kernel_shows_it() {
    compare(&["-noI", "-noId", "-noD", "-noF", "-noX", "-no-sparse", "-no-duplicates"]);
}

#[test]
fn lzma_and_gzip_hold_the_same() {
    // The kernel knows no LZMA, and unsquashfs is slow with it: what it holds is what the image of another compressor does.
    let Some(source) = source() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(image) = image(source.path(), directory.path(), &["-comp", "lzma"]) else { return };
    assert_same(&kernel_tree(source.path()), &guest_tree(opened(&image).as_ref()), &UNLIKE_A_SOURCE);
}

/// What a tree does not keep on its way into an image and out of it.
const UNLIKE_A_SOURCE: [Field; 6] =
    [Field::DirectorySize, Field::Allocated, Field::Attributes, Field::Changed, Field::Accessed, Field::Modified];

#[test]
fn unsquashfs_makes_the_same_of_it() {
    let Some(source) = source() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(image) = image(source.path(), directory.path(), &["-comp", "lz4"]) else { return };
    let target = directory.path().join("extracted");
    if run("unsquashfs", &["-quiet", "-no-progress", "-d", text(&target), text(&image)]).is_none() {
        return;
    }
    let ignored = [Field::DirectorySize, Field::Allocated];
    assert_same(&kernel_tree(&target), &guest_tree(opened(&image).as_ref()), &ignored);
}

/// A small tree for tests that damage its image.
fn tiny_image(options: &[&str]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let root = rustix::process::geteuid().is_root();
    populate(&tree, &Population { unix: root, acls: false, longest_attribute: if root { 3_000 } else { 0 }, ..Population::posix().tiny() });
    let image = image(&tree, directory.path(), options)?;
    Some(std::fs::read(image).unwrap())
}

fn survive(options: &[&str], rounds: usize) {
    let Some(image) = tiny_image(options) else { return };
    let inodes = u64::from_le_bytes(image[64..72].try_into().unwrap()) as usize;
    // The magic number stays: what is not squashfs is not looked at.
    let spots = [4..96, inodes..image.len(), inodes..image.len(), inodes..image.len()];
    let survival = survive_damage(&image, &spots, rounds, &|_, _| ());
    assert!(survival.hurt > 0 && survival.objects > survival.opened, "{survival:?}");
}

#[test]
fn damaged_metadata_is_survived() {
    survive(&["-noI", "-noId", "-noF", "-noX"], 150);
}

#[test]
fn damaged_compressed_metadata_is_survived() {
    survive(&["-comp", "zstd", "-b", "4K"], 60);
}

#[test]
fn other_versions_are_named_and_refused() {
    let Some(image) = tiny_image(&["-comp", "gzip"]) else { return };
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = image.clone();
        change(&mut bytes);
        let device: Device = Arc::new(MemoryAt::new(bytes));
        let kind = identify(device.as_ref()).unwrap().map(|found| found.kind);
        (kind, open(&[device], &OpenOptions::default()).map(|_| ()).unwrap_err().to_string())
    };
    let (kind, message) = refused(&|bytes| bytes[28] = 3);
    assert_eq!(kind, Some("squashfs"));
    assert!(message.starts_with("squashfs of version 3.0 cannot be read"), "{message}");
    let (kind, message) = refused(&|bytes| {
        bytes[..4].reverse();
        bytes[28..30].copy_from_slice(&[0, 3]);
        bytes[30..32].copy_from_slice(&[0, 1]);
    });
    assert_eq!(kind, Some("squashfs"));
    assert!(message.starts_with("big-endian squashfs of version 3.1 cannot be read"), "{message}");
    assert!(refused(&|bytes| bytes[20] = 9).1.starts_with("squashfs compressor number 9 cannot be read"));
    assert!(refused(&|bytes| bytes[22] = 3).1.contains("is damaged"));
}

#[test]
fn a_random_read_decompresses_one_block() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let bytes: Vec<u8> = (0..8_u32 << 20).flat_map(|at| [(at >> 9) as u8 ^ at as u8, at as u8 & 3]).collect();
    std::fs::write(tree.join("file"), &bytes).unwrap();
    let Some(image) = image(&tree, directory.path(), &["-comp", "lz4", "-b", "128K"]) else { return };
    let counted = Arc::new(Counted { device: device(&image), reads: AtomicU64::new(0), read_bytes: AtomicU64::new(0) });
    let filesystem = open(&[Arc::clone(&counted) as Device], &OpenOptions::default()).unwrap();
    let node = filesystem.lookup(filesystem.root(), b"file").unwrap().unwrap();
    let file = filesystem.open(node).unwrap();
    let counts = |call: &dyn Fn()| {
        let before = (counted.reads.load(Relaxed), counted.read_bytes.load(Relaxed));
        call();
        (counted.reads.load(Relaxed) - before.0, counted.read_bytes.load(Relaxed) - before.1)
    };
    let read = |at: usize, length: usize| {
        let mut found = vec![0; length];
        file.read_at(at as u64, &mut found).unwrap();
        assert!(found == bytes[at..at + length], "{length} bytes at {at}");
    };
    let (reads, read_bytes) = counts(&|| read(9_000_000, 4096));
    assert!(reads == 1 && read_bytes <= 128 << 10, "{reads} reads of {read_bytes} bytes for one block");
    assert_eq!(counts(&|| read(9_004_096, 4096)), (0, 0), "the block is kept");
    let (reads, _) = counts(&|| read(0, 8 << 20));
    assert!(reads <= 8, "{reads} reads for 64 blocks that lie one behind the other");
}

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

struct Counted {
    device: Device,
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

impl ReadAt for Counted {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.reads.fetch_add(1, Relaxed);
        self.read_bytes.fetch_add(buffer.len() as u64, Relaxed);
        self.device.read_at(offset_bytes, buffer)
    }
}
