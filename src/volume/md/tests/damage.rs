//! Members that are stale, being rebuilt, broken or hostile.

use std::sync::Arc;

use super::super::{Role, identify};
use super::writer::{Device, Spec, assembled, contents, disks, seal};
use crate::units::Extent;
use crate::volume::{AnyLayer, VolumeError};

const LEFT_SYMMETRIC: &str = "0 1 2 P / 4 5 P 3 / 8 P 6 7 / P 9 10 11";
const RAID6: &str = "Q 0 1 P / 2 3 P Q / 5 P Q 4 / P Q 6 7";

/// Changes the superblock (1.2) of a member.
fn edit(member: &mut [u8], at: usize, bytes: &[u8]) {
    let block = &mut member[4096..4096 + 512];
    block[at..at + bytes.len()].copy_from_slice(bytes);
    seal(block);
}

fn raid5() -> (Vec<u8>, Vec<Vec<u8>>) {
    let spec = Spec::new(5, 2, 4, LEFT_SYMMETRIC);
    let data = spec.data();
    let members = spec.members(&spec.spread(&data));
    (data, members)
}

#[test]
fn a_stale_member_is_left_out() {
    let (data, mut members) = raid5();
    members[1][65536..].fill(0xee);
    edit(&mut members[1], 200, &18u64.to_le_bytes());
    let array = assembled(&disks(members.clone())).expect("three are current");
    assert!(contents(&array.layer).expect("readable") == data);
    assert!(array.notes.iter().any(|note| note.contains("role 1 is stale (event count 18, the array's is 20)")), "{:?}", array.notes);
    edit(&mut members[2], 200, &18u64.to_le_bytes());
    match assembled(&disks(members)) {
        Err(VolumeError::Incomplete { missing, .. }) => assert_eq!(missing, "the devices of roles 1 and 2 are"),
        other => panic!("{:?}", other.map(|array| array.notes)),
    }
}

#[test]
fn a_difference_of_one_event_is_no_staleness_unless_the_newest_says_so() {
    let (data, mut members) = raid5();
    edit(&mut members[1], 200, &19u64.to_le_bytes());
    let array = assembled(&disks(members.clone())).expect("all are current");
    assert_eq!(array.notes, Vec::<String>::new());
    members[1][65536..].fill(0xee);
    for other in [0, 2, 3] {
        edit(&mut members[other], 256 + 2, &0xfffeu16.to_le_bytes());
    }
    let array = assembled(&disks(members)).expect("three are current");
    assert!(contents(&array.layer).expect("readable") == data);
    assert!(array.notes.iter().any(|note| note.contains("role 1 was put out")), "{:?}", array.notes);
}

#[test]
fn a_member_being_rebuilt_is_used_as_far_as_it_is() {
    let (data, mut members) = raid5();
    let half = 65536 + 32 * 4096;
    members[0][half..].fill(0xee);
    edit(&mut members[0], 8, &2u32.to_le_bytes());
    edit(&mut members[0], 152, &(32u64 * 8).to_le_bytes());
    let devices = disks(members.clone());
    let array = assembled(&devices).expect("three are in step");
    assert!(contents(&array.layer).expect("readable") == data);
    assert!(array.notes.iter().any(|note| note.contains("role 0 is being rebuilt, and holds 131072 of 262144")), "{:?}", array.notes);
    let reads = |disk: usize| devices[disk].as_ref().expect("there").reads.load(std::sync::atomic::Ordering::Relaxed);
    let before = reads(0);
    array.layer.read_at(0, &mut [0; 4096]).expect("readable");
    assert_eq!(reads(0), before + 1, "below the offset it is read");
    members.remove(3);
    assert!(matches!(assembled(&disks(members)), Err(VolumeError::Incomplete { .. })), "not enough where it is not rebuilt yet");
}

#[test]
fn bad_blocks_of_a_member_are_computed_from_the_others() {
    let (data, mut members) = raid5();
    // Sectors 8 to 15 of the data are bad; sectors count from the start of the device.
    members[0][65536 + 4096..65536 + 8192].fill(0xee);
    let entry = (128u64 + 8) << 10 | 8;
    members[0][16384..16392].copy_from_slice(&entry.to_le_bytes());
    members[0][16392..16896].fill(0xff);
    edit(&mut members[0], 8, &8u32.to_le_bytes());
    edit(&mut members[0], 184, &[0, 0, 1, 0, 24, 0, 0, 0]);
    let array = assembled(&disks(members)).expect("whole");
    assert!(contents(&array.layer).expect("readable") == data);
}

#[test]
fn a_broken_range_of_a_member_is_computed_and_two_in_one_stripe_are_an_error_there() {
    for (level, layout, picture, survives) in [(5, 2, LEFT_SYMMETRIC, 1), (6, 2, RAID6, 2), (1, 0, "0 0 0 0", 3), (10, 0x102, "0 0 1 1", 1)]
    {
        let spec = Spec::new(level, layout, 4, picture);
        let data = spec.data();
        let devices = disks(spec.members(&spec.spread(&data)));
        let array = assembled(&devices).expect("whole");
        let broken = 65536 + 8 * 4096 + 512..65536 + 9 * 4096 - 512;
        for (at, device) in devices.iter().flatten().enumerate() {
            let read = contents(&array.layer);
            assert!(at > survives || read.is_ok_and(|bytes| bytes == data), "level {level} with {at} broken members");
            device.broken.lock().expect("lock").push(broken.clone());
        }
        // What lies beside can still be read.
        let mut chunk = vec![0; spec.chunk];
        array.layer.read_at(0, &mut chunk).expect("another stripe");
        let (start, end) = (8 * if level == 1 { 1 } else { 2 } * 4096, 512);
        array.layer.read_at(start as u64, &mut chunk[..end]).expect("the same chunk before the broken range");
        assert!(chunk[..end] == data[start..start + end]);
        assert!(contents(&array.layer).is_err(), "level {level} with all broken");
    }
}

#[test]
fn states_that_a_person_should_know_are_noted() {
    let (data, members) = raid5();
    let with = |at: usize, bytes: &[u8], gone: Option<usize>| {
        let mut members = members.clone();
        members.iter_mut().for_each(|member| edit(member, at, bytes));
        let mut disks = disks(members);
        if let Some(gone) = gone {
            disks[gone] = None;
        }
        assembled(&disks).map(|array| array.notes.join("; "))
    };
    assert_eq!(
        with(208, &0u64.to_le_bytes(), None).expect("whole"),
        "it was not stopped cleanly: its parity may not match, and is not read"
    );
    assert!(with(208, &0u64.to_le_bytes(), Some(0)).expect("enough").contains("what is computed for the missing device may be wrong"));
    assert!(with(8, &512u32.to_le_bytes(), None).expect("whole").contains("journal device, which is not replayed"));
    assert!(with(8, &4u32.to_le_bytes(), None).expect_err("a reshape").to_string().contains("reshape"));
    assert!(with(8, &0x8000u32.to_le_bytes(), None).expect_err("unknown").to_string().contains("0x8000"));
    assert!(with(72, &7u32.to_le_bytes(), None).expect_err("unknown").to_string().contains("level 7"));
    assert!(with(76, &9u32.to_le_bytes(), None).expect_err("unknown").to_string().contains("layout 9"));
    drop(data);
}

#[test]
fn spares_faulty_ones_journals_and_strangers_take_no_part() {
    let (data, mut members) = raid5();
    for (number, role) in [(5u32, 0xffffu16), (6, 0xfffe), (7, 0xfffd)] {
        let mut extra = members[0].clone();
        extra[65536..].fill(0xee);
        edit(&mut extra, 160, &number.to_le_bytes());
        edit(&mut extra, 256 + 2 * number as usize, &role.to_le_bytes());
        members.insert(0, extra);
    }
    let mut stranger = members[0].clone();
    stranger[65536..].fill(0xee);
    edit(&mut stranger, 160, &1u32.to_le_bytes());
    edit(&mut stranger, 88, &16u32.to_le_bytes());
    members.insert(3, stranger);
    let device = Device::new(members[0].clone(), 0);
    assert_eq!(identify(device.as_ref()).expect("sound").expect("found").role, Role::Journal);
    let array = assembled(&disks(members)).expect("whole");
    assert!(contents(&array.layer).expect("readable") == data);
    assert_eq!(array.notes, ["a device says to have role 1, but does not fit the array, and is left out"]);
}

#[test]
fn a_member_that_ends_early_is_read_as_far_as_it_goes() {
    let (data, mut members) = raid5();
    let length = members[2].len();
    members[2].truncate(length - 40_000);
    let array = assembled(&disks(members)).expect("whole by its superblocks");
    assert!(contents(&array.layer).expect("the rest is computed") == data);
    assert!(array.notes.iter().any(|note| note.contains("role 2 ends after")), "{:?}", array.notes);
}

#[test]
fn a_damaged_superblock_is_named_and_a_stale_one_of_another_version_loses() {
    let (_, mut members) = raid5();
    let second = Spec { version: "1.0", ..Spec::new(1, 0, 2, "0 0") };
    let mut device = members[0].clone();
    device[4096 + 100] ^= 1;
    let error = identify(Device::new(device, 0).as_ref()).expect_err("damaged");
    assert!(error.to_string().starts_with("the RAID superblock 1.2 at byte 4096 is damaged: its checksum is"), "{error}");
    // An older array's superblock at the end of the same device.
    let older = second.member(0, &vec![0; members[0].len() - 16384]);
    let end = members[0].len() - 8192;
    members[0][end..].copy_from_slice(&older[end..]);
    edit(&mut members[0], 64, &1_800_000_000u64.to_le_bytes());
    let found = identify(Device::new(members[0].clone(), 0).as_ref()).expect("sound").expect("found");
    assert_eq!(found.version, "1.2");
    assert!(identify(Device::new(vec![0; 300_000], 0).as_ref()).expect("readable").is_none());
    assert!(identify(Device::new(vec![0; 100], 0).as_ref()).expect("readable").is_none());
}

/// A generator of the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) as usize) % below
    }
}

/// Changes fields of a superblock to numbers that are likely to hurt.
fn hurt(member: &mut [u8], numbers: &mut Numbers) {
    let values = [0u64, 1, 2, 3, 0xffff, 0xffff_ffff, 1 << 54, u64::MAX, u64::MAX - 1, 1 << 62];
    let fields = [8, 72, 76, 80, 88, 92, 128, 136, 152, 160, 184, 188, 200, 208, 220, 256];
    for _ in 0..=numbers.next(3) {
        let at = if numbers.next(4) == 0 { numbers.next(512) } else { fields[numbers.next(fields.len())] };
        let value = if numbers.next(2) == 0 { values[numbers.next(values.len())] } else { numbers.next(2000) as u64 };
        let width = [1, 2, 4, 8][numbers.next(4)].min(512 - at);
        edit(member, at, &value.to_le_bytes()[..width]);
    }
}

#[test]
fn random_damage_ends_in_an_error_or_a_volume_that_can_be_read() {
    let rounds = if std::env::var_os("CAIRN_LONG_TESTS").is_some() { 10_000 } else { 400 };
    let mut numbers = Numbers(7);
    let kinds = [(5, 2, LEFT_SYMMETRIC), (6, 2, RAID6), (0, 2, "0 1 2 3"), (-1, 0, "0 1 2 3"), (1, 0, "0 0 0 0"), (10, 0x102, "0 0 1 1")];
    for round in 0..rounds {
        let (level, layout, picture) = kinds[round % kinds.len()];
        let spec = Spec { features: if level == 0 { 4096 } else { 0 }, used: 16 * 4096, ..Spec::new(level, layout, 4, picture) };
        let mut members = spec.members(&vec![vec![7; spec.used]; 4]);
        // The same harm to all members half of the time, so that it is not left out as a stranger.
        if numbers.next(2) == 0 {
            let seed = numbers.next(1 << 30) as u64;
            members.iter_mut().for_each(|member| hurt(member, &mut Numbers(seed)));
        } else {
            hurt(&mut members[round % 4], &mut numbers);
        }
        let devices = disks(members);
        let found = devices.iter().flatten().filter_map(|disk| Some((identify(disk.as_ref()).ok()??, Arc::clone(disk) as AnyLayer)));
        let Ok(array) = super::super::assemble(found.collect()) else { continue };
        let size = array.layer.size_bytes();
        for at in [0, size / 3, size.saturating_sub(5000)] {
            let mut buffer = vec![0; 5000.min((size - at) as usize)];
            // Failing is right where the numbers lead past the members.
            let _ = array.layer.read_at(at, &mut buffer);
            array.layer.origins(Extent::between(at, at.saturating_add(1 << 20)), &mut |_| ()).expect("no reading");
        }
    }
}
