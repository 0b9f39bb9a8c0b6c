//! Version 4, which this kernel does not mount: mkfs.xfs fills it from a list of files, and xfs_db sets attributes. The same list and the
//! same attributes make a filesystem of version 5, whose tree the kernel tells.

use super::*;
use crate::guestfs::FileKind;

/// A list of files for mkfs.xfs with every kind of object that it makes, and directories of all forms.
fn list(place: &Path, long_link: bool) -> PathBuf {
    let what = |size: usize| {
        let path = place.join(format!("source{size}"));
        std::fs::write(&path, (0..size).map(|at| (at * 31 / 7) as u8).collect::<Vec<u8>>()).expect("room");
        path
    };
    let (small, large) = (what(700), what(300_000));
    let mut list = "/x\n0 0\nd--755 0 0\n".to_owned();
    list += &format!("small ---644 5 100000 {}\nlarge -u-755 0 0 {}\n", text(&small), text(&large));
    list += "short l--777 0 0 somewhere/else\n";
    if long_link {
        list += &format!("long l--777 0 0 {}\n", "abcdefghi/".repeat(60));
    }
    list += "null c--666 0 0 1 3\ndisk b--660 0 6 8 255\nfifo p--600 0 0\nfew d--755 0 0\n";
    list += &format!("one ---600 0 0 {}\n$\n", text(&small));
    for (directory, count) in [("block", 30), ("leaf", 200), ("node", 3_000)] {
        list += &format!("{directory} d--755 0 0\n");
        (0..count).for_each(|at| list += &format!("a-name-of-some-length-{at:05} ---644 0 0 {}\n", text(&small)));
        list += "$\n";
    }
    list += "$\n";
    let path = place.join(format!("list-{long_link}"));
    std::fs::write(&path, list).expect("room");
    path
}

/// Makes one and sets attributes of each form.
fn filled(image: &Path, list: &Path, arguments: &[&str]) -> Option<()> {
    make(image, 200, &[arguments, &["-p", text(list)]].concat())?;
    for (name, count, length) in [("small", 1, 20), ("large", 1, 3_000), ("few", 60, 100), ("one", 1, 40_000)] {
        let path = if name == "one" { "few/one" } else { name };
        let mut arguments = vec!["-x".to_owned(), "-c".to_owned(), format!("path /{path}")];
        // The first one must fit the inode, or xfs_db fails.
        for (at, length) in std::iter::once(20).chain(std::iter::repeat_n(length, count)).enumerate() {
            arguments.extend(["-c".to_owned(), format!("attr_set -u -v {length} attribute-{at}-of-{name}")]);
        }
        arguments.push(text(image).to_owned());
        run("xfs_db", &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Some(())
}

fn same_as_version_5(version_4: &[&str], version_5: &[&str]) {
    let place = tempfile::tempdir().expect("a place");
    let (with_long_link, list) = (list(place.path(), true), list(place.path(), false));
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    if filled(&old, &with_long_link, version_4).is_none() || filled(&new, &list, version_5).is_none() {
        return;
    }
    let Some(expected) = truth(&new) else { return };
    let mut found = shown(&old);
    // In version 5 mkfs.xfs writes targets that take a block without their head, and no kernel reads them.
    let long = found.remove(&b"long"[..]).expect("it was made");
    assert_eq!(long.target, Some("abcdefghi/".repeat(60).into_bytes()));
    let times = [Field::Modified, Field::Changed, Field::Accessed, Field::Created];
    assert_same(&expected, &found, &[&[Field::Allocated, Field::DirectorySize][..], &times].concat());
    assert!(found.len() > 3_200 && found.values().any(|item| item.kind == FileKind::BlockDevice));
    assert!(found.values().any(|item| item.attributes.values().any(|value| value.len() == 40_000)));
    // mkfs asks the clock for moments.
    assert!(found.values().all(|item| item.modified.seconds > 1_700_000_000), "moments");
}

#[test]
fn version_4() {
    same_as_version_5(&["-m", "crc=0"], &[]);
}

#[test]
fn version_4_with_the_smallest_blocks() {
    same_as_version_5(&["-m", "crc=0", "-b", "size=512", "-n", "size=4096,ftype=0"], &["-b", "size=1024"]);
}

#[test]
fn version_4_with_large_blocks_of_directories() {
    same_as_version_5(&["-m", "crc=0", "-b", "size=2048", "-n", "size=16384,ftype=1", "-i", "size=512"], &[]);
}
