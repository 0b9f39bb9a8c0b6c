//! What a client remembers between collections, in a sealed file of its cache. Advice only: whatever is wrong with it, nothing is
//! remembered and all is read again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};

use super::marked::Marked;
use super::patience::Seen;
use crate::format::control::Moved;
use crate::format::envelope::ObjectKind;
use crate::format::marked::{MarkedNodes, PackTable};
use crate::io::replace_durable;
use crate::store::Vault;
use crate::units::PackId;

/// The name under which the file is sealed.
const SEALED_AS: &str = "cache/marked";
/// The longest file that is read or written: that of about 10 TiB of unique data.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What is remembered.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) marked: Marked,
    pub(super) tables: HashMap<PackId, PackTable>,
    pub(super) moved: HashMap<PackId, Moved>,
    pub(super) seen: Seen,
}

impl Memory {
    /// What the file says; nothing where it cannot be used.
    pub(super) fn load(vault: &Vault) -> Self {
        let Ok(Some(bytes)) = read(vault) else { return Self::default() };
        let Ok(opened) = vault.keys().open_object(ObjectKind::MarkedNodes, SEALED_AS, &bytes) else { return Self::default() };
        let Ok(known) = MarkedNodes::decode(&opened.body) else { return Self::default() };
        Self {
            marked: Marked::remembered(known.packs, known.nodes, known.blocks),
            tables: known.tables.into_iter().map(|table| (table.pack, table)).collect(),
            moved: known.moved.into_iter().map(|moved| (moved.pack, moved)).collect(),
            seen: Seen::remembered(&known.leases),
        }
    }

    /// Writes the file. A client without a place to write is as good as one that comes for the first time.
    pub(super) fn save(self, vault: &Vault) {
        let _ = self.write(vault);
    }

    fn write(self, vault: &Vault) -> io::Result<()> {
        let known = MarkedNodes {
            blocks: self.marked.blocks(),
            packs: self.marked.packs,
            nodes: self.marked.nodes,
            tables: self.tables.into_values().collect(),
            moved: self.moved.into_values().collect(),
            leases: self.seen.to_remember(),
        };
        let body = known.encode().map_err(io::Error::other)?;
        let sealed = vault.keys().seal_object(ObjectKind::MarkedNodes, SEALED_AS, &[], &body).map_err(io::Error::other)?;
        if sealed.len() as u64 > MAX_FILE_BYTES {
            return Ok(());
        }
        let file = vault.marked_nodes();
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        replace_durable(&file, &sealed)
    }
}

/// `None` for a file that is too long.
fn read(vault: &Vault) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(vault.marked_nodes())?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_FILE_BYTES).then_some(bytes))
}
