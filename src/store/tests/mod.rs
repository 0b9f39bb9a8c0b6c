//! The store as its callers see it: what a session writes a reader reads, whatever else happens to the vault meanwhile.

mod damage;
mod faults;
mod foreseen;
mod index;
mod lease;
mod lists;
mod moved;
mod order;
mod processes;
mod sessions;

use std::collections::HashSet;
use std::sync::Arc;

use super::{DiskAccount, Lease, NewVault, PackReader, SessionOptions, StoreError, Vault, WriteSession};
use crate::backend::{Backend, LocalDirectory, MemoryBackend};
use crate::crypt::SecretBytes;
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::map::Run;
use crate::format::vault::{DedupScope, Writers};
use crate::scan::{BlockState, Dedup, is_zero, padded};
use crate::units::{Address, BLOCK_BYTES, PackId};

/// Frames of the test vaults: small, so that a chunk has several.
const FRAME_BLOCKS: u16 = 16;

/// What a test's vault is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Local,
    LocalEncrypted,
}

const PLACES: [Place; 3] = [Place::Memory, Place::Local, Place::LocalEncrypted];

/// A vault, and the directory that it and its index are in.
struct Kit {
    vault: Arc<Vault>,
    directory: tempfile::TempDir,
    place: Place,
}

/// A chunk that was stored, and its recipe.
#[derive(Debug, Clone)]
struct Stored {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

fn unlock(place: Place) -> Unlock {
    match place {
        Place::LocalEncrypted => Unlock::KeyFile(SecretBytes::new(vec![7; 32])),
        _ => Unlock::Nothing,
    }
}

impl Kit {
    fn new(place: Place) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend: Arc<dyn Backend> = match place {
            Place::Memory => Arc::new(MemoryBackend::new()),
            _ => Arc::new(LocalDirectory::create(&directory.path().join("vault")).unwrap()),
        };
        let new = NewVault { compression_level: 1, frame_blocks: FRAME_BLOCKS, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let vault = Vault::create(backend, new, &unlock(place), PassphraseCost::default(), directory.path()).unwrap();
        Self { vault: Arc::new(vault), directory, place }
    }

    fn backend(&self) -> &Arc<dyn Backend> {
        self.vault.backend()
    }

    /// The same vault with its objects behind another backend.
    fn behind(&self, backend: Arc<dyn Backend>) -> Arc<Vault> {
        Arc::new(Vault::open(backend, &unlock(self.place), self.directory.path()).unwrap())
    }

    /// Stores chunks in a session of their own.
    fn store(&self, chunks: &[Vec<u8>]) -> Vec<Stored> {
        self.try_store(chunks, &HashSet::new()).unwrap().0
    }

    /// Stores chunks; what was stored, and the bytes that the vault did not have.
    fn try_store(&self, chunks: &[Vec<u8>], avoid: &HashSet<PackId>) -> Result<(Vec<Stored>, u64), StoreError> {
        let (lease, mut session) = begin(&self.vault, avoid)?;
        let mut account = DiskAccount::default();
        let stored = chunks.iter().map(|chunk| put(&self.vault, &mut session, chunk, &mut account)).collect::<Result<_, _>>()?;
        session.flush()?;
        assert_eq!(session.vanished()?, []);
        session.finish()?;
        drop(lease);
        Ok((stored, account.new_bytes))
    }

    /// Bytes that a session would store anew for these chunks.
    fn new_bytes(&self, chunks: &[Vec<u8>]) -> u64 {
        self.try_store(chunks, &HashSet::new()).unwrap().1
    }

    fn reader(&self) -> Arc<PackReader> {
        reader(&self.vault)
    }

    fn packs(&self) -> Vec<PackId> {
        super::lists::all_packs(&self.vault).unwrap().into_iter().map(|(pack, _)| pack).collect()
    }
}

fn reader(vault: &Vault) -> Arc<PackReader> {
    Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), 1 << 20))
}

fn begin(vault: &Arc<Vault>, avoid: &HashSet<PackId>) -> Result<(Lease, WriteSession), StoreError> {
    let lease = Lease::take(vault, &[], "a test")?;
    let options = SessionOptions { compression_level: 1, avoid: avoid.clone() };
    let session = WriteSession::begin(vault, &lease, &reader(vault), options)?;
    Ok((lease, session))
}

/// Does with a chunk what a scan and its caller do.
fn put(vault: &Vault, session: &mut WriteSession, chunk: &[u8], account: &mut DiskAccount) -> Result<Stored, StoreError> {
    let fingerprinter = vault.keys().fingerprinter(None);
    let state = |block: &[u8]| match is_zero(block) {
        true => BlockState::Zero,
        false => BlockState::New(fingerprinter.fingerprint(&padded(block))),
    };
    let mut blocks: Vec<BlockState> = chunk.chunks(BLOCK_BYTES).map(state).collect();
    session.known().find(&mut blocks);
    let runs = session.store_chunk(chunk, &blocks, account)?;
    Ok(Stored { bytes: chunk.to_vec(), runs })
}

/// Blocks that do not compress; each says by its number which it is.
fn chunk(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES * (numbers.end - numbers.start) as usize];
    for (block, number) in bytes.chunks_mut(BLOCK_BYTES).zip(numbers) {
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(block);
    }
    bytes
}

/// Asserts that each chunk reads back as it was.
fn assert_reads(reader: &PackReader, stored: &[Stored]) {
    for one in stored {
        assert!(read(reader, one).unwrap() == one.bytes, "other bytes than were stored, by the recipe {:?}", one.runs);
    }
}

fn read(reader: &PackReader, stored: &Stored) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0xee; stored.bytes.len()];
    reader.read_runs(&stored.runs, &mut bytes).map(|()| bytes)
}

/// The addresses of a recipe's blocks.
fn addresses(stored: &Stored) -> Vec<Address> {
    let blocks = |run: &Run| match *run {
        Run::Zero { .. } => Vec::new(),
        Run::Blocks { address, blocks } => (0..u32::from(blocks)).map(|n| Address { pack: address.pack, slot: address.slot + n }).collect(),
    };
    stored.runs.iter().flat_map(blocks).collect()
}

/// The packs that recipes name.
fn named(stored: &[Stored]) -> HashSet<PackId> {
    stored.iter().flat_map(addresses).map(|address| address.pack).collect()
}

/// All objects of a store, copied into memory.
fn copy_of(backend: &dyn Backend) -> Arc<MemoryBackend> {
    let copy = MemoryBackend::new();
    for listed in backend.list("").unwrap() {
        assert_eq!(copy.create(&listed.name, &backend.get(&listed.name).unwrap()).unwrap(), crate::backend::Created::New);
    }
    Arc::new(copy)
}
