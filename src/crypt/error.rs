//! What can go wrong with keys and sealed bytes, split by what the caller does next.

use crate::format::FormatError;
use crate::units::{KeySlotId, PackId, VaultId};

/// A failure of sealing, opening or deriving.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// The object's bytes are damaged or of a later format.
    #[error("'{object}': {source}")]
    Format {
        /// The object's name.
        object: String,
        /// What is wrong.
        source: FormatError,
    },
    /// The object is not what was sealed under its name.
    #[error("'{object}' is not what was sealed under that name: it was changed, took another object's place, or is of another vault")]
    NotAuthentic {
        /// The object's name, with the part of it that failed.
        object: String,
    },
    /// This secret does not open this slot; another one of the vault may fit.
    #[error("this passphrase or key file does not open key slot {slot}")]
    WrongKey {
        /// The slot.
        slot: KeySlotId,
    },
    /// The slot is of another vault.
    #[error("key slot {slot} belongs to vault {found}, but this is vault {expected}; put the vault's own keys/ back")]
    WrongVault {
        /// The slot.
        slot: KeySlotId,
        /// The vault that its header names.
        expected: VaultId,
        /// The vault that the slot names.
        found: VaultId,
    },
    /// A secret that is too easy to guess.
    #[error("{what} has {found} bytes, but at least {least} are needed{cure}")]
    TooShort {
        /// The passphrase or the key file.
        what: &'static str,
        /// Its bytes.
        found: u64,
        /// Fewest bytes.
        least: u64,
        /// What to do, starting with punctuation.
        cure: &'static str,
    },
    /// The key derivation could not run.
    #[error("deriving a key for slot {slot} with {memory_kib} KiB of memory failed: {reason}")]
    Derivation {
        /// The slot.
        slot: KeySlotId,
        /// Memory that it needs.
        memory_kib: u32,
        /// What the derivation said.
        reason: String,
    },
    /// The pack was put together wrongly: a fault of this program.
    #[error("pack {pack} cannot be finished: {source}")]
    BadPack {
        /// The pack.
        pack: PackId,
        /// The rule that it breaks.
        source: FormatError,
    },
    /// The cipher or the random numbers failed, which their makers exclude.
    #[error("the system's cryptography failed while {doing}")]
    Cipher {
        /// What was being done.
        doing: &'static str,
    },
}
