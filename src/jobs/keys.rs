//! Key slots: the ways to unlock a vault. The master key stays what it is; slots only wrap it.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::JobError;
use super::vault::FoundVault;
use crate::crypt::slot::{KEY_FILE_BYTES, PassphraseCost, Unlock, create_slot};
use crate::crypt::{MasterKey, random};
use crate::format::names::ObjectName;
use crate::format::vault::KeySlot;
use crate::io::DurableFile;
use crate::store;
use crate::units::KeySlotId;

/// Longest label of a slot.
pub const MAX_LABEL_BYTES: usize = 255;

/// The key slots of a vault, oldest first; needs no key.
///
/// # Errors
/// [`JobError`] of the place.
pub fn list(vault: &FoundVault) -> Result<Vec<KeySlot>, JobError> {
    let mut slots = store::key_slots(vault.backend().as_ref())?;
    slots.sort_by_key(|slot| (slot.created, slot.id));
    Ok(slots)
}

/// An open key slot: shows that whoever wants to change slots can open the vault.
pub struct Unlocked {
    master: MasterKey,
    /// The slot that gave it.
    pub slot: KeySlotId,
}

/// Opens a key slot.
///
/// # Errors
/// [`JobError::NotEncrypted`]; [`JobError`] where no slot fits.
pub fn unlock(vault: &FoundVault, unlock: &Unlock) -> Result<Unlocked, JobError> {
    if !vault.is_encrypted() {
        return Err(JobError::NotEncrypted { location: vault.location() });
    }
    let (master, slot) = store::unlock_any(vault.backend().as_ref(), vault.header(), unlock)?;
    Ok(Unlocked { master, slot })
}

/// Adds a key slot that `new` opens.
///
/// # Errors
/// [`JobError`] of the key derivation or the place.
pub fn add(vault: &FoundVault, unlocked: &Unlocked, new: &Unlock, label: &str) -> Result<KeySlot, JobError> {
    let slot = create_slot(vault.header(), &unlocked.master, new, PassphraseCost::default(), label, Timestamp::now())?;
    store::put_slot(vault.backend().as_ref(), &slot)?;
    Ok(slot)
}

/// The slot with this label, this id, or an id that starts like this.
///
/// # Errors
/// [`JobError::NoSuchSlot`], [`JobError::ManySlots`].
pub fn find<'a>(slots: &'a [KeySlot], asked: &str) -> Result<&'a KeySlot, JobError> {
    let by = |matches: &dyn Fn(&KeySlot) -> bool| slots.iter().filter(|slot| matches(slot)).collect::<Vec<_>>();
    let mut named = by(&|slot| slot.label == asked);
    if named.is_empty() && !asked.is_empty() {
        named = by(&|slot| slot.id.to_string().starts_with(asked));
    }
    match named.as_slice() {
        [] => Err(JobError::NoSuchSlot { asked: asked.to_owned() }),
        [slot] => Ok(slot),
        several => Err(JobError::ManySlots { asked: asked.to_owned(), count: several.len() }),
    }
}

/// Removes a key slot, but never the last one. `_unlocked` shows that whoever asks can open the vault.
///
/// # Errors
/// [`JobError::LastSlot`]; [`JobError`] of the place.
pub fn remove(vault: &FoundVault, _unlocked: &Unlocked, slot: KeySlotId) -> Result<(), JobError> {
    if !list(vault)?.iter().any(|other| other.id != slot) {
        return Err(JobError::LastSlot { slot });
    }
    Ok(vault.backend().delete(&ObjectName::Key(slot).to_string())?)
}

/// Makes a key file of random bytes that only its owner can read, durably. `Ok(false)`: there is a file already; it stays as
/// it is.
///
/// # Errors
/// [`JobError::File`].
pub fn make_key_file(path: &Path) -> Result<bool, JobError> {
    let failed = |source: io::Error| JobError::File { what: "the key file", path: path.to_owned(), doing: "cannot be made", source };
    if path.try_exists().map_err(failed)? {
        return Ok(false);
    }
    let bytes = zeroize::Zeroizing::new(random::<{ KEY_FILE_BYTES as usize }>()?);
    let path = if path.parent() == Some(Path::new("")) { &Path::new(".").join(path) } else { path };
    let mut file = DurableFile::create(path).map_err(failed)?;
    file.file().set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    file.file().write_all(bytes.as_slice()).map_err(failed)?;
    file.finish().map_err(failed)
}
