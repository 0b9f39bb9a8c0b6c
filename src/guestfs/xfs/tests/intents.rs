//! Operations that a log leaves unfinished, finished here as the kernel does: exchanges are compared with those of a running kernel.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::guestfs::xfs::Xfs;
use crate::guestfs::xfs::changes::Changes;
use crate::guestfs::xfs::log::{AttributeChange, Exchange, Intent, Remap};
use crate::guestfs::xfs::mapping::{Fork, Mapping};
use crate::guestfs::{About, GuestError, GuestResult, Node};

const BLOCK: u64 = 4096;
/// Asks the kernel to exchange ranges of two files: `struct xfs_exchange_range` of `fs/xfs/libxfs/xfs_fs.h`.
const EXCHANGE: &str = "import fcntl, os, struct, sys\n\
    one, two, flags, length = os.open(sys.argv[1], 2), os.open(sys.argv[2], 2), int(sys.argv[3]), int(sys.argv[4])\n\
    fcntl.ioctl(two, 0x40285881, struct.pack('=iIQQQQ', one, 0, 4096, 8192, length, flags))";

/// Two files with holes, extents and space reserved: 20 blocks and a half, and 31.
fn two_files() -> Option<(tempfile::TempDir, PathBuf)> {
    let (place, image) = made(320, &["-i", "nrext64=1"])?;
    add_features(&image, 1 << 6);
    let mounted = Mounted::loop_mount(&image, "xfs", "nouuid")?;
    for (name, size, salt) in [("one", 20 * 4096 + 2000, 1), ("two", 31 * 4096, 100)] {
        let file = File::create(mounted.join(name)).expect("room");
        file.set_len(size).expect("room");
        for at in (0..size / BLOCK).filter(|at| at % 5 != 3) {
            file.write_all_at(&vec![salt + at as u8; BLOCK as usize], at * BLOCK).expect("room");
        }
        let reserve = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, reserve, 3 * BLOCK, BLOCK).expect("room");
        rustix::fs::lsetxattr(mounted.join(name), "user.kept", b"as it was", rustix::fs::XattrFlags::empty()).expect("room");
    }
    drop(mounted);
    Some((place, image))
}

fn node(image: &Path, name: &[u8]) -> u64 {
    let fs = opened(image, true);
    fs.lookup(fs.root(), name).expect("sound").expect("there").0
}

fn finished(image: &Path, intents: Vec<Intent>) -> GuestResult<Xfs> {
    let volume = volume(image);
    let changes = Changes::finish(&volume, intents)?;
    Ok(Xfs { volume: volume.with_changes(changes), lookups: Default::default(), about: About::default() })
}

/// Contents, size and bytes in use.
fn state(fs: &Xfs, number: u64) -> (Vec<u8>, u64) {
    let file = fs.open(Node(number)).expect("sound");
    let mut bytes = vec![0; file.size_bytes() as usize];
    file.read_at(0, &mut bytes).expect("sound");
    (bytes, fs.attributes(Node(number)).expect("sound").allocated_bytes)
}

/// Exchanges from the second block of the first and the third of the second on, there and here.
fn same_as_kernel(flags: u32, length: u64, exchange: impl Fn(Exchange) -> Exchange) {
    let Some((place, image)) = two_files() else { return };
    let (one, two) = (node(&image, b"one"), node(&image, b"two"));
    let copy = place.path().join("copy");
    std::fs::copy(&image, &copy).expect("room");
    let Some(mounted) = Mounted::loop_mount(&copy, "xfs", "nouuid") else { return };
    let (first, second) = (mounted.join("one"), mounted.join("two"));
    let arguments = ["-c", EXCHANGE, text(&first), text(&second), &flags.to_string(), &length.to_string()];
    let Some(_) = run("python3", &arguments) else { return };
    drop(mounted);
    let plain = Exchange { inodes: [one, two], starts: [1, 2], count: length / BLOCK, fork: Fork::Data, sizes: None, only_written: false };
    let found = finished(&image, vec![Intent::Exchange(exchange(plain))]).expect("sound");
    let expected = finished(&copy, Vec::new()).expect("sound");
    for number in [one, two] {
        let (expected, found) = (state(&expected, number), state(&found, number));
        let first = expected.0.iter().zip(&found.0).position(|(left, right)| left != right);
        assert_eq!((expected.0.len(), expected.1, None), (found.0.len(), found.1, first), "inode {number}");
    }
}

#[test]
fn an_exchange_within_files() {
    same_as_kernel(0, 12 * BLOCK, |plain| plain);
}

#[test]
fn an_exchange_of_what_is_written() {
    same_as_kernel(8, 12 * BLOCK, |plain| Exchange { only_written: true, ..plain });
}

#[test]
fn an_exchange_up_to_the_ends() {
    // The kernel has them exchange their sizes, wherever the ranges begin.
    let sizes = Some([31 * BLOCK, 20 * BLOCK + 2000]);
    same_as_kernel(1, 0, |plain| Exchange { count: 29, sizes, ..plain });
}

#[test]
fn mappings_are_moved_in_the_order_of_the_log() {
    let Some((_place, image)) = two_files() else { return };
    let (one, two) = (node(&image, b"one"), node(&image, b"two"));
    let (before, used) = state(&finished(&image, Vec::new()).expect("sound"), two);
    let volume = volume(&image);
    let moved = volume.mappings(&volume.inode(one).expect("sound"), Fork::Data).expect("sound")[0];
    let at = |start| Mapping { start, count: 2, ..moved };
    let remap = |inode, mapping, is_removed| Intent::Remap(vec![Remap { inode, fork: Fork::Data, mapping, is_removed }]);
    let steps = vec![remap(two, at(9), true), remap(two, at(9), false), remap(two, Mapping { unwritten: true, ..at(40) }, false)];
    let fs = finished(&image, steps).expect("sound");
    let (after, more) = state(&fs, two);
    // Block 8 is a hole; 9 and 10 hold now what the first two blocks of the other file do, and two more are reserved past the end.
    let mut expected = before;
    expected[9 * 4096..10 * 4096].fill(1);
    expected[10 * 4096..11 * 4096].fill(2);
    assert!(expected == after);
    assert_eq!(more, used + 2 * BLOCK);
    assert!(fs.open(Node(one)).is_ok());
    match finished(&image, vec![remap(two, at(9), false)]).map(|_| ()) {
        Err(GuestError::Damaged { problem, .. }) => assert!(problem.contains("where there are some"), "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn attributes_are_set_and_removed() {
    let Some((_place, image)) = two_files() else { return };
    let (one, two) = (node(&image, b"one"), node(&image, b"two"));
    let change = |inode, flags, name: &[u8], value: Option<&[u8]>| {
        Intent::Attribute(AttributeChange { inode, flags, name: name.to_vec(), value: value.map(<[u8]>::to_vec) })
    };
    let changes = vec![
        change(one, 0, b"kept", Some(b"replaced")),
        change(one, 2, b"kept", Some(b"of root")),
        change(two, 4, b"kept", None),
        change(two, 0, b"kept", None),
    ];
    let fs = finished(&image, changes).expect("sound");
    let of = |number| fs.extended_attributes(Node(number)).expect("sound");
    let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    assert_eq!(of(one), [pair(b"user.kept", b"replaced"), pair(b"trusted.kept", b"of root")]);
    assert_eq!(of(two), []);
}

#[test]
fn what_cannot_be_finished_is_refused() {
    let Some((_place, image)) = two_files() else { return };
    let one = node(&image, b"one");
    let root = opened(&image, true).root().0;
    let exchange = |inodes| {
        let sizes = None;
        Intent::Exchange(Exchange { inodes, starts: [0, 0], count: 1, fork: Fork::Data, sizes, only_written: false })
    };
    for (inodes, expected) in [([one, one], "with itself"), ([one, root], "which has no list of blocks")] {
        match finished(&image, vec![exchange(inodes)]).map(|_| ()) {
            Err(GuestError::Unsupported { feature }) => assert!(feature.contains(expected), "{feature}"),
            other => panic!("{other:?}"),
        }
    }
}
