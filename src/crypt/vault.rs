//! The keys of an open vault.

use zeroize::Zeroizing;

use super::MasterKey;
use super::secret::{SubKey, keyed};
use crate::format::vault::Cipher;
use crate::units::{Fingerprint, MachineName, NodeId, VaultId};

/// All keys of a vault; shared by reference between threads.
pub struct VaultKeys {
    pub(super) vault: VaultId,
    pub(super) cipher: Cipher,
    fingerprints: SubKey,
    nodes: SubKey,
    pub(super) objects: SubKey,
    pub(super) pack_keys: SubKey,
    pub(super) pack_macs: SubKey,
}

impl VaultKeys {
    /// Derives the keys of a vault from its master key.
    pub fn new(vault: VaultId, cipher: Cipher, master: &MasterKey) -> Self {
        let mut material = Zeroizing::new([0; 48]);
        let (key_part, vault_part) = material.split_at_mut(32);
        key_part.copy_from_slice(master.bytes());
        vault_part.copy_from_slice(vault.as_bytes());
        let derive = |context| Zeroizing::new(blake3::derive_key(context, material.as_slice()));
        Self {
            vault,
            cipher,
            fingerprints: derive("cairn v1 fingerprints"),
            nodes: derive("cairn v1 map nodes"),
            objects: derive("cairn v1 objects"),
            pack_keys: derive("cairn v1 pack keys"),
            pack_macs: derive("cairn v1 pack macs"),
        }
    }

    /// The vault's id.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// How the vault's objects are sealed.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// What takes fingerprints: of all machines alike, or of one machine alone where each shares only with itself.
    pub fn fingerprinter(&self, machine: Option<&MachineName>) -> Fingerprinter {
        let key = match machine {
            None => self.fingerprints.clone(),
            Some(machine) => keyed(&self.fingerprints, &[b"machine", machine.as_str().as_bytes()]),
        };
        Fingerprinter { key }
    }

    /// The id of a map node, from its encoding.
    pub fn node_id(&self, encoded: &[u8]) -> NodeId {
        NodeId(*blake3::keyed_hash(&self.nodes, encoded).as_bytes())
    }
}

/// Takes fingerprints of blocks.
#[derive(Clone)]
pub struct Fingerprinter {
    key: SubKey,
}

impl Fingerprinter {
    /// The fingerprint of a block of 4 KiB.
    pub fn fingerprint(&self, block: &[u8]) -> Fingerprint {
        let hash = blake3::keyed_hash(&self.key, block);
        let mut fingerprint = [0; Fingerprint::LEN];
        fingerprint.copy_from_slice(&hash.as_bytes()[..Fingerprint::LEN]);
        Fingerprint(fingerprint)
    }
}
