//! A vault in memory, and points made up for it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::backend::{Backend, MemoryBackend};
use crate::catalogue::points::{Listing, PointSummary, Points};
use crate::crypt::{MasterKey, VaultKeys};
use crate::format::map::Child;
use crate::format::names::ObjectName;
use crate::format::point::{ChangeSource, ConfigFile, Consistency, DiskRecord, DiskStatistics, Manifest};
use crate::format::vault::Cipher;
use crate::units::{ContentId, Grid, LeaseId, PointId, VaultId};

pub(super) const LEASE: LeaseId = LeaseId([9; 16]);

pub(super) struct Vault {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) keys: VaultKeys,
}

impl Vault {
    pub(super) fn new() -> Self {
        Self::on(Arc::new(MemoryBackend::new()))
    }

    pub(super) fn on(backend: Arc<dyn Backend>) -> Self {
        let keys = VaultKeys::new(VaultId([1; 16]), Cipher::Aes256Gcm, &MasterKey::from_bytes([2; 32]));
        Self { backend, keys }
    }

    /// Without encryption: the same objects have the same bytes each time.
    pub(super) fn open() -> Self {
        let keys = VaultKeys::new(VaultId([1; 16]), Cipher::None, &MasterKey::from_bytes([2; 32]));
        Self { backend: Arc::new(MemoryBackend::new()), keys }
    }

    pub(super) fn points(&self) -> Points<'_> {
        Points::new(&*self.backend, &self.keys)
    }

    pub(super) fn list(&self) -> Listing {
        self.points().list().expect("memory")
    }

    /// Puts and publishes a point.
    pub(super) fn publish(&self, manifest: &Manifest) {
        self.points().put(manifest).expect("memory");
        self.points().publish(manifest.point, LEASE, time(1)).expect("memory");
    }

    /// Puts other bytes in an object's place, as damage or an attacker does.
    pub(super) fn overwrite(&self, name: ObjectName, bytes: &[u8]) {
        self.backend.delete(&name.to_string()).expect("memory");
        assert_eq!(self.backend.create(&name.to_string(), bytes).expect("memory"), crate::backend::Created::New);
    }

    /// Changes one bit of an object.
    pub(super) fn damage(&self, name: ObjectName) {
        let mut bytes = self.backend.get(&name.to_string()).expect("memory");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        self.overwrite(name, &bytes);
    }
}

pub(super) fn id(number: u8) -> PointId {
    PointId([number; 16])
}

/// So many seconds after a moment in 2026.
pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_377_600 + seconds).expect("in range")
}

/// A machine's point `number`, as many seconds old.
pub(super) fn manifest(machine: &str, number: u8) -> Manifest {
    let disk = DiskRecord {
        name: "vda".parse().expect("a name"),
        grid: Grid::new(1 << 30, 0).expect("a grid"),
        root: Child::Hole,
        content_id: ContentId([number; 32]),
        source: "/srv/web01.img".to_owned(),
        changes: ChangeSource::First,
        statistics: DiskStatistics::default(),
    };
    Manifest {
        point: id(number),
        machine: machine.parse().expect("a name"),
        sequence: u64::from(number),
        predecessor: None,
        time: time(i64::from(number)),
        retain_until: None,
        consistency: Consistency::Crash,
        base: None,
        disks: vec![disk],
        tags: vec!["nightly".to_owned()],
        configs: vec![ConfigFile { name: "web01.xml".to_owned(), bytes: b"<domain/>".to_vec() }],
        tool_version: "0.1.0".to_owned(),
        host: "host1".to_owned(),
    }
}

pub(super) fn ids(points: &[PointSummary]) -> Vec<PointId> {
    points.iter().map(PointSummary::point).collect()
}
