//! Tests of VMDK images against those that qemu-img makes.

use std::fs;
use std::path::Path;

use crate::source::testing::{Workshop, check_equal, run, survive_damage, text};
use crate::source::{Format, open};

/// The text of the error of opening `path`.
fn refused(path: &Path) -> String {
    match open(path, Format::Vmdk) {
        Ok(source) => panic!("{} was opened", source.description()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_kind_of_image_reads_as_its_disk() {
    let workshop = Workshop::new((9 << 20) + 512, 1);
    for (name, options) in [
        ("sparse", "subformat=monolithicSparse"),
        ("zeroed", "subformat=monolithicSparse,zeroed_grain=on"),
        ("flat", "subformat=monolithicFlat"),
        ("split", "subformat=twoGbMaxExtentSparse"),
        ("splitflat", "subformat=twoGbMaxExtentFlat"),
        ("stream", "subformat=streamOptimized"),
        ("scsi", "subformat=monolithicSparse,adapter_type=lsilogic,hwversion=10"),
    ] {
        let Some(image) = workshop.convert("vmdk", &["-o", options], &format!("{name}.vmdk")) else { return };
        let source = check_equal(&image, Format::Auto, &workshop.disk);
        assert_eq!(source.description(), format!("{} (vmdk)", image.display()));
    }
}

#[test]
fn extents_of_two_gigabytes_follow_each_other() {
    let workshop = Workshop::new(1 << 20, 2);
    let image = workshop.path("disk.vmdk");
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let option = format!("subformat={subformat}");
        let Some(_) = run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", &option, text(&image), "5G"]) else { return };
        // Over the border of the first two extents, and in the last one.
        run("qemu-io", &["-f", "vmdk", "-c", "write -P 5 2147450880 128k", "-c", "write -P 6 4500M 64k", text(&image)]);
        let source = open(&image, Format::Auto).expect("an image");
        assert_eq!(source.size_bytes(), 5 << 30, "{subformat}");
        let mut bytes = vec![0; (128 << 10) + 2];
        source.read_at((2 << 30) - 32768 - 1, &mut bytes).expect("a read");
        let end = bytes.len() - 1;
        assert!(bytes[0] == 0 && bytes[end] == 0 && bytes[1..end].iter().all(|&byte| byte == 5), "{subformat}");
        let data = source.data_extents().expect("extents");
        assert!(data.total_bytes() <= 512 << 10, "{subformat}: {data:?}");
        source.read_at(4500 << 20, &mut bytes[..2]).expect("a read");
        assert_eq!(bytes[..2], [6, 6]);
    }
    // One extent is not the disk.
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", text(&image), "5G"]);
    let extent = workshop.path("disk-s001.vmdk");
    assert!(refused(&extent).contains("it is one extent of a disk that has several"), "{}", refused(&extent));
    fs::remove_file(workshop.path("disk-s002.vmdk")).expect("the extent");
    assert!(refused(&image).contains("disk-s002.vmdk: there is no such file"), "{}", refused(&image));
}

#[test]
fn a_child_reads_as_its_top() {
    let workshop = Workshop::new(3 << 20, 3);
    for subformat in ["monolithicSparse", "streamOptimized"] {
        let Some(parent) = workshop.convert("vmdk", &["-o", &format!("subformat={subformat}")], "parent.vmdk") else { return };
        let child = workshop.path("child.vmdk");
        let create = |below: &str| {
            run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", "zeroed_grain=on", "-b", below, "-F", "vmdk", text(&child)]);
        };
        create(text(&parent));
        run("qemu-io", &["-f", "vmdk", "-c", "write -P 3 100000 70000", "-c", "write -z 1M 64k", text(&child)]);
        let mut disk = workshop.disk.clone();
        disk[100_000..170_000].fill(3);
        disk[1 << 20..(1 << 20) + 65536].fill(0);
        let source = check_equal(&child, Format::Auto, &disk);
        assert_eq!(source.description(), format!("{} (vmdk, over {} (vmdk))", child.display(), parent.display()));
        // A relative path leads to the same.
        create("parent.vmdk");
        check_equal(&child, Format::Auto, &workshop.disk);
        // What only looks like one is not followed.
        let guest = workshop.path("guest.img");
        fs::copy(&child, &guest).expect("a copy");
        let error = open(&guest, Format::Auto).map(|source| source.description()).expect_err("it was believed").to_string();
        assert!(error.contains("which a guest could have written there"), "{error}");
        // A parent that was written to since has another content id. (One digit is changed, since qemu does not pad the number.)
        let bytes = fs::read(&parent).expect("the parent");
        let at = bytes.windows(4).position(|window| window == b"CID=").expect("a content id");
        let mut other = bytes.clone();
        other[at + 4] = if bytes[at + 4] == b'1' { b'2' } else { b'1' };
        fs::write(&parent, other).expect("the parent");
        assert!(refused(&child).contains("was written to since this image was made over it"), "{}", refused(&child));
        fs::remove_file(&parent).expect("the parent");
        assert!(refused(&child).contains("its parent 'parent.vmdk' could not be found"), "{}", refused(&child));
    }
}

#[test]
fn what_is_not_possible_is_refused() {
    let workshop = Workshop::new(1 << 20, 4);
    let Some(image) = workshop.convert("vmdk", &["-o", "subformat=streamOptimized"], "disk.vmdk") else { return };
    let original = fs::read(&image).expect("the image");
    for (at, bytes, expected) in [
        (0, &b"COWD"[..], "a sparse extent of an ESX host"),
        (0, b"XDMV", "it does not start with KDMV"),
        (4, &[4], "version 4 of the format"),
        (12, &[0xff; 8], "more than 1 EiB"),
        (12, &[0; 8], "is empty (0 bytes)"),
        (20, &[3], "its grains have 1536 bytes"),
        (20, &[0, 0, 1], "its grains have 33554432 bytes"),
        (44, &[0, 0], "its tables have 0 grains"),
        (44, &[1, 0x20], "its tables have 8193 grains"),
        (56, &[0xff, 0xff, 0xff], "the file ends at"),
        (56, &[0xff; 8], "it does not start with KDMV"),
        (36, &[0xff, 0xff], "its descriptor should be"),
        (28, &[0], "it is one extent of a disk"),
        (77, &[2], "compressed by method 2"),
    ] {
        let mut damaged = original.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&image, &damaged).expect("the image");
        assert!(refused(&image).contains(expected), "byte {at} = {bytes:?}: {}", refused(&image));
    }
    // A grain that says it is another one.
    let mut damaged = original.clone();
    let grain =
        original.windows(12).position(|window| window[..8] == [0; 8] && window[8..] != [0; 4] && window[11] == 0 && window[10] == 0);
    // The first grain stands behind the tables; its marker's first eight bytes are sector 0, so any sector but its own will do.
    let source = open(&image, Format::Vmdk).err().map(|error| error.to_string());
    assert!(source.is_some(), "the damage above is still there");
    fs::write(&image, &original).expect("the image");
    let map = open(&image, Format::Vmdk).expect("an image");
    assert!(grain.is_some() && map.data_extents().expect("extents").total_bytes() > 0);
    for at in (512 * 128..damaged.len() - 1536).step_by(512) {
        damaged[at] ^= 0x80;
    }
    fs::write(&image, &damaged).expect("the image");
    let error = open(&image, Format::Vmdk).and_then(|source| {
        let mut buffer = vec![0; 1 << 20];
        source.read_at(0, &mut buffer).map_err(|error| error.downcast().expect("an error of this room"))
    });
    let error = error.expect_err("its grains are damaged").to_string();
    assert!(error.contains("says that it is that of sector") || error.contains("cannot be decoded"), "{error}");
}

#[test]
fn a_directory_that_only_the_footer_tells_is_found() {
    let workshop = Workshop::new(2 << 20, 5);
    let Some(image) = workshop.convert("vmdk", &["-o", "subformat=streamOptimized"], "disk.vmdk") else { return };
    let mut bytes = fs::read(&image).expect("the image");
    // As a writer of a stream leaves it: the header at the start does not know where the directory will be, the footer does.
    let header = bytes[..512].to_vec();
    bytes[56..64].fill(0xff);
    if bytes.len() % 512 != 0 {
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    let mut marker = vec![0; 512];
    marker[12] = 3;
    bytes.extend(marker);
    bytes.extend(header);
    bytes.extend(vec![0; 512]);
    fs::write(&image, &bytes).expect("the image");
    check_equal(&image, Format::Auto, &workshop.disk);
}

#[test]
fn a_truncated_image_is_no_image_of_zeros() {
    let workshop = Workshop::new(4 << 20, 6);
    for (subformat, file) in [("monolithicSparse", "disk.vmdk"), ("streamOptimized", "disk.vmdk"), ("monolithicFlat", "disk-flat.vmdk")] {
        let Some(image) = workshop.convert("vmdk", &["-o", &format!("subformat={subformat}")], "disk.vmdk") else { return };
        let bytes = fs::read(workshop.path(file)).expect("the image");
        fs::write(workshop.path(file), &bytes[..bytes.len() / 2]).expect("the image");
        let source = open(&image, Format::Auto).expect("its tables are there");
        let error = source.read_at(0, &mut vec![0; 4 << 20]).expect_err("half of it is not there").to_string();
        assert!(error.contains("it was cut short") || error.contains("says that it has"), "{subformat}: {error}");
    }
}

#[test]
fn damaged_images_give_errors_and_nothing_worse() {
    let workshop = Workshop::new(1 << 20, 7);
    for subformat in ["monolithicSparse", "streamOptimized", "twoGbMaxExtentSparse", "monolithicFlat"] {
        let Some(image) = workshop.convert("vmdk", &["-o", &format!("subformat={subformat}")], &format!("{subformat}.vmdk")) else {
            return;
        };
        survive_damage(&image, Format::Vmdk, &[0..80, 0..512, 512..1024, 512 * 21..512 * 40], 100);
    }
}
