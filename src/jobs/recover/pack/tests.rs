//! Archives as the tools read them that everybody has: GNU tar, unzip.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::guestfs::Timestamp;
use crate::tree::testing::FakeTree;

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Monitor for Notes {
    fn count(&self, _: Counter, _: u64) {}
    fn step(&self, _: &str) {}
    fn problem(&self, problem: Problem) {
        self.0.lock().expect("notes").push(problem.to_string());
    }
    fn cancelled(&self) -> bool {
        false
    }
}

/// Packs everything below the name `all`.
fn packed(tree: &FakeTree, format: ArchiveFormat, compression: Compression) -> (Vec<u8>, Packed, Vec<String>) {
    let source = Source { spot: 0, path: b"/".to_vec(), name: b"all".to_vec() };
    let notes = Notes::default();
    let mut bytes = Vec::new();
    let packed = pack(tree, &[source], format, compression, &mut bytes, &notes).expect("an archive");
    (bytes, packed, notes.0.into_inner().expect("notes"))
}

/// Unpacks an archive with a tool; `None`, said loudly, without that tool.
fn unpacked(archive: &[u8], program: &str, arguments: &[&str]) -> Option<(TempDir, PathBuf)> {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("archive"), archive).expect("the archive");
    let output = match Command::new(program).args(arguments).current_dir(directory.path()).env("TZ", "UTC").output() {
        Ok(output) => output,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: no {program} here: {error}");
            }
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // tar remarks on times before 1970, and restores them.
    let is_silent = said.lines().all(|line| line.contains("implausibly old"));
    assert!(output.status.success() && is_silent, "{program}: {said}{}", String::from_utf8_lossy(&output.stdout));
    let top = directory.path().join("all");
    Some((directory, top))
}

fn sample() -> FakeTree {
    let mut tree = FakeTree::new();
    let long = tree.directory(0, &[b'd'; 150]);
    let deep = tree.directory(long, "\u{fc}ml\u{e4}ut ".repeat(9).as_bytes());
    let file = tree.file(deep, b"odd \xff name", b"contents");
    tree.known(file).mode = 0o4750;
    tree.hard_link(0, b"hard", file);
    tree.file(0, &[b"bad \xfe ".as_slice(), &[b'x'; 120]].concat(), b"long and no UTF-8");
    tree.file(0, b"empty", b"");
    let old = tree.file(0, b"old", &[7; 511]);
    tree.known(old).modified = Timestamp { seconds: -86_400, nanoseconds: 0 };
    tree.link(0, b"link", &[b'l'; 300]);
    tree.special(0, b"pipe", FileKind::Pipe, None);
    tree.special(0, b"socket", FileKind::Socket, None);
    let attributed = tree.file(0, b"attributed", b"x");
    tree.extended(attributed, b"user.colour", b"blue\0\n=");
    tree
}

#[test]
fn gnu_tar_restores_everything() {
    let mut tree = sample();
    tree.sparse(0, b"sparse", 1 << 40, &[(5000, b"five thousand"), (1 << 39, &[9; 5000])]);
    tree.sparse(0, b"hole", 1 << 33, &[]);
    tree.sparse(0, b"end", 1 << 20, &[((1 << 20) - 3, b"end")]);
    let big = tree.file(0, b"big ids", b"y");
    tree.known(big).uid = 3_000_000_000;
    let (bytes, report, problems) = packed(&tree, ArchiveFormat::Tar, Compression::None);
    assert_eq!(problems, [""; 0]);
    assert_eq!((report.files, report.directories, report.links, report.hard_links, report.special), (9, 3, 1, 1, 1));
    assert_eq!(report.not_kept, [("sockets".to_owned(), 1)]);
    assert!(bytes.len() < 100_000, "holes are left out: {}", bytes.len());
    let arguments = ["--xattrs", "--xattrs-include=*", "-xpf", "archive"];
    let Some((_directory, top)) = unpacked(&bytes, "tar", &arguments) else { return };
    let deep = top.join("d".repeat(150)).join("\u{fc}ml\u{e4}ut ".repeat(9));
    let odd = deep.join(std::ffi::OsStr::from_bytes(b"odd \xff name"));
    assert_eq!(fs::read(&odd).expect("the file"), b"contents");
    let known = fs::metadata(&odd).expect("the file");
    assert_eq!((known.mode() & 0o7777, known.mtime(), known.mtime_nsec(), known.nlink()), (0o4750, 1_000_000_000, 123_456_789, 2));
    assert_eq!(known.ino(), fs::metadata(top.join("hard")).expect("its other name").ino());
    let bad = [b"bad \xfe ".as_slice(), &[b'x'; 120]].concat();
    assert_eq!(fs::read(top.join(std::ffi::OsStr::from_bytes(&bad))).expect("the file"), b"long and no UTF-8");
    let old = fs::metadata(top.join("old")).expect("the file");
    assert_eq!((old.len(), old.mtime(), old.mtime_nsec()), (511, -86_400, 0));
    assert_eq!(fs::read_link(top.join("link")).expect("the link").as_os_str().len(), 300);
    assert_eq!(fs::metadata(top.join("empty")).expect("the file").len(), 0);
    check_sparse(&top);
    if rustix::process::geteuid().is_root() {
        assert_eq!(fs::metadata(top.join("big ids")).expect("the file").uid(), 3_000_000_000);
    }
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(top.join("attributed"), "user.colour", &mut value[..]).expect("the attribute");
    assert_eq!(&value[..length], b"blue\0\n=");
}

fn check_sparse(top: &Path) {
    let sparse = fs::File::open(top.join("sparse")).expect("the file");
    let known = sparse.metadata().expect("the file");
    assert_eq!(known.len(), 1 << 40);
    assert!(known.blocks() * 512 < 1 << 20, "{} blocks", known.blocks());
    let mut part = [0; 5000];
    let mut read = |at, length: usize| {
        std::os::unix::fs::FileExt::read_exact_at(&sparse, &mut part[..length], at).expect("its bytes");
        part[..length].to_vec()
    };
    assert_eq!(read(5000, 13), b"five thousand");
    assert_eq!(read(4999, 1), [0]);
    assert_eq!(read(1 << 39, 5000), [9; 5000]);
    assert_eq!(fs::metadata(top.join("hole")).expect("the file").len(), 1 << 33);
    let end = fs::read(top.join("end")).expect("the file");
    assert!(end.len() == 1 << 20 && end.ends_with(b"\0end"));
}

#[test]
fn compressed_archives_are_read_too() {
    let tree = sample();
    for (compression, option) in [(Compression::Gzip, "-xzf"), (Compression::Zstd, "-xf")] {
        let (bytes, ..) = packed(&tree, ArchiveFormat::Tar, compression);
        let bytes = if compression == Compression::Zstd { zstd::decode_all(bytes.as_slice()).expect("zstd") } else { bytes };
        let Some((_directory, top)) = unpacked(&bytes, "tar", &[option, "archive"]) else { return };
        assert_eq!(fs::read(top.join("hard")).expect("the file"), b"contents");
    }
}

#[test]
fn unzip_restores_what_zip_can_hold() {
    let mut tree = FakeTree::new();
    let directory = tree.directory(0, "\u{fc}ml\u{e4}ut".as_bytes());
    let file = tree.file(directory, b"file", &b"contents ".repeat(1000));
    tree.known(file).mode = 0o640;
    tree.hard_link(0, b"hard", file);
    tree.link(0, b"link", b"hard");
    tree.special(0, b"pipe", FileKind::Pipe, None);
    tree.file(0, b"bad \xfe", b"");
    let (bytes, report, problems) = packed(&tree, ArchiveFormat::Zip, Compression::None);
    assert_eq!(problems, [""; 0]);
    assert!(bytes.len() < 5000, "{}", bytes.len());
    let lost: Vec<_> = report.not_kept.iter().map(|(what, files)| (what.as_str(), *files)).collect();
    assert_eq!(lost, [("device nodes and pipes", 1), ("hard links", 1), ("names that are not UTF-8 (written with \\x)", 1)]);
    let Some((_directory, top)) = unpacked(&bytes, "unzip", &["-q", "archive"]) else { return };
    let file = top.join("\u{fc}ml\u{e4}ut/file");
    assert_eq!(fs::read(&file).expect("the file"), b"contents ".repeat(1000));
    let known = fs::metadata(&file).expect("the file");
    assert_eq!((known.mode() & 0o7777, known.mtime()), (0o640, 1_000_000_000));
    assert_eq!(fs::read_link(top.join("link")).expect("the link").as_os_str(), "hard");
    assert_eq!(fs::read(top.join("hard")).expect("the file").len(), 9000);
    assert!(top.join("bad \\xfe").exists());
}

#[test]
fn damage_is_zeros_in_the_archive_and_told() {
    let mut tree = FakeTree::new();
    let lost = tree.file(0, b"lost", &[1; 1000]);
    tree.damage(lost);
    tree.file(0, b"whole", b"whole");
    let a = tree.directory(0, b"a");
    tree.name(a, b"up", 0);
    for format in [ArchiveFormat::Tar, ArchiveFormat::Zip] {
        let (bytes, report, problems) = packed(&tree, format, Compression::None);
        assert_eq!(report.files, 2);
        let damage = "all/lost: from byte 0 on: the file is damaged: as the test wishes; the archive has zeros for the rest of it";
        assert_eq!(problems, ["/a/up: this directory is damaged: it leads back into a directory above it", damage]);
        let (program, option) = if format == ArchiveFormat::Tar { ("tar", "-xf") } else { ("unzip", "-q") };
        let Some((_directory, top)) = unpacked(&bytes, program, &[option, "archive"]) else { return };
        assert_eq!(fs::read(top.join("lost")).expect("the file"), [0; 1000]);
        assert_eq!(fs::read(top.join("whole")).expect("the file"), b"whole");
    }
}
