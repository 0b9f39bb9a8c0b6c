//! The vault's header and its key slots: the two objects that are read before there is a key.

use jiff::Timestamp;

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use super::envelope::{Envelope, ObjectKind};
use crate::units::{KeySlotId, MAX_FRAME_BLOCKS, VaultId};

/// Most memory that a slot may ask of whoever opens it: 4 GiB.
pub const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;
/// Most passes over that memory that a slot may ask for.
pub const MAX_PASSES: u32 = 64;
/// Most lanes that a slot may ask for.
pub const MAX_LANES: u32 = 64;
/// Longest label of a slot.
pub const MAX_LABEL_BYTES: usize = 255;

/// How objects are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// Not at all; damage is found by checksums and hashes.
    None,
    /// AES-256-GCM.
    Aes256Gcm,
}

impl Cipher {
    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Aes256Gcm => 1,
        }
    }
}

/// Which machines share blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupScope {
    /// All of the vault.
    Vault,
    /// Each machine only with itself.
    Machine,
}

impl DedupScope {
    fn number(self) -> u8 {
        match self {
            Self::Vault => 1,
            Self::Machine => 2,
        }
    }
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

impl VaultHeader {
    /// The header as object `vault`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.vault.as_bytes());
        writer.time(self.created);
        writer.u8(self.cipher.number());
        writer.i32(self.compression_level);
        writer.u16(self.frame_blocks);
        writer.u8(self.dedup_scope.number());
        writer.u8(match self.writers {
            Writers::Many => 1,
            Writers::One => 2,
        });
        Envelope::new(ObjectKind::Vault, [0; 12], writer.into_bytes(), Vec::new()).encode()
    }

    /// The header from object `vault`.
    ///
    /// # Errors
    /// [`FormatError`], as for every object.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let clear = Envelope::decode_clear_only(ObjectKind::Vault, bytes)?;
        let mut reader = Reader::new(ObjectKind::Vault.words(), &clear);
        let vault = VaultId(reader.array()?);
        let created = reader.time()?;
        let cipher = match reader.u8()? {
            0 => Cipher::None,
            1 => Cipher::Aes256Gcm,
            other => return Err(reader.corrupt("cipher 0 or 1", other)),
        };
        let compression_level = reader.i32()?;
        let frame_blocks = reader.u16()?;
        let legal_frame = (1..=MAX_FRAME_BLOCKS).contains(&usize::from(frame_blocks));
        reader.require(legal_frame, "1 to 256 blocks in a frame", frame_blocks)?;
        let dedup_scope = match reader.u8()? {
            1 => DedupScope::Vault,
            2 => DedupScope::Machine,
            other => return Err(reader.corrupt("scope 1 or 2", other)),
        };
        let writers = match reader.u8()? {
            1 => Writers::Many,
            2 => Writers::One,
            other => return Err(reader.corrupt("writers 1 or 2", other)),
        };
        reader.finish()?;
        Ok(Self { vault, created, cipher, compression_level, frame_blocks, dedup_scope, writers })
    }
}

impl SlotKind {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Plain => writer.u8(0),
            Self::Passphrase { salt, memory_kib, passes, lanes } => {
                writer.u8(1);
                writer.raw(salt);
                writer.u32(*memory_kib);
                writer.u32(*passes);
                writer.u32(*lanes);
            }
            Self::KeyFile { salt } => {
                writer.u8(2);
                writer.raw(salt);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        match reader.u8()? {
            0 => Ok(Self::Plain),
            1 => {
                let salt = reader.array()?;
                let memory_kib = reader.u32()?;
                reader.require((8..=MAX_MEMORY_KIB).contains(&memory_kib), "8 KiB to 4 GiB of memory", memory_kib)?;
                let passes = reader.u32()?;
                reader.require((1..=MAX_PASSES).contains(&passes), "1 to 64 passes", passes)?;
                let lanes = reader.u32()?;
                let legal_lanes = (1..=MAX_LANES).contains(&lanes) && lanes.saturating_mul(8) <= memory_kib;
                reader.require(legal_lanes, "1 to 64 lanes of at least 8 KiB", lanes)?;
                Ok(Self::Passphrase { salt, memory_kib, passes, lanes })
            }
            2 => Ok(Self::KeyFile { salt: reader.array()? }),
            other => Err(reader.corrupt("slot kind 0, 1 or 2", other)),
        }
    }

    /// Bytes that a master key takes in such a slot.
    fn wrapped_bytes(&self) -> u64 {
        match self {
            Self::Plain => 32,
            Self::Passphrase { .. } | Self::KeyFile { .. } => 60,
        }
    }
}

impl KeySlot {
    /// What a slot's wrapping binds besides the key: all that decides how it is opened.
    pub fn binding(&self, header: &VaultHeader) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(header.vault.as_bytes());
        writer.u8(header.cipher.number());
        writer.u8(header.dedup_scope.number());
        writer.raw(self.id.as_bytes());
        self.kind.write(&mut writer);
        writer.into_bytes()
    }

    /// The slot as object `keys/<id>`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.id.as_bytes());
        writer.raw(self.vault.as_bytes());
        self.kind.write(&mut writer);
        writer.time(self.created);
        writer.text(&self.label);
        writer.blob(&self.wrapped_key);
        Envelope::new(ObjectKind::KeySlot, [0; 12], writer.into_bytes(), Vec::new()).encode()
    }

    /// The slot from object `keys/<id>`.
    ///
    /// # Errors
    /// [`FormatError`], as for every object; also for key derivation that would cost more than 4 GiB or 64 passes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let clear = Envelope::decode_clear_only(ObjectKind::KeySlot, bytes)?;
        let mut reader = Reader::new(ObjectKind::KeySlot.words(), &clear);
        let id = KeySlotId(reader.array()?);
        let vault = VaultId(reader.array()?);
        let kind = SlotKind::read(&mut reader)?;
        let created = reader.time()?;
        let label = reader.text()?;
        reader.require(label.len() <= MAX_LABEL_BYTES, "a label of at most 255 bytes", label.len())?;
        let wrapped_key = reader.blob()?.to_vec();
        let expected_bytes = kind.wrapped_bytes();
        reader.require(wide(wrapped_key.len()) == expected_bytes, &format!("a key of {expected_bytes} bytes"), wrapped_key.len())?;
        reader.finish()?;
        Ok(Self { id, vault, kind, created, label, wrapped_key })
    }
}
