//! Groups as wholes: texts that wrap round their area, missing disks, copies, equal names.

use crate::io::MemoryAt;
use crate::volume::VolumeError;
use crate::volume::lvm::identify;
use crate::volume::testing::lvm::*;

fn two() -> Logical {
    let both = [(1, linear(0, 2)), (1, linear(1, 2))];
    Logical::default().add("first", true, &[(2, linear(0, 0))]).add("second", true, &[(2, linear(1, 0))]).add("both", true, &both)
}

#[test]
fn a_text_that_wraps_round_its_area_is_read() {
    let Some(lvm) = Lvm::new(1, 16) else { return };
    // An area of 60 KiB.
    if lvm.tool("pvcreate", &["-qq", "--metadatasize", "60k", "--dataalignment", "64k", lvm.device(0)]).is_none() {
        return;
    }
    lvm.tool("vgcreate", &["-qq", "-s", "1M", "vgt", lvm.device(0)]);
    lvm.restore("vgt", &Logical::default().add("lin", true, &[(2, linear(0, 0))]));
    // Texts grow with each tag and follow each other in the area, so that some of them begin before its end and end after.
    let mut wrapped = false;
    for tag in 0..60 {
        lvm.tool("vgchange", &["-qq", "--addtag", &format!("{}{tag}", "t".repeat(90)), "vgt"]);
        let image = lvm.images().remove(0);
        let header = &image[4096..4608];
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight"));
        let (area, offset, length) = (number(32), number(40), number(48));
        if offset + length > area {
            wrapped = true;
            let volume = identify(&MemoryAt::new(image.clone())).expect("readable").expect("a volume");
            assert_eq!((volume.group_name(), volume.notes.len()), (Some("vgt"), 0));
            assert_eq!(opened(&assembled(&[image]), "lin").size_bytes(), 2 * MIB);
        }
    }
    assert!(wrapped, "no text wrapped");
}

#[test]
fn the_newest_text_counts_and_a_damaged_one_is_said() {
    let Some(lvm) = Lvm::new(2, 16) else { return };
    if lvm.group(&two()).is_none() {
        return;
    }
    let old = lvm.images();
    lvm.restore("vgt", &two().add("third", true, &[(1, linear(0, 5))]));
    let mut images = lvm.images();
    assert_eq!(assembled(&images).groups[0].volumes.len(), 4);
    // One disk still has the text of before.
    assert_eq!(assembled(&[old[0].clone(), images[1].clone()]).groups[0].volumes.len(), 4);
    assert_eq!(assembled(&[images[0].clone(), old[1].clone()]).groups[0].volumes.len(), 4);
    images[1][4096 + 600..4096 + 65536 - 600].fill(b'x');
    let damaged = assembled(&images);
    assert_eq!(damaged.groups[0].volumes.len(), 4);
    assert_eq!(damaged.groups[0].notes, ["disk 1: its metadata area at byte 4096 is damaged: its text fails its checksum"]);
    let alone = assembled(&images[1..]);
    let problem = alone.left[0].1.to_string();
    assert!(
        alone.groups.is_empty() && problem.ends_with("is damaged: its metadata area at byte 4096 is damaged: its text fails its checksum")
    );
}

#[test]
fn a_missing_disk_closes_only_what_lies_on_it() {
    let Some(lvm) = Lvm::new(2, 16) else { return };
    if lvm.group(&two()).is_none() {
        return;
    }
    let mut images = lvm.images();
    stamp(&mut images);
    let left = assembled(&images[..1]);
    check(opened(&left, "first"), &images, &[(0, at(0), 2 * MIB)]);
    for name in ["second", "both"] {
        match &volume(&left, name).opened {
            Err(VolumeError::Incomplete { object, missing }) => {
                assert_eq!(object, &format!("LVM vgt/{name}"));
                let seen = format!("last seen as {}) is", lvm.device(1));
                assert!(missing.starts_with("the physical volume 'pv1' (UUID ") && missing.ends_with(&seen), "{missing}");
            }
            _ => panic!("{name} opened"),
        }
    }
    assert_eq!(left.groups[0].notes.len(), 1);
    assert!(left.groups[0].notes[0].starts_with("its physical volume 'pv1' (UUID "));
}

#[test]
fn copies_of_disks_are_groups_of_their_own() {
    let Some(lvm) = Lvm::new(2, 16) else { return };
    if lvm.group(&two()).is_none() {
        return;
    }
    let mut images = lvm.images();
    images.extend(images.clone());
    stamp(&mut images);
    let copied = assembled(&images);
    let titles: Vec<&str> = copied.groups.iter().map(|group| group.title.as_str()).collect();
    assert_eq!(titles, ["vgt (copy on disk 0, disk 1)", "vgt (copy on disk 2, disk 3)"]);
    check(opened(&copied, "both"), &images, &[(0, at(2), MIB), (1, at(2), MIB)]);
    let second = copied.groups[1].volumes.iter().find(|volume| volume.name == "both").expect("both");
    check(second.opened.as_ref().expect("open"), &images, &[(2, at(2), MIB), (3, at(2), MIB)]);
    // Of one disk alone a copy makes no second group.
    let one = assembled(&images[..3]);
    assert_eq!((one.groups.len(), one.left.len(), one.left[0].0.as_str()), (1, 1, "disk 2"));
    assert_eq!(one.groups[0].title, "vgt");
    let said = "another copy of the LVM group 'vgt' on disk 2 cannot be put together: \
                the same copy of its other physical volumes is missing from this recovery point";
    assert_eq!(one.left[0].1.to_string(), said);
}

#[test]
fn an_older_copy_of_a_disk_comes_after_the_newer_one() {
    let Some(lvm) = Lvm::new(1, 16) else { return };
    if lvm.group(&Logical::default().add("old", true, &[(2, linear(0, 0))])).is_none() {
        return;
    }
    let old = lvm.images().remove(0);
    lvm.restore("vgt", &Logical::default().add("new", true, &[(2, linear(0, 0))]));
    let new = lvm.images().remove(0);
    let both = assembled(&[old, new]);
    let names: Vec<&str> = both.groups.iter().map(|group| group.volumes[0].name.as_str()).collect();
    assert_eq!(names, ["new", "old"]);
    assert_eq!(both.groups[0].places, ["disk 1"]);
}

#[test]
fn groups_of_one_name_are_told_apart() {
    let mut images = Vec::new();
    for _ in 0..2 {
        let Some(lvm) = Lvm::new(1, 16) else { return };
        if lvm.group(&Logical::default().add("lin", true, &[(2, linear(0, 0))])).is_none() {
            return;
        }
        images.extend(lvm.images());
    }
    let both = assembled(&images);
    assert_eq!(both.groups.len(), 2);
    for group in &both.groups {
        assert_eq!(group.title, format!("vgt (UUID {})", group.uuid));
    }
}

#[test]
fn volumes_taken_out_of_a_group_are_left() {
    let Some(lvm) = Lvm::new(2, 16) else { return };
    if lvm.group(&Logical::default().add("lin", true, &[(2, linear(0, 0))])).is_none() {
        return;
    }
    let before = lvm.images();
    lvm.tool("vgreduce", &["-qq", "vgt", lvm.device(1)]);
    let mut images = lvm.images();
    let reduced = assembled(&images);
    assert!(reduced.left[0].1.to_string().ends_with("holds no volume"), "{}", reduced.left[0].1);
    images[1].clone_from(&before[1]);
    let reduced = assembled(&images);
    let said = reduced.left[0].1.to_string();
    assert!(said.ends_with("which was taken out of the group 'vgt', holds no volume"), "{said}");
    assert_eq!((reduced.groups.len(), reduced.groups[0].notes.len()), (1, 0));
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let Some(lvm) = Lvm::new(1, 32) else { return };
    let cache = "type=\"cache\" cache_pool=\"cpool\" origin=\"cached_corig\"".to_owned();
    let pool = "type=\"cache-pool\" data=\"cpool_cdata\" metadata=\"cpool_cmeta\" metadata_format=2 chunk_size=128 cache_mode=\"writeback\" policy=\"smq\"";
    let logical = Logical::default()
        .add("cached", true, &[(4, cache)])
        .hidden("cached_corig", 4, 0, 0)
        .add("cpool", false, &[(4, pool.to_owned())])
        .hidden("cpool_cdata", 4, 0, 5)
        .hidden("cpool_cmeta", 8, 0, 10);
    if lvm.group(&logical).is_none() {
        return;
    }
    let found = assembled(&lvm.images());
    assert_eq!(found.groups[0].volumes.len(), 1);
    let error = volume(&found, "cached").opened.as_ref().err().expect("not read").to_string();
    assert_eq!(error, "LVM vgt/cached of LVM type 'cache' cannot be read by Cairn");
}
