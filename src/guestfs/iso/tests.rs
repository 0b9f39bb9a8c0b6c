//! Discs made by genisoimage and xorriso from one tree, compared with it and with what xorriso takes out of them again.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::guestfs::testing::{
    Field, Limits, Population, Tree, assert_same, device, guest_tree, kernel_tree, populate, run, sparse_file, survive_damage, text, walk,
};
use crate::guestfs::{DeviceNumber, Timestamp, identify as identify_any, open as open_any};
use crate::io::MemoryAt;

const NOT_ON_DISCS: [Field; 10] = [
    Field::Links,
    Field::DirectoryLinks,
    Field::Names,
    Field::DirectorySize,
    Field::Allocated,
    Field::Changed,
    Field::Accessed,
    Field::Created,
    Field::Attributes,
    Field::Device,
];

fn opened(device: Device) -> Box<dyn FileSystem> {
    open_any(&[device], &OpenOptions::default()).expect("it opens")
}

fn memory(bytes: &[u8]) -> Device {
    Arc::new(MemoryAt::new(bytes.to_vec()))
}

/// A tree with all that a disc can hold; the xattrs stay behind.
fn source(what: &Population) -> tempfile::TempDir {
    let from = tempfile::tempdir().expect("a directory");
    populate(from.path(), &Population { longest_attribute: 0, acls: false, sparse_bytes: 3 << 20, ..what.clone() });
    from
}

/// The tree as a disc holds it: times in whole seconds, no slashes at the end of targets.
fn expected(from: &Path) -> Tree {
    let mut tree = kernel_tree(from);
    for item in tree.values_mut() {
        item.modified.nanoseconds = 0;
        item.attributes = BTreeMap::new();
        if let Some(target) = item.target.as_mut().filter(|target| target.ends_with(b"/")) {
            target.pop();
            item.size_bytes = target.len() as u64;
        }
    }
    tree
}

fn compare_with_blkid(image: &Path) {
    let Some(known) = run("blkid", &["-p", "-o", "export", text(image)]) else { return };
    let identity = identify_any(device(image).as_ref()).expect("read").expect("known");
    let value = |name: &str| known.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(|value| value.replace('\\', "")));
    assert_eq!(value("TYPE").as_deref(), Some(identity.kind));
    assert_eq!((value("LABEL"), value("UUID")), (identity.label, identity.uuid));
}

fn note(fs: &dyn FileSystem) -> &str {
    &fs.about().notes[0]
}

#[test]
fn rock_ridge_of_genisoimage_and_xorriso_is_the_tree_they_were_made_of() {
    let from = source(&Population { depth: 12, ..Population::posix().tiny() });
    let expected = expected(from.path());
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let (out, tree) = (text(&image), text(from.path()));
    let commands: [&[&str]; 4] = [
        &["genisoimage", "-quiet", "-R", "-J", "-joliet-long", "-iso-level", "3", "-V", "A label", "-o", out, tree],
        &["genisoimage", "-quiet", "-R", "-hide-rr-moved", "-o", out, tree],
        &["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-joliet-long", "-V", "A_LABEL", "-o", out, tree],
        &[
            "xorriso",
            "-report_about",
            "WARNING",
            "-compliance",
            "deep_paths_off",
            "-rr_reloc_dir",
            "rr_moved",
            "-outdev",
            out,
            "-map",
            tree,
            "/",
            "-commit",
        ],
    ];
    for command in commands {
        let _ = std::fs::remove_file(&image);
        if run(command[0], &["--version"]).is_none() || run(command[0], &command[1..]).is_none() {
            return;
        }
        let fs = opened(device(&image));
        assert_eq!(note(fs.as_ref()), "names and attributes are those of Rock Ridge");
        let mut found = guest_tree(fs.as_ref());
        // The place of moved directories stays as an empty one.
        for moved in [&b"rr_moved"[..], b".rr_moved"].iter().filter_map(|name| found.remove(*name)) {
            assert_eq!(moved.kind, FileKind::Directory);
        }
        let root = found.get_mut(&b""[..]).expect("there is one");
        let other = &expected[&b""[..]];
        (root.modified, root.mode) = (other.modified, other.mode);
        check_devices(&expected, &found);
        let mut expected = expected.clone();
        if command[0] == "genisoimage" {
            // It writes broken fields for long targets, at which its own isoinfo stumbles too.
            let short = |path: &Vec<u8>| expected.get(path).is_none_or(|item| item.kind != FileKind::Link || item.size_bytes < 300);
            found.retain(|path, _| short(path));
            expected.retain(|_, item| item.kind != FileKind::Link || item.size_bytes < 300);
        }
        assert_same(&expected, &found, &NOT_ON_DISCS);
        compare_with_blkid(&image);
    }
}

/// Numbers of devices are compared of nodes only: the kernel gives none to what is none.
fn check_devices(expected: &Tree, found: &Tree) {
    let mut devices = 0;
    for (path, item) in expected.iter().filter(|(_, item)| item.device.is_some()) {
        assert_eq!(found.get(path).map(|item| item.device), Some(item.device), "{path:?}");
        devices += 1;
    }
    assert!(devices > 1 || !rustix::process::geteuid().is_root());
}

#[test]
fn joliet_and_plain_names_show_the_same_contents() {
    let from = source(&Population { depth: 5, ..Population::plain().tiny() });
    for long in ["uni", "wide"] {
        std::fs::remove_dir_all(from.path().join(long)).expect("it was made");
    }
    std::fs::write(from.path().join("J\u{e4}ger und Hunde.text"), b"Joliet").expect("writes");
    let expected = expected(from.path());
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let genisoimage = |options: &[&str]| {
        let arguments =
            [&["LC_ALL=C.UTF-8", "genisoimage", "-quiet", "-input-charset", "utf-8"], options, &["-o", text(&image), text(from.path())]];
        run("genisoimage", &["--version"]).and_then(|_| run("env", &arguments.concat())).is_some()
    };
    if !genisoimage(&["-J"]) {
        return;
    }
    let fs = opened(device(&image));
    assert_eq!(note(fs.as_ref()), "names are those of Joliet");
    let ignoring = [&NOT_ON_DISCS[..], &[Field::Mode, Field::Uid, Field::Gid]].concat();
    let mut found = guest_tree(fs.as_ref());
    found.get_mut(&b""[..]).expect("there is one").modified = expected[&b""[..]].modified;
    assert_same(&expected, &found, &ignoring);
    let name = "J\u{c4}GER UND hunde.TEXT";
    assert!(fs.lookup(fs.root(), name.as_bytes()).expect("reads").is_some());
    compare_with_blkid(&image);

    assert!(genisoimage(&["-iso-level", "1"]));
    let fs = opened(device(&image));
    assert!(note(fs.as_ref()).starts_with("names are those of plain ISO 9660"));
    let found = guest_tree(fs.as_ref());
    let contents = |tree: &Tree| {
        let mut all: Vec<_> = tree.values().map(|item| (item.size_bytes, item.content.map(|hash| hash.to_hex().to_string()))).collect();
        all.retain(|(_, hash)| hash.is_some());
        all.sort();
        all
    };
    assert_eq!(contents(&expected), contents(&found));
    assert!(
        found.contains_key(&b"text.txt"[..]) && found.contains_key(&b"small/f000_0"[..]),
        "{:?}",
        found.keys().take(9).collect::<Vec<_>>()
    );
}

#[test]
fn files_of_several_pieces_are_one_file() {
    let place = tempfile::tempdir().expect("a directory");
    let (from, image) = (place.path().join("from"), place.path().join("image"));
    std::fs::create_dir(&from).expect("makes");
    let big = from.join("big.bin");
    sparse_file(&big, (4 << 30) + 5_000_000);
    let file = std::fs::File::options().write(true).open(&big).expect("opens");
    for at in [0_u64, (4 << 30) - 2049, (4 << 30) - 3, (4 << 30) + 4_999_990] {
        std::os::unix::fs::FileExt::write_all_at(&file, format!("at {at}").as_bytes(), at).expect("writes");
    }
    std::fs::write(from.join("small.txt"), b"small").expect("writes");
    if !crate::guestfs::testing::long_tests() {
        return splice_two_pieces(&from.join("small.txt"));
    }
    if run("xorriso", &["--version"]).is_none() {
        return;
    }
    run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-iso-level", "3", "-o", text(&image), text(&from)]);
    let fs = opened(device(&image));
    assert_same(&expected(&from), &guest_tree(fs.as_ref()), &[&NOT_ON_DISCS[..], &[Field::Modified]].concat());
}

/// The same without 4 GiB: the mark of a piece is set by hand in a record whose neighbour gets its name.
fn splice_two_pieces(other: &Path) {
    let place = tempfile::tempdir().expect("a directory");
    let (from, image) = (place.path().join("from"), place.path().join("image"));
    std::fs::create_dir(&from).expect("makes");
    std::fs::write(from.join("AAAA.TXT"), vec![7; 4096]).expect("writes");
    std::fs::copy(other, from.join("AAAB.TXT")).expect("copies");
    std::fs::write(from.join("AAAC.TXT"), b"last").expect("writes");
    if run("genisoimage", &["--version"]).is_none() {
        return;
    }
    run("genisoimage", &["-quiet", "-o", text(&image), text(&from)]);
    let mut bytes = std::fs::read(&image).expect("reads");
    let fs = opened(memory(&bytes));
    let node = |name: &[u8]| fs.lookup(fs.root(), name).expect("reads").expect("is there").0 as usize;
    let (first, second) = (node(b"aaaa.txt"), node(b"aaab.txt"));
    bytes[first + 25] |= 0x80;
    assert!(opened(memory(&bytes)).open(Node(first as u64)).is_err(), "the next record is not of the same name");
    bytes.copy_within(first + 33..first + 43, second + 33);
    let fs = opened(memory(&bytes));
    let tree = guest_tree(fs.as_ref());
    assert_eq!(tree.keys().map(|name| name.as_slice()).collect::<Vec<_>>(), [&b""[..], b"aaaa.txt", b"aaac.txt"]);
    let file = fs.open(Node(first as u64)).expect("opens");
    let mut all = vec![0; usize::try_from(file.size_bytes()).expect("small")];
    file.read_at(0, &mut all).expect("reads");
    assert_eq!(all, [&[7; 4096][..], b"small"].concat());
    assert_eq!(fs.attributes(Node(first as u64)).expect("is there").size_bytes, 4101);
}

#[test]
fn hybrids_are_discs_and_long_links_and_devices_are_whole() {
    let from = source(&Population { depth: 3, ..Population::posix().tiny() });
    std::fs::write(from.path().join("boot.img"), vec![0x90; 8192]).expect("writes");
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let isohybrid = Path::new("/usr/lib/ISOLINUX/isohdpfx.bin");
    let mut arguments = vec!["-as", "mkisofs", "-quiet", "-R", "-c", "boot.cat", "-b", "boot.img", "-no-emul-boot"];
    if isohybrid.exists() {
        arguments.extend(["-isohybrid-mbr", text(isohybrid)]);
    }
    arguments.extend(["-o", text(&image), text(from.path())]);
    if run("xorriso", &["--version"]).is_none() || run("xorriso", &arguments).is_none() {
        return;
    }
    let fs = opened(device(&image));
    let found = guest_tree(fs.as_ref());
    assert!(found.contains_key(&b"boot.cat"[..]));
    let link = &found[&b"links/s800"[..]];
    assert_eq!((link.kind, link.size_bytes, link.target.as_ref().map(Vec::len)), (FileKind::Link, 799, Some(799)));
}

#[test]
fn damaged_discs_are_walked_to_the_end() {
    let from = source(&Population { depth: 10, many: 5, entries: 20, ..Population::posix().tiny() });
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    for options in [&["-R"][..], &["-J", "-joliet-long"], &[]] {
        let arguments = [&["-quiet"], options, &["-o", text(&image), text(from.path())]].concat();
        if run("genisoimage", &["--version"]).is_none() || run("genisoimage", &arguments).is_none() {
            return;
        }
        let bytes = std::fs::read(&image).expect("reads");
        let fs = opened(memory(&bytes));
        let root = descriptors::read(memory(&bytes).as_ref()).expect("read").expect("known").primary.root.block() as usize * 2048;
        let mut spots = vec![32_768..32_768 + 6144, root..root + 2048];
        fs.entries(fs.root(), &mut |entry| {
            spots.push(entry.node.0 as usize..entry.node.0 as usize + 200);
            if entry.kind == Some(FileKind::Directory) {
                let _ = fs.entries(entry.node, &mut |entry| {
                    spots.push(entry.node.0 as usize..entry.node.0 as usize + 200);
                    ControlFlow::Continue(())
                });
            }
            ControlFlow::Continue(())
        })
        .expect("lists");
        let survival = survive_damage(&bytes, &spots, 150, &|_, _| {});
        assert!(survival.hurt > 10, "{survival:?}");
        let walked = walk(fs.as_ref(), &Limits::sound());
        assert!(walked.problems.is_empty());
    }
}

#[test]
fn times_before_and_after_are_those_of_the_record() {
    let from = tempfile::tempdir().expect("a directory");
    std::fs::write(from.path().join("old.txt"), b"old").expect("writes");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(3_000_000_000);
    std::fs::File::options().write(true).open(from.path().join("old.txt")).and_then(|file| file.set_modified(time)).expect("sets");
    let image = from.path().with_extension("iso");
    if run("genisoimage", &["--version"]).is_none() || run("genisoimage", &["-quiet", "-o", text(&image), text(from.path())]).is_none() {
        return;
    }
    let found = guest_tree(opened(device(&image)).as_ref());
    let _ = std::fs::remove_file(&image);
    let item = &found[&b"old.txt"[..]];
    assert_eq!(
        (item.modified, item.mode, item.device),
        (Timestamp { seconds: 3_000_000_000, nanoseconds: 0 }, 0o444, None::<DeviceNumber>)
    );
}
