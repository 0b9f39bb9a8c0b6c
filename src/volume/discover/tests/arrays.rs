//! Members of arrays among other things. Their superblocks are written here, since nothing makes arrays without the kernel's driver.

use super::*;

/// Sum of all words, the carries added back.
fn sum(block: &[u8]) -> u32 {
    let words = block.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("four"))));
    let sum: u64 = words.sum();
    u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).expect("folded")
}

fn words(block: &mut [u8], fields: &[(usize, u32)]) {
    for (at, value) in fields {
        block[*at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Makes a mirror's member of a device, with metadata 1.0: the array begins where the device does.
pub(super) fn member_1_0(mut device: Vec<u8>, role: u8) -> Vec<u8> {
    let place = (device.len() / 512 - 16) & !7;
    let sectors = u32::try_from(place).expect("small");
    let block = &mut device[place * 512..place * 512 + 512];
    block.fill(0);
    words(block, &[(0, 0xa92b_4efc), (4, 1), (72, 1), (80, sectors), (92, 2), (136, sectors), (144, sectors), (160, role.into())]);
    block[16..32].fill(0x77);
    block[32..41].copy_from_slice(b"host:boot");
    block[152..160].fill(0xff);
    words(block, &[(200, 5), (220, 128)]);
    block[208..216].fill(0xff);
    block[256..512].fill(0xff);
    (block[256], block[257], block[258], block[259]) = (0, 0, 1, 0);
    let sum = sum(block);
    words(block, &[(216, sum)]);
    device
}

/// Makes a mirror's member of a device, with metadata 0.90.
fn member_0_90(mut device: Vec<u8>, role: u32) -> Vec<u8> {
    let place = (device.len() & !0xffff) - 0x1_0000;
    let kib = u32::try_from(place / 1024).expect("small");
    let block = &mut device[place..place + 4096];
    block.fill(0);
    words(
        block,
        &[(0, 0xa92b_4efc), (8, 90), (20, 0x1111), (28, 1), (32, kib), (36, 2), (40, 2), (52, 0x2222), (56, 0x3333), (60, 0x4444)],
    );
    words(block, &[(132, 1), (136, 2), (140, 2), (156, 9)]);
    for number in [0, 1] {
        let at = 512 + usize::try_from(number).expect("small") * 128;
        words(block, &[(at, number), (at + 12, number), (at + 16, 6)]);
    }
    words(block, &[(3968, role), (3968 + 12, role), (3968 + 16, 6)]);
    let sum = sum(block);
    words(block, &[(152, sum)]);
    device
}

/// A group of LVM's on a mirror, on the second partition of two disks. Each member looks like a physical volume as well.
fn group_on_a_mirror() -> Option<Vec<Vec<u8>>> {
    let lvm = Lvm::new(1, 16)?;
    lvm.group(&Logical::default().add("root", true, &[(2, linear(0, 3))]))?;
    let mut images = lvm.images();
    stamp(&mut images);
    // The group's disk is as large as the array: what the members need behind it comes on top.
    images[0].resize(17 << 20, 0);
    let disk = |role| parted(24, &[("8300", 1, &[1; 1 << 20]), ("fd00", 3, &member_1_0(images[0].clone(), role))]);
    Some(vec![disk(0)?, disk(1)?])
}

#[test]
fn a_member_is_no_volume_though_it_looks_like_one() {
    let Some(images) = group_on_a_mirror() else { return };
    let discovery = found(&[&images[0], &images[1]]);
    assert_eq!((names(&discovery), discovery.closed.len()), (vec!["vda1", "vdb1", "vgt-root"], 0));
    let root = volume(&discovery, "vgt-root");
    let places = "vda, partition 2 (GPT 'part 2', Linux RAID) + vdb, partition 2 (GPT 'part 2', Linux RAID)";
    assert_eq!(root.found, format!("{places}, md raid1 'host:boot', LVM vgt/root"));
    assert_eq!((root.disk.as_deref(), root.notes.len()), (None, 0));
    check(&root.layer, &images, &[(0, 3 * MIB + at(3), 2 * MIB)]);
}

#[test]
fn a_mirror_opens_with_one_of_its_disks() {
    let Some(images) = group_on_a_mirror() else { return };
    let discovery = found(&[&images[1]]);
    assert_eq!((names(&discovery), discovery.closed.len()), (vec!["vda1", "vgt-root"], 0));
    let root = volume(&discovery, "vgt-root");
    assert_eq!((root.disk.as_deref(), root.notes.len()), (Some("vda"), 1), "{:?}", root.notes);
    check(&root.layer, &images[1..], &[(0, 3 * MIB + at(3), 2 * MIB)]);
}

#[test]
fn a_mirror_of_whole_disks_has_the_partitions_not_the_disks() {
    let Some(inner) = parted(16, &[("8300", 1, &[1; 1 << 20]), ("8300", 3, &[2; 1 << 20])]) else { return };
    let mut inner = inner;
    inner.resize(17 << 20, 0);
    let images = [member_1_0(inner.clone(), 0), member_1_0(inner, 1)];
    let discovery = found(&[&images[0], &images[1]]);
    assert_eq!(names(&discovery), ["md-boot1", "md-boot2"]);
    let second = volume(&discovery, "md-boot2");
    assert_eq!(second.found, "vda + vdb, md raid1 'host:boot', partition 2 (GPT 'part 2', Linux filesystem)");
    check(&second.layer, &images, &[(0, 3 * MIB, MIB)]);
}

/// Metadata 0.90 is found from the end of the device alone: that of a partition that ends with the disk is at the end of the disk too.
#[test]
fn a_superblock_at_the_end_of_a_disk_may_be_its_last_partitions() {
    let bytes = |role| {
        let mut content = vec![0; 8 << 20];
        content[..512].fill(0x33);
        let script = "label: dos\nstart=2048,size=2048,type=83\nstart=4096,size=16384,type=fd\n";
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("disk");
        std::fs::File::create(&path).and_then(|file| file.set_len(10 * MIB)).expect("a file");
        run("sfdisk", &["-q", path.to_str().expect("a path")], script, &[])?;
        let mut image = std::fs::read(&path).expect("the disk");
        image[2 << 20..].copy_from_slice(&member_0_90(content, role));
        Some(image)
    };
    let (Some(one), Some(other)) = (bytes(0), bytes(1)) else { return };
    let images = [one, other];
    let discovery = found(&[&images[0], &images[1]]);
    assert_eq!(names(&discovery).len(), 3, "{:?}", names(&discovery));
    assert_eq!(names(&discovery)[1..], ["vda1", "vdb1"]);
    let array = &discovery.volumes[0];
    assert_eq!(array.layer.size_bytes(), (8 << 20) - (64 << 10));
    check(&array.layer, &images, &[(0, 2 * MIB, array.layer.size_bytes())]);
}
