//! Sealing and opening of small objects.

use super::secret::{SubKey, aes, keyed, open, random, same_mac, seal};
use super::{CryptError, VaultKeys};
use crate::format::envelope::{Envelope, ObjectKind};
use crate::format::vault::Cipher;

/// Bytes that an AEAD tag adds to a body.
const TAG_BYTES: usize = 16;
/// Bytes that a MAC adds to a body in a vault without encryption.
const MAC_BYTES: usize = 32;

/// The two parts of an object that was opened, both authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenObject {
    /// What can be read without a key.
    pub clear: Vec<u8>,
    /// The rest.
    pub body: Vec<u8>,
}

impl VaultKeys {
    /// Seals an object that is to be stored under `name`; no other name or kind opens it.
    ///
    /// # Errors
    /// [`CryptError::Cipher`] only.
    pub fn seal_object(&self, kind: ObjectKind, name: &str, clear: &[u8], body: &[u8]) -> Result<Vec<u8>, CryptError> {
        let key = self.object_key(kind, name);
        let mut envelope = Envelope::new(kind, [0; 12], clear.to_vec(), body.to_vec());
        match self.cipher {
            Cipher::Aes256Gcm => {
                envelope.nonce = random()?;
                let bound = self.binding(&envelope, body.len() + TAG_BYTES, name);
                seal(&aes(&key)?, envelope.nonce, &bound, &mut envelope.body)?;
            }
            Cipher::None => {
                let bound = self.binding(&envelope, body.len() + MAC_BYTES, name);
                let mac = keyed(&key, &[&bound, body]);
                envelope.body.extend_from_slice(mac.as_slice());
            }
        }
        Ok(envelope.encode())
    }

    /// Opens an object of this kind that was stored under `name`.
    ///
    /// # Errors
    /// [`CryptError::Format`] for damage or a later format, [`CryptError::NotAuthentic`].
    pub fn open_object(&self, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<OpenObject, CryptError> {
        let mut envelope = Envelope::decode(kind, bytes).map_err(|source| CryptError::Format { object: name.to_owned(), source })?;
        let refuse = || CryptError::NotAuthentic { object: name.to_owned() };
        let key = self.object_key(kind, name);
        let bound = self.binding(&envelope, envelope.body.len(), name);
        match self.cipher {
            Cipher::Aes256Gcm => open(&aes(&key)?, envelope.nonce, &bound, &mut envelope.body).ok_or_else(refuse)?,
            Cipher::None => {
                let (body, mac) = envelope.body.split_last_chunk::<MAC_BYTES>().ok_or_else(refuse)?;
                if !same_mac(&keyed(&key, &[&bound, body]), mac) {
                    return Err(refuse());
                }
                envelope.body.truncate(envelope.body.len() - MAC_BYTES);
            }
        }
        Ok(OpenObject { clear: envelope.clear, body: envelope.body })
    }

    fn object_key(&self, kind: ObjectKind, name: &str) -> SubKey {
        let cipher: &[u8] = match self.cipher {
            Cipher::None => b"mac",
            Cipher::Aes256Gcm => b"gcm",
        };
        keyed(&self.objects, &[cipher, &kind.number().to_le_bytes(), name.as_bytes()])
    }

    /// What is authenticated besides the body: all before it, the vault and the name.
    fn binding(&self, envelope: &Envelope, body_bytes: usize, name: &str) -> Vec<u8> {
        let mut bound = envelope.head(body_bytes as u64);
        bound.extend_from_slice(self.vault.as_bytes());
        bound.extend_from_slice(name.as_bytes());
        bound
    }
}
