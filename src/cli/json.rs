//! The documents of `--json` that several commands share. `docs/json.md` tells what every field means: change both together.
//!
//! Fields are added, never renamed or removed; sizes are bytes, times RFC 3339 in UTC.

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
