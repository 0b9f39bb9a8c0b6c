//! A vault: where its objects are, what its header says, its keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::StoreError;
use crate::backend::{Backend, BackendError, Created};
use crate::crypt::slot::{PassphraseCost, Unlock, create_slot, open_slot};
use crate::crypt::{MasterKey, VaultKeys, random};
use crate::format::names::{KEYS, ObjectName};
use crate::format::vault::{Cipher, DedupScope, KeySlot, VaultHeader, Writers};
use crate::units::{KeySlotId, VaultId};

/// What a new vault shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewVault {
    /// Level of zstd that backups use unless told otherwise.
    pub compression_level: i32,
    /// Most blocks of a frame.
    pub frame_blocks: u16,
    /// Which machines share blocks.
    pub dedup_scope: DedupScope,
    /// Who may write at the same time.
    pub writers: Writers,
}

/// An open vault, shared by all threads of a job.
pub struct Vault {
    backend: Arc<dyn Backend>,
    header: VaultHeader,
    keys: Arc<VaultKeys>,
    cache_directory: PathBuf,
    index_directory: PathBuf,
}

impl Vault {
    /// Makes a vault in an empty place, with one key slot, and opens it. The header is written last: without it there is no vault.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] where anything is there already; others of the place.
    pub fn create(
        backend: Arc<dyn Backend>,
        new: NewVault,
        unlock: &Unlock,
        cost: PassphraseCost,
        cache: &Path,
    ) -> Result<Self, StoreError> {
        let location = backend.location();
        if let Some(found) = backend.list("")?.first() {
            let reason = match found.name.as_str() {
                "vault" => "there is a vault already; use it, or choose another place".to_owned(),
                name => format!("it is not empty (it has '{name}'); choose an empty or a new place"),
            };
            return Err(StoreError::NotEmpty { location, reason });
        }
        let header = VaultHeader {
            vault: VaultId(random()?),
            created: Timestamp::now(),
            cipher: if matches!(unlock, Unlock::Nothing) { Cipher::None } else { Cipher::Aes256Gcm },
            compression_level: new.compression_level,
            frame_blocks: new.frame_blocks,
            dedup_scope: new.dedup_scope,
            writers: new.writers,
        };
        let master = MasterKey::random()?;
        let slot = create_slot(&header, &master, unlock, cost, "first", header.created)?;
        put_slot(backend.as_ref(), &slot)?;
        if backend.create(&ObjectName::Vault.to_string(), &header.encode())? == Created::Exists {
            return Err(StoreError::NotEmpty { location, reason: "somebody made a vault there just now".to_owned() });
        }
        Ok(Self::with_keys(backend, header, &master, cache))
    }

    /// Opens a vault with the first slot that what was given fits. `cache` is where the index of a vault without a local
    /// directory is kept.
    ///
    /// # Errors
    /// [`StoreError::NoVault`], [`StoreError::WrongKey`], [`StoreError::Damaged`] also for a newer format.
    pub fn open(backend: Arc<dyn Backend>, unlock: &Unlock, cache: &Path) -> Result<Self, StoreError> {
        let header = read_header(backend.as_ref())?;
        let (master, _) = unlock_any(backend.as_ref(), &header, unlock)?;
        Ok(Self::with_keys(backend, header, &master, cache))
    }

    fn with_keys(backend: Arc<dyn Backend>, header: VaultHeader, master: &MasterKey, cache: &Path) -> Self {
        let keys = Arc::new(VaultKeys::new(header.vault, header.cipher, master));
        // Where objects are local files the index lies beside them; else in this machine's cache.
        let local = backend.local_path(&ObjectName::Vault.to_string()).and_then(|path| path.parent().map(|root| root.join("cache")));
        let cache_directory = local.unwrap_or_else(|| cache.join(header.vault.to_string()));
        let index_directory = cache_directory.join("index");
        Self { backend, header, keys, cache_directory, index_directory }
    }

    /// Where its objects are.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What it is.
    pub fn header(&self) -> &VaultHeader {
        &self.header
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<VaultKeys> {
        &self.keys
    }

    /// The file in which this machine remembers the recovery points that it has read.
    pub fn known_points(&self) -> PathBuf {
        self.cache_directory.join("points")
    }

    /// The file in which this machine remembers the map nodes that collections have reached.
    pub fn marked_nodes(&self) -> PathBuf {
        self.cache_directory.join("marked")
    }

    /// Where its index lies on this machine.
    pub fn index_directory(&self) -> &Path {
        &self.index_directory
    }
}

/// Reads a vault's header; needs no key.
///
/// # Errors
/// [`StoreError::NoVault`]; [`StoreError::Damaged`] also for a newer format.
pub fn read_header(backend: &dyn Backend) -> Result<VaultHeader, StoreError> {
    let name = ObjectName::Vault.to_string();
    match backend.get(&name) {
        Ok(bytes) => VaultHeader::decode(&bytes).map_err(|source| StoreError::Damaged { name, source }),
        Err(BackendError::NotFound { location, .. }) => Err(StoreError::NoVault { location }),
        Err(error) => Err(error.into()),
    }
}

/// All key slots of a vault; needs no key.
///
/// # Errors
/// [`StoreError`] of the place, or of a damaged slot.
pub fn key_slots(backend: &dyn Backend) -> Result<Vec<KeySlot>, StoreError> {
    let read = |listed: crate::backend::Listed| {
        let bytes = backend.get(&listed.name)?;
        KeySlot::decode(&bytes).map_err(|source| StoreError::Damaged { name: listed.name, source })
    };
    backend.list(KEYS)?.into_iter().map(read).collect()
}

/// The master key, and the slot that gave it.
///
/// # Errors
/// [`StoreError::WrongKey`] where no slot fits.
pub fn unlock_any(backend: &dyn Backend, header: &VaultHeader, unlock: &Unlock) -> Result<(MasterKey, KeySlotId), StoreError> {
    let slots = key_slots(backend)?;
    let mut last = None;
    for slot in &slots {
        match open_slot(header, slot, unlock) {
            Ok(master) => return Ok((master, slot.id)),
            Err(error) => last = Some(error),
        }
    }
    let location = backend.location();
    Err(match last {
        Some(source) => StoreError::WrongKey { location, slots: slots.len(), source },
        None => StoreError::NoSlot { location },
    })
}

/// Adds a key slot.
///
/// # Errors
/// [`StoreError`] of the place.
pub fn put_slot(backend: &dyn Backend, slot: &KeySlot) -> Result<(), StoreError> {
    let name = ObjectName::Key(slot.id).to_string();
    match backend.create(&name, &slot.encode())? {
        Created::New => Ok(()),
        Created::Exists => Err(StoreError::Taken { name }),
    }
}
