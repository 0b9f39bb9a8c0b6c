//! The documents of `--json` that several commands share. `docs/json.md` tells what every field means: change both together.
//!
//! Fields are added, never renamed or removed; sizes are bytes, times RFC 3339 in UTC.

use cairn::format::point::{ChangeSource, Consistency, DiskRecord, Manifest, PointState};
use cairn::format::vault::{Cipher, DedupScope, VaultHeader, Writers};
use cairn::units::BLOCK_BYTES;
use jiff::Timestamp;
use serde::Serialize;

use super::render::{Details, size};

/// What a vault is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VaultDocument {
    pub(crate) vault: String,
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) cipher: &'static str,
    pub(crate) compression_level: i32,
    pub(crate) frame_bytes: u64,
    pub(crate) dedup_scope: &'static str,
    pub(crate) writers: &'static str,
}

impl VaultDocument {
    /// The vault at this place.
    pub(crate) fn new(location: &str, header: &VaultHeader) -> Self {
        Self {
            vault: location.to_owned(),
            id: header.vault.to_string(),
            created: header.created,
            cipher: match header.cipher {
                Cipher::None => "none",
                Cipher::Aes256Gcm => "aes-256-gcm",
            },
            compression_level: header.compression_level,
            frame_bytes: u64::from(header.frame_blocks) * BLOCK_BYTES as u64,
            dedup_scope: match header.dedup_scope {
                DedupScope::Vault => "vault",
                DedupScope::Machine => "machine",
            },
            writers: match header.writers {
                Writers::Many => "many",
                Writers::One => "one",
            },
        }
    }

    /// For a person.
    pub(crate) fn describe(&self, details: &mut Details) {
        details.line("Vault", &self.vault);
        details.line("Id", &self.id);
        details.line("Encryption", self.cipher);
        details.line("Compression", format!("zstd level {}, in frames of up to {}", self.compression_level, size(self.frame_bytes)));
        details.line("Deduplication", if self.dedup_scope == "vault" { "over all machines" } else { "each machine with itself" });
        details.line("Writers", if self.writers == "many" { "any number at once" } else { "one at a time" });
    }
}
/// A recovery point in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PointDocument {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) sequence: u64,
    pub(crate) time: Timestamp,
    pub(crate) consistency: &'static str,
    pub(crate) tags: Vec<String>,
    pub(crate) pinned: bool,
    pub(crate) retain_until: Option<Timestamp>,
    pub(crate) disks: Vec<DiskDocument>,
    pub(crate) size_bytes: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_changed: u64,
    pub(crate) bytes_new: u64,
    pub(crate) bytes_stored: u64,
}

/// A disk of a recovery point.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiskDocument {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) content_id: Option<String>,
    pub(crate) grid_offset_bytes: u32,
    pub(crate) source: String,
    pub(crate) changes: ChangesDocument,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_changed: u64,
    pub(crate) bytes_new: u64,
    pub(crate) bytes_stored: u64,
}

/// How it was found out what changed.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(crate) enum ChangesDocument {
    First,
    Scan,
    Hints { origin: String, sampled_chunks: u64 },
    HintsRefused { origin: String, reason: String },
}

impl PointDocument {
    /// A point as it is now: its manifest, and what was said of it later.
    pub(crate) fn new(manifest: &Manifest, state: Option<&PointState>) -> Self {
        let sum = |of: fn(&DiskRecord) -> u64| manifest.disks.iter().map(of).fold(0, u64::saturating_add);
        Self {
            id: manifest.point.to_string(),
            name: format!("{}@{}", manifest.machine, manifest.time),
            machine: manifest.machine.to_string(),
            sequence: manifest.sequence,
            time: manifest.time,
            consistency: consistency(manifest.consistency),
            tags: state.map_or(&manifest.tags, |state| &state.tags).clone(),
            pinned: state.is_some_and(|state| state.pinned),
            retain_until: state.map_or(manifest.retain_until, |state| state.retain_until),
            disks: manifest.disks.iter().map(DiskDocument::new).collect(),
            size_bytes: sum(|disk| disk.grid.size_bytes()),
            bytes_read: sum(|disk| disk.statistics.read_bytes),
            bytes_changed: sum(|disk| disk.statistics.changed_bytes),
            bytes_new: sum(|disk| disk.statistics.new_bytes),
            bytes_stored: sum(|disk| disk.statistics.stored_bytes),
        }
    }
}

impl DiskDocument {
    fn new(disk: &DiskRecord) -> Self {
        Self {
            name: disk.name.to_string(),
            size_bytes: disk.grid.size_bytes(),
            content_id: Some(disk.content_id.to_string()),
            grid_offset_bytes: disk.grid.offset_bytes(),
            source: disk.source.clone(),
            changes: ChangesDocument::new(&disk.changes),
            bytes_read: disk.statistics.read_bytes,
            bytes_changed: disk.statistics.changed_bytes,
            bytes_new: disk.statistics.new_bytes,
            bytes_stored: disk.statistics.stored_bytes,
        }
    }
}

impl ChangesDocument {
    fn new(changes: &ChangeSource) -> Self {
        match changes {
            ChangeSource::First => Self::First,
            ChangeSource::Scan => Self::Scan,
            ChangeSource::Hints { origin, sampled_chunks } => Self::Hints { origin: origin.clone(), sampled_chunks: *sampled_chunks },
            ChangeSource::HintsRefused { origin, reason } => Self::HintsRefused { origin: origin.clone(), reason: reason.clone() },
        }
    }

    /// In words for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::First => "first backup, all read".to_owned(),
            Self::Scan => "all read and compared".to_owned(),
            Self::Hints { origin, sampled_chunks } => format!("hints of {origin}; {sampled_chunks} chunks sampled, all as hinted"),
            Self::HintsRefused { origin, reason } => format!("all read, because hints of {origin} were refused: {reason}"),
        }
    }
}

/// A consistency, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ConsistencyChoice {
    /// As after a loss of power
    #[default]
    Crash,
    /// Filesystems were frozen
    Filesystem,
    /// Applications took part
    Application,
}

impl From<ConsistencyChoice> for Consistency {
    fn from(choice: ConsistencyChoice) -> Self {
        match choice {
            ConsistencyChoice::Crash => Self::Crash,
            ConsistencyChoice::Filesystem => Self::FileSystem,
            ConsistencyChoice::Application => Self::Application,
        }
    }
}

/// The word for a consistency, in documents and tables.
fn consistency(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::FileSystem => "filesystem",
        Consistency::Application => "application",
    }
}
