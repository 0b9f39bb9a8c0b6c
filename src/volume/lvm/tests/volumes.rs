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
    superblock[32..40].fill(0xff);
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
