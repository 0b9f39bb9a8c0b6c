//! Fills a mounted filesystem with a tree that has one of each thing that readers get wrong. Seeded: the same tree each time.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::noise::Noise;
use super::{long_tests, metadata};

/// What the filesystem can hold, and how much it gets.
#[derive(Clone, Debug)]
pub(in crate::guestfs) struct Population {
    pub(in crate::guestfs) seed: u64,
    /// Small files in directories of 1,000.
    pub(in crate::guestfs) many: usize,
    /// Names in one directory.
    pub(in crate::guestfs) entries: usize,
    /// Bytes of the big incompressible file; the compressible one has a quarter.
    pub(in crate::guestfs) big_bytes: usize,
    /// Bytes of the sparse file; 0: none.
    pub(in crate::guestfs) sparse_bytes: u64,
    /// Whether holes can be punched and space be reserved.
    pub(in crate::guestfs) punch: bool,
    /// Directories within directories.
    pub(in crate::guestfs) depth: usize,
    /// Whether names may be any bytes, and have capitals of their own: newlines, no UTF-8, 255 bytes.
    pub(in crate::guestfs) odd_names: bool,
    /// Bytes of the longest symbolic link; 0: none.
    pub(in crate::guestfs) longest_link: usize,
    /// Names of one file; 1: no hard links.
    pub(in crate::guestfs) hard_links: usize,
    /// Whether there are owners, modes, nodes of devices, pipes and sockets.
    pub(in crate::guestfs) unix: bool,
    /// Bytes of the longest extended attribute; 0: none at all.
    pub(in crate::guestfs) longest_attribute: usize,
    /// Whether there are POSIX ACLs.
    pub(in crate::guestfs) acls: bool,
    /// Modification times in seconds since 1970.
    pub(in crate::guestfs) times: Vec<i64>,
}

impl Population {
    /// All that a filesystem of Unix has, small: about 24 MiB and 6,000 names; under `CAIRN_LONG_TESTS=1` 56,000 and 250 MiB.
    pub(in crate::guestfs) fn posix() -> Self {
        let long = long_tests();
        Self {
            seed: 42,
            many: if long { 50_000 } else { 100 },
            entries: if long { 5_000 } else { 2_000 },
            big_bytes: if long { 200 << 20 } else { 12 << 20 },
            sparse_bytes: 1 << 30,
            punch: true,
            depth: 40,
            odd_names: true,
            longest_link: 800,
            hard_links: 6,
            unix: true,
            longest_attribute: 3_000,
            acls: true,
            times: vec![-1_000_000_001, -1, 0, 1_700_000_000, 2_147_483_647, 2_147_483_648, 2_208_988_800, 4_102_444_800],
        }
    }

    /// What FAT and its like hold: names, contents, times.
    pub(in crate::guestfs) fn plain() -> Self {
        Self {
            sparse_bytes: 0,
            punch: false,
            odd_names: false,
            longest_link: 0,
            hard_links: 1,
            unix: false,
            longest_attribute: 0,
            acls: false,
            times: vec![1_000_000_000, 1_700_000_000, 2_147_483_648],
            ..Self::posix()
        }
    }

    /// The same for a test of damage: a few of each, 1 MiB in all.
    pub(in crate::guestfs) fn tiny(self) -> Self {
        Self { many: 20, entries: 150, big_bytes: 256 << 10, sparse_bytes: self.sparse_bytes.min(64 << 20), depth: 6, ..self }
    }
}

/// Makes the tree below `root`. What the filesystem refuses fails the test, except extended attributes for which it has no room.
pub(in crate::guestfs) fn populate(root: &Path, what: &Population) {
    let mut noise = Noise::new(what.seed);
    contents(root, what, &mut noise);
    if what.sparse_bytes > 0 {
        sparse(root, what.sparse_bytes, &mut noise);
    }
    fragmented(root, what, &mut noise);
    if what.punch {
        punched(root, what, &mut noise);
    }
    names(root, what);
    directories(root, what);
    links(root, what);
    metadata::fill(root, what, &mut noise);
    rustix::fs::syncfs(File::open(root).expect("the root opens")).expect("the filesystem syncs");
}

pub(super) fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    let path = path.as_ref();
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}

pub(super) fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    path
}

fn create(path: PathBuf) -> File {
    File::create(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Sizes round the limits of inline contents and of blocks, and two big files.
fn contents(root: &Path, what: &Population, noise: &mut Noise) {
    const SIZES: [usize; 36] = [
        0, 1, 10, 59, 60, 61, 100, 127, 128, 150, 155, 156, 157, 160, 161, 300, 400, 511, 512, 513, 700, 1000, 1023, 1024, 1025, 2047,
        2048, 2049, 4095, 4096, 4097, 9000, 20_000, 65_535, 65_536, 65_537,
    ];
    let small = directory(root.join("small"));
    for (at, size) in SIZES.iter().cycle().take(SIZES.len() * 3).enumerate() {
        write(small.join(format!("f{at:03}-{size}")), &noise.bytes(*size));
    }
    let mut big = create(root.join("big.bin"));
    let block = noise.bytes(1 << 20);
    for at in 0..what.big_bytes >> 20 {
        big.write_all(&(at as u64).to_le_bytes()).and_then(|()| big.write_all(&block[8..])).expect("room for the big file");
    }
    big.write_all(&block[..what.big_bytes % (1 << 20)]).expect("room for the big file");
    let mut lines = String::new();
    while lines.len() < what.big_bytes / 4 {
        lines += &format!("line {:08} the quick brown fox jumps over the lazy dog {}\n", lines.len(), noise.below(10_000));
    }
    write(root.join("text.txt"), lines.as_bytes());
}

fn sparse(root: &Path, size_bytes: u64, noise: &mut Noise) {
    let file = create(root.join("sparse.bin"));
    let tail = b"TAIL!";
    for (at, bytes) in [(0, b"HEAD".repeat(1000)), (size_bytes / 10, noise.bytes(70_000)), (size_bytes - tail.len() as u64, tail.to_vec())]
    {
        file.write_all_at(&bytes, at).expect("room for a sparse file");
    }
    create(root.join("allhole.bin")).set_len(size_bytes / 3).expect("a hole needs no room");
}

/// Two files that grow by turns, so that their extents lie between each other's.
fn fragmented(root: &Path, what: &Population, noise: &mut Noise) {
    let (mut left, mut right) = (create(root.join("frag_a.bin")), create(root.join("frag_b.bin")));
    for at in 0..if what.big_bytes > 8 << 20 { 200 } else { 12 } {
        left.write_all(&noise.bytes(4096)).and_then(|()| left.sync_data()).expect("room");
        right.write_all(&noise.bytes(4096 * (1 + at % 3))).and_then(|()| right.sync_data()).expect("room");
    }
}

/// Holes in a file that had data, space reserved before and past the end.
fn punched(root: &Path, what: &Population, noise: &mut Noise) {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let size = what.big_bytes.min(4 << 20);
    let mut file = create(root.join("punch.bin"));
    file.write_all(&noise.bytes(size)).and_then(|()| file.sync_data()).expect("room");
    for at in 0..size as u64 / 8192 {
        fallocate(&file, punch, at * 8192, 4096).expect("holes can be punched");
    }
    let file = create(root.join("prealloc.bin"));
    if fallocate(&file, FallocateFlags::empty(), 0, size as u64).is_err() {
        return;
    }
    file.write_all_at(&b"mid".repeat(5000), size as u64 / 3).expect("room");
    let mut file = create(root.join("keepsize.bin"));
    file.write_all(&[b'k'; 5000]).expect("room");
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 256 << 10).expect("space can be reserved past the end");
}

fn names(root: &Path, what: &Population) {
    let place = directory(root.join("uni"));
    let long = format!("long-{}", "n".repeat(200));
    for name in [
        "\u{17e}lu\u{165}ou\u{10d}k\u{fd} k\u{16f}\u{148}.txt",
        "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{30d5}\u{30a1}\u{30a4}\u{30eb}.txt",
        "emoji-\u{1f980}\u{1f525}.txt",
        "e\u{301}-combining.txt",
        "UPPER.TXT",
        "MiXeD.Txt",
        "a b  c.txt",
        "dots...x",
        ".hidden",
        "-rf",
        &long,
    ] {
        write(place.join(name), name.as_bytes());
    }
    if what.odd_names {
        let odd: [&[u8]; 6] = [b"bad-\xff\xfe-utf8", &[b'L'; 255], b"new\nline", b"\x1b[31mred", b"mixed.txt", b"quote\"'\\:*?<>|"];
        for name in odd {
            write(place.join(OsStr::from_bytes(name)), name);
        }
    }
}

fn directories(root: &Path, what: &Population) {
    let mut deep = root.join("deep");
    deep.extend((0..what.depth).map(|level| format!("d{level}")));
    write(directory(deep).join("leaf.txt"), b"leaf");
    directory(root.join("empty"));
    let wide = directory(root.join("wide"));
    for at in 0..what.entries {
        let name = format!("entry-with-a-fairly-long-name-{at:05}-{}", "x".repeat(at % 60));
        write(wide.join(name), format!("{at}").as_bytes());
    }
    // Holes in the directory, where entries were.
    for at in (0..what.entries).step_by(7) {
        let name = format!("entry-with-a-fairly-long-name-{at:05}-{}", "x".repeat(at % 60));
        fs::remove_file(wide.join(name)).expect("it was made");
    }
    for at in 0..what.many {
        let place = root.join("many").join(format!("d{:03}", at / 1000));
        if at % 1000 == 0 {
            directory(place.clone());
        }
        let bytes = format!("content {at}");
        write(place.join(format!("file{at:06}.dat")), if at % 2 == 0 { b"" } else { bytes.as_bytes() });
    }
}

fn links(root: &Path, what: &Population) {
    let place = directory(root.join("links"));
    write(place.join("target"), b"target data");
    for at in 1..what.hard_links {
        fs::hard_link(place.join("target"), place.join(format!("hard{at}"))).expect("hard links can be made");
    }
    if what.longest_link == 0 {
        return;
    }
    // Round the limits of links inside inodes (60, 156, 336 and 384 bytes among others) and of blocks.
    for length in [1, 10, 58, 59, 60, 61, 62, 150, 155, 156, 157, 255, 256, 335, 336, 337, 383, 384, 385, 800, 1023, 1024, 4095] {
        if length <= what.longest_link {
            let target: String = "abcdefghi/".chars().cycle().take(length).collect();
            symlink(target, place.join(format!("s{length}"))).expect("links can be made");
        }
    }
    for (name, target) in
        [("absolute", "/deep/d0"), ("dangling", "../no/such"), ("itself", "itself"), ("unicode", "../uni/\u{65e5}\u{672c}")]
    {
        symlink(target, place.join(name)).expect("links can be made");
    }
}
