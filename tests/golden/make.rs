//! Makes a golden vault: small, but with every kind of object, of chunk, of frame and of map node that version 1 has.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cairn::backend::{Backend, Created, LocalDirectory, MemoryBackend};
use cairn::catalogue::points::Points;
use cairn::crypt::slot::{PassphraseCost, Unlock};
use cairn::format::control::{Collection, Condemned, Damaged, Moved, MovedRange};
use cairn::format::envelope::ObjectKind;
use cairn::format::names::ObjectName;
use cairn::format::pack::{BirthRange, Codec, FrameEntry, PackKind, Toc, Trailer};
use cairn::format::point::{ConfigFile, Consistency, Manifest};
use cairn::format::vault::{DedupScope, Writers};
use cairn::jobs::backup::{BackupRequest, DiskRequest, backup};
use cairn::monitor::Silent;
use cairn::source::{Format, HintBase, Hints};
use cairn::store::{NewVault, PackReader, Vault};
use cairn::units::{Address, Extent, ExtentSet, Fingerprint, LeaseId, PackId};
use jiff::Timestamp;

pub(crate) const MACHINE: &str = "web01";
pub(crate) const DISKS: [&str; 2] = ["vda", "data"];

/// A request without disks.
pub(crate) fn request() -> BackupRequest {
    BackupRequest {
        machine: MACHINE.parse().unwrap(),
        disks: Vec::new(),
        tags: Vec::new(),
        consistency: Consistency::Crash,
        quiesce: None,
        time: None,
        retain_until: None,
        configs: Vec::new(),
        verify_hints_percent: 100.0,
        compression_level: None,
        dry_run: false,
    }
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 61) as u8 ^ seed).collect()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The directory that is being made, and the images beside it.
struct Making {
    vault: Arc<Vault>,
    images: tempfile::TempDir,
}

impl Making {
    fn back_up(&self, request: BackupRequest, disks: &[(&str, &[u8], Option<Hints>)]) -> Manifest {
        let disk = |(name, bytes, hints): &(&str, &[u8], Option<Hints>)| {
            let path = self.images.path().join(format!("{name}.raw"));
            fs::remove_file(&path).unwrap_or_default();
            let file = fs::File::create_new(&path).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            for (at, part) in bytes.chunks(4096).enumerate().filter(|(_, part)| part.iter().any(|&byte| byte != 0)) {
                std::os::unix::fs::FileExt::write_all_at(&file, part, at as u64 * 4096).unwrap();
            }
            let source = cairn::source::open(&path, Format::Raw).unwrap();
            DiskRequest { name: name.parse().unwrap(), source, hints: hints.clone(), keep_clone: None, spec: None }
        };
        let request = BackupRequest { disks: disks.iter().map(disk).collect(), ..request };
        backup(&self.vault, &request, &Silent).unwrap().manifest
    }

    fn put(&self, kind: ObjectKind, name: ObjectName, body: &[u8]) {
        let name = name.to_string();
        let sealed = self.vault.keys().seal_object(kind, &name, &[], body).unwrap();
        assert_eq!(self.vault.backend().create(&name, &sealed).unwrap(), Created::New);
    }

    fn packs(&self) -> Vec<PackId> {
        let listed = self.vault.backend().list("packs/").unwrap();
        let pack = |name: &str| if let Some(ObjectName::Pack(pack)) = ObjectName::parse(name) { pack } else { panic!("{name}") };
        listed.iter().map(|object| pack(&object.name)).collect()
    }

    /// Does with a pack what collection will do: its slots move into a new one, whose table says where they were born.
    fn relocate(&self, old: PackId) {
        let backend = self.vault.backend();
        let name = ObjectName::Pack(old).to_string();
        let bytes = backend.get(&name).unwrap();
        let trailer = Trailer::decode(&bytes, bytes.len() as u64).unwrap();
        let part = |range: std::ops::Range<u64>| bytes[range.start as usize..range.end as usize].to_vec();
        let (toc, opener) = self.vault.keys().open_pack(old, &trailer, &part(trailer.toc_range())).unwrap();
        let fingerprints = opener.open_fingerprints(&trailer, part(trailer.fingerprints_range())).unwrap();
        let reader = PackReader::new(Arc::clone(backend), Arc::clone(self.vault.keys()), 1 << 20);
        // The last frame first, so that slots change their numbers.
        let mut order: Vec<u32> = (0..toc.frames.len() as u32).collect();
        order.rotate_right(1);
        let pack = PackId(noise(1, 16).try_into().unwrap());
        let sealer = self.vault.keys().new_pack(pack, PackKind::Data).unwrap();
        let mut new = Toc { pack, kind: PackKind::Data, frames: Vec::new(), slot_count: 0, births: Vec::new() };
        let (mut object, mut prints, mut ranges): (Vec<u8>, Vec<Fingerprint>, Vec<MovedRange>) = Default::default();
        for frame in order {
            let mut raw = reader.frame(cairn::store::FramePlace { pack: old, frame }).unwrap().to_vec();
            let (first, count) = (toc.frames[frame as usize].first_slot, (raw.len() / 4096) as u32);
            let raw_bytes = raw.len() as u32;
            let packed = zstd::bulk::compress(&raw, 3).unwrap();
            let codec = if packed.len() < raw.len() { Codec::Zstd } else { Codec::Stored };
            if codec == Codec::Zstd {
                raw = packed;
            }
            sealer.next_frame().unwrap().seal(&mut raw).unwrap();
            new.frames.push(FrameEntry {
                offset_bytes: object.len() as u64,
                stored_bytes: raw.len() as u32,
                raw_bytes,
                codec,
                crc32: crc32fast::hash(&raw),
                first_slot: new.slot_count,
            });
            new.births.push(BirthRange { slot: new.slot_count, birth: Address { pack: old, slot: first }, count });
            ranges.push(MovedRange { birth_slot: first, count, pack, slot: new.slot_count });
            prints.extend_from_slice(&fingerprints[first as usize..(first + count) as usize]);
            new.slot_count += count;
            object.extend_from_slice(&raw);
        }
        object.extend_from_slice(&sealer.finish(&new, &prints).unwrap());
        assert_eq!(backend.create(&ObjectName::Pack(pack).to_string(), &object).unwrap(), Created::New);
        ranges.sort_by_key(|range| range.birth_slot);
        self.put(ObjectKind::Moved, ObjectName::Moved(old, 1), &Moved { pack: old, number: 1, ranges }.encode().unwrap());
        backend.delete(&name).unwrap();
    }

    /// The records that a collection and a verification leave.
    fn leave_records(&self) {
        let time = time("2026-01-05T00:00:00Z");
        let collection = Collection { number: 1, lease: LeaseId([9; 16]), time };
        self.put(ObjectKind::Collection, ObjectName::Collection(1), &collection.encode());
        let condemned = Condemned { collection: 1, packs: vec![PackId([0xee; 16])] };
        self.put(ObjectKind::Condemned, ObjectName::Condemned(1), &condemned.encode().unwrap());
        let first = Address { pack: self.packs()[0], slot: 0 };
        let damaged = Damaged { number: 1, slots: vec![(first, 1)], time };
        self.put(ObjectKind::Damaged, ObjectName::Damaged(1), &damaged.encode().unwrap());
    }
}

/// Makes a vault at a place that is not there yet.
pub(crate) fn make(place: &Path, unlock: &Unlock) {
    let images = tempfile::Builder::new().prefix("cairn-golden").rand_bytes(0).tempdir().unwrap();
    let new = NewVault { compression_level: 3, frame_blocks: 16, dedup_scope: DedupScope::Vault, writers: Writers::Many };
    let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
    // Kept in memory while it is made, as if it were in a bucket: then it has index objects too.
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let vault = Arc::new(Vault::create(Arc::clone(&memory), new, unlock, cost, images.path()).unwrap());
    let making = Making { vault, images };
    points(&making);
    making.leave_records();
    let local = LocalDirectory::create(place).unwrap();
    for listed in memory.list("").unwrap().into_iter().filter(|object| !object.name.starts_with("leases/")) {
        assert_eq!(local.create(&listed.name, &memory.get(&listed.name).unwrap()).unwrap(), Created::New);
    }
    fs::remove_dir_all(place.join("leases")).unwrap_or_default();
}

/// Five points of two machines: first, by scan, by hints, grown and shrunk, another machine; one deleted, one pinned.
fn points(making: &Making) {
    // Noise, text, a hole between them, written zeros inside a chunk, an end in mid-block.
    let mut vda = [noise(1, 20_000), text(2, 300_000), vec![0; 600_000], text(3, 40_000), vec![0; 8192], noise(4, 5000)].concat();
    // A partition from sector 63 on shifts the grid; data in the second leaf of the map, far behind a hole.
    let mut data = vec![0; (70 << 20) + 700];
    data[446..462].copy_from_slice(&[0x80, 1, 1, 0, 0x83, 254, 255, 255, 63, 0, 0, 0, 0, 0, 2, 0]);
    data[510..512].copy_from_slice(&[0x55, 0xaa]);
    data[(69 << 20)..(69 << 20) + 300_000].copy_from_slice(&text(5, 300_000));
    let first = making.back_up(
        BackupRequest {
            time: Some(time("2026-01-01T20:30:00Z")),
            tags: vec!["first".to_owned(), "\u{fc}ml\u{e4}ut".to_owned()],
            consistency: Consistency::FileSystem,
            configs: vec![ConfigFile { name: "web01.xml".to_owned(), bytes: text(6, 500) }],
            ..request()
        },
        &[(DISKS[0], &vda, None), (DISKS[1], &data, None)],
    );
    vda[50_000..52_000].copy_from_slice(&noise(7, 2000));
    data[(69 << 20)..(69 << 20) + 4096].fill(0);
    let second = BackupRequest { time: Some(time("2026-01-02T20:30:00Z")), retain_until: Some(time("2026-02-01T00:00:00Z")), ..request() };
    making.back_up(second, &[(DISKS[0], &vda, None), (DISKS[1], &data, None)]);
    vda[400_000..410_000].copy_from_slice(&text(8, 10_000));
    let hints = Hints {
        origin: "golden".to_owned(),
        base: HintBase::Unknown,
        changed: ExtentSet::from_unsorted(vec![Extent::between(400_000, 410_000)]),
        zeroed: ExtentSet::new(),
    };
    let third = BackupRequest { time: Some(time("2026-01-03T20:30:00Z")), consistency: Consistency::Application, ..request() };
    let third = making.back_up(third, &[(DISKS[0], &vda, Some(hints))]);
    vda.truncate(900_001);
    data.resize(data.len() + 300_000, 0);
    let fourth = BackupRequest { time: Some(time("2026-01-04T20:30:00Z")), ..request() };
    making.back_up(fourth, &[(DISKS[0], &vda, None), (DISKS[1], &data, None)]);
    let other = BackupRequest { machine: "db01".parse().unwrap(), time: Some(time("2026-01-04T20:30:00Z")), ..request() };
    making.back_up(other, &[(DISKS[0], &[vda.as_slice(), &noise(9, 3000)].concat(), None)]);
    let points = Points::new(making.vault.backend().as_ref(), making.vault.keys());
    let now = time("2026-01-05T00:00:00Z");
    let pin = |state: &mut cairn::format::point::PointState| {
        (state.pinned, state.tags) = (true, vec!["changed".to_owned()]);
        Ok(())
    };
    points.change_state(first.point, now, pin).unwrap();
    points.delete_point(third.point, now).unwrap();
    relocate_one(making, &first);
}

/// Relocates the pack that the first point's blocks were born in.
fn relocate_one(making: &Making, first: &Manifest) {
    let reader = PackReader::new(Arc::clone(making.vault.backend()), Arc::clone(making.vault.keys()), 1 << 20);
    let largest = making.packs().into_iter().max_by_key(|pack| {
        let name = ObjectName::Pack(*pack).to_string();
        making.vault.backend().size_bytes(&name).unwrap()
    });
    assert!(!first.disks.is_empty() && reader.locate(Address { pack: largest.unwrap(), slot: 0 }, 1).is_ok());
    making.relocate(largest.unwrap());
    assert_eq!(making.packs().iter().collect::<HashSet<_>>().len(), making.packs().len());
}
