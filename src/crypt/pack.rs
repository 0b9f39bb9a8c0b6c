//! Sealing and opening of packs: a key for each pack, a nonce for each frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::aead::LessSafeKey;
use zeroize::Zeroizing;

use super::secret::{SubKey, aes, keyed, open, random, same_mac, seal, unwrap, wrap};
use super::{CryptError, VaultKeys};
use crate::format::FormatError;
use crate::format::pack::{KeyHeader, PACK_VERSION, PackKind, PackTail, Toc, Trailer, decode_fingerprints, encode_fingerprints};
use crate::format::vault::Cipher;
use crate::units::{Fingerprint, PackId, VaultId};

/// What a nonce is for.
#[derive(Clone, Copy)]
enum Part {
    Frame(u32),
    Fingerprints,
}

/// A pack's keys, and what it is.
struct PackKey {
    vault: VaultId,
    pack: PackId,
    kind: PackKind,
    /// None where the vault is not encrypted.
    aead: Option<LessSafeKey>,
    mac: SubKey,
}

impl PackKey {
    /// The nonce, and what is authenticated besides the bytes: vault, pack, kind, version, part and frame number.
    fn nonce_and_binding(&self, part: Part) -> ([u8; 12], [u8; 44]) {
        let (number, part) = match part {
            Part::Frame(number) => (number, 0_u32),
            Part::Fingerprints => (0, 1),
        };
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&number.to_le_bytes());
        nonce[4..8].copy_from_slice(&part.to_le_bytes());
        let mut bound = [0; 44];
        bound[..16].copy_from_slice(self.vault.as_bytes());
        bound[16..32].copy_from_slice(self.pack.as_bytes());
        bound[32..34].copy_from_slice(&self.kind.number().to_le_bytes());
        bound[34..36].copy_from_slice(&PACK_VERSION.to_le_bytes());
        bound[36..].copy_from_slice(&nonce[..8]);
        (nonce, bound)
    }

    fn seal(&self, part: Part, bytes: &mut Vec<u8>) -> Result<(), CryptError> {
        let Some(aead) = &self.aead else { return Ok(()) };
        let (nonce, bound) = self.nonce_and_binding(part);
        seal(aead, nonce, &bound, bytes)
    }

    fn open(&self, part: Part, bytes: &mut Vec<u8>) -> Result<(), CryptError> {
        let Some(aead) = &self.aead else { return Ok(()) };
        let (nonce, bound) = self.nonce_and_binding(part);
        open(aead, nonce, &bound, bytes).ok_or_else(|| CryptError::NotAuthentic {
            object: match part {
                Part::Frame(number) => format!("frame {number} of pack {}", self.pack),
                Part::Fingerprints => format!("fingerprints of pack {}", self.pack),
            },
        })
    }

    fn mac(&self, toc: &[u8], trailer: &Trailer) -> SubKey {
        keyed(&self.mac, &[self.vault.as_bytes(), toc, &trailer.mac_input()])
    }
}

impl VaultKeys {
    /// Starts a pack; its id is drawn anew for each attempt to write it.
    ///
    /// # Errors
    /// [`CryptError::Cipher`] only.
    pub fn new_pack(&self, pack: PackId, kind: PackKind) -> Result<PackSealer, CryptError> {
        let (key, header) = match self.cipher {
            Cipher::None => (None, KeyHeader::None),
            Cipher::Aes256Gcm => {
                let key = Zeroizing::new(random::<32>()?);
                let header = self.wrap_pack_key(pack, kind, &key)?;
                (Some(key), header)
            }
        };
        let key = Arc::new(self.pack_key(pack, kind, key.as_ref())?);
        Ok(PackSealer { key, header, issued: AtomicU32::new(0) })
    }

    /// Checks a pack's table of contents and takes its key out; the pack must be the one that is expected.
    ///
    /// # Errors
    /// [`CryptError::Format`], [`CryptError::NotAuthentic`].
    pub fn open_pack(&self, pack: PackId, trailer: &Trailer, toc_bytes: &[u8]) -> Result<(Toc, PackOpener), CryptError> {
        let object = || format!("pack {pack}");
        let refuse = || CryptError::NotAuthentic { object: object() };
        let (toc, header) = Toc::decode(trailer, toc_bytes).map_err(|source| CryptError::Format { object: object(), source })?;
        let key = match (self.cipher, &header) {
            (Cipher::None, KeyHeader::None) => None,
            (Cipher::Aes256Gcm, KeyHeader::MasterKey(wrapped)) => {
                Some(self.unwrap_pack_key(pack, trailer.kind, wrapped).ok_or_else(refuse)?)
            }
            _ => return Err(refuse()),
        };
        let key = self.pack_key(pack, trailer.kind, key.as_ref())?;
        if trailer.pack != pack || !same_mac(&key.mac(toc_bytes, trailer), &trailer.mac) {
            return Err(refuse());
        }
        Ok((toc, PackOpener { key }))
    }

    fn pack_key(&self, pack: PackId, kind: PackKind, key: Option<&SubKey>) -> Result<PackKey, CryptError> {
        let aead = key.map(|key| aes(key)).transpose()?;
        let mac = match key {
            Some(key) => Zeroizing::new(blake3::derive_key("cairn v1 pack mac", key.as_slice())),
            None => keyed(&self.pack_macs, &[pack.as_bytes()]),
        };
        Ok(PackKey { vault: self.vault, pack, kind, aead, mac })
    }

    /// What wraps a pack's key, and what is authenticated besides it.
    fn pack_wrapping(&self, pack: PackId, kind: PackKind) -> (SubKey, Vec<u8>) {
        let bound = [self.vault.as_bytes().as_slice(), pack.as_bytes(), &kind.number().to_le_bytes()].concat();
        (keyed(&self.pack_keys, &[pack.as_bytes()]), bound)
    }

    fn wrap_pack_key(&self, pack: PackId, kind: PackKind, key: &SubKey) -> Result<KeyHeader, CryptError> {
        let (wrapping, bound) = self.pack_wrapping(pack, kind);
        wrap(&wrapping, &bound, key).map(KeyHeader::MasterKey)
    }

    fn unwrap_pack_key(&self, pack: PackId, kind: PackKind, wrapped: &[u8; 60]) -> Option<SubKey> {
        let (wrapping, bound) = self.pack_wrapping(pack, kind);
        unwrap(&wrapping, &bound, wrapped)
    }
}

/// Seals a pack that is being written.
pub struct PackSealer {
    key: Arc<PackKey>,
    header: KeyHeader,
    issued: AtomicU32,
}

impl PackSealer {
    /// The pack.
    pub fn pack(&self) -> PackId {
        self.key.pack
    }

    /// The right to seal the next frame. Frames lie in the pack in the order of these calls.
    ///
    /// # Errors
    /// [`CryptError::Cipher`] after 2^32 - 1 frames.
    pub fn next_frame(&self) -> Result<FrameSealer, CryptError> {
        let number = self
            .issued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| number.checked_add(1))
            .map_err(|_| CryptError::Cipher { doing: "numbering frames" })?;
        Ok(FrameSealer { key: Arc::clone(&self.key), number })
    }

    /// Bytes that sealing adds to each frame.
    pub fn overhead_bytes(&self) -> u32 {
        self.header.overhead_bytes()
    }

    /// What follows the frames: fingerprints (one for each slot of a data pack, none in a metadata pack), table, trailer.
    ///
    /// # Errors
    /// [`CryptError::BadPack`] where the table breaks a rule or has not the frames that were sealed.
    pub fn finish(self, toc: &Toc, fingerprints: &[Fingerprint]) -> Result<Vec<u8>, CryptError> {
        let issued = self.issued.into_inner();
        if toc.pack != self.key.pack || toc.kind != self.key.kind || toc.frames.len() as u64 != u64::from(issued) {
            let reason = format!("its table has {} frames of pack {}, but {issued} were sealed", toc.frames.len(), toc.pack);
            return Err(CryptError::BadPack { pack: self.key.pack, source: FormatError::Invalid { object: "pack", reason } });
        }
        let mut section = encode_fingerprints(fingerprints);
        if self.key.kind == PackKind::Data {
            self.key.seal(Part::Fingerprints, &mut section)?;
        }
        let tail = PackTail::new(toc, &self.header, section).map_err(|source| CryptError::BadPack { pack: self.key.pack, source })?;
        let (toc_bytes, trailer) = tail.to_authenticate();
        let mac = self.key.mac(toc_bytes, trailer);
        Ok(tail.encode(*mac))
    }
}

/// The right to seal one frame, used up by sealing it: a nonce is never used twice. Any thread may do it.
pub struct FrameSealer {
    key: Arc<PackKey>,
    number: u32,
}

impl FrameSealer {
    /// The frame's number in its pack, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Seals the frame's bytes, compressed or not; appends the tag. In a vault without encryption they stay as they are.
    ///
    /// # Errors
    /// [`CryptError::Cipher`] only.
    pub fn seal(self, bytes: &mut Vec<u8>) -> Result<(), CryptError> {
        self.key.seal(Part::Frame(self.number), bytes)
    }
}

/// Opens what a pack holds; many threads at once.
pub struct PackOpener {
    key: PackKey,
}

impl PackOpener {
    /// Opens a frame's stored bytes in place. Without encryption they stay as they are, and only the CRC-32 tells damage.
    ///
    /// # Errors
    /// [`CryptError::NotAuthentic`].
    pub fn open_frame(&self, number: u32, bytes: &mut Vec<u8>) -> Result<(), CryptError> {
        self.key.open(Part::Frame(number), bytes)
    }

    /// The fingerprints of a data pack's slots, from the bytes of [`Trailer::fingerprints_range`]; none of a metadata pack.
    ///
    /// # Errors
    /// [`CryptError::Format`], [`CryptError::NotAuthentic`].
    pub fn open_fingerprints(&self, trailer: &Trailer, mut bytes: Vec<u8>) -> Result<Vec<Fingerprint>, CryptError> {
        let damaged = |source| CryptError::Format { object: format!("pack {}", self.key.pack), source };
        trailer.fingerprints.check("section of fingerprints", &bytes).map_err(damaged)?;
        if self.key.kind == PackKind::Data {
            self.key.open(Part::Fingerprints, &mut bytes)?;
        }
        decode_fingerprints(&bytes).map_err(damaged)
    }
}
