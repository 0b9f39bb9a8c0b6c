//! Images of mkfs.erofs, compared with what the kernel shows of them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};

use tempfile::TempDir;

use super::*;
use crate::guestfs::testing::{
    Field, Limits, Mounted, Population, assert_same, device, differences, guest_tree, kernel_tree, populate, run, survive_damage, text,
    walk,
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
    let small = Population { big_bytes: 3 << 20, sparse_bytes: 64 << 20, ..Population::posix() };
    populate(directory.path(), &small);
    // Which mkfs.erofs 1.5 takes for too long.
    let _ = std::fs::remove_file(directory.path().join("uni").join("L".repeat(255)));
    let made = Arc::new(directory);
    *shared = Arc::downgrade(&made);
    Some(made)
}

/// The program; `CAIRN_MKFS_EROFS` names another one.
fn tool() -> String {
    std::env::var("CAIRN_MKFS_EROFS").unwrap_or_else(|_| "mkfs.erofs".to_owned())
}

/// An image of `source`; `None`: there is no mkfs.erofs.
fn image(source: &Path, directory: &Path, options: &[&str]) -> Option<PathBuf> {
    let image = directory.join("image");
    let _ = std::fs::remove_file(&image);
    run(&tool(), &[&["--quiet"], options, &[text(&image), text(source)]].concat())?;
    Some(image)
}

/// Compares an image with the kernel's view of it.
fn compare_image(image: &Path, least: usize) {
    let Some(mounted) = Mounted::loop_mount(image, "erofs", "ro") else { return };
    let filesystem = open(&[device(image)], &OpenOptions::default()).unwrap();
    let walked = walk(filesystem.as_ref(), &Limits::sound().on(&[device(image)]));
    assert_eq!(walked.problems, [""; 0], "{image:?}");
    assert!(walked.tree.len() >= least, "{} objects", walked.tree.len());
    assert_same(&kernel_tree(mounted.path()), &walked.tree, &[]);
}

fn compare(options: &[&str]) {
    let Some(source) = source() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(image) = image(source.path(), directory.path(), options) else { return };
    compare_image(&image, 2_000);
}

#[test]
fn plain_files_are_as_the_kernel_shows_them() {
    compare(&[]);
}

#[test]
fn files_without_inline_ends_are_as_the_kernel_shows_them() {
    compare(&["-Enoinline_data,force-inode-extended", "-x0"]);
}

#[test]
fn lz4_is_as_the_kernel_shows_it() {
    compare(&["-zlz4", "-x1"]);
}

#[test]
fn large_clusters_are_as_the_kernel_shows_them() {
    compare(&["-zlz4hc", "-C65536", "-Eztailpacking"]);
}

#[test]
fn indexes_of_8_bytes_are_as_the_kernel_shows_them() {
    compare(&["-zlz4", "-Elegacy-compress", "--ignore-mtime"]);
}

#[test]
fn chunks_are_as_the_kernel_shows_them() {
    compare(&["--chunksize=65536"]);
    compare(&["--chunksize=4096", "-Eforce-chunk-indexes"]);
}

/// Images of one small tree by mkfs.erofs 1.9.4, with features that the tool of Debian 12 does not make, each by its options.
const LATER: [(&str, &[u8]); 10] = [
    ("-zzstd -C16384", include_bytes!("tests/zstd.zst")),
    ("-zdeflate -C8192 -Eztailpacking", include_bytes!("tests/deflate.zst")),
    ("-zlzma -C32768 -Efragments", include_bytes!("tests/lzma.zst")),
    ("-zlz4hc -C16384 -Ededupe,fragments", include_bytes!("tests/dedupe.zst")),
    ("-zlzma -Eall-fragments,ztailpacking,legacy-compress", include_bytes!("tests/all-fragments.zst")),
    ("-b1024 -zlz4 -Eztailpacking", include_bytes!("tests/small-blocks.zst")),
    ("-E48bit", include_bytes!("tests/wide.zst")),
    ("-E48bit -zzstd -C16384 -Efragments", include_bytes!("tests/wide-zstd.zst")),
    ("-m4096 --MZ=i -zlz4 --zD=1 --xattr-prefix=user.long.", include_bytes!("tests/metabox.zst")),
    ("--xattr-prefix=user.long.prefix. --xattr-prefix=trusted.overlay. -Exattr-name-filter", include_bytes!("tests/prefixes.zst")),
];

#[test]
fn features_of_later_tools_are_as_the_kernel_shows_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = None;
    for (options, packed) in LATER {
        let image = directory.path().join("image");
        std::fs::write(&image, zstd::decode_all(packed).unwrap()).unwrap();
        compare_image(&image, 140);
        // All are of one tree, which is compared even where nothing can be mounted; short inodes have no nanoseconds.
        let tree = guest_tree(open(&[device(&image)], &OpenOptions::default()).unwrap().as_ref());
        let ignored = [Field::Allocated, Field::DirectorySize, Field::Modified];
        let differences = differences(first.get_or_insert_with(|| tree.clone()), &tree, &ignored);
        assert_eq!(differences, [""; 0], "{options}");
    }
}

#[test]
fn blocks_that_are_stored_turned_are_as_the_kernel_shows_them() {
    // -zlz4 -Efragments: what cannot be compressed begins within a block of the file, and keeps its places in the blocks.
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    std::fs::write(&image, zstd::decode_all(&include_bytes!("tests/turned.zst")[..]).unwrap()).unwrap();
    compare_image(&image, 2);
}

#[test]
fn damage_in_images_of_later_tools_is_survived() {
    for (options, packed) in LATER {
        let image = zstd::decode_all(packed).unwrap();
        let spots = [1032..1168, 1168..image.len(), 1168..image.len(), 1168..image.len()];
        let survival = survive_damage(&image, &spots, 30, &|bytes, _| seal(bytes));
        assert!(survival.objects > survival.opened, "{options}: {survival:?}");
    }
}

/// Sets of options for a later tool, to be compared on a tree that is as nasty as any.
const LATER_OPTIONS: [&[&str]; 16] = [
    &["-zzstd,level=3", "-C65536"],
    &["-zdeflate", "-C16384"],
    &["-zlzma", "-C32768"],
    &["-zlz4", "-Efragments"],
    &["-zlz4hc", "-C65536", "-Eall-fragments"],
    &["-zlz4", "-Ededupe"],
    &["-zzstd", "-C16384", "-Ededupe,fragments,ztailpacking"],
    &["-zlzma", "-Ededupe"],
    &["-zdeflate", "-Eall-fragments,ztailpacking,legacy-compress"],
    &["-b1024"],
    &["-b512", "-zlz4", "-C4096"],
    &["-E48bit"],
    &["-E48bit", "-zzstd", "-C65536"],
    &["-E48bit", "-zlz4", "-Efragments"],
    &["--xattr-prefix=user.", "--xattr-prefix=trusted.overlay.", "-Exattr-name-filter"],
    &["-m4096", "--MZ=i", "-zlz4", "--zD=1", "--xattr-prefix=user."],
];

#[test]
fn a_later_tool_can_be_named_and_compared() {
    if std::env::var_os("CAIRN_MKFS_EROFS").is_none() {
        skipped("CAIRN_MKFS_EROFS names no mkfs.erofs 1.9; images that it made of a small tree are compared all the same");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    populate(&tree, &Population { sparse_bytes: 1 << 20, ..Population::posix().tiny() });
    for options in LATER_OPTIONS {
        let Some(image) = image(&tree, directory.path(), options) else { return };
        compare_image(&image, 200);
    }
}

/// A small tree for tests that damage its image.
fn tiny_image(options: &[&str]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let unix = rustix::process::geteuid().is_root();
    let tiny =
        Population { unix, acls: false, longest_attribute: if unix { 3_000 } else { 0 }, odd_names: false, ..Population::posix().tiny() };
    populate(&tree, &Population { big_bytes: 16 << 10, sparse_bytes: 0, punch: false, ..tiny });
    let image = image(&tree, directory.path(), options)?;
    Some(std::fs::read(image).unwrap())
}

/// Puts the superblock's checksum right.
fn seal(image: &mut [u8]) {
    image[1028..1032].fill(0);
    // Blocks of 1 KiB have the superblock alone in theirs.
    let end = if image[1036] == 10 { 2048 } else { 4096 };
    let sum = crate::guestfs::crc32c::crc32c(!0, &image[1024..end]);
    image[1028..1032].copy_from_slice(&sum.to_le_bytes());
}

fn survive(options: &[&str], rounds: usize) {
    let Some(image) = tiny_image(options) else { return };
    let spots = [1032..1152, 1152..image.len(), 1152..image.len(), 1152..image.len(), 1152..image.len()];
    let survival = survive_damage(&image, &spots, rounds, &|bytes, _| seal(bytes));
    assert!(survival.hurt > 0 && survival.objects > survival.opened, "{survival:?}");
}

#[test]
fn damage_is_survived() {
    survive(&[], 150);
}

#[test]
fn damaged_compressed_files_are_survived() {
    survive(&["-zlz4hc", "-C16384", "-Eztailpacking"], 100);
}

#[test]
fn damaged_long_indexes_are_survived() {
    survive(&["-zlz4", "-Elegacy-compress"], 100);
}

#[test]
fn damaged_chunks_are_survived() {
    survive(&["--chunksize=4096", "-Eforce-chunk-indexes"], 100);
}

fn open_bytes(bytes: Vec<u8>) -> (Option<Identity>, Result<Box<dyn FileSystem>, String>) {
    let device: Device = Arc::new(MemoryAt::new(bytes));
    let identity = identify(device.as_ref()).unwrap();
    (identity, open(&[device], &OpenOptions::default()).map_err(|error| error.to_string()))
}

#[test]
fn an_image_is_named_by_its_superblock_and_refused_where_it_is_wrong() {
    let Some(image) = tiny_image(&["-U01234567-89ab-cdef-0123-456789abcdef"]) else { return };
    let mut labelled = image.clone();
    labelled[1088..1092].copy_from_slice(b"root");
    let (identity, opened) = open_bytes(labelled.clone());
    let identity = identity.unwrap();
    assert_eq!((identity.kind, identity.label.as_deref()), ("erofs", Some("root")));
    assert_eq!(identity.uuid.as_deref(), Some("01234567-89ab-cdef-0123-456789abcdef"));
    assert_eq!(identity.size_bytes, Some(image.len() as u64));
    let message = opened.err().unwrap();
    assert!(message.starts_with("the superblock of EROFS is damaged: checksum "), "{message}");
    seal(&mut labelled);
    open_bytes(labelled.clone()).1.unwrap();
    labelled[1024 + 82] = 0xff;
    seal(&mut labelled);
    let message = open_bytes(labelled).1.err().unwrap();
    assert!(message.starts_with("EROFS with the incompatible features 0xff0000 cannot be read"), "{message}");
    let mut short = image.clone();
    short.truncate(image.len() - 4096);
    assert_eq!(open_bytes(short).1.unwrap().about().notes.len(), 1);
}

#[test]
fn data_on_another_device_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), vec![7; 100_000]).unwrap();
    let blob = format!("--blobdev={}", text(&directory.path().join("blob")));
    let Some(image) = image(&tree, directory.path(), &["--chunksize=4096", &blob]) else { return };
    let filesystem = open(&[device(&image)], &OpenOptions::default()).unwrap();
    let node = filesystem.lookup(filesystem.root(), b"file").unwrap().unwrap();
    let message = filesystem.open(node).err().unwrap().to_string();
    assert!(message.starts_with("EROFS with data on another device (number 1"), "{message}");
}
