//! The vault's header and its key slots.

use jiff::Timestamp;

use crate::units::{KeySlotId, VaultId};

/// How objects are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// Not at all; damage is found by checksums and hashes.
    None,
    /// AES-256-GCM.
    Aes256Gcm,
}

/// Which machines share blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupScope {
    /// All of the vault.
    Vault,
    /// Each machine only with itself.
    Machine,
}

/// Who may write at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Any number: the store keeps the promise of create-if-absent.
    Many,
    /// One at a time: the store ignores create-if-absent, and the person who made the vault said so.
    One,
}

/// What a vault is; written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultHeader {
    /// The vault's id.
    pub vault: VaultId,
    /// When it was made.
    pub created: Timestamp,
    /// How its objects are sealed.
    pub cipher: Cipher,
    /// The zstd level that backups use unless told otherwise.
    pub compression_level: i32,
    /// Most blocks of a frame, 1 to [`crate::units::MAX_FRAME_BLOCKS`].
    pub frame_blocks: u16,
    /// Which machines share blocks.
    pub dedup_scope: DedupScope,
    /// Who may write at the same time.
    pub writers: Writers,
}

/// How a slot's key comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotKind {
    /// The master key lies open in the slot: `--encryption none`.
    Plain,
    /// Argon2id of a passphrase.
    Passphrase {
        /// Random salt.
        salt: [u8; 16],
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// BLAKE3 of a key file's bytes.
    KeyFile {
        /// Random salt.
        salt: [u8; 16],
    },
}

/// One way to the master key; an object of its own, `keys/<slot id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// The slot's id, also its object's name.
    pub id: KeySlotId,
    /// The vault that it opens.
    pub vault: VaultId,
    /// How its key comes to be.
    pub kind: SlotKind,
    /// When it was added.
    pub created: Timestamp,
    /// A person's name for it, up to 255 bytes.
    pub label: String,
    /// The master key, sealed with the slot's key (nonce, ciphertext, tag), or open for [`SlotKind::Plain`].
    pub wrapped_key: Vec<u8>,
}
