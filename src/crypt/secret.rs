//! Secrets in memory: zeroed when dropped, never shown, never copied by accident.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::CryptError;

/// Random bytes from the system, for keys, ids and salts.
///
/// # Errors
/// [`CryptError::Cipher`] where the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], CryptError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| CryptError::Cipher { doing: "drawing random numbers" })?;
    Ok(bytes)
}

/// The key of a vault, from which all others come.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// [`CryptError::Cipher`] where the system has no random numbers.
    pub fn random() -> Result<Self, CryptError> {
        random().map(Self)
    }

    /// The key of these bytes, for tests and examples that must give the same bytes each time.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A passphrase or a key file's content.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A key derived from another.
pub(super) type SubKey = Zeroizing<[u8; 32]>;

/// The key that `parent` gives for `context`.
pub(super) fn keyed(parent: &SubKey, context: &[&[u8]]) -> SubKey {
    let mut hasher = blake3::Hasher::new_keyed(parent);
    for part in context {
        hasher.update(part);
    }
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// AES-256-GCM with this key.
pub(super) fn aes(key: &[u8; 32]) -> Result<LessSafeKey, CryptError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| CryptError::Cipher { doing: "setting a key" })
}

/// Encrypts in place and appends the tag.
pub(super) fn seal(key: &LessSafeKey, nonce: [u8; 12], bound: &[u8], bytes: &mut Vec<u8>) -> Result<(), CryptError> {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), bytes)
        .map_err(|_| CryptError::Cipher { doing: "sealing" })
}

/// Decrypts in place and takes the tag off; `None` where the bytes are not what was sealed. They are then worthless.
pub(super) fn open(key: &LessSafeKey, nonce: [u8; 12], bound: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound), bytes).ok()?.len();
    bytes.truncate(opened);
    Some(())
}

/// Compares two MACs without telling by the time taken where they differ.
pub(super) fn same_mac(computed: &SubKey, found: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(**computed) == blake3::Hash::from_bytes(*found)
}

/// A key sealed with another: nonce, ciphertext, tag.
pub(super) fn wrap(wrapping: &SubKey, bound: &[u8], key: &[u8; 32]) -> Result<[u8; 60], CryptError> {
    let nonce: [u8; 12] = random()?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(48));
    sealed.extend_from_slice(key);
    seal(&aes(wrapping)?, nonce, bound, &mut sealed)?;
    let mut wrapped = [0; 60];
    wrapped[..12].copy_from_slice(&nonce);
    wrapped[12..].copy_from_slice(&sealed);
    Ok(wrapped)
}

/// The key in what [`wrap`] gave; `None` where it is not what was wrapped.
pub(super) fn unwrap(wrapping: &SubKey, bound: &[u8], wrapped: &[u8; 60]) -> Option<SubKey> {
    let (nonce, sealed) = wrapped.split_first_chunk::<12>()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    open(&aes(wrapping).ok()?, *nonce, bound, &mut opened)?;
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&opened);
    Some(key)
}
