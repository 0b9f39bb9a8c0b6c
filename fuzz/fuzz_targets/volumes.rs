//! Partition tables, LVM2, arrays and LUKS: changes to disks that their own tools made.
#![no_main]

use std::sync::{Arc, LazyLock};

use cairn::units::Extent;
use cairn::volume::{Disk, discover};
use cairn_fuzz::guest::{Base, as_it_is, assemble, bases};
use libfuzzer_sys::fuzz_target;

static BASES: LazyLock<Vec<&'static Base>> = LazyLock::new(|| bases("volumes"));

fuzz_target!(|input: &[u8]| {
    let Some(image) = assemble(&BASES, input, as_it_is) else { return };
    let found = discover(vec![Disk { name: "vda".to_owned(), device: Arc::new(image) }], &[]);
    for volume in found.volumes.iter().take(32) {
        let mut start = [0; 4096];
        let length = volume.layer.size_bytes().min(4096) as usize;
        let _ = volume.layer.read_at(0, &mut start[..length]);
        let _ = volume.layer.read_at(volume.layer.size_bytes() - length as u64, &mut start[..length]);
        let _ = volume.layer.origins(Extent::between(0, volume.layer.size_bytes()), &mut |_| {});
    }
});
