//! Trees that a guest may have made in order to do harm, taken out into a directory of this computer.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::guestfs::FileKind;
use crate::monitor::Counter;
use crate::tree::testing::FakeTree;

#[derive(Default)]
struct Notes {
    problems: Mutex<Vec<String>>,
    cancel: AtomicBool,
    /// Cancels when so many bytes were written.
    cancel_at: Option<u64>,
    written: AtomicU64,
}

impl Monitor for Notes {
    fn count(&self, counter: Counter, amount: u64) {
        if counter == Counter::WrittenBytes {
            let written = self.written.fetch_add(amount, Ordering::Relaxed) + amount;
            if self.cancel_at.is_some_and(|at| written >= at) {
                self.cancel.store(true, Ordering::Relaxed);
            }
        }
    }
    fn step(&self, _: &str) {}
    fn problem(&self, problem: Problem) {
        self.problems.lock().expect("notes").push(problem.to_string());
    }
    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

impl Notes {
    fn sorted(&self) -> Vec<String> {
        let mut problems = self.problems.lock().expect("notes").clone();
        problems.sort();
        problems
    }
}

const ARCHIVE: ExtractOptions<'static> = ExtractOptions { archive: true, recursive: true, existing: Existing::Keep };

fn top(name: &[u8]) -> Source<u64> {
    Source { spot: 0, path: b"/".to_vec(), name: name.to_vec() }
}

/// Takes everything out into `out` of a new directory.
fn out(tree: &FakeTree, options: &ExtractOptions<'_>) -> (TempDir, PathBuf, Extracted, Vec<String>) {
    let directory = TempDir::new().expect("a directory");
    let target = directory.path().join("out");
    let notes = Notes::default();
    let extracted = extract(tree, &[top(b"")], &target, options, &notes).expect("files");
    let problems = notes.sorted();
    (directory, target, extracted, problems)
}

/// Everything below a directory, for a look at whether anything was made that should not be.
fn names_below(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        names.push(entry.path().display().to_string());
        if entry.file_type().expect("a kind").is_dir() {
            names.extend(names_below(&entry.path()));
        }
    }
    names.sort();
    names
}

#[test]
fn a_tree_comes_out_with_contents_modes_times_links_and_holes() {
    let mut tree = FakeTree::new();
    let etc = tree.directory(0, b"etc");
    tree.known(etc).mode = 0o500;
    let file = tree.file(etc, b"config", b"contents");
    tree.known(file).mode = 0o440;
    tree.hard_link(0, b"other name", file);
    tree.link(etc, b"link", b"../../nowhere/\xff");
    tree.sparse(0, b"sparse", 1 << 40, &[(5, b"five"), (1 << 39, b"half")]);
    tree.file(0, b"odd \xff\n name", b"odd");
    let (_directory, target, extracted, problems) = out(&tree, &ARCHIVE);
    assert_eq!(problems, [""; 0]);
    assert_eq!((extracted.files, extracted.directories, extracted.links, extracted.hard_links), (3, 2, 1, 1));
    assert_eq!(extracted.written_bytes, 8 + 4 + 4 + 3);
    let config = fs::metadata(target.join("etc/config")).expect("the file");
    assert_eq!(fs::read(target.join("etc/config")).expect("the file"), b"contents");
    assert_eq!((config.mode() & 0o7777, config.mtime(), config.mtime_nsec(), config.nlink()), (0o440, 1_000_000_000, 123_456_789, 2));
    assert_eq!(config.ino(), fs::metadata(target.join("other name")).expect("the other name").ino());
    let etc = fs::metadata(target.join("etc")).expect("the directory");
    assert_eq!((etc.mode() & 0o7777, etc.mtime(), etc.mtime_nsec()), (0o500, 1_000_000_000, 123_456_789));
    assert_eq!(fs::read_link(target.join("etc/link")).expect("the link").as_os_str().as_bytes(), b"../../nowhere/\xff");
    assert_eq!(fs::symlink_metadata(target.join("etc/link")).expect("the link").mtime(), 1_000_000_000);
    let sparse = fs::metadata(target.join("sparse")).expect("the file");
    assert_eq!(sparse.len(), 1 << 40);
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    let mut half = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(target.join("sparse")).expect("the file"), &mut half, 1 << 39)
        .expect("its bytes");
    assert_eq!(&half, b"half");
    assert!(target.join(OsStr::from_bytes(b"odd \xff\n name")).exists());
}

#[test]
fn names_that_lead_out_are_left_out() {
    let mut tree = FakeTree::new();
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc/passwd", b"../out2", b"nul\0"] {
        tree.file(0, name, b"harm");
    }
    let up = tree.directory(0, b"..");
    tree.file(up, b"harm", b"harm");
    tree.file(0, b"good", b"good");
    let (directory, target, _, problems) = out(&tree, &ARCHIVE);
    let names = names_below(directory.path());
    assert_eq!(names, [target.display().to_string(), target.join("good").display().to_string()]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("8 of its names"), "{problems:?}");
}

#[test]
fn no_link_is_followed_that_was_just_made() {
    let outside = TempDir::new().expect("a directory");
    let mut tree = FakeTree::new();
    // The same name twice: a link out of the target, then a directory with files below it, and a file.
    tree.link(0, b"door", outside.path().as_os_str().as_bytes());
    let door = tree.directory(0, b"door");
    tree.file(door, b"harm", b"harm");
    let secret = outside.path().join("secret");
    fs::write(&secret, b"kept").expect("a file");
    tree.link(0, b"file", secret.as_os_str().as_bytes());
    tree.file(0, b"file", b"harm");
    for existing in [Existing::Keep, Existing::Replace] {
        let (_directory, target, _, problems) = out(&tree, &ExtractOptions { existing, ..ARCHIVE });
        assert_eq!(names_below(outside.path()), [secret.display().to_string()]);
        assert_eq!(fs::read(&secret).expect("the file"), b"kept");
        assert!(
            problems.iter().any(|problem| problem == "/door: cannot be written: something that is no directory is in its place"),
            "{problems:?}"
        );
        assert!(fs::symlink_metadata(target.join("door")).expect("the link").is_symlink());
    }
}

#[test]
fn no_link_is_followed_that_lay_in_the_target() {
    let outside = TempDir::new().expect("a directory");
    let target = TempDir::new().expect("a directory");
    symlink(outside.path(), target.path().join("etc")).expect("a link");
    symlink(outside.path().join("new"), target.path().join("file")).expect("a link");
    let mut tree = FakeTree::new();
    let etc = tree.directory(0, b"etc");
    tree.file(etc, b"passwd", b"harm");
    tree.file(0, b"file", b"harm");
    for existing in [Existing::Keep, Existing::Replace] {
        let notes = Notes::default();
        extract(&tree, &[top(b"")], target.path(), &ExtractOptions { existing, ..ARCHIVE }, &notes).expect("files");
        assert_eq!(names_below(outside.path()), [""; 0]);
        assert!(!notes.sorted().is_empty());
    }
    assert_eq!(fs::read(target.path().join("file")).expect("the file"), b"harm");
    assert!(!fs::symlink_metadata(target.path().join("file")).expect("the file").is_symlink(), "the link was replaced");
}

#[test]
fn loops_and_damage_are_told_and_the_rest_comes_out() {
    let mut tree = FakeTree::new();
    let a = tree.directory(0, b"a");
    tree.name(a, b"up", 0);
    let lost = tree.file(a, b"lost", b"never seen");
    tree.damage(lost);
    tree.file(a, b"whole", b"whole");
    let (_directory, target, extracted, problems) = out(&tree, &ARCHIVE);
    assert_eq!(
        problems,
        [
            "/a/lost: bytes 0 to 10: the file is damaged: as the test wishes",
            "/a/up: this directory is damaged: it leads back into a directory above it"
        ]
    );
    assert_eq!(extracted.files, 1);
    let names = names_below(&target.join("a"));
    assert_eq!(names, [target.join("a/whole").display().to_string()], "no temporary file stays");
}

#[test]
fn what_is_there_stays_unless_it_may_be_replaced() {
    let mut tree = FakeTree::new();
    tree.file(0, b"file", b"new");
    tree.file(0, b"place", b"new");
    let target = TempDir::new().expect("a directory");
    fs::write(target.path().join("file"), b"old").expect("a file");
    fs::create_dir(target.path().join("place")).expect("a directory");
    let run = |existing: Existing<'_>| {
        let notes = Notes::default();
        extract(&tree, &[top(b"")], target.path(), &ExtractOptions { existing, ..ARCHIVE }, &notes).expect("files");
        (notes.sorted(), fs::read(target.path().join("file")).expect("the file"))
    };
    let kept = "/file: exists already; --overwrite replaces it".to_owned();
    let place = "/place: a directory is in its place".to_owned();
    assert_eq!(run(Existing::Keep), (vec![kept, place.clone()], b"old".to_vec()));
    let asked = Mutex::new(Vec::new());
    let answer = |wanted: bool| {
        let asked = &asked;
        move |path: &Path| {
            asked.lock().expect("questions").push(path.to_owned());
            wanted
        }
    };
    let declined = "/file: stays as it is".to_owned();
    assert_eq!(run(Existing::Ask(&answer(false))), (vec![declined, place.clone()], b"old".to_vec()));
    assert_eq!(run(Existing::Ask(&answer(true))), (vec![place], b"new".to_vec()));
    assert_eq!(*asked.lock().expect("questions"), [target.path().join("file"), target.path().join("file")]);
}

#[test]
fn sources_of_which_nothing_was_made_are_named() {
    let mut tree = FakeTree::new();
    let file = tree.file(0, b"file", b"new");
    let lost = tree.file(0, b"lost", b"never seen");
    tree.damage(lost);
    let directory = tree.directory(0, b"directory");
    tree.name(directory, b"lost", lost);
    let link = tree.link(0, b"link", b"file");
    let pipe = tree.directory(0, b"plain");
    let source = |spot: u64, name: &str| Source { spot, path: format!("/{name}").into_bytes(), name: name.as_bytes().to_vec() };
    let sources = [source(file, "file"), source(lost, "lost"), source(directory, "directory"), source(link, "link"), source(pipe, "plain")];
    let target = TempDir::new().expect("a directory");
    let left_out =
        |options: &ExtractOptions<'_>| extract(&tree, &sources, target.path(), options, &Notes::default()).expect("files").left_out;
    // What is missing in a directory is no reason to say that the directory was left out.
    assert_eq!(left_out(&ARCHIVE), ["/lost"]);
    assert_eq!(left_out(&ExtractOptions { recursive: false, ..ARCHIVE }), ["/file", "/lost", "/directory", "/link", "/plain"]);
}

#[test]
fn a_new_name_a_directory_and_a_missing_place() {
    let mut tree = FakeTree::new();
    let file = tree.file(0, b"file", b"contents");
    let target = TempDir::new().expect("a directory");
    let source = || Source { spot: file, path: b"/file".to_vec(), name: b"file".to_vec() };
    let plain = ExtractOptions { archive: false, recursive: false, existing: Existing::Keep };
    let run = |sources: &[Source<u64>], to: &Path| extract(&tree, sources, to, &plain, &Notes::default()).map(|done| done.files);
    assert_eq!(run(&[source()], &target.path().join("new")).expect("a file"), 1);
    assert_eq!(run(&[source()], target.path()).expect("a file"), 1);
    assert_eq!(fs::read(target.path().join("new")).expect("the file"), fs::read(target.path().join("file")).expect("the file"));
    for (sources, to) in [
        (vec![source()], target.path().join("missing/new")),
        (vec![source(), source()], target.path().join("missing")),
        (vec![source()], target.path().join("missing/")),
        (vec![top(b"")], target.path().join("file")),
    ] {
        assert!(run(&sources, &to).is_err(), "{}", to.display());
    }
    let notes = Notes::default();
    extract(&tree, &[top(b"")], target.path(), &plain, &notes).expect("nothing");
    assert_eq!(notes.sorted(), ["/: is a directory; -r takes it out with what is in it"]);
}

#[test]
fn an_end_that_was_asked_for_leaves_no_part_of_a_file() {
    let mut tree = FakeTree::new();
    let piece = vec![7; 3 << 20];
    tree.sparse(0, b"large", 1 << 30, &[(0, &piece), (10 << 20, &piece), (20 << 20, &piece)]);
    let target = TempDir::new().expect("a directory");
    let notes = Notes { cancel_at: Some(4 << 20), ..Notes::default() };
    let ended = extract(&tree, &[top(b"")], target.path(), &ARCHIVE, &notes);
    assert!(matches!(ended, Err(JobError::Cancelled)), "{ended:?}");
    assert_eq!(names_below(target.path()), [""; 0]);
}

#[test]
fn special_files_and_attributes_are_kept_by_root_and_told_of_by_others() {
    let mut tree = FakeTree::new();
    tree.special(0, b"pipe", FileKind::Pipe, None);
    tree.special(0, b"socket", FileKind::Socket, None);
    tree.special(0, b"null", FileKind::CharacterDevice, Some((1, 3)));
    let file = tree.file(0, b"suid", b"x");
    tree.known(file).mode = 0o4755;
    tree.known(file).uid = 12345;
    tree.extended(file, b"user.colour", b"blue");
    let (_directory, target, extracted, problems) = out(&tree, &ARCHIVE);
    assert_eq!(problems, [""; 0]);
    let pipe = fs::symlink_metadata(target.join("pipe")).expect("the pipe");
    assert!(pipe.file_type().is_fifo());
    assert_eq!((pipe.mode() & 0o7777, pipe.mtime()), (0o644, 1_000_000_000));
    assert!(fs::symlink_metadata(target.join("socket")).expect("the socket").file_type().is_socket());
    let suid = fs::metadata(target.join("suid")).expect("the file");
    if rustix::process::geteuid().is_root() {
        assert_eq!(extracted.special, 3);
        assert_eq!(fs::symlink_metadata(target.join("null")).expect("the node").rdev(), rustix::fs::makedev(1, 3));
        assert_eq!((suid.uid(), suid.permissions().mode() & 0o7777), (12345, 0o4755));
    } else {
        assert!(extracted.not_kept.iter().any(|(what, _)| what == "owner"));
        assert_eq!(suid.permissions().mode() & 0o7777, 0o755);
    }
    let plain = ExtractOptions { archive: false, ..ARCHIVE };
    let (_directory, target, extracted, _) = out(&tree, &plain);
    assert_eq!(extracted.not_kept, [("device nodes, pipes and sockets".to_owned(), 3)]);
    assert_eq!(fs::metadata(target.join("suid")).expect("the file").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn very_deep_trees_and_many_files_come_out() {
    let mut tree = FakeTree::new();
    let mut at = 0;
    for _ in 0..600 {
        at = tree.directory(at, b"d");
        tree.file(at, b"f", b"deep");
    }
    for number in 0..3000 {
        tree.file(0, format!("file {number}").as_bytes(), &[1; 100]);
    }
    let (directory, _, extracted, problems) = out(&tree, &ARCHIVE);
    assert_eq!(problems, [""; 0]);
    assert_eq!((extracted.files, extracted.directories), (3600, 601));
    // What is this deep cannot be named by a path any more.
    assert!(std::process::Command::new("rm").arg("-rf").arg(directory.path()).status().expect("rm").success());
}
