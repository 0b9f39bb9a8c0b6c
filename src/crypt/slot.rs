//! Key slots: ways to a vault's master key.

use argon2::{Algorithm, Argon2, Params, Version};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::secret::{SubKey, random, unwrap, wrap};
use super::{CryptError, MasterKey, SecretBytes};
use crate::format::vault::{Cipher, KeySlot, SlotKind, VaultHeader};
use crate::units::KeySlotId;

/// Fewest bytes of a key file.
pub const KEY_FILE_BYTES: u64 = 32;

/// What opens a slot.
pub enum Unlock {
    /// Nothing: the vault is not encrypted.
    Nothing,
    /// A passphrase.
    Passphrase(SecretBytes),
    /// A key file's content.
    KeyFile(SecretBytes),
}

/// What a new passphrase slot costs whoever tries a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB, at least 8 for each lane.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PassphraseCost {
    /// About a quarter of a second on a core of 2026.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// Makes a slot that `unlock` opens. `cost` counts for passphrases only.
///
/// # Errors
/// [`CryptError::TooShort`] for an empty passphrase or a key file under 32 bytes, [`CryptError::Derivation`],
/// [`CryptError::Cipher`].
pub fn create_slot(
    header: &VaultHeader,
    master: &MasterKey,
    unlock: &Unlock,
    cost: PassphraseCost,
    label: &str,
    created: Timestamp,
) -> Result<KeySlot, CryptError> {
    let kind = match unlock {
        Unlock::Nothing => SlotKind::Plain,
        Unlock::Passphrase(_) => {
            let PassphraseCost { memory_kib, passes, lanes } = cost;
            SlotKind::Passphrase { salt: random()?, memory_kib, passes, lanes }
        }
        Unlock::KeyFile(_) => SlotKind::KeyFile { salt: random()? },
    };
    check_length(unlock)?;
    let id = KeySlotId(random()?);
    let mut slot = KeySlot { id, vault: header.vault, kind, created, label: label.to_owned(), wrapped_key: Vec::new() };
    slot.wrapped_key = match slot_key(&slot, unlock)? {
        None => master.bytes().to_vec(),
        Some(key) => wrap(&key, &slot.binding(header), master.bytes())?.to_vec(),
    };
    Ok(slot)
}

/// The master key in a slot.
///
/// # Errors
/// [`CryptError::WrongKey`] where `unlock` is not this slot's; [`CryptError::WrongVault`], [`CryptError::Derivation`].
pub fn open_slot(header: &VaultHeader, slot: &KeySlot, unlock: &Unlock) -> Result<MasterKey, CryptError> {
    if slot.vault != header.vault {
        return Err(CryptError::WrongVault { slot: slot.id, expected: header.vault, found: slot.vault });
    }
    let wrong = || CryptError::WrongKey { slot: slot.id };
    if slot.kind == SlotKind::Plain {
        // Whoever can write to an encrypted vault must not be able to replace its key by one of their own in the open.
        let open = (header.cipher == Cipher::None).then_some(slot.wrapped_key.as_slice()).ok_or_else(wrong)?;
        return open.try_into().map(MasterKey::from_bytes).map_err(|_| wrong());
    }
    let key = slot_key(slot, unlock)?.ok_or_else(wrong)?;
    let wrapped = slot.wrapped_key.as_slice().try_into().map_err(|_| wrong())?;
    unwrap(&key, &slot.binding(header), wrapped).map(|master| MasterKey::from_bytes(*master)).ok_or_else(wrong)
}

fn check_length(unlock: &Unlock) -> Result<(), CryptError> {
    let (what, secret, least, cure) = match unlock {
        Unlock::Nothing => return Ok(()),
        Unlock::Passphrase(secret) => ("the passphrase", secret, 1, ""),
        Unlock::KeyFile(secret) => {
            ("the key file", secret, KEY_FILE_BYTES, "; make one with 'head -c 32 /dev/urandom > FILE' and keep it safe")
        }
    };
    let found = secret.bytes().len() as u64;
    if found < least { Err(CryptError::TooShort { what, found, least, cure }) } else { Ok(()) }
}

/// The slot's own key; `None` where the slot is of another kind than `unlock`, or plain.
fn slot_key(slot: &KeySlot, unlock: &Unlock) -> Result<Option<SubKey>, CryptError> {
    match (&slot.kind, unlock) {
        (SlotKind::Passphrase { salt, memory_kib, passes, lanes }, Unlock::Passphrase(passphrase)) => {
            let failed =
                |error: argon2::Error| CryptError::Derivation { slot: slot.id, memory_kib: *memory_kib, reason: error.to_string() };
            let parameters = Params::new(*memory_kib, *passes, *lanes, Some(32)).map_err(failed)?;
            let mut key = Zeroizing::new([0; 32]);
            Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
                .hash_password_into(passphrase.bytes(), salt, key.as_mut_slice())
                .map_err(failed)?;
            Ok(Some(key))
        }
        (SlotKind::KeyFile { salt }, Unlock::KeyFile(content)) => {
            let mut hasher = blake3::Hasher::new_derive_key("cairn v1 key file");
            hasher.update(salt).update(content.bytes());
            Ok(Some(Zeroizing::new(*hasher.finalize().as_bytes())))
        }
        _ => Ok(None),
    }
}
