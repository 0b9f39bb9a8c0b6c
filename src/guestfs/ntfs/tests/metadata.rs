//! What Linux has no words for: streams, reparse points, flags, descriptors, DOS names; and what WSL and Interix keep.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::image::{Image, set};
use super::{attribute, contents, names, node, opened};
use crate::guestfs::testing::Noise;
use crate::guestfs::{DeviceNumber, FileKind, GuestError, Node};

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn point(tag: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn numbers(all: &[u16]) -> Vec<u8> {
    all.iter().copied().flat_map(u16::to_le_bytes).collect()
}

fn junction(path: &str) -> Vec<u8> {
    let path = utf16(path);
    let length = path.len() as u16;
    let mut data = numbers(&[0, length, length + 2, 0]);
    data.extend(path);
    data.extend([0; 4]);
    point(0xA000_0003, &data)
}

fn symbolic(path: &str, is_relative: bool) -> Vec<u8> {
    let path = utf16(path);
    let length = path.len() as u16;
    let mut data = numbers(&[length, length, 0, length, u16::from(is_relative), 0]);
    data.extend(&path);
    data.extend(&path);
    point(0xA000_000C, &data)
}

/// What ntfs-3g shows of a link, relative to the link as ours is.
fn shown(mount: &Path, path: &str) -> String {
    let target = fs::read_link(mount.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let target = target.to_str().expect("plain").to_owned();
    let up = "../".repeat(path.matches('/').count());
    target.strip_prefix(&format!("{}/", mount.to_str().expect("plain"))).map_or(target.clone(), |inside| format!("{up}{inside}"))
}

#[test]
fn links_of_windows_lead_where_ntfs_3g_says() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    fs::create_dir_all(mount.join("Users/Me/Documents")).expect("directories");
    fs::write(mount.join("Users/Me/Documents/Letter.txt"), "letter").expect("a file");
    let links = [
        ("junction", junction("\\??\\C:\\users\\ME"), "Users/Me"),
        ("Users/inner", junction("\\??\\C:\\Users\\Me\\Documents"), "../Users/Me/Documents"),
        ("Users/Me/elsewhere", junction("\\??\\D:\\other\\place"), "../../.NTFS-3G/D:/other/place"),
        (
            "volume",
            junction("\\??\\Volume{01234567-89ab-cdef-0123-456789abcdef}\\"),
            ".NTFS-3G/Volume{01234567-89ab-cdef-0123-456789abcdef}/",
        ),
        ("Users/relative", symbolic("me\\DOCUMENTS", true), "Me/Documents"),
        ("Users/Me/up", symbolic("..\\me\\documents", true), "../Me/Documents"),
        ("Users/absolute", symbolic("\\??\\C:\\Users\\me\\Documents", false), "../Users/Me/Documents"),
        ("Users/rooted", symbolic("\\users\\me", true), "../Users/Me"),
    ];
    for (path, data, _) in &links {
        fs::create_dir(mount.join(path)).expect("a directory");
        set(&mount.join(path), "system.ntfs_reparse_data", data);
    }
    fs::write(mount.join("file link"), "").expect("a file");
    set(&mount.join("file link"), "system.ntfs_reparse_data", &symbolic("users\\me\\documents\\letter.TXT", true));
    // The kernel still knows them as directories.
    drop(mount);
    let Some(mount) = image.mount(",ro") else { return };
    let seen: Vec<String> = links.iter().map(|(path, ..)| shown(mount.path(), path)).collect();
    assert_eq!(shown(mount.path(), "file link"), "Users/Me/Documents/Letter.txt");
    drop(mount);
    let fs = opened(&image.path());
    for ((path, data, expected), seen) in links.iter().zip(seen) {
        let link = node(fs.as_ref(), path);
        let target = String::from_utf8(fs.link_target(link).expect("a link")).expect("UTF-8");
        assert_eq!(target, *expected, "{path}");
        assert_eq!(target.trim_end_matches('/'), seen.trim_end_matches('/'), "{path}: as ntfs-3g has it");
        let attributes = fs.attributes(link).expect("attributes");
        assert_eq!((attributes.kind, attributes.size_bytes), (FileKind::Link, target.len() as u64));
        assert_eq!(attribute(fs.as_ref(), link, "system.ntfs_reparse_data").as_ref(), Some(data));
    }
    assert_eq!(fs.link_target(node(fs.as_ref(), "file link")).expect("a link"), b"Users/Me/Documents/Letter.txt");
}

#[test]
fn reparse_points_that_cannot_be_read_are_named_and_their_files_listed() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    for (name, tag) in [("dedup", 0x8000_0013_u32), ("here", 0x9000_601A), ("away", 0x9000_701A), ("strange", 0x8000_7777)] {
        fs::write(mount.join(name), "what is stored").expect("a file");
        set(&mount.join(name), "system.ntfs_reparse_data", &point(tag, b"12345678"));
    }
    set(&mount.join("away"), "system.ntfs_attrib_be", &0x0040_1420_u32.to_be_bytes());
    drop(mount);
    let fs = opened(&image.path());
    for (name, part) in [("dedup", "deduplication"), ("strange", "0x80007777"), ("away", "cloud")] {
        let found = node(fs.as_ref(), name);
        assert_eq!(fs.attributes(found).expect("attributes").size_bytes, 14);
        match fs.open(found).map(|_| ()) {
            Err(GuestError::Unsupported { feature }) => assert!(feature.contains(part), "{feature}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(contents(fs.as_ref(), node(fs.as_ref(), "here")), b"what is stored", "a file of a cloud that is on this disk");
}

#[test]
fn streams_are_attributes_and_files() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    let file = mount.join("with streams");
    fs::write(&file, "main").expect("a file");
    set(&file, "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n");
    let long = Noise::new(5).bytes(60_000);
    set(&file, "user.long", &long);
    set(&file, "user.empty", b"");
    drop(mount);
    let Some(mount) = image.mount(",streams_interface=windows") else { return };
    let longest = Noise::new(6).bytes(200_000);
    fs::write(mount.join("with streams:longest"), &longest).expect("a stream");
    drop(mount);
    let fs = opened(&image.path());
    let found = node(fs.as_ref(), "with streams");
    let value = |name: &str| attribute(fs.as_ref(), found, name);
    assert_eq!(value("user.stream.Zone.Identifier").as_deref(), Some(&b"[ZoneTransfer]\r\nZoneId=3\r\n"[..]));
    assert_eq!(value("user.stream.long"), Some(long));
    assert_eq!(value("user.stream.empty").as_deref(), Some(&b""[..]));
    assert_eq!(value("user.stream.longest"), None);
    assert_eq!(value("user.long_stream.longest").as_deref(), Some(&b"200000 bytes"[..]));
    assert_eq!(names(fs.as_ref(), fs.root()), ["with streams"], "no stream is listed as a file");
    let stream = node(fs.as_ref(), "with streams:longest");
    assert_eq!(contents(fs.as_ref(), stream), longest);
    let attributes = fs.attributes(stream).expect("attributes");
    assert_eq!((attributes.kind, attributes.size_bytes, attributes.links), (FileKind::Regular, 200_000, 1));
    assert_eq!(fs.lookup(fs.root(), b"with streams:none").expect("lookup"), None);
    assert_eq!(contents(fs.as_ref(), found), b"main");
}

#[test]
fn case_matters_only_where_nothing_else_matches() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    for name in ["Name", "NAME", "\u{17d}lu\u{165}", "other"] {
        fs::write(mount.join(name), name).expect("a file");
    }
    drop(mount);
    let fs = opened(&image.path());
    let read = |name: &str| String::from_utf8(contents(fs.as_ref(), node(fs.as_ref(), name))).expect("UTF-8");
    assert_eq!([read("Name"), read("NAME")], ["Name", "NAME"]);
    assert!(["Name", "NAME"].contains(&read("name").as_str()));
    assert_eq!([read("\u{17e}LU\u{164}"), read("OTHER")], ["\u{17d}lu\u{165}", "other"]);
    for name in ["nam", "namee", "", "$MFT", "$mft", "."] {
        assert_eq!(fs.lookup(fs.root(), name.as_bytes()).expect("lookup"), None, "{name}");
    }
}

#[test]
fn dos_names_are_no_links_and_flags_and_descriptors_are_attributes() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    let file = mount.join("a long name of a file");
    fs::write(&file, "x").expect("a file");
    set(&file, "system.ntfs_dos_name", b"ALONGN~1");
    fs::hard_link(&file, mount.join("second name")).expect("a link");
    set(&file, "system.ntfs_attrib_be", &0x0021_u32.to_be_bytes());
    let mut acl = vec![0; 4096];
    let length = rustix::fs::lgetxattr(&file, "system.ntfs_acl", &mut acl).expect("ntfs-3g gives descriptors");
    drop(mount);
    let fs = opened(&image.path());
    assert_eq!(names(fs.as_ref(), fs.root()), ["a long name of a file", "second name"]);
    let found = node(fs.as_ref(), "a long name of a file");
    let attributes = fs.attributes(found).expect("attributes");
    assert_eq!((attributes.links, attributes.mode), (2, 0o444));
    assert_eq!(node(fs.as_ref(), "second name"), found);
    assert_eq!(attribute(fs.as_ref(), found, "system.ntfs_attrib_be"), Some(vec![0, 0, 0, 0x21]));
    assert_eq!(attribute(fs.as_ref(), found, "system.ntfs_acl").as_deref(), Some(&acl[..length]));
}

#[test]
fn special_files_of_interix_and_of_wsl() {
    for interface in ["interix", "wsl"] {
        let Some(image) = Image::make(32, 4096, 512) else { return };
        let Some(mount) = image.mount(&format!(",special_files={interface}")) else { return };
        let make = |name: &str, kind, device| {
            rustix::fs::mknodat(rustix::fs::CWD, mount.join(name), kind, 0o644.into(), device).expect("a node");
        };
        make("character", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(5, 300));
        make("block", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(259, 1));
        make("pipe", rustix::fs::FileType::Fifo, 0);
        make("socket", rustix::fs::FileType::Socket, 0);
        symlink("../some/\u{17e}/where", mount.join("link")).expect("a link");
        let block = rustix::fs::major(fs::metadata(mount.join("block")).expect("there").rdev());
        drop(mount);
        let fs = opened(&image.path());
        let found = |name: &str| fs.attributes(node(fs.as_ref(), name)).expect("attributes");
        let character = found("character");
        assert_eq!(
            (character.kind, character.device),
            (FileKind::CharacterDevice, Some(DeviceNumber { major: 5, minor: 300 })),
            "{interface}"
        );
        assert_eq!((found("block").kind, found("block").device), (FileKind::BlockDevice, Some(DeviceNumber { major: block, minor: 1 })));
        assert_eq!(found("link").kind, FileKind::Link);
        assert_eq!(fs.link_target(node(fs.as_ref(), "link")).expect("a link"), "../some/\u{17e}/where".as_bytes());
        // Interix has no mark for these.
        let unmarked = [FileKind::Regular, FileKind::Regular];
        let expected = if interface == "wsl" { [FileKind::Pipe, FileKind::Socket] } else { unmarked };
        assert_eq!([found("pipe").kind, found("socket").kind], expected);
    }
}

#[test]
fn wsl_says_owners_and_modes() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    let file = mount.join("script");
    fs::write(&file, "#!/bin/sh\n").expect("a file");
    let mut all = Vec::new();
    for (name, value) in [("$LXUID", 1000_u32), ("$LXGID", 100), ("$LXMOD", 0o104_751)] {
        all.extend(20_u32.to_le_bytes());
        all.extend([0, name.len() as u8, 4, 0]);
        all.extend(name.as_bytes());
        all.push(0);
        all.extend(value.to_le_bytes());
        all.resize(all.len().next_multiple_of(4), 0);
    }
    set(&file, "system.ntfs_ea", &all);
    drop(mount);
    let fs = opened(&image.path());
    let attributes = fs.attributes(node(fs.as_ref(), "script")).expect("attributes");
    assert_eq!((attributes.uid, attributes.gid, attributes.mode), (1000, 100, 0o4751));
    assert_eq!(fs.attributes(Node(5)).expect("the root").mode, 0o755);
}

#[test]
fn a_hibernated_windows_is_said() {
    let Some(image) = Image::make(32, 4096, 512) else { return };
    let noted = || opened(&image.path()).about().notes.iter().any(|note| note.contains("hibernated"));
    for (mark, expected) in [(b"HIBR", true), (b"wake", false)] {
        let Some(mount) = image.mount("") else { return };
        fs::write(mount.join("Hiberfil.sys"), mark.repeat(2048)).expect("room");
        drop(mount);
        assert_eq!(noted(), expected);
    }
}
