//! Tests of qcow2 images against those that qemu-img makes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::source::testing::{Workshop, check_equal, run, seeded_disk, survive_damage, text};
use crate::source::{Format, open};

/// The text of the error of opening `path`.
fn refused(path: &Path) -> String {
    match open(path, Format::Qcow2) {
        Ok(source) => panic!("{} was opened", source.description()),
        Err(error) => error.to_string(),
    }
}

/// Puts `bytes` at `at` of a file.
fn poke(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("the image");
    file.write_all_at(bytes, at).expect("a write");
}

#[test]
fn every_kind_of_image_reads_as_its_disk() {
    // Not a multiple of any cluster size.
    let workshop = Workshop::new((9 << 20) + 512, 1);
    for (number, options) in [
        "",
        "-o compat=0.10",
        "-o cluster_size=512",
        "-o cluster_size=4k,compat=0.10",
        "-o cluster_size=2M",
        "-c",
        "-c -o compat=0.10",
        "-c -o compression_type=zstd",
        "-c -o cluster_size=512",
        "-c -o cluster_size=2M",
        "-c -o cluster_size=2M,compression_type=zstd",
        "-o extended_l2=on",
        "-o extended_l2=on,cluster_size=16k",
        "-c -o extended_l2=on",
        "-o lazy_refcounts=on,refcount_bits=1",
        "-o preallocation=metadata -S 0",
        "-o preallocation=falloc",
        "-S 0",
    ]
    .into_iter()
    .enumerate()
    {
        let words: Vec<&str> = options.split_whitespace().collect();
        let Some(image) = workshop.convert("qcow2", &words, &format!("{number}.qcow2")) else { return };
        let source = check_equal(&image, Format::Auto, &workshop.disk);
        assert_eq!(source.description(), format!("{} (qcow2)", image.display()), "{options}");
        fs::remove_file(&image).expect("the image");
    }
}

#[test]
fn a_chain_reads_as_its_top() {
    let workshop = Workshop::new(3 << 20, 2);
    let mut disk = workshop.disk.clone();
    disk.resize(5 << 20, 0);
    let Some(base) = workshop.convert("qcow2", &["-c"], "base.qcow2") else { return };
    fs::create_dir(workshop.path("snapshots")).expect("a directory");
    // A relative path upwards, a larger disk, and parts of clusters written over the image below.
    let middle = workshop.path("snapshots/middle.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "../base.qcow2", "-F", "qcow2", text(&middle), "5M"]);
    let top = workshop.path("top.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", text(&middle), "-F", "qcow2", text(&top)]);
    let mut change = |image: &Path, kind: &str, offset: usize, length: usize| {
        let (command, byte) = match kind {
            "write" => (format!("write -P 170 {offset} {length}"), 170),
            "zero" => (format!("write -z {offset} {length}"), 0),
            _ => (format!("write -z -u {offset} {length}"), 0),
        };
        run("qemu-io", &["-c", &command, text(image)]).expect("qemu-io comes with qemu-img");
        disk[offset..offset + length].fill(byte);
    };
    change(&middle, "write", 70_000, 3_000);
    change(&middle, "zero", 131_072, 65_536);
    change(&middle, "write", 4_000_000, 10_000);
    change(&top, "write", 1_000_448, 2_048);
    change(&top, "zero", 200_704, 4_096);
    change(&top, "discard", 2 << 20, 65_536);
    let source = check_equal(&top, Format::Qcow2, &disk);
    let description = source.description();
    let expected = format!("{} (qcow2, over {} (qcow2, over ", top.display(), middle.display());
    assert!(description.starts_with(&expected) && description.ends_with("base.qcow2 (qcow2)))"), "{description}");
    // A backing file that is written to makes its overlay worthless.
    poke(&base, 100, b"x");
    let error = source.check_unchanged().expect_err("the base was written to").to_string();
    assert!(error.contains("base.qcow2: was written to while it was read"), "{error}");
}

#[test]
fn a_raw_backing_file_shows_its_holes() {
    let workshop = Workshop::new(1 << 20, 3);
    let base = workshop.path("base.raw");
    let file = fs::File::create(&base).expect("a file");
    file.write_all_at(&workshop.disk, 8 << 20).expect("a write");
    file.set_len(32 << 20).expect("a size");
    let mut disk = vec![0; 32 << 20];
    disk[8 << 20..9 << 20].copy_from_slice(&workshop.disk);
    let top = workshop.path("top.qcow2");
    let Some(_) = run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", text(&top)]) else { return };
    let source = check_equal(&top, Format::Auto, &disk);
    let data = source.data_extents().expect("extents").total_bytes();
    assert!(data <= 2 << 20, "{data} bytes of data are told");
}

#[test]
fn an_external_data_file_is_read() {
    let workshop = Workshop::new((2 << 20) + 512, 4);
    let (image, data) = (workshop.path("disk.qcow2"), workshop.path("data.raw"));
    for raw in ["off", "on"] {
        let option = format!("data_file={},data_file_raw={raw}", data.display());
        let Some(_) = workshop.convert("qcow2", &["-o", &option], "disk.qcow2") else { return };
        check_equal(&image, Format::Auto, &workshop.disk);
    }
    fs::remove_file(&data).expect("the data file");
    let error = refused(&image);
    assert!(error.contains("rests on another file") && error.contains("data.raw: there is no such file"), "{error}");
}

#[test]
fn preallocated_clusters_that_were_never_written_are_no_data() {
    let workshop = Workshop::new(1 << 20, 5);
    let image = workshop.path("disk.qcow2");
    let arguments = ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", text(&image), "64M"];
    let Some(_) = run("qemu-img", &arguments) else { return };
    run("qemu-io", &["-c", "write -P 1 20M 64k", text(&image)]);
    let mut disk = vec![0; 64 << 20];
    disk[20 << 20..(20 << 20) + 65536].fill(1);
    let source = check_equal(&image, Format::Auto, &disk);
    let data = source.data_extents().expect("extents").total_bytes();
    assert!(data < 2 << 20, "{data} bytes of data are told");
}

#[test]
fn a_disk_of_many_terabytes_is_told_from_its_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk.qcow2");
    let Some(_) = run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "16T"]) else { return };
    run("qemu-io", &["-c", "write -P 1 15T 64k", "-c", "write -P 2 1T 128k", text(&image)]);
    let source = open(&image, Format::Auto).expect("an image");
    let data: Vec<_> = source.data_extents().expect("extents").iter().map(|extent| (extent.offset(), extent.length())).collect();
    assert_eq!(data, [(1 << 40, 131_072), (15 << 40, 65_536)]);
    let mut bytes = [9; 3];
    source.read_at((1 << 40) + 131_071, &mut bytes).expect("a read");
    assert_eq!(bytes, [2, 0, 0]);
    source.read_at(16 << 40, &mut [0]).expect_err("past the end");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let workshop = Workshop::new(1 << 20, 6);
    let Some(image) = workshop.convert("qcow2", &[], "disk.qcow2") else { return };
    let original = fs::read(&image).expect("the image");
    for (at, bytes, expected) in [
        (79, &[2][..], "it is marked as corrupt (qemu-img check -r all)"),
        (79, &[0x20], "it has the incompatible feature bit 5, which is not understood"),
        (72, &[0x80], "the incompatible feature bit 63"),
        (35, &[1], "it is encrypted (AES)"),
        (35, &[2], "it is encrypted (LUKS)"),
        (35, &[3], "encrypted by method 3"),
        (104, &[1], "compressed by method 1"),
        (7, &[4], "version 4 of the format"),
        (7, &[1], "version 1 of the format"),
        (23, &[8], "its clusters have 2^8 bytes"),
        (23, &[22], "its clusters have 2^22 bytes"),
        (24, &[0x40], "more than 1 EiB"),
        (24, &[0, 0, 0x80], "its L1 table has"),
        (40, &[0x40], "its L1 table should lie at"),
        (36, &[0, 0, 0, 0], "its L1 table has 0 entries"),
        (100, &[0, 0, 0, 8], "its header has 8 bytes"),
        (24, &[0; 8], "is empty (0 bytes)"),
    ] {
        fs::write(&image, &original).expect("the image");
        poke(&image, at, bytes);
        let error = refused(&image);
        assert!(error.contains(expected), "byte {at} = {bytes:?}: {error}");
    }
    // A name for bit 5 in the table of feature names.
    fs::write(&image, &original).expect("the image");
    poke(&image, 79, &[0x20]);
    let table = original.windows(48).position(|window| window.starts_with(&[0, 0]) && window[2..].starts_with(b"dirty bit"));
    let table = u64::try_from(table.expect("qemu-img writes names")).expect("an offset");
    poke(&image, table, &[0, 5]);
    let error = refused(&image);
    assert!(error.contains("feature bit 5 ('dirty bit')"), "{error}");
    // The dirty bit tells only of reference counts.
    fs::write(&image, &original).expect("the image");
    poke(&image, 79, &[1]);
    check_equal(&image, Format::Auto, &workshop.disk);
}

#[test]
fn backing_files_are_local_and_end() {
    let workshop = Workshop::new(1 << 20, 7);
    let image = workshop.path("disk.qcow2");
    let create =
        |below: &str, format: &str| run("qemu-img", &["create", "-q", "-f", "qcow2", "-u", "-b", below, "-F", format, text(&image), "1M"]);
    for (below, format, expected) in [
        ("nbd://host/x", "raw", "rests on 'nbd://host/x', which is not named as a local file"),
        ("json:{\"driver\":\"null-co\"}", "raw", "which is not named as a local file"),
        ("missing.raw", "raw", "missing.raw: there is no such file"),
        ("disk.qcow2", "qcow2", "it rests on itself through its chain"),
        ("disk.raw", "qed", "its backing file is of format 'qed', which is not read"),
        ("disk.raw", "qcow2", "disk.raw: is damaged as qcow2"),
    ] {
        let Some(_) = create(below, format) else { return };
        let error = refused(&image);
        assert!(error.contains(expected), "{below}: {error}");
    }
    create("file:disk.raw", "raw");
    check_equal(&image, Format::Auto, &workshop.disk);
    // 64 images are a chain, 65 are not.
    let name = |number: usize| workshop.path(&format!("{number}.qcow2"));
    for number in 1..65 {
        let below = if number == 1 { workshop.path("disk.raw") } else { name(number - 1) };
        let format = if number == 1 { "raw" } else { "qcow2" };
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-u", "-b", text(&below), "-F", format, text(&name(number)), "1M"]);
    }
    check_equal(&name(63), Format::Auto, &workshop.disk);
    assert!(refused(&name(64)).contains("is longer than 64"), "{}", refused(&name(64)));
}

#[test]
fn an_image_that_only_looks_like_one_opens_no_other_file() {
    let workshop = Workshop::new(1 << 20, 8);
    let image = workshop.path("guest.img");
    let Some(_) = run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", text(&image)]) else { return };
    let error = open(&image, Format::Auto).map(|source| source.description()).expect_err("it was believed").to_string();
    assert!(error.contains("which a guest could have written there") && error.contains("name it as qcow2:PATH"), "{error}");
    check_equal(&image, Format::Qcow2, &workshop.disk);
    let raw = fs::read(&image).expect("the image");
    assert_eq!(check_equal(&image, Format::Raw, &raw).description(), format!("{} (raw)", image.display()));
    // By itself alone it is read.
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "1M"]);
    check_equal(&image, Format::Auto, &vec![0; 1 << 20]);
}

#[test]
fn a_truncated_image_is_no_image_of_zeros() {
    let workshop = Workshop::new(4 << 20, 9);
    let Some(image) = workshop.convert("qcow2", &["-S", "0"], "disk.qcow2") else { return };
    let length = fs::metadata(&image).expect("the image").len();
    fs::File::options().write(true).open(&image).expect("the image").set_len(length - (1 << 20)).expect("a size");
    let source = open(&image, Format::Auto).expect("its tables are there");
    let error = source.read_at(3 << 20, &mut [0; 4096]).expect_err("the cluster is not there").to_string();
    assert!(error.contains("it was cut short"), "{error}");
    assert!(source.data_extents().expect("extents").total_bytes() >= 4 << 20, "what was cut off is told as a hole");
}

#[test]
fn damaged_images_give_errors_and_nothing_worse() {
    let disk = 1 << 20;
    for (number, options) in
        ["-o cluster_size=4k", "-c -o cluster_size=4k", "-c -o compression_type=zstd", "-o extended_l2=on,cluster_size=16k"]
            .into_iter()
            .enumerate()
    {
        let workshop = Workshop::new(disk, 10);
        let words: Vec<&str> = options.split_whitespace().collect();
        let Some(image) = workshop.convert("qcow2", &words, &format!("{number}.qcow2")) else { return };
        survive_damage(&image, Format::Qcow2, &[0..112, 0..1024, 0..65536, 4096 * 3..4096 * 6], 150);
    }
    assert_eq!(seeded_disk(disk, 10), seeded_disk(disk, 10));
}
