//! Secrets to an open volume.

use std::num::NonZeroU32;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::layer::Decrypted;
use super::{Body, Digest, Header, Secret, Segment, damaged};
use crate::units::Extent;
use crate::volume::{AnyLayer, VolumeError, VolumeResult};

/// Opens a volume with the first of `secrets` that fits one of its key slots. Takes as long as the key slots ask for, at most seconds
/// for each slot and secret as cryptsetup makes them.
///
/// # Errors
/// Locked without secrets, a wrong key where none fits; a feature that is not known; damage where the header leads nowhere.
pub fn unlock(device: &AnyLayer, header: &Header, secrets: &[Secret]) -> VolumeResult<AnyLayer> {
    let object = header.object();
    let body = header.body.as_ref().map_err(|feature| VolumeError::Unsupported { feature: feature.clone() })?;
    if secrets.is_empty() {
        return Err(VolumeError::Locked { object });
    }
    let key = volume_key(device, body, secrets, &object)?;
    let segment = &body.segment;
    let cipher =
        segment.cipher.keyed(&key).ok_or_else(|| damaged(&object, format!("its key of {} bytes is not its cipher's", key.len())))?;
    let data = data_range(device.size_bytes(), segment, &object)?;
    let (sector_bytes, first_number) = (segment.sector_bytes, segment.first_number);
    Ok(Arc::new(Decrypted { below: Arc::clone(device), data, sector_bytes, first_number, cipher }))
}

/// Tries each secret on each slot, the slots that are to come first with all secrets before the others.
fn volume_key(device: &AnyLayer, body: &Body, secrets: &[Secret], object: &str) -> VolumeResult<Zeroizing<Vec<u8>>> {
    let (mut tried, mut problem) = (false, None);
    for slot in &body.slots {
        let slot = match slot {
            Ok(slot) => slot,
            Err(feature) => {
                problem = problem.or(Some(VolumeError::Unsupported { feature: feature.clone() }));
                continue;
            }
        };
        for Secret::Passphrase(secret) in secrets {
            match slot.opened(device.as_ref(), secret) {
                Ok(key) if body.digest.is_of(&key) => return Ok(key),
                Ok(_) => tried = true,
                Err(error) => {
                    problem = problem.or(Some(error));
                    break;
                }
            }
        }
    }
    match problem {
        Some(problem) if !tried => Err(problem),
        None if !tried => Err(damaged(object, "none of its key slots is in use")),
        _ => Err(VolumeError::WrongKey { object: object.to_owned() }),
    }
}

impl Digest {
    fn is_of(&self, key: &[u8]) -> bool {
        let Some(rounds) = NonZeroU32::new(self.rounds) else { return false };
        let mut found = vec![0; self.expected.len()];
        self.hash.derive(key, &self.salt, rounds, &mut found);
        !found.is_empty() && found == self.expected
    }
}

/// Where the encrypted sectors are, cut to whole ones of what the device has.
fn data_range(device_bytes: u64, segment: &Segment, object: &str) -> VolumeResult<Extent> {
    let there = device_bytes.saturating_sub(segment.offset_bytes);
    let length = segment.length_bytes.unwrap_or(there);
    let whole = length / segment.sector_bytes as u64 * segment.sector_bytes as u64;
    if there == 0 || segment.offset_bytes.checked_add(whole).is_none() {
        return Err(damaged(object, format!("its data begin at byte {} of {device_bytes}", segment.offset_bytes)));
    }
    Ok(Extent::between(segment.offset_bytes, segment.offset_bytes.saturating_add(whole)))
}
