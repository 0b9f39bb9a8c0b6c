//! Thin pools: metadata made by thin_restore, data where it puts them.

use std::fmt::Write;
use std::sync::Arc;

use crate::io::{MemoryAt, ReadAt};
use crate::units::Extent;
use crate::volume::lvm::thin::{Pool, Thin};
use crate::volume::testing::lvm::*;
use crate::volume::testing::{Counted, Dice, Patched, nonzero, origins, rounds};
use crate::volume::{AnyLayer, DiskLayer, MadeOf};

const BLOCK: u64 = 64 << 10;
/// Extents of the pool's metadata on disk 0, and of its data on disk 1.
const METADATA: u64 = 2;
const DATA: u64 = 8;

fn pool() -> Logical {
    let fields = "type=\"thin-pool\" metadata=\"pool_tmeta\" pool=\"pool_tdata\" transaction_id=1 chunk_size=128 zero_new_blocks=1";
    let thin = |device: u64| format!("type=\"thin\" thin_pool=\"pool\" transaction_id=1 device_id={device}");
    Logical::default()
        .add("ext", true, &[(1, linear(0, 0))])
        .add("pool", true, &[(8, fields.to_owned())])
        .hidden("pool_tmeta", 2, 0, METADATA)
        .hidden("pool_tdata", 8, 1, DATA)
        .add("thin", true, &[(4, thin(1))])
        .add("thinsnap", true, &[(4, format!("{} origin=\"thin\"", thin(2)))])
        .add("thinext", true, &[(4, format!("{} external_origin=\"ext\"", thin(3)))])
        .add("absent", true, &[(4, thin(77))])
}

const DEVICES: &str = "\
    <device dev_id=\"1\" mapped_blocks=\"8\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">
    <range_mapping origin_begin=\"2\" data_begin=\"40\" length=\"5\" time=\"0\"/>
    <single_mapping origin_block=\"7\" data_block=\"45\" time=\"1\"/>
    <single_mapping origin_block=\"8\" data_block=\"3\" time=\"0\"/>
    <single_mapping origin_block=\"63\" data_block=\"127\" time=\"0\"/>
    </device>
    <device dev_id=\"2\" mapped_blocks=\"5\" transaction=\"1\" creation_time=\"1\" snap_time=\"1\">
    <range_mapping origin_begin=\"2\" data_begin=\"40\" length=\"5\" time=\"0\"/>
    </device>
    <device dev_id=\"3\" mapped_blocks=\"1\" transaction=\"1\" creation_time=\"1\" snap_time=\"1\">
    <single_mapping origin_block=\"1\" data_block=\"9\" time=\"0\"/>
    </device>\n";

fn images() -> Option<Vec<Vec<u8>>> {
    let lvm = Lvm::new(2, 24)?;
    lvm.group(&pool())?;
    let mut images = lvm.images();
    stamp(&mut images);
    put(&mut images[0], METADATA, &thin_metadata(DEVICES, 128, 2)?);
    Some(images)
}

#[test]
fn thin_volumes_snapshots_and_external_origins() {
    let Some(images) = images() else { return };
    let found = assembled(&images);
    let data = |block: u64, count: u64| (1, at(DATA) + block * BLOCK, count * BLOCK);
    let gap = |count: u64| (ZEROS, 0, count * BLOCK);
    check(opened(&found, "thin"), &images, &[gap(2), data(40, 6), data(3, 1), gap(54), data(127, 1)]);
    check(opened(&found, "thinsnap"), &images, &[gap(2), data(40, 5), gap(57)]);
    let external = |block: u64, count: u64| (0, at(0) + block * BLOCK, count * BLOCK);
    check(opened(&found, "thinext"), &images, &[external(0, 1), data(9, 1), external(2, 14), gap(48)]);
    let error = volume(&found, "absent").opened.as_ref().err().expect("not there").to_string();
    assert_eq!(error, "LVM vgt/absent is damaged: its pool has no device 77");
    let names: Vec<&str> = found.groups[0].volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["absent", "ext", "thin", "thinext", "thinsnap"], "the pool itself is not for people");
}

#[test]
fn damaged_metadata_of_a_pool_is_said() {
    let Some(mut images) = images() else { return };
    let start = usize::try_from(at(METADATA)).expect("small");
    images[0][start + 100] ^= 1;
    let found = assembled(&images);
    let error = volume(&found, "thin").opened.as_ref().err().expect("damaged").to_string();
    assert!(error.starts_with("the metadata of LVM vgt/pool is damaged: its superblock has checksum "), "{error}");
    assert_eq!(opened(&found, "ext").size_bytes(), MIB);
    images[0][start + 100] ^= 1;
    // Each byte of the trees is under a checksum, so the read that meets the damage fails, and the others do not.
    let root = u64::from_le_bytes(images[0][start + 320..start + 328].try_into().expect("eight"));
    images[0][start + usize::try_from(root).expect("small") * 4096 + 50] ^= 1;
    let error = volume(&assembled(&images), "thin").opened.as_ref().err().expect("damaged").to_string();
    assert_eq!(error, format!("the metadata of LVM vgt/pool is damaged: block {root}: it fails its checksum"));
}

/// A disk of any size on which every eight bytes tell where they are.
struct Telling(u64);

impl ReadAt for Telling {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        for (number, bytes) in buffer.chunks_mut(8).enumerate() {
            let own = (offset_bytes + number as u64 * 8).to_le_bytes();
            bytes.copy_from_slice(&own[..bytes.len()]);
        }
        Ok(())
    }
}

fn disk(device: Arc<dyn ReadAt>, number: u32) -> AnyLayer {
    Arc::new(DiskLayer { disk: number, device })
}

/// A device with 70,000 blocks, each on its own: three levels of nodes.
fn scattered() -> (String, impl Fn(u64) -> u64) {
    let place = |number: u64| (number * 7919) % 131_071;
    let mut text = "<device dev_id=\"5\" mapped_blocks=\"70000\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n".to_owned();
    for number in 0..70_000 {
        writeln!(text, "<single_mapping origin_block=\"{}\" data_block=\"{}\" time=\"0\"/>", number * 2, place(number)).expect("text");
    }
    text.push_str("</device>\n");
    (text, place)
}

#[test]
fn trees_of_several_levels_are_read_with_few_reads() {
    let (text, place) = scattered();
    let Some(metadata) = thin_metadata(&text, 131_072, 8) else { return };
    let counted = Arc::new(Counted::new(metadata));
    let data = disk(Arc::new(Telling(131_072 * BLOCK)), 1);
    let pool = Arc::new(Pool::open("pool", disk(Arc::clone(&counted) as Arc<dyn ReadAt>, 0), data).expect("a pool"));
    let thin = Thin::open("thin", &pool, 5, 200_000 * BLOCK, None).expect("a volume");
    let layer: AnyLayer = Arc::new(MadeOf(thin));
    let mut found = [0_u8; 8];
    for number in 0..70_000 {
        layer.read_at(number * 2 * BLOCK + 16, &mut found).expect("mapped");
        assert_eq!(u64::from_le_bytes(found), place(number) * BLOCK + 16);
        layer.read_at((number * 2 + 1) * BLOCK, &mut found).expect("not mapped");
        assert_eq!(found, [0; 8]);
    }
    layer.read_at(140_000 * BLOCK - 8, &mut found).expect("behind all");
    // 70,000 entries at 126 or more in each leaf, and the nodes above them.
    assert!(counted.reads() < 600, "{} reads", counted.reads());
    assert_eq!(origins(&layer, 3 * BLOCK, 5 * BLOCK), [(1, place(2) * BLOCK, place(2) * BLOCK + BLOCK)]);
    let after = counted.reads();
    layer.origins(Extent::between(140_000 * BLOCK, 200_000 * BLOCK), &mut |_| panic!("nothing is there")).expect("read");
    assert!(counted.reads() - after <= 4, "a gap is one lookup");
}

#[test]
fn damaged_trees_with_right_checksums_never_panic_or_loop() {
    let (text, _) = scattered();
    let small: String = text.lines().take(3000).chain(["</device>"]).collect::<Vec<_>>().join("\n");
    let Some(metadata) = thin_metadata(&format!("{DEVICES}{small}\n"), 131_072, 2) else { return };
    let (places, metadata) = (nonzero(&metadata), Arc::new(metadata));
    let mut dice = Dice(11);
    let mut read = 0;
    for _ in 0..rounds(400) {
        let mut damaged = Patched::new(&metadata);
        damaged.damage(&places, &mut dice);
        seal(&mut damaged);
        let data = disk(Arc::new(Telling(1000 * BLOCK)), 1);
        let Ok(pool) = Pool::open("pool", disk(Arc::new(damaged), 0), data) else { continue };
        let pool = Arc::new(pool);
        for device in [1, 2, 3, 5] {
            let Ok(thin) = Thin::open("thin", &pool, device, 6100 * BLOCK, Some(disk(Arc::new(MemoryAt::new(vec![1; 5000])), 2))) else {
                continue;
            };
            let layer: AnyLayer = Arc::new(MadeOf(thin));
            let mut buffer = vec![0; 40 * 65536];
            for _ in 0..20 {
                read += usize::from(layer.read_at(dice.below(6060 * BLOCK), &mut buffer).is_ok());
            }
            let mut count = 0;
            let _ = layer.origins(Extent::between(0, u64::MAX), &mut |_| count += 1);
            assert!(count < 10_000);
        }
    }
    assert!(read > 0, "some damage leaves something readable");
}

/// Makes the checksums of all blocks right again.
fn seal(metadata: &mut Patched) {
    let mut block = [0_u8; 4096];
    for number in 0..metadata.size_bytes() / 4096 {
        metadata.read_at(number * 4096, &mut block).expect("inside");
        let xor = if number == 0 { 160_774 } else { 121_107 };
        if block.iter().any(|byte| *byte != 0) {
            let sum = !crate::volume::bytes::crc32c(&block[4..]) ^ xor;
            metadata.put(number * 4096, &sum.to_le_bytes());
        }
    }
}
