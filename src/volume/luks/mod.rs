//! LUKS: encrypted volumes. The header is read and checked, a key slot opened with a passphrase, and the volume read through a layer that
//! decrypts.
//!
//! A *volume key* encrypts the data. Each *key slot* keeps a copy of it, spread over many blocks and encrypted by a key that is derived
//! from one passphrase; a *digest* tells whether a volume key is the right one. A *segment* is where the encrypted data are.
//!
//! Sources: "LUKS1 On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.2 of the cryptsetup project; the
//! sectors' initial vectors: `Documentation/admin-guide/device-mapper/dm-crypt.rst` of Linux.

mod base64;
mod cipher;
mod hash;
mod json;
mod layer;
mod slot;
mod unlock;
mod version1;
mod version2;

#[cfg(test)]
mod tests;

pub use unlock::unlock;

use std::fmt;

use zeroize::Zeroizing;

use self::cipher::CipherName;
use self::hash::Hash;
use self::slot::KeySlot;
use crate::io::ReadAt;
use crate::volume::{VolumeError, VolumeResult};

/// Bytes of the sectors by which LUKS counts.
const SECTOR_BYTES: u64 = 512;
/// Longest volume key: two AES-256 keys.
const MOST_KEY_BYTES: usize = 64;
/// Most rounds of PBKDF2 that are waited for: some minutes.
const MOST_ROUNDS: u32 = 200_000_000;

/// What may open an encrypted volume.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase, or the bytes of a key file.
    Passphrase(Zeroizing<Vec<u8>>),
}

/// The header of an encrypted volume, with what opening it needs.
pub struct Header {
    /// 1 or 2.
    pub version: u16,
    /// UUID in text, as the header has it.
    pub uuid: String,
    /// The label; empty where there is none.
    pub label: String,
    /// What a person should know: that the first header is damaged.
    pub notes: Vec<String>,
    /// How to open it, or the feature that Cairn lacks.
    body: Result<Body, String>,
}

impl fmt::Debug for Header {
    /// Without salts and digests, which would help guessing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Header").field("version", &self.version).field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl Header {
    fn object(&self) -> String {
        format!("the LUKS{} volume {}", self.version, self.uuid)
    }
}

/// How to open a volume.
struct Body {
    /// Those to try first come first. What a slot needs that Cairn lacks stands in its place.
    slots: Vec<Result<KeySlot, String>>,
    digest: Digest,
    segment: Segment,
}

/// What tells the right volume key: its PBKDF2 with these parameters.
struct Digest {
    hash: Hash,
    rounds: u32,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

/// Where the data are and how they are encrypted.
struct Segment {
    offset_bytes: u64,
    /// `None`: to the end of the device.
    length_bytes: Option<u64>,
    /// What is added to the numbers of sectors, which count from the start of the segment.
    first_number: u64,
    sector_bytes: usize,
    cipher: CipherName,
}

/// The LUKS header of `device`, if it has one. Where the first header of LUKS2 is damaged, the second is taken.
///
/// A feature that Cairn does not know is no error here but one of [`unlock`], so that the volume can be shown.
///
/// # Errors
/// Damage where no header is whole; a version of LUKS that is not known; what the disk says.
pub fn identify(device: &dyn ReadAt) -> VolumeResult<Option<Header>> {
    let start = read_start(device)?;
    match (start.get(..6), start.get(6..8)) {
        (Some(b"LUKS\xba\xbe"), Some([0, 1])) => version1::parse(&start).map(Some),
        (Some(b"LUKS\xba\xbe"), Some([0, 2])) => version2::find(device, true),
        (Some(b"LUKS\xba\xbe"), Some(&[high, low])) => {
            Err(VolumeError::Unsupported { feature: format!("LUKS version {}", u16::from_be_bytes([high, low])) })
        }
        _ => version2::find(device, false),
    }
}

/// The first 4096 bytes of a device, or fewer where it is shorter.
fn read_start(device: &dyn ReadAt) -> VolumeResult<Vec<u8>> {
    let mut start = vec![0; usize::try_from(device.size_bytes()).unwrap_or(usize::MAX).min(4096)];
    device.read_at(0, &mut start)?;
    Ok(start)
}

/// Text of a fixed field, up to its first NUL.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

fn damaged(what: &str, problem: impl Into<String>) -> VolumeError {
    VolumeError::Damaged { object: what.to_owned(), problem: problem.into() }
}
