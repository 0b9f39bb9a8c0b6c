//! Every level and layout: whole, without each set of members that it can do without, and in pieces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::writer::{Device, Spec, assembled, contents, disks};
use crate::units::Extent;
use crate::volume::VolumeError;

/// Level, layout, members, how many may be missing in any combination, and the picture.
const LEVELS: &[(i32, u32, usize, usize, &str)] = &[
    (0, 0, 3, 0, "0 1 2"),
    (0, 0, 1, 0, "0"),
    (1, 0, 3, 2, "0 0 0"),
    (4, 0, 4, 1, "0 1 2 P"),
    (5, 0, 4, 1, "0 1 2 P / 3 4 P 5 / 6 P 7 8 / P 9 10 11"),
    (5, 1, 4, 1, "P 0 1 2 / 3 P 4 5 / 6 7 P 8 / 9 10 11 P"),
    (5, 2, 4, 1, "0 1 2 P / 4 5 P 3 / 8 P 6 7 / P 9 10 11"),
    (5, 3, 4, 1, "P 0 1 2 / 5 P 3 4 / 7 8 P 6 / 9 10 11 P"),
    (5, 4, 3, 1, "P 0 1"),
    (5, 5, 3, 1, "0 1 P"),
    (5, 2, 2, 1, "0 P / P 1"),
    (6, 0, 5, 2, "Q 0 1 2 P / 3 4 5 P Q / 6 7 P Q 8 / 9 P Q 10 11 / P Q 12 13 14"),
    (6, 1, 5, 2, "P Q 0 1 2 / 3 P Q 4 5 / 6 7 P Q 8 / 9 10 11 P Q / Q 12 13 14 P"),
    (6, 2, 5, 2, "Q 0 1 2 P / 3 4 5 P Q / 7 8 P Q 6 / 11 P Q 9 10 / P Q 12 13 14"),
    (6, 3, 5, 2, "P Q 0 1 2 / 5 P Q 3 4 / 7 8 P Q 6 / 9 10 11 P Q / Q 12 13 14 P"),
    (6, 2, 4, 2, "Q 0 1 P / 2 3 P Q / 5 P Q 4 / P Q 6 7"),
    (6, 4, 5, 2, "P Q 0 1 2"),
    (6, 5, 5, 2, "0 1 2 P Q"),
    (6, 16, 5, 2, "0 1 2 P Q / 3 4 P 5 Q / 6 P 7 8 Q / P 9 10 11 Q"),
    (6, 17, 5, 2, "P 0 1 2 Q / 3 P 4 5 Q / 6 7 P 8 Q / 9 10 11 P Q"),
    (6, 18, 5, 2, "0 1 2 P Q / 4 5 P 3 Q / 8 P 6 7 Q / P 9 10 11 Q"),
    (6, 19, 5, 2, "P 0 1 2 Q / 5 P 3 4 Q / 7 8 P 6 Q / 9 10 11 P Q"),
    (6, 20, 5, 2, "P 0 1 2 Q"),
    (10, 0x102, 4, 1, "0 0 1 1"),
    (10, 0x102, 3, 1, "0 0 1 / 1 2 2"),
    (10, 0x103, 4, 2, "0 0 0 1 / 1 1 2 2 / 2 3 3 3"),
    (10, 0x1_0201, 4, 1, "0 1 2 3 / 3 0 1 2"),
    (10, 0x1_0301, 3, 2, "0 1 2 / 2 0 1 / 1 2 0"),
    // Groups of two members: copies stay in the group; the last has what is left over.
    (10, 0x5_0201, 4, 1, "0 1 2 3 / 1 0 3 2"),
    (10, 0x5_0201, 5, 1, "0 1 2 3 4 / 1 0 4 2 3"),
];

fn spec(level: &(i32, u32, usize, usize, &'static str)) -> Spec {
    let mut spec = Spec::new(level.0, level.1, level.2, level.4);
    // A whole number of turns of the picture.
    spec.used = 60 * spec.chunk;
    spec
}

/// Far copies are in the second half of the members, turned by one.
fn far(devices: usize) -> (Spec, Vec<Vec<u8>>) {
    let plain = Spec { used: 30 * 4096, ..Spec::new(0, 0, devices, if devices == 3 { "0 1 2" } else { "0 1 2 3" }) };
    let mut areas = plain.spread(&plain.data());
    let halves = areas.clone();
    for (member, area) in areas.iter_mut().enumerate() {
        area.extend(&halves[(member + devices - 1) % devices]);
    }
    (Spec { level: 10, layout: 0x201, used: 60 * 4096, ..plain }, areas)
}

/// All sets of members, as bits, with up to `most` of them.
fn missing(devices: usize, most: usize) -> impl Iterator<Item = u32> {
    (0..1u32 << devices).filter(move |set| set.count_ones() as usize <= most)
}

fn without(disks: &[Option<Arc<Device>>], set: u32) -> Vec<Option<Arc<Device>>> {
    disks.iter().enumerate().map(|(at, disk)| disk.clone().filter(|_| set >> at & 1 == 0)).collect()
}

#[test]
fn every_level_reads_whole_and_without_what_it_can_miss() {
    for level in LEVELS {
        let spec = spec(level);
        let data = spec.data();
        let disks = disks(spec.members(&spec.spread(&data)));
        for set in missing(spec.devices, level.3) {
            let array = assembled(&without(&disks, set)).unwrap_or_else(|error| panic!("{level:?} without {set:b}: {error}"));
            assert!(contents(&array.layer).expect("readable") == data, "{level:?} without {set:b}");
            assert_eq!(array.name, "host:data");
            assert_eq!(array.notes.iter().any(|note| note.starts_with("degraded")), set != 0, "{:?}", array.notes);
        }
    }
}

#[test]
fn far_copies_read_without_either_of_two() {
    for devices in [3, 4] {
        let (spec, areas) = far(devices);
        let data = Spec { used: spec.used / 2, level: 0, ..spec.clone() }.data();
        let disks = disks(spec.members(&areas));
        for set in missing(devices, 1) {
            let array = assembled(&without(&disks, set)).expect("enough members");
            assert!(contents(&array.layer).expect("readable") == data, "{devices} members without {set:b}");
        }
    }
}

#[test]
fn too_few_members_are_named() {
    for level in LEVELS {
        let spec = spec(level);
        let disks = disks(spec.members(&spec.spread(&spec.data())));
        // The first of them: neighbours hold each other's copies.
        let set = (1 << (level.3 + 1)) - 1;
        match assembled(&without(&disks, set)) {
            Err(VolumeError::Incomplete { object, missing }) if level.3 == 0 && spec.devices > 1 => {
                assert_eq!((object.as_str(), missing.as_str()), ("the RAID array 'host:data'", "the device of role 0 is"));
            }
            Err(VolumeError::Incomplete { missing, .. }) => {
                assert!(missing.contains('0') || missing == "all of its devices are", "{missing}");
            }
            Err(other) => panic!("{level:?}: {other}"),
            Ok(_) => panic!("{level:?} needs more"),
        }
    }
}

#[test]
fn linear_and_unequal_stripes_go_on_with_the_longer_members() {
    let chunk = 4096;
    let sizes = [3, 8, 5];
    let area = |role: usize| -> Vec<u8> { (0..sizes[role] * chunk).map(|at| (at / chunk * 10 + role) as u8).collect() };
    let tags = |layer| contents(layer).expect("readable").chunks(chunk).map(|chunk| chunk[0]).collect::<Vec<u8>>();
    let build = |level, layout, features| {
        let spec = Spec { features, ..Spec::new(level, layout, 3, "0") };
        assembled(&disks((0..3).map(|role| spec.member(role as u16, &area(role))).collect()))
    };
    let linear = build(-1, 0, 0).expect("whole");
    assert_eq!(tags(&linear.layer), [0, 10, 20, 1, 11, 21, 31, 41, 51, 61, 71, 2, 12, 22, 32, 42]);
    // In the second zone two members go on; numbers count from its start, or from that of the array, whose chunk 9 is odd.
    let alternate = build(0, 2, 4096).expect("whole");
    assert_eq!(tags(&alternate.layer), [0, 1, 2, 10, 11, 12, 20, 21, 22, 31, 32, 41, 42, 51, 61, 71]);
    let original = build(0, 1, 4096).expect("whole");
    assert_eq!(tags(&original.layer), [0, 1, 2, 10, 11, 12, 20, 21, 22, 32, 31, 42, 41, 51, 61, 71]);
    assert!(matches!(build(0, 0, 0), Err(VolumeError::Unsupported { .. })), "two kernels read it in two ways");
}

#[test]
fn every_version_and_byte_order_is_found() {
    for (version, big_endian) in [("0.90", false), ("0.90", true), ("1.0", false), ("1.1", false), ("1.2", false)] {
        let level = LEVELS[6];
        let spec = Spec { version, big_endian, ..spec(&level) };
        let data = spec.data();
        let disks = disks(spec.members(&spec.spread(&data)));
        let member = super::super::identify(disks[2].as_ref().expect("there").as_ref()).expect("sound").expect("found");
        assert_eq!((member.version, member.role, member.events), (version, super::super::Role::Active(2), 20));
        assert_eq!(&member.array, b"0123456789abcdef");
        let array = assembled(&without(&disks, 2)).expect("enough members");
        assert!(contents(&array.layer).expect("readable") == data, "{version} {big_endian}");
        assert_eq!(array.name, if version == "0.90" { "md127" } else { "host:data" });
    }
}

#[test]
fn any_range_reads_as_the_whole_does() {
    for level in LEVELS {
        let spec = spec(level);
        let data = spec.data();
        let mut disks = disks(spec.members(&spec.spread(&data)));
        if level.3 > 0 {
            disks[0] = None;
        }
        let array = assembled(&disks).expect("enough members");
        for start in (0..data.len()).step_by(7919) {
            for length in [1, 511, 4096, 5000, 40_000] {
                let end = data.len().min(start + length);
                let mut buffer = vec![0; end - start];
                array.layer.read_at(start as u64, &mut buffer).expect("inside");
                assert!(buffer == data[start..end], "{level:?} {start}..{end}");
            }
        }
        let past = array.layer.read_at(data.len() as u64, &mut [0]).expect_err("past the end");
        assert_eq!(past.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn small_chunks_are_read_by_member() {
    for level in LEVELS.iter().filter(|level| level.0 != 1 && level.2 > 1) {
        let spec = spec(level);
        let disks = disks(spec.members(&spec.spread(&spec.data())));
        let array = assembled(&disks).expect("whole");
        let reads = || disks.iter().flatten().map(|disk| disk.reads.load(Ordering::Relaxed)).sum::<usize>();
        let before = reads();
        contents(&array.layer).expect("readable");
        // At most one for each run between parities or copies: far below one for each chunk.
        let (made, chunks) = (reads() - before, array.layer.size_bytes() as usize / spec.chunk);
        let most = if matches!(level.0, 0 | 4) || level.4.contains("P 0 1 Q") { spec.devices } else { chunks };
        assert!(made <= most, "{level:?}: {made} reads for {chunks} chunks");
    }
}

#[test]
fn origins_decide_the_bytes() {
    for level in LEVELS {
        let spec = spec(level);
        let data = spec.data();
        let members = spec.members(&spec.spread(&data));
        for gone in 0..=usize::from(level.3 > 0) {
            let chosen = |members: &[Vec<u8>]| without(&disks(members.to_vec()), gone as u32);
            let array = assembled(&chosen(&members)).expect("enough members");
            let range = Extent::between(5 * 4096 + 100, 11 * 4096 + 7);
            let mut origins = Vec::new();
            array.layer.origins(range, &mut |origin| origins.push((origin.disk, origin.range))).expect("origins");
            // Everything but the origins and the superblocks is overwritten; the range must not change.
            let mut others = members.clone();
            for (disk, bytes) in others.iter_mut().enumerate() {
                let kept = bytes.clone();
                bytes[65536..].fill(0xa5);
                for (_, range) in origins.iter().filter(|(origin, _)| *origin as usize == disk) {
                    let range = range.offset() as usize..range.end() as usize;
                    bytes[range.clone()].copy_from_slice(&kept[range]);
                }
            }
            let array = assembled(&chosen(&others)).expect("enough members");
            let mut buffer = vec![0; range.length() as usize];
            array.layer.read_at(range.offset(), &mut buffer).expect("inside");
            assert!(buffer == data[range.offset() as usize..range.end() as usize], "{level:?}");
            let total: u64 = origins.iter().map(|(_, range)| range.length()).sum();
            assert!(gone > 0 || total == range.length(), "{level:?}: {total} bytes of origins");
        }
    }
}
