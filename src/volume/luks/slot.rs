//! One key slot: from a passphrase to what it says is the volume key.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use super::SECTOR_BYTES;
use super::cipher::CipherName;
use super::hash::Hash;
use crate::io::ReadAt;
use crate::volume::{VolumeError, VolumeResult};

/// Most memory that a key slot may ask for, in KiB: as much as cryptsetup allows.
const MOST_MEMORY_KIB: u32 = 4 << 20;
/// Most memory times passes, in KiB: some minutes.
const MOST_WORK_KIB: u64 = 256 << 20;
/// Most bytes over which a key is spread.
const MOST_AREA_BYTES: usize = 4 << 20;

/// Where a copy of the volume key is, and what opens it.
pub(super) struct KeySlot {
    pub(super) derivation: Derivation,
    pub(super) cipher: CipherName,
    /// Bytes of the key that encrypts the area.
    pub(super) area_key_bytes: usize,
    pub(super) area_offset_bytes: u64,
    /// Of the diffusion between stripes.
    pub(super) hash: Hash,
    pub(super) stripes: usize,
    /// Bytes of the volume key.
    pub(super) key_bytes: usize,
}

/// From a passphrase to the key of the area.
pub(super) enum Derivation {
    Pbkdf2 { hash: Hash, rounds: NonZeroU32, salt: Vec<u8> },
    Argon2 { algorithm: Algorithm, params: Params, salt: Vec<u8> },
}

impl Derivation {
    /// With Argon2, if its costs are bearable; an error names the feature.
    pub(super) fn argon2(algorithm: Algorithm, passes: u32, memory_kib: u32, lanes: u32, salt: Vec<u8>) -> Result<Self, String> {
        let refused = || format!("a LUKS key slot with {algorithm} over {memory_kib} KiB in {passes} passes and {lanes} lanes");
        if memory_kib > MOST_MEMORY_KIB || u64::from(memory_kib).saturating_mul(u64::from(passes)) > MOST_WORK_KIB {
            return Err(refused());
        }
        let params = Params::new(memory_kib, passes, lanes, None).map_err(|_| refused())?;
        Ok(Self::Argon2 { algorithm, params, salt })
    }

    fn key(&self, secret: &[u8], key_bytes: usize) -> VolumeResult<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0; key_bytes]);
        match self {
            Self::Pbkdf2 { hash, rounds, salt } => hash.derive(secret, salt, *rounds, &mut key),
            Self::Argon2 { algorithm, params, salt } => {
                let mut memory = Memory::reserved(params.block_count())?;
                let argon2 = Argon2::new(*algorithm, Version::V0x13, params.clone());
                let derived = argon2.hash_password_into_with_memory(secret, salt, &mut key, &mut memory.0);
                derived.map_err(|error| unsupported(format!("a LUKS key slot for which Argon2 says '{error}'")))?;
            }
        }
        Ok(key)
    }
}

/// The blocks that Argon2 fills.
struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Memory {
    fn reserved(blocks: usize) -> VolumeResult<Self> {
        let mut memory = Vec::new();
        let reserved = memory.try_reserve_exact(blocks);
        reserved.map_err(|_| VolumeError::Disk(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
        memory.resize(blocks, Block::default());
        Ok(Self(memory))
    }
}

fn unsupported(feature: String) -> VolumeError {
    VolumeError::Unsupported { feature }
}

impl KeySlot {
    /// What the slot holds if `secret` is its passphrase: whether it is must be asked of the digest.
    pub(super) fn opened(&self, device: &dyn ReadAt, secret: &[u8]) -> VolumeResult<Zeroizing<Vec<u8>>> {
        let bytes = self.key_bytes.checked_mul(self.stripes).filter(|bytes| (1..=MOST_AREA_BYTES).contains(bytes));
        let bytes = bytes.ok_or_else(|| unsupported(format!("a LUKS key slot of {} stripes", self.stripes)))?;
        let mut area = Zeroizing::new(vec![0; bytes.next_multiple_of(SECTOR_BYTES as usize)]);
        device.read_at(self.area_offset_bytes, &mut area)?;
        let key = self.derivation.key(secret, self.area_key_bytes)?;
        let cipher = self.cipher.keyed(&key);
        let cipher = cipher.ok_or_else(|| unsupported(format!("a LUKS key slot with a key of {} bytes", self.area_key_bytes)))?;
        cipher.decrypt(&mut area, SECTOR_BYTES as usize, 0);
        Ok(self.merged(&area))
    }

    /// The key out of its stripes: each but the last is added and then hashed, so that all are needed.
    fn merged(&self, area: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(vec![0; self.key_bytes]);
        for (number, stripe) in area.chunks_exact(self.key_bytes).take(self.stripes).enumerate() {
            for (byte, other) in key.iter_mut().zip(stripe) {
                *byte ^= other;
            }
            if number + 1 < self.stripes {
                diffuse(self.hash, &mut key);
            }
        }
        key
    }
}

/// Hashes a key in pieces of the digest's length, each with its number before it.
fn diffuse(hash: Hash, key: &mut [u8]) {
    for (number, piece) in (0u32..).zip(key.chunks_mut(hash.length())) {
        let digest = hash.of(&[&number.to_be_bytes(), piece]);
        for (byte, hashed) in piece.iter_mut().zip(digest.as_ref()) {
            *byte = *hashed;
        }
    }
}
