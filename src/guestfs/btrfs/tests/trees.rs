//! Whole trees on one device: every compression, checksum, size of blocks, subvolumes, collisions of names.

use std::collections::HashMap;
use std::fs;

use super::super::layout::name_hash;
use super::images::{Images, Mount};
use crate::guestfs::testing::{Field, Limits, Noise, Population, assert_same, guest_tree, kernel_tree, populate, run, text, walk};
use crate::guestfs::{FileSystem, Place, identify};

const SIZE: u64 = 512 << 20;

/// Compares all that the kernel shows; the same with runs compared with the devices.
pub(super) fn assert_equal(images: &Images, options: &str, ignoring: &[Field]) -> Option<Box<dyn FileSystem>> {
    let mount = images.mount(options)?;
    let expected = kernel_tree(mount.path());
    drop(mount);
    let fs = images.open();
    let walked = walk(fs.as_ref(), &Limits::sound().on(&images.devices()));
    assert_eq!(walked.problems, Vec::<String>::new());
    assert!(expected.len() > 1, "an empty tree proves nothing");
    assert_same(&expected, &walked.tree, ignoring);
    Some(fs)
}

fn compare(make: &[&str], write: &str, population: &Population) -> Option<Box<dyn FileSystem>> {
    let images = Images::made(1, SIZE, make)?;
    let mount: Mount = images.mount(write)?;
    populate(mount.path(), population);
    drop(mount);
    assert_equal(&images, "ro,noatime", &[])
}

#[test]
fn plain_files_are_as_the_kernel_shows_them() {
    let Some(fs) = compare(&["-L", "a label"], "noatime", &Population::posix()) else { return };
    let big = fs.lookup(fs.root(), b"big.bin").expect("read").expect("there");
    let run = fs.open(big).expect("a file").run_at(0).expect("read");
    assert!(matches!(run.place, Place::Device { device: 0, .. }) && run.length_bytes >= 1 << 20, "{run:?}");
    assert_eq!(fs.about().notes, Vec::<String>::new());
}

#[test]
fn zlib_is_read() {
    compare(&[], "noatime,compress-force=zlib", &Population::posix());
}

#[test]
fn lzo_is_read() {
    compare(&[], "noatime,compress-force=lzo", &Population::posix());
}

#[test]
fn zstd_is_read() {
    compare(&[], "noatime,compress-force=zstd", &Population::posix());
}

#[test]
fn every_checksum_and_size_of_blocks_is_read() {
    let population = Population { big_bytes: 2 << 20, entries: 300, ..Population::posix() };
    compare(&["--csum", "xxhash", "-n", "4096"], "noatime", &population);
    compare(&["--csum", "sha256", "-n", "65536"], "noatime,compress=zstd", &population);
    compare(&["--csum", "blake2", "-m", "dup", "-d", "dup"], "noatime", &population);
}

#[test]
fn older_and_newer_layouts_are_read() {
    let population = Population { big_bytes: 2 << 20, entries: 300, ..Population::posix() };
    compare(&["--mixed"], "noatime", &population);
    compare(&["-O", "^no-holes,^extref,^skinny-metadata", "-R", "^free-space-tree"], "noatime,nodatacow", &population);
    compare(&["-m", "single"], "noatime,max_inline=0,flushoncommit", &population);
}

#[test]
fn a_changed_uuid_is_told_from_that_of_the_metadata() {
    let Some(images) = Images::made(1, SIZE, &["-U", "11111111-2222-3333-4444-555555555555"]) else { return };
    let Some(mount) = images.mount("noatime") else { return };
    populate(mount.path(), &Population::posix().tiny());
    drop(mount);
    if run("btrfstune", &["-f", "-M", "99999999-2222-3333-4444-555555555555", text(&images.paths[0])]).is_none() {
        return;
    }
    let identity = identify(images.devices()[0].as_ref()).expect("read").expect("btrfs");
    assert_eq!(identity.uuid.as_deref(), Some("99999999-2222-3333-4444-555555555555"));
    assert_equal(&images, "ro,noatime", &[]);
}

#[test]
fn subvolumes_and_snapshots_hang_where_the_kernel_shows_them() {
    let Some(images) = Images::made(1, SIZE, &[]) else { return };
    let Some(mount) = images.mount("noatime") else { return };
    let btrfs = |arguments: &[&str]| run("btrfs", arguments).expect("btrfs is there, as mkfs.btrfs is");
    let place = |name: &str| text(&mount.join(name)).to_owned();
    btrfs(&["subvolume", "create", &place("@")]);
    populate(&mount.join("@"), &Population::posix().tiny());
    fs::create_dir(mount.join("@/inside")).expect("made");
    btrfs(&["subvolume", "create", &place("@/inside/nested")]);
    fs::write(mount.join("@/inside/nested/file"), b"nested").expect("written");
    fs::create_dir(mount.join("snapshots")).expect("made");
    btrfs(&["subvolume", "snapshot", "-r", &place("@"), &place("snapshots/one")]);
    fs::write(mount.join("@/small/f001-1"), b"changed after the snapshot").expect("written");
    fs::remove_file(mount.join("@/text.txt")).expect("removed");
    btrfs(&["subvolume", "snapshot", &place("@"), &place("snapshots/two")]);
    btrfs(&["subvolume", "create", &place("deleted")]);
    btrfs(&["subvolume", "delete", &place("deleted")]);
    run("cp", &["--reflink=always", &place("@/big.bin"), &place("@/clone.bin")]).expect("cp is there");
    btrfs(&["subvolume", "set-default", &place("@/inside/nested")]);
    drop(mount);
    // The kernel shows equal inode numbers in each subvolume; the empty directory in a snapshot has times that the kernel makes up.
    let ignored = [Field::Names];
    let mount = images.mount("ro,noatime,subvolid=5").expect("as before");
    let mut expected = kernel_tree(mount.path());
    drop(mount);
    let fs = images.open();
    let mut found = guest_tree(fs.as_ref());
    for snapshot in ["one", "two"] {
        let path = format!("snapshots/{snapshot}/inside/nested").into_bytes();
        let (left, right) = (expected.remove(&path).expect("an empty directory"), found.remove(&path).expect("the same"));
        assert_eq!((left.kind, left.mode, left.size_bytes), (right.kind, right.mode, right.size_bytes));
    }
    assert_same(&expected, &found, &ignored);
    assert!(found.contains_key(b"@/inside/nested/file".as_slice()) && found.contains_key(b"snapshots/one/text.txt".as_slice()));
    assert!(!found.contains_key(b"snapshots/two/text.txt".as_slice()));
    let note = fs.about().notes.first().cloned().unwrap_or_default();
    assert!(note.starts_with("the default subvolume is ") && note.ends_with("at /@/inside/nested"), "{note}");
}

/// Names of which several have one hash.
fn colliding_names() -> Vec<String> {
    let mut by_hash: HashMap<u64, Vec<String>> = HashMap::new();
    let mut noise = Noise::new(5);
    for _ in 0..300_000 {
        // Names that differ in few bits have different sums.
        let name = format!("name-{:x}", noise.next());
        by_hash.entry(name_hash(name.as_bytes())).or_default().push(name);
    }
    by_hash.into_values().filter(|names| names.len() > 1).flatten().collect()
}

#[test]
fn names_with_one_hash_are_told_apart() {
    let names = colliding_names();
    assert!(names.len() >= 4, "the numbers are chosen so that there are some");
    let Some(images) = Images::made(1, SIZE, &[]) else { return };
    let Some(mount) = images.mount("noatime") else { return };
    for name in &names {
        fs::write(mount.join(name), name).expect("written");
    }
    drop(mount);
    let Some(fs) = assert_equal(&images, "ro,noatime", &[]) else { return };
    for name in &names {
        let node = fs.lookup(fs.root(), name.as_bytes()).expect("read").expect("there");
        let mut bytes = vec![0; name.len()];
        fs.open(node).expect("a file").read_at(0, &mut bytes).expect("read");
        assert_eq!(bytes, name.as_bytes());
    }
}
