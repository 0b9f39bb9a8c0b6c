//! A small vault with points, for the tests of the jobs that look at them.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tempfile::TempDir;

use super::backup::{BackupRequest, DiskRequest, backup};
use super::points;
use crate::backend::MemoryBackend;
use crate::catalogue::points::Listing;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::point::{Consistency, Manifest};
use crate::format::vault::{DedupScope, Writers};
use crate::monitor::{Counter, Monitor, Problem, Silent};
use crate::source::{self, Format};
use crate::store::{NewVault, Vault};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = crate::units::CHUNK_BYTES;

/// A vault in memory, and a directory for images.
pub(super) struct Kit {
    pub(super) vault: Arc<Vault>,
    pub(super) backend: MemoryBackend,
    pub(super) directory: TempDir,
}

impl Kit {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let backend = MemoryBackend::new();
        let new = NewVault { compression_level: 1, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let vault = Vault::create(Arc::new(backend.clone()), new, &Unlock::Nothing, PassphraseCost::default(), directory.path()).unwrap();
        Self { vault: Arc::new(vault), backend, directory }
    }

    /// Backs up disks given as name and bytes, as of a time.
    pub(super) fn backup(&self, machine: &str, time: &str, disks: &[(&str, &[u8])]) -> Manifest {
        self.backup_as(machine, time, disks, |_| ())
    }

    /// The same, with changes to the request.
    pub(super) fn backup_as(
        &self,
        machine: &str,
        time: &str,
        disks: &[(&str, &[u8])],
        change: impl FnOnce(&mut BackupRequest),
    ) -> Manifest {
        let open = |&(name, bytes): &(&str, &[u8])| {
            let path = self.directory.path().join(format!("{name}.raw"));
            fs::write(&path, bytes).unwrap();
            DiskRequest {
                name: name.parse().unwrap(),
                source: source::open(&path, Format::Raw).unwrap(),
                hints: None,
                keep_clone: None,
                spec: None,
            }
        };
        let mut request = BackupRequest {
            machine: machine.parse().unwrap(),
            disks: disks.iter().map(open).collect(),
            tags: Vec::new(),
            consistency: Consistency::Crash,
            quiesce: None,
            time: Some(time.parse::<Timestamp>().unwrap()),
            retain_until: None,
            configs: Vec::new(),
            verify_hints_percent: 1.0,
            compression_level: None,
            dry_run: false,
        };
        change(&mut request);
        backup(&self.vault, &request, &Silent).unwrap().manifest
    }

    pub(super) fn list(&self) -> Listing {
        points::list(&self.vault, &self.directory.path().join("memory"), &Silent).unwrap()
    }
}

/// Noise that no two blocks have in common, for each seed.
pub(super) fn noise(seed: u64, blocks: usize) -> Vec<u8> {
    let mut bytes = vec![0; blocks * 4096];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Collects problems; cancels from the start if told so.
#[derive(Default)]
pub(super) struct Collecting {
    pub(super) problems: Mutex<Vec<Problem>>,
    pub(super) cancel: bool,
}

impl Collecting {
    pub(super) fn texts(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).iter().map(ToString::to_string).collect()
    }
}

impl Monitor for Collecting {
    fn count(&self, _: Counter, _: u64) {}
    fn step(&self, _: &str) {}
    fn problem(&self, problem: Problem) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }
    fn cancelled(&self) -> bool {
        self.cancel
    }
}
