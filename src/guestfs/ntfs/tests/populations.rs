//! Whole trees: every size of clusters, sectors and file records.

use std::fs;

use super::image::Image;
use super::opened;
use crate::guestfs::testing::{Field, Limits, Noise, Population, assert_same, device, kernel_tree, long_tests, populate, walk};

/// What ntfs-3g tells otherwise: owners and modes come from mount options, DOS names count as links, and Windows has no times of
/// directories' entries. Extended attributes are compared by tests of their own.
const IGNORED: [Field; 8] = [
    Field::Mode,
    Field::Uid,
    Field::Gid,
    Field::DirectoryLinks,
    Field::DirectorySize,
    Field::Allocated,
    Field::Attributes,
    Field::Accessed,
];

fn population() -> Population {
    let posix = Population { punch: false, odd_names: false, unix: false, longest_attribute: 0, acls: false, ..Population::posix() };
    Population { entries: if long_tests() { 5_000 } else { 700 }, ..posix }
}

/// Names that ntfs-3g takes, but Windows would not.
fn odd_names(root: &std::path::Path) {
    let place = root.join("odd");
    fs::create_dir(&place).expect("a directory");
    let longest = "\u{65e5}".repeat(255);
    for name in
        ["new\nline", "\x1b[31mred", "mixed.txt", "Mixed.txt", "MIXED.TXT", "quote\"':*?<>|", "\u{df}", "\u{1e9e}", " ", "a.", &longest]
    {
        fs::write(place.join(name), name).expect("ntfs-3g takes the name");
    }
}

fn same(image: &Image, limits: usize) {
    let Some(mount) = image.mount(",ro") else { return };
    let expected = kernel_tree(mount.path());
    assert!(expected.len() > limits, "the tree was made: {}", expected.len());
    let fs = opened(&image.path());
    let walked = walk(fs.as_ref(), &Limits::sound().on(&[device(&image.path())]));
    assert_eq!(walked.problems, Vec::<String>::new());
    assert_same(&expected, &walked.tree, &IGNORED);
}

fn compare(size_mib: u64, cluster_bytes: u32, sector_bytes: u32, what: &Population) {
    let Some(image) = Image::make(size_mib, cluster_bytes, sector_bytes) else { return };
    let Some(mount) = image.mount("") else { return };
    populate(mount.path(), what);
    odd_names(mount.path());
    drop(mount);
    same(&image, what.entries);
}

#[test]
fn the_usual_volume() {
    compare(256, 4096, 512, &population());
}

#[test]
fn clusters_smaller_than_file_records() {
    compare(64, 512, 512, &Population { entries: 700, ..population().tiny() });
}

#[test]
fn clusters_larger_than_index_records() {
    compare(512, 65536, 512, &Population { entries: 700, ..population().tiny() });
}

#[test]
fn the_largest_clusters() {
    compare(2048, 2 << 20, 512, &Population { big_bytes: 9 << 20, sparse_bytes: 64 << 20, ..population().tiny() });
}

#[test]
fn sectors_and_file_records_of_4096_bytes() {
    compare(128, 4096, 4096, &Population { entries: 700, ..population().tiny() });
}

#[test]
fn compressed_files() {
    let Some(image) = Image::make(64, 4096, 512) else { return };
    let Some(mount) = image.mount(",compression") else { return };
    let place = mount.join("packed");
    fs::create_dir(&place).expect("a directory");
    super::image::set(&place, "system.ntfs_attrib_be", &0x0800_u32.to_be_bytes());
    let mut noise = Noise::new(3);
    let text: Vec<u8> = (0..60_000_u32).flat_map(|line| format!("{line} the same again and again\n").into_bytes()).collect();
    fs::write(place.join("text"), &text).expect("room");
    fs::write(place.join("noise"), noise.bytes(300_000)).expect("room");
    fs::write(place.join("short"), &text[..70_001]).expect("room");
    fs::write(place.join("zeros"), vec![0; 1 << 20]).expect("room");
    let mut mixed = Vec::new();
    for part in 0..40 {
        let length = 1 + noise.below(100_000);
        mixed.extend(match part % 3 {
            0 => noise.bytes(length),
            1 => vec![0; length],
            _ => text[length..2 * length].to_vec(),
        });
    }
    fs::write(place.join("mixed"), &mixed).expect("room");
    let sparse = fs::File::create(place.join("sparse")).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&sparse, &text[..5000], 3 << 20).expect("room");
    drop(sparse);
    drop(mount);
    let fs = opened(&image.path());
    let found = super::node(fs.as_ref(), "packed/text");
    let attributes = fs.attributes(found).expect("attributes");
    assert!(attributes.allocated_bytes < attributes.size_bytes / 2, "it is compressed: {attributes:?}");
    let run = fs.open(found).expect("a file").run_at(0).expect("a run");
    assert_eq!(run.place, crate::guestfs::Place::Computed);
    assert_eq!(super::contents(fs.as_ref(), super::node(fs.as_ref(), "packed/mixed")), mixed);
    same(&image, 5);
}
