//! Map nodes into metadata packs: one frame a node, written as they come.
//!
//! A metadata pack becomes visible only when its caller says that all blocks named by its nodes are durable.

use std::sync::Arc;

use super::frame;
use super::writer::{FinishedPack, PackWriter, add_birth, new_sealer};
use crate::crypt::PackSealer;
use crate::format::pack::{BirthRange, PackKind};
use crate::store::{StoreError, Vault};
use crate::units::{Address, PackId};

/// Nodes compress little (they are mostly hashes), and there are few of them.
const NODE_LEVEL: i32 = 3;
/// Stored bytes at which the caller should make data durable and close the metadata pack.
const PACK_BYTES: u64 = 60 << 20;

/// Takes encoded nodes, gives addresses.
pub(crate) struct NodePacks {
    vault: Arc<Vault>,
    open: Option<OpenPack>,
}

struct OpenPack {
    id: PackId,
    sealer: PackSealer,
    writer: PackWriter,
    nodes: u32,
    births: Vec<BirthRange>,
}

impl NodePacks {
    pub(crate) fn new(vault: &Arc<Vault>) -> Self {
        Self { vault: Arc::clone(vault), open: None }
    }

    /// Appends a node, which may have been born elsewhere.
    pub(crate) fn push(&mut self, encoded: &[u8], birth: Option<Address>) -> Result<Address, StoreError> {
        let pack = match &mut self.open {
            Some(pack) => pack,
            None => {
                let (id, sealer) = new_sealer(&self.vault, PackKind::Map)?;
                let writer = PackWriter::new(&self.vault, id, PackKind::Map)?;
                self.open.insert(OpenPack { id, sealer, writer, nodes: 0, births: Vec::new() })
            }
        };
        let address = Address { pack: pack.id, slot: pack.nodes };
        let stored = frame::store(encoded, NODE_LEVEL, pack.sealer.next_frame()?)?;
        pack.writer.append(&stored, 1)?;
        if let Some(birth) = birth {
            add_birth(&mut pack.births, pack.nodes, birth);
        }
        pack.nodes += 1;
        Ok(address)
    }

    /// Whether the open pack is large enough to be closed.
    pub(crate) fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|pack| pack.writer.frame_bytes() >= PACK_BYTES)
    }

    /// Makes the nodes so far durable. All blocks that they name must be durable before.
    pub(crate) fn flush(&mut self) -> Result<Option<FinishedPack>, StoreError> {
        let Some(pack) = self.open.take() else { return Ok(None) };
        pack.writer.finish(pack.sealer, Vec::new(), pack.births).map(Some)
    }
}
