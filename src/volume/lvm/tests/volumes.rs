//! Linear, striped and mirrored volumes: the bytes that are at the places where, computed by hand, they should be.

use crate::volume::VolumeError;
use crate::volume::testing::lvm::*;

const CHUNK: u64 = 64 << 10;

fn several() -> Logical {
    let stripes = "type=\"striped\" stripe_count=2 stripe_size=128 stripes=[\"pv0\",10,\"pv1\",0]".to_owned();
    let three = "type=\"striped\" stripe_count=3 stripe_size=8 stripes=[\"pv0\",30,\"pv1\",30,\"pv0\",34]".to_owned();
    Logical::default()
        .add("lin", true, &[(3, linear(0, 2))])
        .add("multi", true, &[(2, linear(0, 5)), (1, linear(0, 7)), (1, linear(1, 20))])
        .add("str", true, &[(4, stripes)])
        .add("three", true, &[(3, three)])
        .add("zero", true, &[(1, linear(1, 25)), (1, "type=\"zero\"".to_owned())])
        .hidden("secret", 1, 1, 24)
}

#[test]
fn linear_and_striped_volumes_lie_where_the_text_says() {
    let Some(lvm) = Lvm::new(2, 48) else { return };
    if lvm.group(&several()).is_none() {
        return;
    }
    let mut images = lvm.images();
    stamp(&mut images);
    let assembled = assembled(&images);
    let group = &assembled.groups[0];
    assert_eq!((group.title.as_str(), group.notes.len(), assembled.groups.len()), ("vgt", 0, 1));
    let names: Vec<&str> = group.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["lin", "multi", "str", "three", "zero"], "hidden volumes are not for people");
    check(opened(&assembled, "lin"), &images, &[(0, at(2), 3 * MIB)]);
    check(opened(&assembled, "multi"), &images, &[(0, at(5), 3 * MIB), (1, at(20), MIB)]);
    let rows = (0..2 * MIB / CHUNK).flat_map(|row| [(0, at(10) + row * CHUNK, CHUNK), (1, at(0) + row * CHUNK, CHUNK)]);
    check(opened(&assembled, "str"), &images, &rows.collect::<Vec<_>>());
    let rows = (0..256).flat_map(|row| [(0, at(30)), (1, at(30)), (0, at(34))].map(|(disk, start)| (disk, start + row * 4096, 4096)));
    check(opened(&assembled, "three"), &images, &rows.collect::<Vec<_>>());
    check(opened(&assembled, "zero"), &images, &[(1, at(25), MIB), (ZEROS, 0, MIB)]);
}

fn arrays() -> Logical {
    let mirrors = "type=\"mirror\" mirror_count=2 mirror_log=\"mir_mlog\" region_size=1024 mirrors=[\"mir_mimage_0\",0,\"mir_mimage_1\",0]";
    let raid0 = "type=\"raid0\" stripe_count=2 stripe_size=128 raid0_lvs=[\"r0_rimage_0\",\"r0_rimage_1\"]";
    Logical::default()
        .add("r1", true, &[(2, format!("type=\"raid1\" {}", raids("r1", 2)))])
        .legs("r1", 2, &[(0, 0), (1, 0)])
        .add("mir", true, &[(2, mirrors.to_owned())])
        .hidden("mir_mlog", 1, 0, 5)
        .hidden("mir_mimage_0", 2, 0, 6)
        .hidden("mir_mimage_1", 2, 1, 6)
        .add("r10", true, &[(4, format!("type=\"raid10\" stripe_size=128 {}", raids("r10", 4)))])
        .legs("r10", 2, &[(0, 10), (1, 10), (0, 15), (1, 15)])
        .add("r0", true, &[(4, raid0.to_owned())])
        .hidden("r0_rimage_0", 2, 0, 20)
        .hidden("r0_rimage_1", 2, 1, 21)
}

/// Where raid10 puts its data: by chunk, on disk 0 or on disk 1, which hold the same in the first and in the second half of their legs.
fn rows_of_raid10(disk: u32) -> Vec<Place> {
    let row = |row: u64| [(disk, at(11) + row * CHUNK, CHUNK), (disk, at(16) + row * CHUNK, CHUNK)];
    (0..2 * MIB / CHUNK).flat_map(row).collect()
}

#[test]
fn arrays_are_read_from_their_first_good_legs() {
    let Some(lvm) = Lvm::new(2, 32) else { return };
    if lvm.group(&arrays()).is_none() {
        return;
    }
    let mut images = lvm.images();
    stamp(&mut images);
    let whole = assembled(&images);
    check(opened(&whole, "r1"), &images, &[(0, at(1), 2 * MIB)]);
    check(opened(&whole, "mir"), &images, &[(0, at(6), 2 * MIB)]);
    check(opened(&whole, "r10"), &images, &rows_of_raid10(0));
    let rows = (0..2 * MIB / CHUNK).flat_map(|row| [(0, at(20) + row * CHUNK, CHUNK), (1, at(21) + row * CHUNK, CHUNK)]);
    check(opened(&whole, "r0"), &images, &rows.collect::<Vec<_>>());
    assert!(whole.groups[0].volumes.iter().all(|volume| volume.notes.is_empty()));

    // The superblock of the second leg of raid1 calls the first one failed.
    let mut superblock = [0_u8; 64];
    superblock[..4].copy_from_slice(b"DmRd");
    superblock[12] = 1;
    superblock[16] = 9;
    superblock[24] = 1;
    superblock[32..48].fill(0xff);
    put(&mut images[1], 0, &superblock);
    let stale = assembled(&images);
    check(opened(&stale, "r1"), &images, &[(1, at(1), 2 * MIB)]);
    assert_eq!(volume(&stale, "r1").notes, ["it is degraded: 1 of its 2 devices are there and current"]);
}

#[test]
fn arrays_open_without_a_disk_where_another_has_all() {
    let Some(lvm) = Lvm::new(2, 32) else { return };
    if lvm.group(&arrays()).is_none() {
        return;
    }
    let mut images = lvm.images();
    stamp(&mut images);
    let all = images.clone();
    images[0].fill(0);
    let left = assembled(&images);
    check(opened(&left, "r1"), &all, &[(1, at(1), 2 * MIB)]);
    check(opened(&left, "mir"), &all, &[(1, at(6), 2 * MIB)]);
    check(opened(&left, "r10"), &all, &rows_of_raid10(1));
    assert_eq!(volume(&left, "mir").notes, ["not all legs of its mirror are there"]);
    assert_eq!(volume(&left, "r10").notes, ["it is degraded: 2 of its 4 devices are there and current"]);
    match &volume(&left, "r0").opened {
        Err(VolumeError::Incomplete { missing, .. }) => assert!(missing.starts_with("the physical volume 'pv0' (UUID "), "{missing}"),
        _ => panic!("half of its stripes are gone"),
    }
}

/// The kinds with parity, each with its legs and what lies on them row by row, as the kernel's own text (`drivers/md/raid5.c`, and
/// lvmraid(7)) has it: numbers of chunks, P and Q.
const PARITY: [(&str, usize, &[&str]); 7] = [
    ("raid4", 3, &["P 0 1", "P 2 3"]),
    ("raid5_ls", 3, &["0 1 P", "3 P 2", "P 4 5"]),
    ("raid5_ra", 3, &["P 0 1", "2 P 3", "4 5 P"]),
    ("raid5_n", 3, &["0 1 P", "2 3 P"]),
    ("raid6_zr", 5, &["P Q 0 1 2", "3 P Q 4 5", "6 7 P Q 8", "9 10 11 P Q", "Q 12 13 14 P"]),
    ("raid6_nr", 5, &["0 1 2 P Q", "3 4 P Q 5", "6 P Q 7 8", "P Q 9 10 11", "Q 12 13 14 P"]),
    ("raid6_nc", 5, &["0 1 2 Q P", "4 5 Q P 3", "8 Q P 6 7", "Q P 9 10 11", "P 12 13 14 Q"]),
];

/// One leg to a disk; metadata in extent 0, data in the five or three extents behind, in chunks of 64 KiB.
fn parity(kind: &str, legs: usize, extents: u64) -> Logical {
    let places: Vec<(usize, u64)> = (0..legs).map(|disk| (disk, 0)).collect();
    let data = extents * (legs as u64 - if kind.starts_with("raid6") { 2 } else { 1 });
    Logical::default()
        .add("r", true, &[(data, format!("type=\"{kind}\" stripe_size=128 {}", raids("r", legs)))])
        .legs("r", extents, &places)
}

/// Product in the field of RAID-6, bit by bit.
fn product(one: u8, other: u8) -> u8 {
    (0..8).rev().fold(0, |sum: u8, bit| {
        let doubled = (sum << 1) ^ if sum & 0x80 == 0 { 0 } else { 0x1d };
        if other & (1 << bit) == 0 { doubled } else { doubled ^ one }
    })
}

/// Fills P and Q of each row. Q's powers are the roles themselves in the three kinds that are tested here.
fn fill_parity(images: &mut [Vec<u8>], rows: &[&str], extents: u64) {
    for row in 0..extents * MIB / CHUNK {
        let roles: Vec<&str> = rows[usize::try_from(row).expect("small") % rows.len()].split(' ').collect();
        let start = usize::try_from(at(1) + row * CHUNK).expect("small");
        let end = start + usize::try_from(CHUNK).expect("small");
        let (mut p, mut q) = (vec![0_u8; end - start], vec![0_u8; end - start]);
        let is_data = |role: &&usize| !matches!(roles[**role], "P" | "Q");
        for role in (0..roles.len()).collect::<Vec<_>>().iter().filter(is_data) {
            let power = (0..*role).fold(1, |power, _| product(power, 2));
            for (at, byte) in images[*role][start..end].iter().enumerate() {
                p[at] ^= byte;
                q[at] ^= product(*byte, power);
            }
        }
        for (role, what) in roles.iter().enumerate() {
            match *what {
                "P" => images[role][start..end].copy_from_slice(&p),
                "Q" => images[role][start..end].copy_from_slice(&q),
                _ => {}
            }
        }
    }
}

fn parity_places(rows: &[&str], chunks: u64) -> Vec<Place> {
    let per_round = rows.iter().flat_map(|row| row.split(' ')).filter(|what| !matches!(*what, "P" | "Q")).count() as u64;
    let place = |chunk: u64| {
        let wanted = (chunk % per_round).to_string();
        let found = (0_u64..).zip(rows).find_map(|(row, roles)| roles.split(' ').position(|role| role == wanted).map(|role| (row, role)));
        let (row, role) = found.expect("in the picture");
        let row = chunk / per_round * rows.len() as u64 + row;
        (u32::try_from(role).expect("few"), at(1) + row * CHUNK, CHUNK)
    };
    (0..chunks).map(place).collect()
}

#[test]
fn arrays_with_parity_are_read_and_computed() {
    for (kind, legs, rows) in PARITY {
        let extents = if legs == 5 { 5 } else { 3 };
        let Some(lvm) = Lvm::new(legs, 12) else { return };
        if lvm.group(&parity(kind, legs, extents)).is_none() {
            return;
        }
        let mut images = lvm.images();
        stamp(&mut images);
        fill_parity(&mut images, rows, extents);
        let found = assembled(&images);
        let layer = opened(&found, "r");
        let places = parity_places(rows, layer.size_bytes() / CHUNK);
        check_bytes(layer, &images, &places);
        // Any one leg may go, and with two kinds of parity any two.
        let second = if kind.starts_with("raid6") { legs } else { 1 };
        for (one, other) in (0..legs).flat_map(|one| (0..second).map(move |other| (one, if second == 1 { one } else { other }))) {
            let mut left = images.clone();
            left[one].fill(0);
            left[other].fill(0);
            let found = assembled(&left);
            check_bytes(opened(&found, "r"), &images, &places);
        }
        let mut left = images.clone();
        left[0].fill(0);
        left[1].fill(0);
        left[2].fill(0);
        let gone = assembled(&left);
        assert!(gone.groups.iter().flat_map(|group| &group.volumes).all(|volume| volume.opened.is_err()), "{kind}");
    }
}
