//! Looking into recovery points: their trees, opened from a vault.

mod extract;
mod find;
mod glob;
mod pack;
mod pieces;
mod points;
mod versions;

pub use extract::{Existing, ExtractOptions, Extracted, Source, extract};
pub use find::{FindEvent, SizeTest, Wanted, find};
pub use glob::Glob;
pub use pack::{ArchiveFile, ArchiveFormat, Compression, Packed, pack};
pub use points::{Scope, VaultPoints};
pub use versions::{Version, VersionState, versions};

use std::sync::Arc;

use super::JobError;
use super::nodes::VaultNodes;
use crate::catalogue::map::NodeStore;
use crate::catalogue::points::Points;
use crate::format::point::Manifest;
use crate::guestfs::Timestamp;
use crate::image::{CachedNodes, Image, OnDamage};
use crate::store::{Lease, PackReader, Vault};
use crate::tree::{DiskView, PointTree, PointView, TreeOptions};
use crate::units::PointId;

/// Memory for decoded frames unless told otherwise.
pub const DEFAULT_CACHE_BYTES: usize = 256 << 20;
/// Memory for decoded map nodes: those of about 100 GiB of disk.
const NODES_BYTES: usize = 32 << 20;
/// The name of a point's manifest among the files of its machine.
const MANIFEST: &str = "manifest.json";

/// How points are looked into.
#[derive(Clone)]
pub struct RecoverOptions {
    /// Memory for decoded frames, for all points together.
    pub cache_bytes: usize,
    /// How volumes and filesystems are opened.
    pub tree: TreeOptions,
    /// A manifest as the document that stands beside the machine's configuration.
    pub describe: fn(&Manifest) -> Vec<u8>,
}

/// A vault's points as trees, which share one cache.
#[derive(Clone)]
pub struct Recovery {
    vault: Arc<Vault>,
    packs: Arc<PackReader>,
    nodes: Arc<dyn NodeStore>,
    options: RecoverOptions,
    on_damage: Option<Arc<OnDamage>>,
}

impl Recovery {
    /// Looks into the points of a vault. `on_damage` hears of every range of a disk that cannot be read.
    #[must_use]
    pub fn new(vault: Arc<Vault>, options: RecoverOptions, on_damage: Option<Arc<OnDamage>>) -> Self {
        let packs = Arc::new(PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), options.cache_bytes));
        let nodes = Arc::new(CachedNodes::new(VaultNodes::new(&vault, Arc::clone(&packs)), NODES_BYTES));
        Self { vault, packs, nodes, options, on_damage }
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Keeps points from collections for as long as what this gives is held; they are there if they are found afterwards. `None` where the
    /// vault cannot be written to.
    ///
    /// # Errors
    /// [`JobError`] of the vault's place.
    pub fn hold(&self, points: &[PointId], holder: &str) -> Result<Option<Lease>, JobError> {
        Ok(Lease::take_to_read(&self.vault, points, &format!("{holder} by process {}", std::process::id()))?)
    }

    /// A point's tree. Reads its manifest, and nothing else yet.
    ///
    /// # Errors
    /// [`JobError::Catalogue`] where the manifest cannot be read.
    pub fn point(&self, point: PointId) -> Result<PointTree, JobError> {
        let manifest = Points::new(self.vault.backend().as_ref(), self.vault.keys()).read(point)?.manifest;
        let disks = manifest.disks.iter().map(|disk| DiskView {
            name: disk.name.to_string(),
            image: Image::new(Arc::clone(&self.nodes), Arc::clone(&self.packs), disk.root, disk.grid, self.on_damage.clone()),
        });
        let mut machine = vec![(MANIFEST.to_owned(), Arc::new((self.options.describe)(&manifest)))];
        let kept = manifest.configs.iter().filter(|config| config.name != MANIFEST);
        machine.extend(kept.map(|config| (config.name.clone(), Arc::new(config.bytes.clone()))));
        let view = PointView { disks: disks.collect(), machine, time: moment(manifest.time) };
        Ok(PointTree::new(view, self.options.tree.clone()))
    }
}

/// A point's time, which is whole seconds.
fn moment(time: jiff::Timestamp) -> Timestamp {
    Timestamp { seconds: time.as_second(), nanoseconds: 0 }
}

/// A path of a guest as text: bytes that are no UTF-8 as `\xff`.
#[must_use]
pub fn name_for_person(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
