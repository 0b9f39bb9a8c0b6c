//! Each set of features that mke2fs offers, with the nasty tree in it, compared with the kernel in every field.

use super::*;
use crate::guestfs::{FileKind, GuestError, identify};

/// Fills, compares, and says how many objects there were.
fn same_as_kernel(mebibytes: u64, arguments: &[&str], longest_attribute: usize) {
    let what = Population { longest_attribute, ..Population::posix() };
    let size = if crate::guestfs::testing::long_tests() { mebibytes + 900 } else { mebibytes };
    let Some((_place, image)) = filled(size, arguments, &what) else { return };
    let Some(tree) = compare(&image, &[]) else { return };
    assert!(tree.len() > 1_900, "{} objects", tree.len());
}

#[test]
fn ext4_as_mke2fs_makes_it() {
    same_as_kernel(96, &["-t", "ext4"], 3_000);
}

#[test]
fn ext4_with_blocks_of_1_kib() {
    same_as_kernel(96, &["-t", "ext4", "-b", "1024", "-N", "8000"], 900);
}

#[test]
fn ext4_with_contents_and_attributes_in_inodes() {
    let features = "inline_data,metadata_csum_seed,64bit,large_dir,ea_inode";
    same_as_kernel(96, &["-t", "ext4", "-O", features, "-I", "512"], 60_000);
}

#[test]
fn ext4_with_inline_data_in_small_inodes() {
    same_as_kernel(96, &["-t", "ext4", "-b", "2048", "-O", "inline_data,^metadata_csum", "-N", "8000"], 1_000);
}

#[test]
fn ext4_with_clusters() {
    same_as_kernel(160, &["-t", "ext4", "-O", "bigalloc", "-C", "16384", "-N", "8000"], 3_000);
}

#[test]
fn ext4_with_old_checksums_only() {
    same_as_kernel(96, &["-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg", "-N", "8000"], 3_000);
}

#[test]
fn ext4_with_scattered_descriptors_and_two_backups() {
    let features = "meta_bg,^resize_inode,sparse_super2,^flex_bg,mmp";
    same_as_kernel(128, &["-t", "ext4", "-b", "1024", "-O", features, "-N", "8000"], 900);
}

#[test]
fn ext4_with_an_orphan_file_and_stable_inodes() {
    same_as_kernel(96, &["-t", "ext4", "-O", "orphan_file,stable_inodes,verity,encrypt", "-N", "8000"], 3_000);
}

#[test]
fn ext4_without_any_modern_feature() {
    same_as_kernel(96, &["-t", "ext4", "-O", "^extent,^64bit,^flex_bg,^dir_index,^huge_file,^extra_isize,^filetype", "-N", "8000"], 900);
}

#[test]
fn ext3() {
    same_as_kernel(96, &["-t", "ext3", "-N", "8000"], 900);
}

#[test]
fn ext2() {
    same_as_kernel(96, &["-t", "ext2", "-N", "8000"], 900);
}

#[test]
fn ext2_with_small_blocks_and_inodes() {
    same_as_kernel(96, &["-t", "ext2", "-b", "1024", "-I", "128", "-N", "8000"], 900);
}

/// Features that this kernel may not be built for change nothing for files: added after the kernel has said what there is.
#[test]
fn quotas_projects_and_names_that_ignore_case() {
    let arguments = ["-t", "ext4", "-I", "256", "-N", "2000"];
    let Some((_place, image)) = filled(48, &arguments, &Population::posix().tiny()) else { return };
    let Some(expected) = truth(&image) else { return };
    for features in [&["-O", "quota,project"][..], &["-O", "casefold", "-E", "encoding=utf8"]] {
        run("tune2fs", &[features, &[text(&image)]].concat()).expect("it is where mke2fs is");
    }
    // The directories ignore case from now on.
    for directory in ["small", "uni", "wide"] {
        let request = format!("set_inode_field {directory} flags 0x40081000");
        run("debugfs", &["-w", "-R", &request, text(&image)]).expect("it is where mke2fs is");
    }
    assert_same(&expected, &shown(&image), &[]);
}

/// Blocks larger than a page of memory: mke2fs fills them, no kernel before 6.19 mounts them.
#[test]
fn blocks_of_64_kib() {
    let source = tempfile::tempdir().expect("a place");
    let what = Population { unix: false, acls: false, longest_attribute: 0, sparse_bytes: 64 << 20, ..Population::posix().tiny() };
    populate(source.path(), &what);
    let Some((_place, image)) = made(256, &["-t", "ext4", "-b", "65536", "-d", text(source.path())]) else { return };
    let mut found = shown(&image);
    found.remove(&b"lost+found"[..]);
    // mke2fs keeps neither nanoseconds nor what the source's filesystem had for itself.
    let times = [Field::Modified, Field::Changed, Field::Created, Field::Accessed];
    let ignored = [&[Field::Allocated, Field::DirectorySize, Field::DirectoryLinks][..], &times].concat();
    let root = found.remove(&b""[..]).expect("the root");
    let mut expected = kernel_tree(source.path());
    expected.remove(&b""[..]);
    assert_same(&expected, &found, &ignored);
    assert_eq!(root.kind, FileKind::Directory);
}

/// Without the key names are shown as texts, contents are refused, and nothing else suffers.
#[test]
fn encrypted_directories() {
    let Some((_place, image)) = made(32, &["-t", "ext4", "-O", "encrypt"]) else { return };
    {
        let Some(mounted) = Mounted::loop_mount(&image, "ext4", "") else { return };
        let secret = mounted.join("secret");
        std::fs::create_dir(&secret).expect("room");
        let Some(added) = run("sh", &["-c", "head -c 64 /dev/zero | tr '\\0' k | xfs_io -c add_enckey \"$0\"", text(mounted.path())])
        else {
            return;
        };
        let Some(key) = added.split_whitespace().last().map(str::to_owned) else { return };
        if run("xfs_io", &["-c", &format!("set_encpolicy -v 2 {key}"), text(&secret)]).is_none() {
            return;
        }
        std::fs::write(secret.join("name"), vec![7; 10_000]).expect("room");
        std::fs::write(secret.join("n".repeat(200)), b"short").expect("room");
        std::os::unix::fs::symlink("somewhere/else", secret.join("link")).expect("room");
        std::fs::create_dir(secret.join("below")).expect("room");
        std::fs::create_dir(secret.join("indexed")).expect("room");
        for at in 0..300 {
            std::fs::write(secret.join(format!("indexed/{at}{}", "x".repeat(at % 220))), b"").expect("room");
        }
        std::fs::write(mounted.join("plain"), b"plain").expect("room");
    }
    let Some(expected) = truth(&image) else { return };
    let found = shown(&image);
    assert_same(&expected, &found, &[]);
    assert!(found.contains_key(&b"plain"[..]) && found.values().any(|item| item.kind == FileKind::Regular && item.content.is_none()));
}

#[test]
fn identities_are_those_of_blkid() {
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    for (kind, arguments) in [("ext2", ["-t", "ext2"]), ("ext3", ["-t", "ext3"]), ("ext4", ["-t", "ext4"]), ("jbd", ["-O", "journal_dev"])]
    {
        let Some((_place, image)) = made(16, &[&arguments[..], &["-U", uuid, "-L", "a label"]].concat()) else { return };
        let found = identify(device(&image).as_ref()).expect("readable").expect("known");
        assert_eq!((found.kind, found.label.as_deref(), found.uuid.as_deref()), (kind, Some("a label"), Some(uuid)));
        assert_eq!(found.size_bytes, Some(16 << 20));
        let Some(told) = run("blkid", &["-p", "-o", "value", "-s", "TYPE", text(&image)]) else { return };
        assert_eq!(told.trim(), kind);
    }
    let nothing = tempfile::NamedTempFile::new().expect("a place");
    nothing.as_file().set_len(1 << 20).expect("room");
    assert_eq!(identify(device(nothing.path()).as_ref()).expect("readable"), None);
}

#[test]
fn unknown_features_are_refused_by_name() {
    let Some((_place, image)) = made(16, &["-t", "ext4", "-O", "^metadata_csum"]) else { return };
    let mut bytes = std::fs::read(&image).expect("readable");
    bytes[1024 + 0x61] |= 0x10;
    bytes[1024 + 0x63] |= 0x40;
    std::fs::write(&image, &bytes).expect("writable");
    match open(&[device(&image)], &OpenOptions::default()) {
        Err(GuestError::Unsupported { feature }) => assert_eq!(feature, "ext4 feature 'dirdata', 'incompat 0x40000000'"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}
