//! Data, vaults, maps and points for the benches: made up, the same each time.

#[path = "data.rs"]
mod data;

pub(crate) use data::{half_text, noise};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use cairn::backend::{Backend, MemoryBackend};
use cairn::catalogue::CatalogueError;
use cairn::catalogue::map::{MapBuilder, MapReader, NodeSink, NodeStore};
use cairn::catalogue::points::Points;
use cairn::crypt::slot::{PassphraseCost, Unlock};
use cairn::crypt::{MasterKey, SecretBytes, VaultKeys};
use cairn::format::map::{Child, ChunkEntry, Node, NodeRef, Run};
use cairn::format::point::{ChangeSource, Consistency, DiskRecord, DiskStatistics, Manifest};
use cairn::format::vault::{Cipher, DedupScope, Writers};
use cairn::scan::BlockState;
use cairn::store::{DiskAccount, Lease, NewVault, PackReader, SessionOptions, Vault, WriteSession};
use cairn::units::{Address, CHUNK_BYTES, ChunkHash, ContentId, Fingerprint, Grid, LeaseId, NodeId, PackId, PointId, VaultId};

/// The fingerprint of a block that is only a number.
pub(crate) fn fingerprint(number: u64) -> Fingerprint {
    let mut bytes = [0; Fingerprint::LEN];
    bytes.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..Fingerprint::LEN]);
    Fingerprint(bytes)
}

pub(crate) fn pack_id(number: u32) -> PackId {
    let mut id = [0x77; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    PackId(id)
}

/// What opens a sealed vault without costly derivation of keys.
pub(crate) fn key_file() -> Unlock {
    Unlock::KeyFile(SecretBytes::new(vec![3; 32]))
}

/// Keys as of a vault that this opens.
pub(crate) fn keys(unlock: &Unlock) -> VaultKeys {
    let cipher = if matches!(unlock, Unlock::Nothing) { Cipher::None } else { Cipher::Aes256Gcm };
    VaultKeys::new(VaultId([1; 16]), cipher, &MasterKey::from_bytes([2; 32]))
}

/// An empty vault in memory.
pub(crate) struct Vaulted {
    vault: Arc<Vault>,
    _directory: tempfile::TempDir,
}

impl Vaulted {
    pub(crate) fn new(unlock: &Unlock) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let new = NewVault { compression_level: 2, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
        let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
        let vault = Vault::create(Arc::new(MemoryBackend::new()), new, unlock, cost, directory.path()).expect("a vault");
        Self { vault: Arc::new(vault), _directory: directory }
    }

    /// A reader that has nothing at hand yet, and room for 32 frames.
    pub(crate) fn reader(&self) -> Arc<PackReader> {
        Arc::new(PackReader::new(Arc::clone(self.vault.backend()), Arc::clone(self.vault.keys()), 32 << 20))
    }

    /// Stores chunks as new; gives their recipes.
    pub(crate) fn store(&self, chunks: &[Vec<u8>], states: &[Vec<BlockState>], compression_level: i32) -> Vec<Vec<Run>> {
        let lease = Lease::take(&self.vault, &[], "bench").expect("memory");
        let options = SessionOptions { compression_level, avoid: HashSet::new() };
        let mut session = WriteSession::begin(&self.vault, &lease, &self.reader(), options).expect("memory");
        let mut account = DiskAccount::default();
        let mut store = |(chunk, states): (&Vec<u8>, &Vec<BlockState>)| session.store_chunk(chunk, states, &mut account);
        let recipes = chunks.iter().zip(states).map(|chunk| store(chunk).expect("memory")).collect();
        session.flush().expect("memory");
        recipes
    }
}

/// Nodes of maps, decoded.
#[derive(Default)]
struct Nodes(Mutex<HashMap<Address, Arc<Node>>>);

impl NodeStore for Nodes {
    fn read_node(&self, node: &NodeRef) -> Result<Arc<Node>, CatalogueError> {
        Ok(Arc::clone(&self.0.lock().expect("no panic")[&node.address]))
    }
}

struct Sink<'a>(&'a Nodes);

impl NodeSink for Sink<'_> {
    fn node_id(&self, encoded: &[u8]) -> NodeId {
        NodeId(*blake3::hash(encoded).as_bytes())
    }

    fn write_node(&mut self, encoded: &[u8], _: NodeId) -> Result<Address, CatalogueError> {
        let mut nodes = self.0.0.lock().expect("no panic");
        let address = Address { pack: pack_id(9), slot: nodes.len() as u32 };
        nodes.insert(address, Arc::new(Node::decode(encoded).expect("what was encoded")));
        Ok(address)
    }
}

fn entry(number: u64) -> ChunkEntry {
    let address = Address { pack: pack_id(number as u32 >> 10), slot: number as u32 & 0x3ff };
    ChunkEntry::Data { hash: ChunkHash(*blake3::hash(&number.to_le_bytes()).as_bytes()), runs: vec![Run::Blocks { address, blocks: 64 }] }
}

/// Two maps of so many chunks of data; in the second so many, evenly spread, are others.
pub(crate) fn map_pair(chunks: u64, changed: u64) -> (MapReader<'static>, MapReader<'static>) {
    let grid = Grid::new(chunks * CHUNK_BYTES as u64, 0).expect("a grid");
    let nodes = Arc::new(Nodes::default());
    let reader = |root| MapReader::new(Arc::<Nodes>::clone(&nodes), root, grid);
    let build = |base: Option<&MapReader<'static>>, change: &dyn Fn(&mut MapBuilder<'static, '_>)| {
        let mut sink = Sink(&nodes);
        let mut builder = MapBuilder::new(grid, base, &mut sink).expect("memory");
        change(&mut builder);
        builder.finish().0
    };
    let first = reader(build(None, &|builder| (0..chunks).for_each(|number| builder.push(entry(number)).expect("memory"))));
    let second = build(Some(&first), &|builder| {
        for number in 0..changed {
            builder.keep_to(cairn::units::ChunkIndex(number * (chunks / changed))).expect("memory");
            builder.push(entry(chunks + number)).expect("memory");
        }
        builder.keep_to(cairn::units::ChunkIndex(chunks)).expect("memory");
    });
    let second = reader(second);
    (first, second)
}

/// So many published points of a hundred machines, sealed, in memory.
pub(crate) fn points(count: u64) -> (Arc<dyn Backend>, VaultKeys) {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let keys = keys(&key_file());
    let points = Points::new(backend.as_ref(), &keys);
    for number in 0..count {
        let manifest = manifest(number);
        points.put(&manifest).expect("memory");
        points.publish(manifest.point, LeaseId([9; 16]), manifest.time).expect("memory");
    }
    (backend, keys)
}

fn manifest(number: u64) -> Manifest {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..16]);
    let disk = |name: &str| DiskRecord {
        name: name.parse().expect("a name"),
        grid: Grid::new(1 << 40, 0).expect("a grid"),
        root: Child::Hole,
        content_id: ContentId([number as u8; 32]),
        source: format!("/srv/images/machine{}.qcow2 (qcow2)", number % 100),
        changes: ChangeSource::Scan,
        statistics: DiskStatistics::default(),
    };
    Manifest {
        point: PointId(id),
        machine: format!("machine{}", number % 100).parse().expect("a name"),
        sequence: number / 100 + 1,
        predecessor: Some([5; 32]),
        time: jiff::Timestamp::from_second(1_700_000_000 + number as i64).expect("in range"),
        retain_until: None,
        consistency: Consistency::FileSystem,
        base: Some(PointId([6; 16])),
        disks: vec![disk("vda"), disk("vdb")],
        tags: vec!["nightly".to_owned()],
        configs: Vec::new(),
        tool_version: "0.1.0".to_owned(),
        host: "host1".to_owned(),
    }
}
