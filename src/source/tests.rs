//! Tests of opening and reading raw files and devices; each image format has its own beside it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use super::host::HostFile;
use super::*;
use crate::units::Extent;

/// The text of the error of opening `path`.
fn refused(path: &Path) -> String {
    match open(path, Format::Auto) {
        Ok(source) => panic!("{} was opened", source.description()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_no_disk_is_refused_with_its_cure() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("empty"), []).expect("a file");
    assert!(refused(&path("missing")).contains("no such file"), "{}", refused(&path("missing")));
    assert!(refused(&path("empty/x")).contains("no such file"), "{}", refused(&path("empty/x")));
    assert!(refused(directory.path()).contains("is a directory"), "{}", refused(directory.path()));
    assert!(refused(Path::new("/dev/null")).contains("is a character device"), "{}", refused(Path::new("/dev/null")));
    assert!(refused(&path("empty")).contains("is empty (0 bytes)"), "{}", refused(&path("empty")));
}

#[test]
fn an_unreadable_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("disk");
    fs::write(&path, [1]).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("a mode");
    // The superuser may read anything.
    if File::open(&path).is_err() {
        assert!(refused(&path).contains("permission denied"), "{}", refused(&path));
    }
}

#[test]
fn a_raw_file_of_odd_size_reads_as_it_is_and_holes_are_no_data() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("disk");
    let file = File::create(&path).expect("a file");
    file.set_len((8 << 20) + 7).expect("a size");
    file.write_all_at(&[5; 7], 8 << 20).expect("a write");
    let source = open(&path, Format::Auto).expect("a raw disk");
    assert_eq!(source.size_bytes(), (8 << 20) + 7);
    assert_eq!(source.description(), format!("{} (raw)", path.display()));
    assert!(source.raw_file().is_some());
    let mut end = [0; 9];
    source.read_at((8 << 20) - 2, &mut end).expect("a read");
    assert_eq!(end, [0, 0, 5, 5, 5, 5, 5, 5, 5]);
    let data = source.data_extents().expect("extents");
    assert!(data.overlaps(Extent::between(8 << 20, (8 << 20) + 7)), "{data:?}");
    assert!(data.total_bytes() < 8 << 20, "the hole is told as data: {data:?}");
}

#[test]
fn a_file_that_grows_or_shrinks_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("disk");
    fs::write(&path, [1; 8192]).expect("a file");
    let source = open(&path, Format::Raw).expect("a raw disk");
    source.check_unchanged().expect("nothing has changed");
    let file = File::options().write(true).open(&path).expect("the file");
    file.set_len(8193).expect("a size");
    let grown = source.check_unchanged().expect_err("it has grown").to_string();
    assert!(grown.contains("had 8192 bytes when it was opened and has 8193 now"), "{grown}");
    file.set_len(4096).expect("a size");
    let short = source.read_at(0, &mut [0; 8192]).expect_err("it has shrunk");
    assert!(short.to_string().contains("had 8192 bytes when it was opened and has 4096 now"), "{short}");
}

#[test]
fn a_failing_read_names_the_first_failing_block() {
    // The memory of this process: behind the stack's mapping lies a gap, which reads with an error.
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("a stack");
    let end = stack.split(['-', ' ']).nth(1).and_then(|end| u64::from_str_radix(end, 16).ok()).expect("an address");
    let host = HostFile::open(Path::new("/proc/self/mem")).expect("procfs");
    let error = host.read(end - 8000, &mut [0; 16000]).expect_err("the gap cannot be read");
    match error {
        SourceError::Read { offset_bytes, length_bytes, .. } => assert_eq!((offset_bytes, length_bytes), (end, 4096)),
        other => panic!("{other}"),
    }
}
