//! Damaged labels, areas and texts: whatever is changed, assembling ends without a panic, and nothing reads past the disks.

use std::sync::Arc;

use crate::io::ReadAt;
use crate::volume::bytes::raw_crc32;
use crate::volume::lvm::{Member, assemble, identify};
use crate::volume::testing::lvm::*;
use crate::volume::testing::{Dice, Patched, rounds};
use crate::volume::{AnyLayer, DiskLayer};

const CHECKSUM_START: u32 = 0xf597_a6cf;

/// Makes the checksums of label, area and text right again.
fn seal(disk: &mut Patched) {
    let read = |disk: &Patched, at: u64, length: usize| {
        let mut bytes = vec![0; length];
        disk.read_at(at, &mut bytes).map(|()| bytes)
    };
    let label = read(disk, 512, 512).expect("the label");
    disk.put(512 + 16, &raw_crc32(CHECKSUM_START, &label[20..]).to_le_bytes());
    let header = read(disk, 4096, 512).expect("the header");
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight"));
    if let (offset, length @ 1..=1_000_000) = (number(40), number(48))
        && let Ok(text) = read(disk, 4096_u64.saturating_add(offset), usize::try_from(length).expect("small"))
    {
        disk.put(4096 + 56, &raw_crc32(CHECKSUM_START, &text).to_le_bytes());
    }
    let header = read(disk, 4096, 512).expect("the header");
    disk.put(4096, &raw_crc32(CHECKSUM_START, &header[4..]).to_le_bytes());
}

fn everything() -> Logical {
    let pool = "type=\"thin-pool\" metadata=\"pool_tmeta\" pool=\"pool_tdata\" transaction_id=1 chunk_size=128";
    let stripes = "type=\"striped\" stripe_count=2 stripe_size=128 stripes=[\"pv0\",20,\"pv1\",20]";
    Logical::default()
        .add("str", true, &[(4, stripes.to_owned())])
        .add("r1", true, &[(2, format!("type=\"raid1\" {}", raids("r1", 2)))])
        .legs("r1", 2, &[(0, 0), (1, 0)])
        .add("snap", true, &[(2, linear(0, 10))])
        .add("snapshot0", false, &[(4, "type=\"snapshot\" chunk_size=8 origin=\"str\" cow_store=\"snap\"".to_owned())])
        .add("pool", true, &[(1, pool.to_owned())])
        .hidden("pool_tmeta", 2, 0, 12)
        .hidden("pool_tdata", 1, 1, 12)
        .add("thin", true, &[(4, "type=\"thin\" thin_pool=\"pool\" transaction_id=1 device_id=1".to_owned())])
}

#[test]
fn damaged_groups_never_panic_or_loop() {
    let Some(lvm) = Lvm::new(2, 32) else { return };
    if lvm.group(&everything()).is_none() {
        return;
    }
    let images: Vec<Arc<Vec<u8>>> = lvm.images().into_iter().map(Arc::new).collect();
    // Label, header of the area, and the text that counts.
    let offset = u64::from_le_bytes(images[0][4096 + 40..4096 + 48].try_into().expect("eight"));
    let length = u64::from_le_bytes(images[0][4096 + 48..4096 + 56].try_into().expect("eight"));
    let text = 4096 + offset..4096 + offset + length;
    let places: Vec<u64> = (512..640).chain(4096..4160).chain(text.clone().cycle().take(6000)).collect();
    let mut dice = Dice(5);
    let mut opened = 0;
    for _ in 0..rounds(600) {
        let mut members = Vec::new();
        for (number, image) in (0_u32..).zip(&images) {
            let mut damaged = Patched::new(image);
            if number == 0 {
                damaged.damage(&places, &mut dice);
                seal(&mut damaged);
            }
            let layer: AnyLayer = Arc::new(DiskLayer { disk: number, device: Arc::new(damaged) });
            if let Ok(Some(volume)) = identify(layer.as_ref()) {
                members.push(Member { volume, layer, place: format!("disk {number}") });
            }
        }
        for volume in assemble(members).groups.iter().flat_map(|group| &group.volumes) {
            let Ok(layer) = &volume.opened else { continue };
            opened += 1;
            let mut buffer = vec![0; 70_000];
            for at in [0, 65_000, layer.size_bytes().saturating_sub(70_000)] {
                let _ = layer.read_at(at, &mut buffer);
            }
        }
    }
    assert!(opened > 100, "most damage leaves most volumes readable");
}

#[test]
fn volumes_that_lie_on_each_other_in_a_circle_are_refused() {
    let Some(lvm) = Lvm::new(1, 16) else { return };
    if lvm.group(&Logical::default().add("one", true, &[(2, linear(0, 0))]).add("two", true, &[(2, linear(0, 2))])).is_none() {
        return;
    }
    // The tools would not take such a text: it is changed in place, with the same length.
    let image = lvm.images().remove(0);
    let offset = u64::from_le_bytes(image[4096 + 40..4096 + 48].try_into().expect("eight"));
    let start = usize::try_from(4096 + offset).expect("small");
    let text = String::from_utf8_lossy(&image[start..start + 4000]).into_owned();
    let image = Arc::new(image);
    let mut damaged = Patched::new(&image);
    for (volume, other) in [("one {", "\"two\""), ("two {", "\"one\"")] {
        let volume = text.find(volume).expect("the volume");
        let stripe = volume + text[volume..].find("\"pv0\"").expect("its stripe");
        damaged.put((start + stripe) as u64, other.as_bytes());
    }
    seal(&mut damaged);
    let layer: AnyLayer = Arc::new(DiskLayer { disk: 0, device: Arc::new(damaged) });
    let member = Member { volume: identify(layer.as_ref()).expect("readable").expect("a volume"), layer, place: "disk".to_owned() };
    let found = assemble(vec![member]);
    for volume in &found.groups[0].volumes {
        let error = volume.opened.as_ref().err().expect("a circle").to_string();
        assert!(error.ends_with("is damaged: it lies on itself or on too many others"), "{error}");
    }
}
