//! The header of LUKS1: fixed fields, big-endian, without a checksum.

use std::num::NonZeroU32;

use super::cipher::CipherName;
use super::hash::Hash;
use super::slot::{Derivation, KeySlot};
use super::{Body, Digest, Header, MOST_KEY_BYTES, MOST_ROUNDS, SECTOR_BYTES, Segment, damaged, text};
use crate::volume::VolumeResult;

/// Bytes of the header.
const HEADER_BYTES: usize = 592;
/// Where the key slots begin, and how long each is.
const SLOTS: (usize, usize) = (208, 48);
/// How many there are.
const SLOT_COUNT: usize = 8;
/// What marks a slot in use, and one that is free.
const ENABLED: u32 = 0x00ac_71f3;
/// See [`ENABLED`].
const DISABLED: u32 = 0x0000_dead;

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u32 {
        self.bytes(at, 4).first_chunk().map_or(0, |&bytes| u32::from_be_bytes(bytes))
    }

    fn text(&self, at: usize, length: usize) -> String {
        text(self.bytes(at, length))
    }
}

/// The header out of a device's first bytes.
pub(super) fn parse(start: &[u8]) -> VolumeResult<Header> {
    if start.len() < HEADER_BYTES {
        return Err(damaged("a LUKS1 header", format!("the device ends after {} bytes", start.len())));
    }
    let fields = Fields(start);
    let uuid = fields.text(168, 40);
    let object = format!("the header of the LUKS1 volume {uuid}");
    let key_bytes = fields.u32(108) as usize;
    if !(1..=MOST_KEY_BYTES).contains(&key_bytes) {
        return Err(damaged(&object, format!("its key has {key_bytes} bytes")));
    }
    let mut slots = Vec::new();
    for number in 0..SLOT_COUNT {
        let slot = SLOTS.0 + number * SLOTS.1;
        match fields.u32(slot) {
            ENABLED => slots.push(slot),
            DISABLED => {}
            state => return Err(damaged(&object, format!("its key slot {number} has the state {state:#x}"))),
        }
    }
    Ok(Header { version: 1, label: String::new(), notes: Vec::new(), body: body(&fields, &slots, key_bytes), uuid })
}

fn body(fields: &Fields<'_>, slots: &[usize], key_bytes: usize) -> Result<Body, String> {
    let hash = Hash::named(&fields.text(72, 32))?;
    let cipher = CipherName::named(&format!("{}-{}", fields.text(8, 32), fields.text(40, 32)))?;
    let offset_bytes = u64::from(fields.u32(104)) * SECTOR_BYTES;
    if offset_bytes == 0 {
        return Err("LUKS with its header on another device".to_owned());
    }
    let rounds = |at: usize| {
        let rounds = fields.u32(at);
        NonZeroU32::new(rounds).filter(|_| rounds <= MOST_ROUNDS).ok_or_else(|| format!("LUKS with {rounds} rounds of PBKDF2"))
    };
    let slot = |&at: &usize| {
        Ok(KeySlot {
            derivation: Derivation::Pbkdf2 { hash, rounds: rounds(at + 4)?, salt: fields.bytes(at + 8, 32).to_vec() },
            cipher,
            area_key_bytes: key_bytes,
            area_offset_bytes: u64::from(fields.u32(at + 40)) * SECTOR_BYTES,
            hash,
            stripes: fields.u32(at + 44) as usize,
            key_bytes,
        })
    };
    let digest =
        Digest { hash, rounds: rounds(164)?.get(), salt: fields.bytes(132, 32).to_vec(), expected: fields.bytes(112, 20).to_vec() };
    let segment = Segment { offset_bytes, length_bytes: None, first_number: 0, sector_bytes: SECTOR_BYTES as usize, cipher };
    Ok(Body { slots: slots.iter().map(slot).collect(), digest, segment })
}
