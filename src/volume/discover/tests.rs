//! Tests of the search over disks that the tools made, one laid into the other.

mod arrays;
mod containers;

use std::sync::Arc;

use super::*;
use crate::io::MemoryAt;
use crate::units::Extent;
use crate::volume::testing::lvm::*;
use crate::volume::testing::{Dice, Patched, nonzero, rounds, run};

fn found(images: &[&[u8]]) -> Discovery {
    let disk = |(number, image): (usize, &&[u8])| Disk {
        name: format!("vd{}", char::from(b'a' + u8::try_from(number).expect("few"))),
        device: Arc::new(MemoryAt::new(image.to_vec())),
    };
    discover(images.iter().enumerate().map(disk).collect(), &[])
}

fn names(discovery: &Discovery) -> Vec<&str> {
    discovery.volumes.iter().map(|volume| volume.name.as_str()).collect()
}

fn volume<'a>(discovery: &'a Discovery, name: &str) -> &'a Volume {
    discovery.volumes.iter().find(|volume| volume.name == name).unwrap_or_else(|| panic!("no {name} in {:?}", names(discovery)))
}

/// A disk of so many MiB with partitions of what is given, each at a whole MiB.
fn parted(mib: u64, parts: &[(&str, u64, &[u8])]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("disk");
    std::fs::File::create(&path).and_then(|file| file.set_len(mib * MIB)).expect("a file");
    let mut options = Vec::new();
    for (number, (kind, start, bytes)) in (1..).zip(parts) {
        options.push(format!("-n{number}:{}:+{}", start * 2048, bytes.len().div_ceil(512)));
        options.push(format!("-t{number}:{kind}"));
        options.push(format!("-c{number}:part {number}"));
    }
    let arguments: Vec<&str> = options.iter().map(String::as_str).chain([path.to_str().expect("a path")]).collect();
    run("sgdisk", &arguments, "", &[])?;
    let mut image = std::fs::read(&path).expect("the disk");
    for (_, start, bytes) in parts {
        let start = usize::try_from(start * MIB).expect("small");
        image[start..start + bytes.len()].copy_from_slice(bytes);
    }
    Some(image)
}

#[test]
fn a_disk_without_a_table_is_one_volume() {
    let discovery = found(&[&[7; 4096], &[0; 100]]);
    assert_eq!((names(&discovery), discovery.closed.len()), (vec!["vda", "vdb"], 0));
    let whole = volume(&discovery, "vda");
    assert_eq!((whole.disk.as_deref(), whole.partition, whole.found.as_str()), (Some("vda"), None, "vda"));
    assert_eq!(whole.layer.size_bytes(), 4096);
}

#[test]
fn partitions_are_volumes_with_all_that_their_table_says() {
    let Some(image) = parted(32, &[("ef00", 1, &[1; 1 << 20]), ("8300", 4, &[2; 1 << 20])]) else { return };
    let discovery = found(&[&image]);
    assert_eq!(names(&discovery), ["vda1", "vda2"]);
    let second = volume(&discovery, "vda2");
    assert_eq!((second.disk.as_deref(), second.partition, second.notes.len()), (Some("vda"), Some(2), 0));
    assert_eq!((second.partition_type.as_deref(), second.partition_name.as_deref()), (Some("Linux filesystem"), Some("part 2")));
    assert_eq!(second.partition_uuid.as_ref().map(String::len), Some(36));
    assert_eq!(second.found, "vda, partition 2 (GPT 'part 2', Linux filesystem)");
    check(&second.layer, &[image], &[(0, 4 * MIB, MIB)]);
    // Cut short, the disk lacks the second one.
    let Some(image) = parted(32, &[("ef00", 1, &[1; 1 << 20]), ("8300", 4, &[2; 1 << 20])]) else { return };
    let discovery = found(&[&image[..3 << 20]]);
    assert_eq!(names(&discovery), ["vda1"]);
    assert_eq!(volume(&discovery, "vda1").notes, ["the disk is smaller than when the partition table was made"]);
    let said = "partition 2 of vda cannot be put together: its bytes, which the disk does not have, are missing from this recovery point";
    assert_eq!(discovery.closed[0].error.to_string(), said);
}

/// A group on a partition of the first disk and on the whole second one; one of its volumes has partitions itself.
fn nested() -> Option<Vec<Vec<u8>>> {
    let both = [(4, linear(0, 8)), (4, linear(1, 8))];
    let logical = Logical::default().add("first", true, &[(2, linear(0, 0))]).add("my-disk", true, &both);
    let lvm = Lvm::new(2, 24)?;
    lvm.group(&logical)?;
    let mut images = lvm.images();
    stamp(&mut images);
    let inner = parted(8, &[("8300", 2, &[3; 1 << 20]), ("8200", 4, &[4; 1 << 20])])?;
    put(&mut images[0], 8, &inner[..4 << 20]);
    put(&mut images[1], 8, &inner[4 << 20..]);
    let first = parted(40, &[("8300", 1, &[5; 1 << 20]), ("8e00", 3, &images[0])])?;
    images[0] = first;
    Some(images)
}

#[test]
fn layers_are_found_in_layers() {
    let Some(images) = nested() else { return };
    let discovery = found(&[&images[0], &images[1]]);
    assert_eq!((names(&discovery), discovery.closed.len()), (vec!["vda1", "vgt-first", "vgt-my-disk1", "vgt-my-disk2"], 0));
    let first = volume(&discovery, "vgt-first");
    assert_eq!(first.found, "vda, partition 2 (GPT 'part 2', Linux LVM) + vdb, LVM vgt/first");
    assert_eq!((first.disk.as_deref(), first.partition), (None, None));
    check(&first.layer, &images, &[(0, 3 * MIB + at(0), 2 * MIB)]);
    let inner = volume(&discovery, "vgt-my-disk2");
    assert_eq!((inner.partition, inner.partition_type.as_deref(), inner.device_names.len()), (None, Some("Linux swap"), 0));
    assert_eq!(volume(&discovery, "vda1").device_names, ["/dev/vda1"]);
    assert_eq!(first.device_names, ["/dev/mapper/vgt-first", "/dev/vgt/first"]);
    check(&inner.layer, &images, &[(1, at(8), MIB)]);
    check(&volume(&discovery, "vgt-my-disk1").layer, &images, &[(0, 3 * MIB + at(10), MIB)]);
}

#[test]
fn what_lies_on_a_missing_disk_is_closed_and_the_rest_is_not() {
    let Some(images) = nested() else { return };
    let discovery = found(&[&images[0]]);
    assert_eq!(names(&discovery), ["vda1", "vgt-first"]);
    assert_eq!(discovery.closed.len(), 1);
    assert_eq!(discovery.closed[0].found, "vda, partition 2 (GPT 'part 2', Linux LVM), LVM vgt/my-disk");
    let note = &volume(&discovery, "vgt-first").notes[0];
    assert!(note.starts_with("LVM group vgt: its physical volume 'pv1' (UUID "), "{note}");
}

#[test]
fn two_machines_with_equal_disks_never_mix() {
    let Some(images) = nested() else { return };
    let (one, other) = (found(&[&images[0], &images[1]]), found(&[&images[1], &images[0]]));
    let origins = |discovery: &Discovery| crate::volume::testing::origins(&volume(discovery, "vgt-first").layer, 0, 1);
    assert_eq!((origins(&one)[0].0, origins(&other)[0].0), (0, 1));
    assert!(volume(&one, "vgt-first").found.starts_with("vda, partition 2"));
}

/// Whatever byte of a disk is changed: the bytes whose origins it is among change, and no others.
#[test]
fn origins_are_exactly_what_the_bytes_come_from() {
    let Some(images) = nested() else { return };
    let whole = found(&[&images[0], &images[1]]);
    let images: Vec<Arc<Vec<u8>>> = images.into_iter().map(Arc::new).collect();
    let mut dice = Dice(3);
    for round in 0..200 {
        let volume = &whole.volumes[usize::try_from(dice.below(whole.volumes.len() as u64)).expect("few")];
        let start = dice.below(volume.layer.size_bytes() - 5000);
        let mut origins = Vec::new();
        volume.layer.origins(Extent::between(start, start + 5000), &mut |origin| origins.push(origin)).expect("origins");
        assert_eq!(origins.iter().map(|origin| origin.range.length()).sum::<u64>(), 5000);
        let inside = &origins[0];
        let at = match round % 3 {
            0 => inside.range.offset() + dice.below(inside.range.length()),
            1 => inside.range.end(),
            _ => inside.range.offset() - 1,
        };
        let is_inside =
            origins.iter().any(|origin| origin.disk == inside.disk && (origin.range.offset()..origin.range.end()).contains(&at));
        let disks = (0_u32..).zip(&images).map(|(disk, image)| {
            let mut device = Patched::new(image);
            if disk == inside.disk {
                device.put(at, &[!image[usize::try_from(at).expect("small")]]);
            }
            Disk { name: format!("vd{}", ["a", "b"][disk as usize]), device: Arc::new(device) as Arc<dyn ReadAt> }
        });
        let changed = discover(disks.collect(), &[]);
        let Some(other) = changed.volumes.iter().find(|other| other.name == volume.name) else { continue };
        let read = |layer: &AnyLayer| {
            let mut bytes = vec![0; 5000];
            layer.read_at(start, &mut bytes).map(|()| bytes).expect("readable")
        };
        assert_eq!(read(&volume.layer) != read(&other.layer), is_inside, "byte {at} of disk {}", inside.disk);
    }
}

#[test]
fn damage_anywhere_leaves_a_search_that_ends() {
    let Some(images) = nested() else { return };
    let places: Vec<Vec<u64>> = images.iter().map(|image| nonzero(&image[..5 << 20])).collect();
    let images: Vec<Arc<Vec<u8>>> = images.into_iter().map(Arc::new).collect();
    let mut dice = Dice(9);
    for _ in 0..rounds(200) {
        let disks = images.iter().zip(&places).map(|(image, places)| {
            let mut device = Patched::new(image);
            // Tables and labels are in few of the places.
            let near: Vec<u64> = places.iter().copied().filter(|at| at % MIB < 20_000).collect();
            device.damage(&near, &mut dice);
            Disk { name: "vd".to_owned(), device: Arc::new(device) as Arc<dyn ReadAt> }
        });
        for volume in discover(disks.collect(), &[]).volumes {
            let mut buffer = vec![0; usize::try_from(volume.layer.size_bytes().min(100_000)).expect("small")];
            let _ = volume.layer.read_at(0, &mut buffer);
        }
    }
}
