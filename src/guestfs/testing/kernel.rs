//! The truth: a tree as the kernel shows it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, SeekFrom, Statx, StatxFlags, StatxTimestamp, statx};
use rustix::io::Errno;

use super::guest::{ContentHash, PIECE_BYTES};
use super::tree::{Item, Tree, name_first};
use crate::guestfs::{DeviceNumber, FileKind, Timestamp};

/// Walks a mounted filesystem from `root`. Mount it with `ro,noatime`, so that looking changes nothing.
///
/// What cannot be read fails the test, except contents of encrypted files without their key.
pub(in crate::guestfs) fn kernel_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut numbers = BTreeMap::new();
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let full = full(root, &path);
        let (item, number) = item(&full);
        if item.kind == FileKind::Directory {
            for entry in std::fs::read_dir(&full).unwrap_or_else(|error| panic!("{full:?}: {error}")) {
                let name = entry.unwrap_or_else(|error| panic!("{full:?}: {error}")).file_name();
                left.push(joined(&path, name.as_bytes()));
            }
        }
        numbers.insert(path.clone(), number);
        tree.insert(path, item);
    }
    name_first(&mut tree, &numbers);
    tree
}

/// A name below a path.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn full(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(path)) }
}

fn time(time: StatxTimestamp) -> Timestamp {
    Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}

fn item(path: &Path) -> (Item, u64) {
    let found: Statx = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mode = u32::from(found.stx_mode);
    let kind = FileKind::of_mode(mode).expect("the kernel knows the kinds");
    let has_device = matches!(kind, FileKind::BlockDevice | FileKind::CharacterDevice);
    let item = Item {
        kind,
        mode: found.stx_mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        links: found.stx_nlink,
        first_name: Vec::new(),
        device: has_device.then_some(DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor }),
        size_bytes: found.stx_size,
        allocated_bytes: found.stx_blocks * 512,
        modified: time(found.stx_mtime),
        changed: Some(time(found.stx_ctime)),
        accessed: Some(time(found.stx_atime)),
        created: StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME).then(|| time(found.stx_btime)),
        attributes: attributes(path),
        target: (kind == FileKind::Link).then(|| target(path)),
        content: if kind == FileKind::Regular { content(path) } else { None },
    };
    (item, found.stx_ino)
}

fn target(path: &Path) -> Vec<u8> {
    std::fs::read_link(path).unwrap_or_else(|error| panic!("{path:?}: {error}")).into_os_string().into_vec()
}

pub(super) fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return BTreeMap::new(),
        Err(error) => panic!("{path:?}: {error}"),
    };
    let mut all = BTreeMap::new();
    let mut value = vec![0; 1 << 16];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let length =
            rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or_else(|error| panic!("{path:?} {}: {error}", name.escape_ascii()));
        all.insert(name.to_vec(), value[..length].to_vec());
    }
    all
}

/// The hash of a file's contents; holes are stepped over.
fn content(path: &Path) -> Option<blake3::Hash> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::NOKEY.raw_os_error()) => return None,
        Err(error) => panic!("{path:?}: {error}"),
    };
    let size = file.metadata().unwrap_or_else(|error| panic!("{path:?}: {error}")).len();
    let mut hash = ContentHash::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < size {
        match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => at = data / PIECE_BYTES as u64 * PIECE_BYTES as u64,
            Err(Errno::NXIO) => break,
            Err(_) => {}
        }
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        match file.read_exact_at(&mut buffer[..length], at) {
            Ok(()) => hash.piece(at, &buffer[..length]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => panic!("{path:?} is shorter than it says"),
            Err(error) => panic!("{path:?} at {at}: {error}"),
        }
        at += length as u64;
    }
    Some(hash.finish(size))
}
