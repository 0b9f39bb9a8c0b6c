//! Vaults of format version 1, made once and never changed: every later version of Cairn must open, list, verify and restore them, and
//! back up into a copy.
//!
//! They are made by the ignored test at the end. A vault of a new kind gets a directory of its own beside them.

#![cfg(test)]

#[path = "golden/make.rs"]
mod make;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn::backend::{Backend, LocalDirectory};
use cairn::catalogue::points::{Listing, PointSummary, Points};
use cairn::crypt::SecretBytes;
use cairn::crypt::slot::Unlock;
use cairn::format::point::ChangeSource;
use cairn::jobs::backup::{BackupReport, BackupRequest, DiskRequest, backup};
use cairn::jobs::restore::{RestoreRequest, restore};
use cairn::jobs::verify::{VerifyRequest, verify};
use cairn::monitor::Silent;
use cairn::source::Format;
use cairn::store::{StoreError, Vault};
use cairn::units::CHUNK_BYTES;
use serde::{Deserialize, Serialize};

/// The golden vaults and what unlocks them.
const VAULTS: [&str; 3] = ["plain", "passphrase", "keyfile"];

fn unlock(vault: &str) -> Unlock {
    match vault {
        "passphrase" => Unlock::Passphrase(SecretBytes::new(b"correct horse battery staple".to_vec())),
        "keyfile" => Unlock::KeyFile(SecretBytes::new((0..32).collect())),
        _ => Unlock::Nothing,
    }
}

/// What a golden vault must hold: `<vault>.json` beside it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    /// BLAKE3 of each file, by its path in the vault.
    files: BTreeMap<String, String>,
    points: Vec<ExpectedPoint>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExpectedPoint {
    name: String,
    id: String,
    sequence: u64,
    consistency: String,
    changes: Vec<String>,
    tags: Vec<String>,
    retain_until: Option<String>,
    pinned: bool,
    deleted: bool,
    disks: Vec<ExpectedDisk>,
    /// BLAKE3 of each file kept with the point.
    configs: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExpectedDisk {
    name: String,
    size_bytes: u64,
    grid_offset_bytes: u32,
    content_id: String,
    /// BLAKE3 of what a restore gives.
    blake3: String,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

fn expected(vault: &str) -> Expected {
    serde_json::from_slice(&fs::read(golden(&format!("{vault}.json"))).unwrap()).unwrap()
}

/// BLAKE3 of each file below a directory.
fn hashes(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.insert(name, blake3::hash(&fs::read(&path).unwrap()).to_string());
            }
        }
    }
    found
}

/// A copy of a golden vault.
struct Copied {
    directory: tempfile::TempDir,
    vault: Arc<Vault>,
}

impl Copied {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for file in hashes(&golden(name)).keys() {
            let to = directory.path().join("vault").join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(golden(name).join(file), to).unwrap();
        }
        let vault = Vault::open(backend(&directory.path().join("vault")), &unlock(name), directory.path()).unwrap();
        Self { directory, vault: Arc::new(vault) }
    }

    /// Restores a point; where to.
    fn restore(&self, point: &PointSummary) -> PathBuf {
        let to = self.directory.path().join(point.point().to_string());
        let request = RestoreRequest {
            point: point.point(),
            disk: None,
            to: to.clone(),
            overwrite: false,
            dry_run: false,
            read_back: true,
            sync: false,
        };
        restore(&self.vault, &request, &Silent).unwrap();
        to
    }
}

fn backend(vault: &Path) -> Arc<dyn Backend> {
    Arc::new(LocalDirectory::open(vault).unwrap())
}

fn listing(vault: &Vault) -> Listing {
    let listing = Points::new(vault.backend().as_ref(), vault.keys()).list().unwrap();
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    listing
}

/// What a vault does hold, by restoring everything.
fn found(copied: &Copied, golden: &Path) -> Expected {
    let listing = listing(&copied.vault);
    let mut points = Vec::new();
    for (point, deleted) in listing.points.iter().map(|point| (point, false)).chain(listing.deleted.iter().map(|point| (point, true))) {
        let restored = copied.restore(point);
        let hash = |name: &str| blake3::hash(&fs::read(restored.join(name)).unwrap()).to_string();
        let disks = point.manifest.disks.iter().map(|disk| ExpectedDisk {
            name: disk.name.to_string(),
            size_bytes: disk.grid.size_bytes(),
            grid_offset_bytes: disk.grid.offset_bytes(),
            content_id: disk.content_id.to_string(),
            blake3: hash(&format!("{}.raw", disk.name)),
        });
        let changes = point.manifest.disks.iter().map(|disk| match &disk.changes {
            ChangeSource::Hints { origin, .. } => format!("hints of {origin}"),
            other => format!("{other:?}"),
        });
        points.push(ExpectedPoint {
            name: point.name(),
            id: point.point().to_string(),
            sequence: point.manifest.sequence,
            consistency: format!("{:?}", point.manifest.consistency),
            changes: changes.collect(),
            tags: point.tags().to_vec(),
            retain_until: point.retain_until().map(|time| time.to_string()),
            pinned: point.pinned(),
            deleted,
            disks: disks.collect(),
            configs: point.manifest.configs.iter().map(|config| (config.name.clone(), hash(&config.name))).collect(),
        });
    }
    Expected { files: hashes(golden), points }
}

#[test]
fn golden_vaults_are_listed_and_restored_as_they_were_made() {
    for name in VAULTS {
        assert_eq!(found(&Copied::new(name), &golden(name)), expected(name), "{name}");
    }
}

#[test]
fn golden_vaults_are_whole() {
    for name in VAULTS {
        let copied = Copied::new(name);
        let report = verify(&copied.vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
        assert!(report.is_whole() && !report.points.is_empty(), "{name}: {report:?}");
    }
}

#[test]
fn golden_vaults_are_small_and_no_file_is_a_stranger() {
    for name in VAULTS {
        let files = hashes(&golden(name));
        let bytes: u64 = files.keys().map(|file| golden(name).join(file).metadata().unwrap().len()).sum();
        assert!(bytes < 200 << 10, "{name} has {bytes} bytes");
        let kinds: Vec<&str> = files.keys().map(|file| file.split('/').next().unwrap()).collect();
        for kind in ["vault", "keys", "packs", "points", "verdicts", "states", "moved", "damaged", "condemned", "collections"] {
            assert!(kinds.contains(&kind), "{name} has no {kind}");
        }
    }
}

#[test]
fn golden_vaults_open_with_their_own_key_only() {
    for (name, other) in [("passphrase", "keyfile"), ("keyfile", "passphrase"), ("passphrase", "plain"), ("keyfile", "plain")] {
        let error = Vault::open(backend(&golden(name)), &unlock(other), Path::new("/nonexistent")).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::WrongKey { .. }), "{name} with the key of {other}: {error}");
    }
}

/// The next backup of an unchanged disk finds all its blocks and changes nothing; a changed one adds what changed.
#[test]
fn backups_go_on_in_a_copy() {
    for name in VAULTS {
        let copied = Copied::new(name);
        let before = expected(name);
        let listing = listing(&copied.vault);
        let latest = listing.points.iter().rev().find(|point| point.manifest.machine.as_str() == make::MACHINE).unwrap();
        let image = copied.restore(latest).join(format!("{}.raw", make::DISKS[0]));
        let back_up = |machine: &str| -> BackupReport {
            let request = BackupRequest {
                machine: machine.parse().unwrap(),
                disks: vec![DiskRequest {
                    name: make::DISKS[0].parse().unwrap(),
                    source: cairn::source::open(&image, Format::Raw).unwrap(),
                    hints: None,
                    keep_clone: None,
                    spec: None,
                }],
                ..make::request()
            };
            backup(&copied.vault, &request, &Silent).unwrap()
        };
        // The first slot is on the golden vault's list of damaged slots, so its block is stored again, once.
        let healed = back_up(make::MACHINE).manifest;
        let statistics = healed.disks[0].statistics;
        assert!(statistics.new_bytes <= 4096 && statistics.changed_bytes <= CHUNK_BYTES as u64, "{name}: {statistics:?}");
        assert_eq!(healed.disks[0].content_id, latest.manifest.disks[0].content_id, "{name}");
        assert_eq!((healed.sequence, healed.predecessor), (latest.manifest.sequence + 1, Some(latest.hash)), "{name}");
        let unchanged = back_up(make::MACHINE).manifest;
        assert_eq!(unchanged.disks[0].statistics.changed_bytes, 0, "{name}");
        assert_eq!(unchanged.disks[0].root, healed.disks[0].root, "{name}: the map of an unchanged disk changed");
        let stranger = back_up("another").manifest;
        assert_eq!(stranger.disks[0].statistics.new_bytes, 0, "{name}: old blocks were not found");
        let mut bytes = fs::read(&image).unwrap();
        bytes[100_000..101_000].fill(0x5a);
        fs::write(&image, &bytes).unwrap();
        let changed = back_up(make::MACHINE).manifest;
        let listing = self::listing(&copied.vault);
        assert_eq!(listing.points.len() + listing.deleted.len(), before.points.len() + 4);
        let summary = listing.points.iter().find(|point| point.point() == changed.point).unwrap();
        assert!(fs::read(copied.restore(summary).join(format!("{}.raw", make::DISKS[0]))).unwrap() == bytes, "{name}");
        let report = verify(&copied.vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
        assert!(report.is_whole(), "{name}: {report:?}");
    }
}

#[test]
#[ignore = "makes the golden vaults, once"]
fn make_golden_vaults() {
    for name in VAULTS {
        let vault = golden(name);
        assert!(!vault.exists(), "golden vaults never change: {} is there", vault.display());
        make::make(&vault, &unlock(name));
        let expected = found(&Copied::new(name), &vault);
        let text = serde_json::to_string_pretty(&expected).unwrap();
        fs::write(golden(&format!("{name}.json")), text + "\n").unwrap();
    }
}
