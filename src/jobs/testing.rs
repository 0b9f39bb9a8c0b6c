//! Small vaults and disks for the tests of jobs.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::backup::{BackupRequest, DiskRequest, backup};
use super::nodes::VaultNodes;
use crate::backend::{Backend, LocalDirectory};
use crate::catalogue::map::MapReader;
use crate::crypt::SecretBytes;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::point::{ConfigFile, Consistency, DiskRecord, Manifest};
use crate::format::vault::{DedupScope, Writers};
use crate::monitor::Silent;
use crate::source::Format;
use crate::store::{NewVault, PackReader, Vault};
use crate::units::CHUNK_BYTES;

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };

/// A vault in a directory of its own.
pub(super) struct TestVault {
    pub(super) vault: Arc<Vault>,
    pub(super) directory: TempDir,
}

impl TestVault {
    pub(super) fn new() -> Self {
        Self::with(&Unlock::Nothing)
    }

    pub(super) fn encrypted() -> Self {
        Self::with(&Unlock::Passphrase(SecretBytes::new(b"secret".to_vec())))
    }

    fn with(unlock: &Unlock) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend = Arc::new(LocalDirectory::create(&directory.path().join("vault")).unwrap());
        let new = NewVault { compression_level: 1, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let vault = Arc::new(Vault::create(backend, new, unlock, CHEAP, directory.path()).unwrap());
        Self { vault, directory }
    }

    /// The same vault of an unencrypted one, on a decorated store and with nothing cached.
    pub(super) fn reopened(&self, decorate: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>) -> Arc<Vault> {
        let backend = decorate(Arc::new(LocalDirectory::open(&self.root()).unwrap()));
        Arc::new(Vault::open(backend, &Unlock::Nothing, self.directory.path()).unwrap())
    }

    /// The vault's directory.
    pub(super) fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("vault")
    }

    /// A path outside the vault.
    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Backs up disks given as bytes.
    pub(super) fn backup(&self, machine: &str, disks: &[(&str, &[u8])]) -> Manifest {
        self.backup_with(machine, disks, Vec::new())
    }

    pub(super) fn backup_with(&self, machine: &str, disks: &[(&str, &[u8])], configs: Vec<ConfigFile>) -> Manifest {
        let image = |name: &str| self.path(&format!("{machine}-{name}.img"));
        let disk = |&(name, bytes): &(&str, &[u8])| {
            write_sparse(&image(name), bytes);
            let source = crate::source::open(&image(name), Format::Raw).unwrap();
            DiskRequest { name: name.parse().unwrap(), source, hints: None, keep_clone: None, spec: None }
        };
        let request = BackupRequest {
            machine: machine.parse().unwrap(),
            disks: disks.iter().map(disk).collect(),
            tags: Vec::new(),
            consistency: Consistency::Crash,
            quiesce: None,
            time: None,
            retain_until: None,
            configs,
            verify_hints_percent: 100.0,
            compression_level: None,
            dry_run: false,
        };
        backup(&self.vault, &request, &Silent).unwrap().manifest
    }
}

/// A reader of a vault's blocks, and one of a disk's map.
pub(super) fn readers(vault: &Vault, disk: &DiskRecord) -> (Arc<PackReader>, MapReader<'static>) {
    let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), 64 << 20));
    let map = MapReader::new(Arc::new(VaultNodes::new(vault, Arc::clone(&packs))), disk.root, disk.grid);
    (packs, map)
}

/// Bytes that look like a disk: noise, compressible blocks, zero blocks, and every fifth chunk a hole; the same for the same seed.
pub(super) fn disk(chunks: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; chunks * CHUNK_BYTES + 1000];
    for (number, block) in bytes.chunks_mut(4096).enumerate() {
        if (number / 64) % 5 == 4 {
            continue;
        }
        match (number / 16) % 4 {
            0 => blake3::Hasher::new().update(&[seed]).update(&(number as u64).to_le_bytes()).finalize_xof().fill(block),
            1 => block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 61 * (number + 7)) as u8 ^ seed | 1),
            2 => {}
            _ => block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 64 * number) as u8 ^ seed | 1),
        }
    }
    bytes
}

/// Writes a file whose zero blocks are holes.
pub(super) fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, number as u64 * 4096).unwrap();
        }
    }
}
