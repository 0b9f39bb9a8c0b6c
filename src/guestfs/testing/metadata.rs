//! The part of the tree that is not contents: extended attributes, ACLs, nodes of devices, owners, modes, times.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat};
use rustix::io::Errno;

use super::noise::Noise;
use super::populate::{Population, directory, write};

/// Makes it below `root`.
pub(super) fn fill(root: &Path, what: &Population, noise: &mut Noise) {
    if what.longest_attribute > 0 {
        attributes(root, what, noise);
    }
    if what.acls {
        acls(root);
    }
    if what.unix {
        nodes(root);
        owners(root);
    }
    times(root, what);
}

/// What there is no room for is left out: the kernel's own view decides.
fn set(path: &Path, name: &str, value: &[u8]) {
    match lsetxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) | Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) => {}
        Err(error) => panic!("{path:?} {name}: {error}"),
    }
}

fn attributes(root: &Path, what: &Population, noise: &mut Noise) {
    let place = directory(root.join("xattr"));
    let file = |name: &str| {
        write(place.join(name), name.as_bytes());
        place.join(name)
    };
    let small = file("small");
    set(&small, "user.small", b"v");
    set(&small, "user.empty", b"");
    set(&small, &format!("user.{}", "n".repeat(100)), &[b'q'; 200]);
    let several = file("several");
    for at in 0..20 {
        set(&several, &format!("user.m{at}"), at.to_string().as_bytes());
    }
    for length in [500, 1_000, 2_000, 3_000, 10_000, 60_000] {
        if length <= what.longest_attribute {
            set(&file(&format!("long{length}")), "user.long", &noise.bytes(length));
        }
    }
    set(&place, "user.of_a_directory", b"too");
    for at in 0..3 {
        // Files of equal attributes share a block in ext4.
        set(&file(&format!("shared{at}")), "user.shared", &[b's'; 400]);
    }
    if what.unix {
        set(&file("trusted"), "trusted.foo", b"bar");
        // cap_net_bind_service+p, version 2, as <linux/capability.h> has it.
        let capability = [0x0200_0000_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
        set(&file("capability"), "security.capability", &capability);
    }
}

/// An ACL as the kernel takes it: version 2, then tag, permissions and id of each entry (include/uapi/linux/posix_acl_xattr.h).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn acls(root: &Path) {
    const NOBODY: u32 = u32::MAX;
    let place = directory(root.join("acl"));
    write(place.join("before"), b"made before the default");
    let access = acl(&[(1, 6, NOBODY), (2, 7, 1234), (2, 5, 100_000), (4, 4, NOBODY), (8, 4, 77), (0x10, 7, NOBODY), (0x20, 4, NOBODY)]);
    let default = acl(&[(1, 7, NOBODY), (2, 7, 1234), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY)]);
    set(&place.join("before"), "system.posix_acl_access", &access);
    set(&place, "system.posix_acl_default", &default);
    write(place.join("inherits"), b"made after");
    directory(place.join("inherits_too"));
}

fn nodes(root: &Path) {
    let place = directory(root.join("nodes"));
    let nodes = [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("char-wide", FileType::CharacterDevice, makedev(4095, 1_048_575)),
        ("char-256", FileType::CharacterDevice, makedev(10, 256)),
        ("disk", FileType::BlockDevice, makedev(8, 255)),
        ("block-wide", FileType::BlockDevice, makedev(259, 70_000)),
    ];
    for (name, kind, device) in nodes {
        match mknodat(CWD, place.join(name), kind, Mode::from_raw_mode(0o640), device) {
            // XFS has 14 and 18 bits for the number of a device.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => panic!("node {name}: {error}"),
        }
    }
}

fn owners(root: &Path) {
    let place = directory(root.join("owners"));
    for (name, uid, gid, mode) in [
        ("setuid", 100_000, 3_000_000_000, 0o6755),
        ("none", 0, 0, 0),
        ("wide", 65_536, 65_535, 0o777),
        ("setgid", 1, 4_000_000_000, 0o2070),
        ("high", 4_294_967_294, 1, 0o1604),
    ] {
        let path = place.join(name);
        write(&path, name.as_bytes());
        chown(&path, Some(uid), Some(gid)).and_then(|()| set_permissions(&path, Permissions::from_mode(mode))).expect("root may");
    }
    set_permissions(directory(place.join("sticky")), Permissions::from_mode(0o1777)).expect("root may");
}

fn times(root: &Path, what: &Population) {
    let place = directory(root.join("times"));
    for (at, &seconds) in what.times.iter().enumerate() {
        let path = place.join(format!("t{at}"));
        write(&path, b"t");
        let time = Timespec { tv_sec: seconds, tv_nsec: [0, 1, 999_999_999, 123_456_789][at % 4] };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap_or_else(|error| panic!("{path:?} {seconds}: {error}"));
    }
}
