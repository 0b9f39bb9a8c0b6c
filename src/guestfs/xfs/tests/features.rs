//! Each set of features that mkfs.xfs offers, with the nasty tree in it, compared with the kernel in every field.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{XattrFlags, ioctl_ficlone, lsetxattr};

use super::*;
use crate::guestfs::fields::{be16, be32, byte};
use crate::guestfs::xfs::mapping::Fork;
use crate::guestfs::{FileKind, GuestError, Node, identify};

/// Exchange-range and parent pointers.
const NEWER: u32 = 1 << 6 | 1 << 7;

/// What XFS has and the nasty tree has not: attributes in a tree, shared extents, a directory in one block.
fn extra(root: &Path) {
    let crowded = root.join("crowded");
    std::fs::write(&crowded, b"with attributes").expect("room");
    for at in 0..400 {
        let name = format!("user.attribute-with-a-long-name-{at:03}");
        lsetxattr(&crowded, &name, &vec![b'v'; at % 90], XattrFlags::empty()).expect("room");
    }
    let block = root.join("block");
    std::fs::create_dir(&block).expect("room");
    (0..20).for_each(|at| std::fs::write(block.join(format!("name{at}")), b"x").expect("room"));
    if let Ok(clone) = File::create(root.join("clone"))
        && ioctl_ficlone(&clone, File::open(root.join("punch.bin")).expect("it was made")).is_ok()
    {
        clone.write_all_at(&[9; 5000], 100_000).expect("room");
    }
}

/// In which forms contents, directories and attributes are stored.
fn forms(image: &Path, tree: &Tree) -> BTreeSet<String> {
    let (fs, volume) = (opened(image, true), volume(image));
    let mut forms = BTreeSet::new();
    for (path, item) in tree {
        let node = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        let node = node.fold(fs.root(), |node, name| fs.lookup(node, name).expect("sound").expect("it is listed"));
        let inode = volume.inode(node.0).expect("sound");
        let format = format!("{:?}", inode.format(Fork::Data).expect("sound"));
        match item.kind {
            FileKind::Directory if format != "Local" => {
                let mut head = [0; 4];
                let contents = volume.metadata_fork(&inode, Fork::Data, 64 << 30).expect("sound");
                crate::io::ReadAt::read_at(&contents, 0, &mut head).expect("sound");
                let has_nodes = crate::guestfs::FileData::run_at(&contents, (32 << 30) + u64::from(volume.superblock.directory_bytes));
                let has_nodes = has_nodes.is_ok_and(|run| run.place != crate::guestfs::Place::Hole);
                let form = if &head[..3] == b"XDB" {
                    "Block"
                } else if has_nodes {
                    "Node"
                } else {
                    "Leaf"
                };
                forms.extend([format!("Directory {form}"), format!("Directory {format}")]);
            }
            kind => drop(forms.insert(format!("{kind:?} {format}"))),
        }
        if inode.has_attributes() {
            let mut form = format!("{:?}", inode.format(Fork::Attributes).expect("sound"));
            if let Some(first) = volume.mappings(&inode, Fork::Attributes).expect("sound").first() {
                let at = volume.superblock.place_of_blocks(first.block, 1).expect("inside");
                let block = volume.read(at, 512, &|| String::new()).expect("sound");
                form = if matches!(be16(&block, 8), 0x3ebe | 0xfebe) { "Node".to_owned() } else { "Leaf".to_owned() };
            }
            forms.insert(format!("Attributes {form}"));
        }
    }
    forms
}

/// Fills, compares, and gives the forms that there were.
fn same_as_kernel(mebibytes: u64, arguments: &[&str], features: u32) -> Option<BTreeSet<String>> {
    let what = Population { longest_attribute: 60_000, ..Population::posix() };
    let size = if crate::guestfs::testing::long_tests() { mebibytes + 900 } else { mebibytes };
    let (_place, image) = made(size, arguments)?;
    add_features(&image, features);
    let mounted = Mounted::loop_mount(&image, "xfs", "nouuid")?;
    populate(mounted.path(), &what);
    extra(mounted.path());
    drop(mounted);
    let tree = compare(&image, &[])?;
    assert!(tree.len() > 1_900, "{} objects", tree.len());
    Some(forms(&image, &tree))
}

#[test]
fn as_mkfs_makes_it() {
    let Some(forms) = same_as_kernel(320, &[], 0) else { return };
    let expected = [
        "Attributes Leaf",
        "Attributes Local",
        "Attributes Node",
        "BlockDevice Device",
        "Directory Block",
        "Directory Leaf",
        "Directory Local",
        "Directory Node",
        "Directory Tree",
        "Link Extents",
        "Link Local",
        "Regular Extents",
        "Regular Tree",
    ];
    let missing: Vec<_> = expected.iter().filter(|form| !forms.contains(**form)).collect();
    assert!(missing.is_empty(), "not tried: {missing:?} of {forms:?}");
}

#[test]
fn small_blocks_and_reverse_mappings() {
    same_as_kernel(320, &["-b", "size=1024", "-m", "rmapbt=1", "-n", "size=8192"], 0);
}

#[test]
fn large_counts_and_inodes() {
    same_as_kernel(320, &["-i", "nrext64=1,size=2048", "-n", "size=65536"], 0);
}

#[test]
fn exchanges_and_parent_pointers() {
    same_as_kernel(320, &["-i", "nrext64=1", "-m", "rmapbt=1"], NEWER);
}

#[test]
fn as_the_first_of_version_5_were() {
    same_as_kernel(320, &["-m", "bigtime=0,inobtcount=0,reflink=0,finobt=0", "-i", "sparse=0", "-s", "size=4096"], 0);
}

/// Blocks larger than a page of memory, where this kernel mounts them.
#[test]
fn blocks_of_64_kib() {
    let Some((_place, image)) = made(700, &["-b", "size=65536"]) else { return };
    match Mounted::try_loop_mount(&image, "xfs", "nouuid") {
        Ok(mounted) => populate(mounted.path(), &Population::posix().tiny()),
        Err(_) => return,
    }
    assert!(compare(&image, &[]).is_some_and(|tree| tree.len() > 300));
}

#[test]
fn identities_are_those_of_blkid() {
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let Some((_place, image)) = made(320, &["-L", "a label", "-m", &format!("uuid={uuid}")]) else { return };
    let found = identify(device(&image).as_ref()).expect("readable").expect("known");
    assert_eq!((found.kind, found.label.as_deref(), found.uuid.as_deref()), ("xfs", Some("a label"), Some(uuid)));
    assert_eq!(found.size_bytes, Some(320 << 20));
    let about = opened(&image, true).about().clone();
    assert_eq!((about.block_bytes, about.size_bytes, about.notes), (4096, 320 << 20, Vec::<String>::new()));
    let Some(mounted) = Mounted::loop_mount(&image, "xfs", "ro") else { return };
    let told = rustix::fs::statvfs(mounted.path()).expect("mounted");
    // What the kernel sets aside for itself counts as used in neither.
    let used = about.used_bytes.expect("counted");
    assert!(used > (64 << 20) && used < (320 << 20) - told.f_bavail * told.f_frsize, "{used}");
}

#[test]
fn unknown_features_are_refused_by_name() {
    let Some((_place, image)) = made(320, &[]) else { return };
    let mut bytes = std::fs::read(&image).expect("readable");
    bytes[216] |= 0x40;
    bytes[218] |= 0x02;
    std::fs::write(&image, &bytes).expect("writable");
    match open(&[device(&image)], &OpenOptions::default()) {
        Err(GuestError::Unsupported { feature }) => assert_eq!(feature, "XFS feature 'zoned', 'incompat 0x40000000'"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

/// The inode of the only file of an image that mkfs fills, changed by hand.
fn with_changed_file(change: impl Fn(&mut [u8])) -> Option<Box<dyn FileSystem>> {
    let place = tempfile::tempdir().expect("a place");
    let (image, proto) = (place.path().join("image"), place.path().join("proto"));
    std::fs::write(&proto, format!("/x\n0 0\nd--755 0 0\nfile ---644 0 0 {}\n$\n", text(&proto))).expect("room");
    make(&image, 32, &["-p", text(&proto)])?;
    let fs = opened(&image, true);
    let node = fs.lookup(fs.root(), b"file").expect("sound").expect("there");
    let at = volume(&image).superblock.place_of_inode(node.0).expect("inside") as usize;
    let mut bytes = std::fs::read(&image).expect("readable");
    change(&mut bytes[at..at + 512]);
    std::fs::write(&image, &bytes).expect("writable");
    Some(opened(&image, true))
}

fn file_of(fs: &dyn FileSystem) -> Node {
    fs.lookup(fs.root(), b"file").expect("sound").expect("there")
}

#[test]
fn real_time_files_are_refused_and_others_are_not() {
    let changed = with_changed_file(|inode| {
        assert_eq!((byte(inode, 4), be32(inode, 76)), (3, 1));
        inode[91] |= 1;
        let sum = checksum(inode, 100);
        inode[100..104].copy_from_slice(&sum.to_le_bytes());
    });
    let Some(fs) = changed else { return };
    match fs.open(file_of(fs.as_ref())).map(|_| ()) {
        Err(GuestError::Unsupported { feature }) => assert!(feature.contains("real-time"), "{feature}"),
        other => panic!("{other:?}"),
    }
    assert!(fs.attributes(file_of(fs.as_ref())).is_ok());
}

#[test]
fn damage_is_found_by_its_checksum_and_named() {
    let Some(fs) = with_changed_file(|inode| inode[60] ^= 1) else { return };
    let node = file_of(fs.as_ref());
    match fs.attributes(node) {
        Err(GuestError::Damaged { object, problem }) => {
            assert!(object == format!("inode {}", node.0) && problem.contains("checksum"), "{object} {problem}");
        }
        other => panic!("{other:?}"),
    }
    assert!(fs.attributes(fs.root()).is_ok());
}

/// Where blocks of entries, values and trees lie, one byte changed is an error of what lies there, and of nothing else.
#[test]
fn each_kind_of_block_is_checked() {
    let Some((_place, image)) = made(32, &["-b", "size=1024"]) else { return };
    let Some(mounted) = Mounted::loop_mount(&image, "xfs", "nouuid") else { return };
    populate(mounted.path(), &Population { longest_attribute: 60_000, ..Population::posix().tiny() });
    extra(mounted.path());
    drop(mounted);
    let bytes = std::fs::read(&image).expect("readable");
    let all = shown(&image).len();
    let superblock = &volume(&image).superblock;
    let log = superblock.place_of_blocks(superblock.log_start, 1).expect("inside") as usize;
    let log = log..log + superblock.log_blocks as usize * 1024;
    let kinds: [(usize, &[u8]); 6] = [(0, b"BMA3"), (0, b"XDD3"), (0, b"XDB3"), (0, b"XARM"), (0, b"XSLM"), (8, &[0x3b, 0xee])];
    for (within, magic) in kinds {
        let places = (0..bytes.len()).step_by(1024).filter(|at| !log.contains(at) && bytes[at + within..].starts_with(magic));
        let places: Vec<usize> = places.collect();
        let hurt = places.iter().take(40).find(|&&at| {
            let mut changed = bytes.clone();
            changed[at + 200] ^= 0x40;
            std::fs::write(&image, &changed).expect("writable");
            let walked = walk(opened(&image, true).as_ref(), &Limits::sound());
            walked.problems.iter().any(|problem| problem.contains("checksum")) && walked.tree.len() > all / 4
        });
        assert!(hurt.is_some(), "{} of {} blocks can be damaged unnoticed", magic.escape_ascii(), places.len());
    }
}
