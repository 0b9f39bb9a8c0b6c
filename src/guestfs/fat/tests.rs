//! Volumes made by mkfs.fat and filled by mtools, compared with what was put in, and volumes that were broken by hand.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::guestfs::testing::{
    Field, Limits, Population, Tree, assert_same, device, guest_tree, kernel_tree, populate, run, sparse_file, survive_damage, text, walk,
};
use crate::guestfs::{Timestamp, identify as identify_any, open as open_any};
use crate::io::MemoryAt;

/// What a volume of FAT has to say of a tree of Unix.
const NOT_IN_FAT: [Field; 5] = [Field::DirectorySize, Field::DirectoryLinks, Field::Allocated, Field::Accessed, Field::Created];

fn opened(device: Device) -> Box<dyn FileSystem> {
    open_any(&[device], &OpenOptions::default()).expect("it opens")
}

fn memory(bytes: &[u8]) -> Device {
    Arc::new(MemoryAt::new(bytes.to_vec()))
}

fn tools() -> bool {
    run("mkfs.fat", &["--help"]).is_some() && run("mcopy", &["--version"]).is_some()
}

fn make(image: &Path, size_bytes: u64, options: &[&str]) {
    sparse_file(image, size_bytes);
    run("mkfs.fat", &[options, &["-i", "1234abcd", "-n", "MY LABEL", text(image)]].concat()).expect("mkfs.fat runs");
}

/// Copies everything in `from` to the volume, with times.
fn fill(image: &Path, from: &Path) {
    let mut paths: Vec<String> =
        std::fs::read_dir(from).expect("lists").map(|entry| text(&entry.expect("lists").path()).to_owned()).collect();
    paths.sort();
    let mut arguments = vec!["TZ=UTC", "LC_ALL=C.UTF-8", "mcopy", "-s", "-m", "-Q", "-i", text(image)];
    arguments.extend(paths.iter().map(String::as_str));
    arguments.push("::");
    run("env", &arguments).expect("mcopy runs");
}

/// The tree that was copied, as FAT can hold it.
fn expected(from: &Path) -> Tree {
    let mut tree = kernel_tree(from);
    for item in tree.values_mut() {
        let directory = item.kind == FileKind::Directory;
        (item.mode, item.uid, item.gid, item.links) = (if directory { 0o755 } else { 0o644 }, 0, 0, 1);
        (item.changed, item.attributes) = (None, BTreeMap::new());
        item.modified = Timestamp { seconds: item.modified.seconds.div_euclid(2) * 2, nanoseconds: 0 };
    }
    tree
}

/// Our tree, with what cannot be compared made equal.
fn found(fs: &dyn FileSystem, expected: &Tree) -> Tree {
    let mut tree = guest_tree(fs);
    for (path, item) in &mut tree {
        let attributes = std::mem::take(&mut item.attributes);
        let Some(other) = expected.get(path) else { continue };
        if item.kind == FileKind::Directory {
            item.modified = other.modified;
        } else {
            assert_eq!(attributes.get(&b"system.fat_attrib"[..]).map(Vec::as_slice), Some(&[0x20, 0, 0, 0][..]), "{path:?}");
        }
    }
    tree
}

fn source() -> tempfile::TempDir {
    let from = tempfile::tempdir().expect("a directory");
    populate(from.path(), &Population::plain().tiny());
    // mcopy cuts characters to 16 bits; names with surrogates are tested where they are read.
    std::fs::remove_file(from.path().join("uni/emoji-\u{1f980}\u{1f525}.txt")).expect("it was made");
    from
}

#[test]
fn volumes_of_every_width_hold_what_was_copied_into_them() {
    if !tools() {
        return;
    }
    let from = source();
    let expected = expected(from.path());
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let kinds: [(Width, u64, &[&str]); 5] = [
        (Width::Bits12, 7 << 20, &["-F", "12", "-s", "4"]),
        (Width::Bits16, 8 << 20, &["-F", "16", "-s", "1", "-f", "1"]),
        (Width::Bits16, 64 << 20, &["-F", "16", "-S", "4096", "-s", "1"]),
        (Width::Bits32, 40 << 20, &["-F", "32", "-s", "1"]),
        (Width::Bits32, 300 << 20, &["-F", "32", "-s", "8", "-h", "63", "-R", "40"]),
    ];
    for (width, size, options) in kinds {
        make(&image, size, options);
        fill(&image, from.path());
        let device = device(&image);
        let identity = identify_any(device.as_ref()).expect("read").expect("known");
        assert_eq!((identity.kind, identity.label.as_deref(), identity.uuid.as_deref()), ("vfat", Some("MY LABEL"), Some("1234-ABCD")));
        assert_eq!(boot::read(device.as_ref()).expect("read").expect("known").width, width, "{options:?}");
        let fs = opened(device);
        assert_same(&expected, &found(fs.as_ref(), &expected), &NOT_IN_FAT);
        let about = fs.about();
        assert!(about.size_bytes <= size && about.size_bytes > size * 8 / 10, "{about:?}");
        assert_eq!(about.used_bytes, Some(about.size_bytes - free_by_mtools(&image)), "{options:?}");
        assert!(!about.notes.iter().any(|note| note.contains("unmounted")), "{about:?}");
    }
}

/// Free bytes as mdir says at the end of its list: "  1 234 567 bytes free".
fn free_by_mtools(image: &Path) -> u64 {
    let listed = run("mdir", &["-i", text(image), "::"]).expect("mdir runs");
    let line = listed.lines().find(|line| line.contains("bytes free")).expect("mdir says it");
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// A volume with a file in two fragments, attributes, a deleted file, and names in two forms.
fn small(width: &str) -> Option<(tempfile::TempDir, Vec<u8>)> {
    if !tools() {
        return None;
    }
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let (size, per_cluster) = match width {
        "12" => (4 << 20, "4"),
        "16" => (4 << 20, "1"),
        _ => (34 << 20, "1"),
    };
    make(&image, size, &["-F", width, "-s", per_cluster]);
    let put = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).expect("writes");
        run("env", &["TZ=UTC", "LC_ALL=C.UTF-8", "mcopy", "-i", text(&image), text(&path), "::"]).expect("mcopy runs");
    };
    put("gap.bin", &[7; 3000]);
    put("wall.bin", &[8; 512]);
    put("fill.bin", &vec![9; 3 << 20]);
    run("mdel", &["-i", text(&image), "::gap.bin", "::fill.bin"]).expect("mdel runs");
    put("two parts of one.bin", &(0..20_000_u32).flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    put("HIDDEN.SYS", b"secret");
    run("mattrib", &["+r", "+h", "+s", "-i", text(&image), "::HIDDEN.SYS"]).expect("mattrib runs");
    run("mmd", &["-i", text(&image), "::folder", "::folder/inner"]).expect("mmd runs");
    let bytes = std::fs::read(&image).expect("reads");
    Some((place, bytes))
}

fn whole(fs: &dyn FileSystem, name: &[u8]) -> io::Result<Vec<u8>> {
    let node = fs.lookup(fs.root(), name)?.ok_or(io::ErrorKind::NotFound)?;
    let file = fs.open(node)?;
    let mut bytes = vec![0; usize::try_from(file.size_bytes()).expect("small")];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

const LONG: &[u8] = b"two parts of one.bin";

#[test]
fn attributes_names_and_fragments() {
    for width in ["12", "16", "32"] {
        let Some((_place, bytes)) = small(width) else { return };
        let fs = opened(memory(&bytes));
        let expected: Vec<u8> = (0..20_000_u32).flat_map(|number| number.to_le_bytes()).collect();
        assert!(whole(fs.as_ref(), LONG).expect("reads") == expected);
        let node = fs.lookup(fs.root(), b"HIDDEN.SYS").expect("reads").expect("is there");
        let found = fs.attributes(node).expect("is there");
        assert_eq!((found.mode, found.size_bytes, found.allocated_bytes), (0o444, 6, u64::from(fs.about().block_bytes)));
        assert_eq!(fs.extended_attributes(node).expect("reads"), [(b"system.fat_attrib".to_vec(), vec![0x27, 0, 0, 0])]);
        for alias in [&b"hidden.sys"[..], b"Hidden.Sys"] {
            assert_eq!(fs.lookup(fs.root(), alias).expect("reads"), Some(node));
        }
        let long = fs.lookup(fs.root(), LONG).expect("reads");
        assert!(long.is_some() && fs.lookup(fs.root(), b"TWOPAR~1.BIN").expect("reads") == long);
        assert_eq!(fs.lookup(fs.root(), b"gap.bin").expect("reads"), None, "it was deleted");
        let folder = fs.lookup(fs.root(), b"folder").expect("reads").expect("is there");
        assert_eq!(fs.lookup(folder, b"..").expect("reads"), None);
        assert!(fs.open(folder).is_err() && fs.link_target(folder).is_err() && fs.attributes(Node(folder.0 + 1)).is_err());
    }
}

/// Where the entry of a file lies, and the first cluster that it names.
fn entry(bytes: &[u8], name: &[u8]) -> (usize, u32, Geometry) {
    let geometry = boot::read(memory(bytes).as_ref()).expect("read").expect("known");
    let fs = opened(memory(bytes));
    let place = fs.lookup(fs.root(), name).expect("reads").expect("is there").0 as usize;
    let slot: [u8; SLOT_BYTES] = bytes[place..place + SLOT_BYTES].try_into().expect("inside");
    (place, Record::parse(slot, geometry.width).expect("an entry").first, geometry)
}

/// Writes an entry of all tables of FAT16 or FAT32.
fn link(bytes: &mut [u8], geometry: &Geometry, cluster: u32, number: u32) {
    for &table in &geometry.tables {
        let width = geometry.width.bits() as usize / 8;
        let at = table as usize + cluster as usize * width;
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
}

#[test]
fn a_chain_that_bites_its_tail_is_damaged_there_and_readable_before() {
    for width in ["16", "32"] {
        let Some((_place, mut bytes)) = small(width) else { return };
        let (_, first, geometry) = entry(&bytes, LONG);
        link(&mut bytes, &geometry, first + 2, first);
        let fs = opened(memory(&bytes));
        let file = fs.open(fs.lookup(fs.root(), LONG).expect("reads").expect("is there")).expect("opens");
        let mut head = vec![0; 3 * 512];
        file.read_at(0, &mut head).expect("what comes before");
        assert_eq!(head[4..8], 1_u32.to_le_bytes());
        let error = file.read_at(1536, &mut [0; 1]).expect_err("what comes after").to_string();
        assert!(error.contains("leads back into itself"), "{error}");
    }
}

#[test]
fn directories_that_lead_back_end() {
    let Some((_place, mut bytes)) = small("16") else { return };
    let (place, _, _) = entry(&bytes, LONG);
    let (folder, cluster, _) = entry(&bytes, b"folder");
    // The long file's entry becomes a directory that is the folder; the folder has an entry that is itself.
    bytes[place + 11] |= 0x10;
    bytes[place + 26..place + 28].copy_from_slice(&(cluster as u16).to_le_bytes());
    let geometry = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
    let inside = geometry.clusters.offset(cluster).expect("inside") as usize;
    let own: Vec<u8> = bytes[folder..folder + 32].to_vec();
    bytes[inside + 64..inside + 96].copy_from_slice(&own);
    let fs = opened(memory(&bytes));
    let walked = walk(fs.as_ref(), &Limits::hostile());
    assert!(walked.problems.iter().any(|problem| problem.contains("seen before")), "{:?}", walked.problems);
    assert!(walked.tree.len() < 12, "{:?}", walked.tree.keys());
}

#[test]
fn parts_of_long_names_without_their_entry_are_passed_over() {
    let Some((_place, mut bytes)) = small("16") else { return };
    let (place, _, _) = entry(&bytes, LONG);
    bytes[place..place + 11].copy_from_slice(b"RENAMED BIN");
    let fs = opened(memory(&bytes));
    assert!(fs.lookup(fs.root(), LONG).expect("reads").is_none());
    assert_eq!(fs.lookup(fs.root(), b"RENAMED.BIN").expect("reads"), Some(Node(place as u64)));
}

/// A device on which a range cannot be read.
struct Scratched(Vec<u8>, std::ops::Range<u64>);

impl ReadAt for Scratched {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset_bytes < self.1.end && self.1.start < offset_bytes + buffer.len() as u64 {
            return Err(io::Error::other("a bad sector"));
        }
        memory_read(&self.0, offset_bytes, buffer)
    }
}

fn memory_read(bytes: &[u8], offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
    let start = offset_bytes as usize;
    buffer.copy_from_slice(bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

#[test]
fn the_second_table_helps_where_the_first_cannot_be_read() {
    for width in ["12", "16", "32"] {
        let Some((_place, bytes)) = small(width) else { return };
        let geometry = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
        let sound = opened(memory(&bytes));
        let bad = geometry.tables[0]..geometry.tables[0] + 512;
        let scratched = opened(Arc::new(Scratched(bytes.clone(), bad.clone())));
        assert_eq!(guest_tree(sound.as_ref()), guest_tree(scratched.as_ref()));
        let both = bad.start..geometry.tables[1] + 512;
        assert!(open_any(&[Arc::new(Scratched(bytes, both))], &OpenOptions::default()).is_err(), "not without any");
    }
}

#[test]
fn free_clusters_are_counted_where_their_number_is_not_known_and_dirty_is_said() {
    let Some((_place, mut bytes)) = small("32") else { return };
    let geometry = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
    let used = opened(memory(&bytes)).about().used_bytes;
    let info = geometry.info_bytes.expect("FAT32 has one") as usize;
    bytes[info + 488..info + 492].fill(0xff);
    bytes[0x41] |= 1;
    let fs = opened(memory(&bytes));
    assert_eq!(fs.about().used_bytes, used);
    assert!(used.is_some_and(|used| used > 80_000));
    assert!(fs.about().notes.iter().any(|note| note == "it was not unmounted cleanly"));
}

#[test]
fn what_only_looks_like_fat_is_none() {
    let Some((_place, bytes)) = small("16") else { return };
    let known = |bytes: &[u8]| identify(&MemoryAt::new(bytes.to_vec())).expect("read").is_some();
    assert!(known(&bytes));
    let changes: [(usize, &[u8]); 10] = [
        (3, b"NTFS    "),
        (3, b"EXFAT   "),
        (11, &[0, 3]),
        (13, &[3]),
        (14, &[0, 0]),
        (16, &[0]),
        (17, &[1, 0]),
        (21, &[0x10]),
        (22, &[0, 0]),
        (19, &[1, 0]),
    ];
    for (at, change) in changes {
        let mut other = bytes.clone();
        other[at..at + change.len()].copy_from_slice(change);
        assert!(!known(&other), "{at}");
    }
    assert!(!known(&[0; 4096]) && !known(&bytes[..100]));
    let mut disk = vec![0; 4096];
    disk[..4].copy_from_slice(&[0xeb, 0x63, 0x90, 0x10]);
    disk[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x0c, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(!known(&disk), "the first sector of a disk");
}

#[test]
fn damaged_volumes_are_walked_to_the_end() {
    for width in ["12", "16", "32"] {
        let Some((_place, bytes)) = small(width) else { return };
        let geometry = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
        let data = geometry.clusters.start_bytes as usize;
        let mut spots = vec![0..90, geometry.tables[0] as usize..geometry.tables[0] as usize + 600, data..data + 2048];
        let (folder, cluster, _) = entry(&bytes, b"folder");
        let inside = geometry.clusters.offset(cluster).expect("inside") as usize;
        spots.extend([folder & !511..(folder & !511) + 512, inside..inside + 512]);
        let survival = survive_damage(&bytes, &spots, 150, &|_, _| {});
        assert!(survival.hurt > 5, "{survival:?}");
    }
}
