//! A small vault in memory, its points with what they must restore, and time that leaps instead of passing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::backend::{Backend, Clock, Created, Fault, Faulty, MemoryBackend, Operation};
use crate::catalogue::points::Points;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::point::{Consistency, Decision, Manifest};
use crate::format::vault::{DedupScope, Writers};
use crate::image::Image;
use crate::io::ReadAt;
use crate::jobs::backup::{BackupRequest, DiskRequest, backup};
use crate::jobs::gc::{GcReport, GcRequest, Patience, gc};
use crate::jobs::nodes::VaultNodes;
use crate::jobs::verify::{VerifyRequest, verify};
use crate::jobs::{JobError, points};
use crate::monitor::Silent;
use crate::source::{self, Format};
use crate::store::{NewVault, PackReader, Vault};
use crate::units::PointId;

/// A clock that passes its time only when somebody sleeps: so whoever is waited for has long expired.
#[derive(Default)]
pub(super) struct Leaping(Mutex<Duration>);

impl Clock for Leaping {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += duration;
    }
}

/// Gives everybody up after three looks.
pub(super) fn impatient() -> Patience {
    Patience { clock: Arc::new(Leaping::default()), expires_after: Duration::from_secs(3), look_every: Duration::from_secs(1) }
}

/// Everything that is worth anything is done, and deleted points go at once.
pub(super) fn thorough() -> GcRequest {
    GcRequest {
        dry_run: false,
        repack_below_percent: 100.0,
        max_copy_bytes: 1 << 30,
        soft_delete_days: Some(0),
        trust_clock: false,
        give_up_lost_points: false,
        now: Timestamp::now() + SignedDuration::from_secs(1),
    }
}

/// What decides on each operation of a store: its number, what it is, and the object's name.
pub(super) type Judge = dyn Fn(u64, Operation, &str) -> Option<Fault> + Send + Sync;

pub(super) struct World {
    pub(super) backend: MemoryBackend,
    pub(super) vault: Arc<Vault>,
    directory: Arc<TempDir>,
    /// Points that were published and not removed, with the bytes of their disk.
    pub(super) points: Vec<(Manifest, Vec<u8>)>,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let backend = MemoryBackend::new();
        let new = NewVault { compression_level: 1, frame_blocks: 16, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let vault = Vault::create(Arc::new(backend.clone()), new, &Unlock::Nothing, PassphraseCost::default(), directory.path()).unwrap();
        Self { backend, vault: Arc::new(vault), directory: Arc::new(directory), points: Vec::new() }
    }

    /// The same vault with a store and a cache of its own.
    pub(super) fn copy(&self) -> Self {
        let backend = MemoryBackend::new();
        for listed in self.backend.list("").unwrap() {
            assert_eq!(backend.create(&listed.name, &self.backend.get(&listed.name).unwrap()).unwrap(), Created::New);
        }
        let directory = Arc::new(TempDir::new().unwrap());
        let vault = Arc::new(Vault::open(Arc::new(backend.clone()), &Unlock::Nothing, directory.path()).unwrap());
        Self { backend, vault, directory, points: self.points.clone() }
    }

    /// The same vault as somebody sees it whose every operation is judged.
    pub(super) fn judged(&self, judge: Box<Judge>) -> Arc<Vault> {
        let opened = Arc::new(AtomicU64::new(0));
        let begun = Arc::clone(&opened);
        let judge = move |number: u64, operation: Operation, name: &str| match begun.load(Ordering::SeqCst) {
            0 => None,
            before => judge(number - before, operation, name),
        };
        let backend = Arc::new(Faulty::new(Arc::new(self.backend.clone()), judge));
        // A cache of its own, as of another computer.
        let cache = self.directory.path().join(format!("cache-{}", crate::units::PackId(crate::crypt::random().unwrap())));
        let vault = Arc::new(Vault::open(Arc::clone(&backend) as Arc<dyn Backend>, &Unlock::Nothing, &cache).unwrap());
        // Opening does not count.
        opened.store(backend.operations(), Ordering::SeqCst);
        vault
    }

    /// The same vault for another thread or process, with a cache of its own.
    pub(super) fn copy_of_handle(&self) -> Arc<Vault> {
        self.judged(Box::new(|_, _, _| None))
    }

    /// Where the cache of [`World::vault`] is.
    pub(super) fn cache(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(super) fn request(&self, machine: &str, bytes: &[u8]) -> BackupRequest {
        let path = self.directory.path().join(format!("{}.raw", crate::units::PackId(crate::crypt::random().unwrap())));
        std::fs::write(&path, bytes).unwrap();
        let source = source::open(&path, Format::Raw).unwrap();
        BackupRequest {
            machine: machine.parse().unwrap(),
            disks: vec![DiskRequest { name: "vda".parse().unwrap(), source, spec: None, hints: None, keep_clone: None }],
            tags: Vec::new(),
            consistency: Consistency::Crash,
            quiesce: None,
            time: None,
            retain_until: None,
            configs: Vec::new(),
            verify_hints_percent: 1.0,
            compression_level: None,
            dry_run: false,
        }
    }

    pub(super) fn backup(&mut self, machine: &str, bytes: &[u8]) -> PointId {
        let manifest = backup(&self.vault, &self.request(machine, bytes), &Silent).unwrap().manifest;
        let point = manifest.point;
        self.points.push((manifest, bytes.to_vec()));
        point
    }

    pub(super) fn api(&self) -> Points<'_> {
        Points::new(self.backend_ref(), self.vault.keys())
    }

    fn backend_ref(&self) -> &dyn Backend {
        &self.backend
    }

    /// Deletes a point; the next thorough collection removes it.
    pub(super) fn delete(&mut self, point: PointId) {
        self.api().delete_point(point, Timestamp::now()).unwrap();
        self.points.retain(|(manifest, _)| manifest.point != point);
    }

    pub(super) fn gc(&self) -> GcReport {
        self.try_gc(&thorough()).unwrap()
    }

    pub(super) fn try_gc(&self, request: &GcRequest) -> Result<GcReport, JobError> {
        gc(&self.vault, request, &impatient(), &Silent)
    }

    /// Every point that was published and not deleted is whole, and what it was.
    pub(super) fn check(&self, when: &str) {
        self.check_with(&PackReader::new(Arc::new(self.backend.clone()), Arc::clone(self.vault.keys()), 1 << 20).into(), when);
        let report = verify(&self.vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
        assert!(report.is_whole(), "{when}: {report:?}");
        let listing = points::look(&self.vault).unwrap();
        for (manifest, _) in &self.points {
            let there = listing.points.iter().any(|point| point.point() == manifest.point);
            assert!(there, "{when}: {} is gone", manifest.point);
        }
    }

    pub(super) fn check_with(&self, packs: &Arc<PackReader>, when: &str) {
        for (manifest, bytes) in &self.points {
            let nodes = Arc::new(VaultNodes::new(&self.vault, Arc::clone(packs)));
            let disk = &manifest.disks[0];
            let image = Image::new(nodes, Arc::clone(packs), disk.root, disk.grid, None);
            let mut found = vec![0xee; bytes.len()];
            let read = image.read_at(0, &mut found);
            assert!(read.is_ok(), "{when}: {} cannot be read: {}", manifest.point, read.unwrap_err());
            assert!(found == *bytes, "{when}: {} has other bytes", manifest.point);
        }
    }

    /// Takes in points that somebody else published, with the bytes that they must have.
    pub(super) fn learn(&mut self, bytes: &[u8]) {
        for point in points::look(&self.vault).unwrap().points {
            if !self.points.iter().any(|(manifest, _)| manifest.point == point.point()) {
                self.points.push((point.manifest, bytes.to_vec()));
            }
        }
    }

    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        self.backend.list(prefix).unwrap().into_iter().map(|object| object.name).collect()
    }

    /// Nothing is left but what points need.
    pub(super) fn assert_clean(&self, when: &str) {
        assert_eq!(self.names("condemned/"), [""; 0], "{when}");
        assert_eq!(self.names("leases/"), [""; 0], "{when}");
        let again = self.gc();
        assert_eq!((again.deleted_packs, again.new_packs), (0, 0), "{when}: {again:?}");
        let verdicts = self.names("points/").into_iter().map(|name| name["points/".len()..].parse::<PointId>().unwrap());
        for point in verdicts {
            assert_eq!(self.api().verdict(point).unwrap().map(|verdict| verdict.decision), Some(Decision::Published), "{when}: {point}");
        }
    }
}

/// Blocks of noise, each by its number.
pub(super) fn blocks(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let block = |number: u64| {
        let mut bytes = vec![0; 4096];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    numbers.into_iter().flat_map(block).collect()
}

/// A vault in which a third of the first pack is needed by the last points only through their bases, with one point deleted.
pub(super) fn sparse_world() -> World {
    let mut world = World::new();
    let first = world.backup("web01", &blocks(0..192));
    world.backup("web01", &blocks((0..64).chain(1000..1128)));
    world.backup("db01", &blocks((64..70).chain(2000..2050)));
    world.delete(first);
    world
}

/// The step at which operations are tried: each in the long tests, one in `nth` else.
pub(super) fn every(nth: usize) -> usize {
    if std::env::var_os("CAIRN_LONG_TESTS").is_some() { 1 } else { nth }
}
