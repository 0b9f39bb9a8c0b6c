//! The engine against plain copies of the images: arbitrary sequences of changes, backups, restores, comparisons and deletions.

#![cfg(test)]

#[path = "model/image.rs"]
mod image;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use cairn::backend::{Backend, LocalDirectory, MemoryBackend};
use cairn::catalogue::map::{MapReader, diff};
use cairn::catalogue::points::Points;
use cairn::crypt::SecretBytes;
use cairn::crypt::slot::{PassphraseCost, Unlock};
use cairn::format::point::{Consistency, DiskRecord, Manifest};
use cairn::format::vault::{DedupScope, Writers};
use cairn::jobs::backup::{BackupRequest, DiskRequest, backup};
use cairn::jobs::gc::{GcRequest, Patience, gc};
use cairn::jobs::nodes::VaultNodes;
use cairn::jobs::restore::{RestoreRequest, restore};
use cairn::jobs::verify::{VerifyRequest, verify};
use cairn::monitor::Silent;
use cairn::source::{Format, HintBase, Hints};
use cairn::store::{Lease, NewVault, PackReader, SessionOptions, Vault, WriteSession};
use cairn::units::{ChunkIndex, Extent, ExtentSet};
use image::{Content, Image, Plain};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// Largest size of the small disks.
const SMALL: u64 = 1_500_000;
/// Largest size of the sparse disk: its map has two levels.
const SPARSE: u64 = 150 << 20;
const DISKS: [&str; 3] = ["vda", "vdb", "data"];
const MACHINES: [&str; 2] = ["web01", "db01"];

/// How a vault is made.
#[derive(Debug, Clone, Copy)]
struct Setup {
    local: bool,
    secret: Secret,
    scope: DedupScope,
    frame_blocks: u16,
    /// Whether the sparse disk begins with an old partition table, which shifts its grid.
    old_table: bool,
}

#[derive(Debug, Clone, Copy)]
enum Secret {
    None,
    KeyFile,
    Passphrase,
}

/// One step of a sequence. Numbers choose among what is there when the step is taken.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write {
        disk: usize,
        at: u64,
        length: usize,
        content: Content,
    },
    Copy {
        disk: usize,
        from: u64,
        to: u64,
        length: usize,
    },
    Punch {
        disk: usize,
        at: u64,
        length: u64,
    },
    Resize {
        disk: usize,
        size_bytes: u64,
    },
    /// `disks` is a set of bits, as is whether each is backed up with hints.
    Backup {
        machine: usize,
        disks: u8,
        hinted: u8,
    },
    Restore {
        point: usize,
        over: usize,
    },
    Diff {
        from: usize,
        to: usize,
    },
    Delete {
        point: usize,
    },
    Verify,
    DropIndex,
    Reopen,
    /// A writer that was killed before it published anything.
    Leftover {
        seed: u8,
    },
    /// Packs of which less than so many percent are needed are emptied.
    Collect {
        percent: u8,
    },
}

/// A point as it must be.
struct Expected {
    manifest: Manifest,
    disks: Vec<(usize, Plain)>,
    deleted: bool,
}

struct World {
    directory: tempfile::TempDir,
    backend: Arc<dyn Backend>,
    setup: Setup,
    vault: Arc<Vault>,
    images: Vec<Image>,
    points: Vec<Expected>,
}

fn unlock(secret: Secret) -> Unlock {
    match secret {
        Secret::None => Unlock::Nothing,
        Secret::KeyFile => Unlock::KeyFile(SecretBytes::new(vec![3; 32])),
        Secret::Passphrase => Unlock::Passphrase(SecretBytes::new(b"correct horse".to_vec())),
    }
}

/// A partition table of an old installer: one partition from sector 63 on.
fn old_partition_table() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[446..462].copy_from_slice(&[0x80, 1, 1, 0, 0x83, 254, 255, 255, 63, 0, 0, 0, 0, 0, 2, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

impl World {
    fn new(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend: Arc<dyn Backend> = match setup.local {
            true => Arc::new(LocalDirectory::create(&directory.path().join("vault")).unwrap()),
            false => Arc::new(MemoryBackend::new()),
        };
        let new = NewVault { compression_level: 1, frame_blocks: setup.frame_blocks, dedup_scope: setup.scope, writers: Writers::Many };
        let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
        let vault = Vault::create(Arc::clone(&backend), new, &unlock(setup.secret), cost, directory.path()).unwrap();
        let sizes = [700_000, 300_001, 70 << 20];
        let images = DISKS.iter().zip(sizes).map(|(name, size)| Image::create(directory.path().join(format!("{name}.raw")), size));
        let mut images: Vec<Image> = images.collect();
        images[0].write(0, Content::Noise(0), 400_000);
        images[2].write(66 << 20, Content::Noise(0), 300_000);
        if setup.old_table {
            images[2].write_bytes(0, &old_partition_table());
        }
        Self { backend, setup, vault: Arc::new(vault), images, points: Vec::new(), directory }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write { disk, at, length, content } => {
                let image = &mut self.images[disk];
                image.write(at % image.plain.size_bytes, content, length);
            }
            Step::Copy { disk, from, to, length } => {
                let image = &mut self.images[disk];
                image.copy(from % image.plain.size_bytes, to % image.plain.size_bytes, length);
            }
            Step::Punch { disk, at, length } => {
                let image = &mut self.images[disk];
                image.punch(at % image.plain.size_bytes, length);
            }
            Step::Resize { disk, size_bytes } => {
                let most = if disk == 2 { SPARSE } else { SMALL };
                self.images[disk].resize(1 + size_bytes % most);
            }
            Step::Backup { machine, disks, hinted } => self.back_up(machine, disks, hinted),
            Step::Restore { point, over } => self.restore(point, over),
            Step::Diff { from, to } => self.diff(from, to),
            Step::Delete { point } => self.delete(point),
            Step::Verify => self.verify(),
            Step::DropIndex => fs::remove_dir_all(self.vault.index_directory()).unwrap_or_default(),
            Step::Reopen => {
                let vault = Vault::open(Arc::clone(&self.backend), &unlock(self.setup.secret), self.directory.path());
                self.vault = Arc::new(vault.unwrap());
            }
            Step::Leftover { seed } => self.leave_something(seed),
            Step::Collect { percent } => self.collect(percent),
        }
    }

    fn back_up(&mut self, machine: usize, disks: u8, hinted: u8) {
        let chosen: Vec<usize> = (0..DISKS.len()).filter(|disk| disks >> disk & 1 == 1).collect();
        let latest = self.points.iter().rev().find(|point| point.manifest.machine.as_str() == MACHINES[machine]);
        let request = |&disk: &usize| DiskRequest {
            name: DISKS[disk].parse().unwrap(),
            source: cairn::source::open(&self.images[disk].path, Format::Raw).unwrap(),
            hints: latest.filter(|_| hinted >> disk & 1 == 1).and_then(|point| self.hints(disk, point)),
            keep_clone: None,
            spec: None,
        };
        let request = BackupRequest {
            machine: MACHINES[machine].parse().unwrap(),
            disks: chosen.iter().map(request).collect(),
            tags: Vec::new(),
            consistency: Consistency::Crash,
            quiesce: None,
            time: None,
            retain_until: None,
            configs: Vec::new(),
            verify_hints_percent: 10.0,
            compression_level: None,
            dry_run: false,
        };
        let hinted = request.disks.iter().any(|disk| disk.hints.is_some());
        let report = backup(&self.vault, &request, &Silent).unwrap();
        assert!(report.published);
        let refused = report.manifest.disks.iter().find(|disk| format!("{:?}", disk.changes).starts_with("HintsRefused"));
        assert!(!hinted || refused.is_none(), "true hints were refused: {:?}", refused.map(|disk| &disk.changes));
        let disks = chosen.into_iter().map(|disk| (disk, self.images[disk].plain.clone())).collect();
        self.points.push(Expected { manifest: report.manifest, disks, deleted: false });
        self.check_listing();
        self.check_content_ids();
    }

    /// What changed since a point, as somebody who knows would say it.
    fn hints(&self, disk: usize, point: &Expected) -> Option<Hints> {
        let (_, before) = point.disks.iter().find(|(number, _)| *number == disk)?;
        let now = &self.images[disk].plain;
        let changed = now.changed_since(before).into_iter().map(|(start, end)| Extent::between(start, end.min(now.size_bytes)));
        Some(Hints {
            origin: "model".to_owned(),
            base: HintBase::Point(point.manifest.point.to_string()),
            changed: ExtentSet::from_unsorted(changed.collect()),
            zeroed: ExtentSet::new(),
        })
    }

    fn check_listing(&self) {
        let listing = Points::new(self.backend.as_ref(), self.vault.keys()).list().unwrap();
        assert!(listing.problems.is_empty() && listing.pending.is_empty(), "{listing:?}");
        for (listed, deleted) in [(&listing.points, false), (&listing.deleted, true)] {
            let mut found: Vec<&Manifest> = listed.iter().map(|point| &point.manifest).collect();
            found.sort_by_key(|manifest| manifest.point);
            let expected = self.points.iter().filter(|point| point.deleted == deleted);
            let mut expected: Vec<&Manifest> = expected.map(|point| &point.manifest).collect();
            expected.sort_by_key(|manifest| manifest.point);
            assert_eq!(found, expected, "deleted: {deleted}");
        }
    }

    /// Equal contents on equal grids have equal ids, and only they.
    fn check_content_ids(&self) {
        let records = self.points.iter().flat_map(|point| point.manifest.disks.iter().zip(&point.disks));
        let records: Vec<(&DiskRecord, &Plain)> = records.map(|(record, (_, plain))| (record, plain)).collect();
        let Some((last, last_plain)) = records.last() else { return };
        for (record, plain) in &records {
            let equal = plain == last_plain && record.grid == last.grid;
            assert_eq!(record.content_id == last.content_id, equal);
        }
    }

    fn chosen(&self, point: usize) -> Option<&Expected> {
        self.points.get(point.checked_rem(self.points.len())?)
    }

    /// Restores a point into an empty directory, or over what was restored there before.
    fn restore(&self, point: usize, over: usize) {
        let Some(point) = self.chosen(point) else { return };
        let to = self.directory.path().join(format!("target-{over}"));
        if over == 0 {
            fs::remove_dir_all(&to).unwrap_or_default();
        }
        self.restore_to(point, to);
    }

    fn restore_to(&self, point: &Expected, to: PathBuf) {
        let request = RestoreRequest {
            point: point.manifest.point,
            disk: None,
            to: to.clone(),
            overwrite: true,
            dry_run: false,
            read_back: false,
            sync: false,
            skip_damaged: false,
        };
        // A target that is a file and shorter than the disk is refused; what was restored before may be.
        for (disk, plain) in &point.disks {
            let path = to.join(format!("{}.raw", DISKS[*disk]));
            if path.metadata().is_ok_and(|there| there.len() != plain.size_bytes) {
                fs::remove_file(path).unwrap();
            }
        }
        restore(&self.vault, &request, &Silent).unwrap();
        for (disk, plain) in &point.disks {
            plain.assert_is(&to.join(format!("{}.raw", DISKS[*disk])), DISKS[*disk]);
        }
    }

    fn diff(&self, from: usize, to: usize) {
        let (Some(from), Some(to)) = (self.chosen(from), self.chosen(to)) else { return };
        let packs = Arc::new(PackReader::new(Arc::clone(&self.backend), Arc::clone(self.vault.keys()), 1 << 20));
        let nodes = Arc::new(VaultNodes::new(&self.vault, packs));
        for (record, (disk, plain)) in from.manifest.disks.iter().zip(&from.disks) {
            let others = to.manifest.disks.iter().zip(&to.disks);
            let Some((other, (_, other_plain))) = others.into_iter().find(|(_, (number, _))| number == disk) else { continue };
            let maps = [record, other].map(|record| MapReader::new(Arc::clone(&nodes) as _, record.root, record.grid));
            let found = diff(&maps[0], &maps[1]);
            if record.grid.offset_bytes() != other.grid.offset_bytes() {
                assert!(found.is_err(), "maps on different grids were compared");
                continue;
            }
            let found: Vec<_> = found.unwrap().map(Result::unwrap).flat_map(|range| range.start..range.end).collect();
            assert_eq!(found, differing_chunks((record, plain), (other, other_plain)));
        }
    }

    fn delete(&mut self, point: usize) {
        let Some(number) = point.checked_rem(self.points.len()) else { return };
        let points = Points::new(self.backend.as_ref(), self.vault.keys());
        points.delete_point(self.points[number].manifest.point, Timestamp::now()).unwrap();
        self.points[number].deleted = true;
        self.check_listing();
    }

    fn verify(&self) {
        let request = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None };
        let report = verify(&self.vault, &request, &Silent).unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!(report.points.len(), self.points.iter().filter(|point| !point.deleted).count());
    }

    fn leave_something(&self, seed: u8) {
        let lease = Lease::take(&self.vault, &[], "a writer that is killed").unwrap();
        let packs = Arc::new(PackReader::new(Arc::clone(&self.backend), Arc::clone(self.vault.keys()), 1 << 20));
        let options = SessionOptions { compression_level: 1, avoid: Default::default() };
        let mut session = WriteSession::begin(&self.vault, &lease, &packs, options).unwrap();
        session.store_node(&Content::Noise(seed).bytes(5000)).unwrap();
        session.flush().unwrap();
    }

    /// Removes what was deleted and empties packs of which less than this is needed. Everything else must still be there.
    fn collect(&mut self, percent: u8) {
        let now = Timestamp::now() + SignedDuration::from_secs(1);
        let request = GcRequest { repack_below_percent: percent.into(), soft_delete_days: Some(0), ..GcRequest::usual(now) };
        let report = gc(&self.vault, &request, &Patience::default(), &Silent).unwrap();
        assert_eq!(report.removed_points.len(), self.points.iter().filter(|point| point.deleted).count());
        self.points.retain(|point| !point.deleted);
        assert!(self.backend.list("condemned/").unwrap().is_empty(), "a list of condemned packs was left");
        self.check_listing();
        self.verify();
    }

    /// At the end everything must be there, deleted points too that were not collected.
    fn check_all(&self) {
        self.verify();
        for (number, point) in self.points.iter().enumerate() {
            self.restore_to(point, self.directory.path().join(format!("final-{number}")));
            fs::remove_dir_all(self.directory.path().join(format!("final-{number}"))).unwrap();
        }
        assert!(self.backend.list("leases/").unwrap().is_empty(), "a lease was not given back");
    }
}

/// The chunks that differ between two disks on the same grid, by comparing their bytes.
fn differing_chunks(a: (&DiskRecord, &Plain), b: (&DiskRecord, &Plain)) -> Vec<u64> {
    let data = |(record, plain): (&DiskRecord, &Plain), chunk: u64| {
        let exists = chunk < record.grid.chunk_count();
        let extent = exists.then(|| record.grid.chunk_extent(ChunkIndex(chunk)))?;
        plain.data(extent.offset(), extent.end())
    };
    let end = a.0.grid.chunk_count().max(b.0.grid.chunk_count());
    (0..end).filter(|&chunk| data(a, chunk) != data(b, chunk)).collect()
}

fn setups() -> impl Strategy<Value = Setup> {
    let secret = prop_oneof![Just(Secret::None), Just(Secret::KeyFile), Just(Secret::Passphrase)];
    let scope = prop_oneof![Just(DedupScope::Vault), Just(DedupScope::Machine)];
    let frame_blocks = prop_oneof![Just(1), Just(256), 2..255_u16];
    (any::<bool>(), secret, scope, frame_blocks, any::<bool>()).prop_map(|(local, secret, scope, frame_blocks, old_table)| Setup {
        local,
        secret,
        scope,
        frame_blocks,
        old_table,
    })
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![(0..4_u8).prop_map(Content::Noise), (0..4_u8).prop_map(Content::Text), Just(Content::Zeros)]
}

/// Offsets, half of them on the grids that matter.
fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![0..SPARSE, (0..SPARSE >> 18).prop_map(|chunk| chunk << 18), (0..400_u64).prop_map(|block| block << 12)]
}

fn changes() -> impl Strategy<Value = Step> {
    let lengths = prop_oneof![1..600_000_usize, (1..100_usize).prop_map(|blocks| blocks << 12)];
    prop_oneof![
        4 => (0..3_usize, offsets(), lengths, contents())
            .prop_map(|(disk, at, length, content)| Step::Write { disk, at, length, content }),
        1 => (0..3_usize, offsets(), offsets(), 1..300_000_usize)
            .prop_map(|(disk, from, to, length)| Step::Copy { disk, from, to, length }),
        1 => (0..3_usize, offsets(), 1..1_000_000_u64).prop_map(|(disk, at, length)| Step::Punch { disk, at, length }),
        1 => (0..3_usize, offsets()).prop_map(|(disk, size_bytes)| Step::Resize { disk, size_bytes }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => changes(),
        6 => (0..2_usize, 1..8_u8, any::<u8>())
            .prop_map(|(machine, disks, hinted)| Step::Backup { machine, disks, hinted }),
        2 => (any::<usize>(), 0..3_usize).prop_map(|(point, over)| Step::Restore { point, over }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Step::Diff { from, to }),
        1 => any::<usize>().prop_map(|point| Step::Delete { point }),
        1 => Just(Step::Verify),
        1 => Just(Step::DropIndex),
        1 => Just(Step::Reopen),
        1 => any::<u8>().prop_map(|seed| Step::Leftover { seed }),
        3 => prop_oneof![Just(0), Just(70), Just(100)].prop_map(|percent| Step::Collect { percent }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_as_plain_copies_would(setup in setups(), steps in prop::collection::vec(steps(), 1..25)) {
        let mut world = World::new(setup);
        for step in steps {
            world.run(step);
        }
        world.check_all();
    }
}

/// The steps that matter in one fixed order, so that each of them is taken in every run.
#[test]
fn a_sequence_with_every_step() {
    let setup = Setup { local: true, secret: Secret::Passphrase, scope: DedupScope::Vault, frame_blocks: 256, old_table: true };
    let mut world = World::new(setup);
    let sequence = [
        Step::Backup { machine: 0, disks: 7, hinted: 0 },
        Step::Write { disk: 0, at: 5000, length: 20_000, content: Content::Text(1) },
        Step::Punch { disk: 2, at: 66 << 20, length: 8192 },
        Step::Backup { machine: 0, disks: 7, hinted: 7 },
        Step::Restore { point: 0, over: 1 },
        Step::Resize { disk: 1, size_bytes: 1_000_000 },
        Step::Copy { disk: 1, from: 0, to: 900_000, length: 4096 },
        Step::DropIndex,
        Step::Reopen,
        Step::Leftover { seed: 1 },
        Step::Backup { machine: 1, disks: 3, hinted: 0 },
        Step::Backup { machine: 0, disks: 7, hinted: 2 },
        Step::Restore { point: 1, over: 1 },
        Step::Diff { from: 0, to: 3 },
        Step::Diff { from: 3, to: 2 },
        Step::Delete { point: 1 },
        Step::Collect { percent: 100 },
        Step::Restore { point: 1, over: 0 },
        Step::Resize { disk: 2, size_bytes: 60 << 20 },
        Step::Backup { machine: 0, disks: 6, hinted: 4 },
        Step::Diff { from: 3, to: 0 },
        Step::Collect { percent: 70 },
        Step::Verify,
    ];
    for step in sequence {
        world.run(step);
    }
    world.check_all();
}
