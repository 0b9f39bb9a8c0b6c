//! Images that somebody damaged: opened and walked to the end, whatever they say.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::guest::{Limits, walk};
use super::long_tests;
use super::noise::Noise;
use crate::guestfs::{Device, GuestError, OpenOptions, identify, open};
use crate::io::ReadAt;

/// Device bytes that a sound reader may ask for in one round; far above what identify, open and a limited walk need.
const ROUND_BYTES: u64 = 8 << 30;
/// Device reads likewise.
const ROUND_READS: u64 = 3_000_000;
/// What the guard says of a reader that panicked.
const PANICKED: &str = "a fault of Cairn";

/// What became of the rounds.
#[derive(Debug, Default)]
pub(in crate::guestfs) struct Survival {
    pub(in crate::guestfs) rounds: usize,
    /// In how many it could still be opened. A test in which none could tests nothing.
    pub(in crate::guestfs) opened: usize,
    /// In how many at least one object was read and at least one was in error.
    pub(in crate::guestfs) hurt: usize,
    /// Objects that were read in all rounds.
    pub(in crate::guestfs) objects: usize,
    /// Rounds in which a reader panicked or read without end, each with its seed and what it said.
    pub(in crate::guestfs) faults: Vec<(u64, String)>,
}

/// Damages `image` within `spots` (bytes of metadata), `rounds` times afresh (10,000 times under `CAIRN_LONG_TESTS=1`); lets `fix`
/// recompute checksums, given the offsets that were touched; identifies, opens and walks it.
///
/// Fails if a reader panicked, or read more than any sound one. A round is repeated with [`survive_round`] by its seed.
pub(in crate::guestfs) fn survive_damage(
    image: &[u8],
    spots: &[Range<usize>],
    rounds: usize,
    fix: &dyn Fn(&mut [u8], &[usize]),
) -> Survival {
    let mut survival = Survival::default();
    let mut buffer = Vec::new();
    for seed in 0..if long_tests() { 10_000 } else { rounds as u64 } {
        buffer = survive_round(image, spots, seed, fix, buffer, &mut survival);
    }
    assert!(survival.faults.is_empty(), "{} faults, first {:?}", survival.faults.len(), survival.faults.first());
    assert!(survival.opened > 0, "no damaged image could be opened: nothing was tested");
    survival
}

/// One round; `buffer` is given back for the next.
fn survive_round(
    image: &[u8],
    spots: &[Range<usize>],
    seed: u64,
    fix: &dyn Fn(&mut [u8], &[usize]),
    mut buffer: Vec<u8>,
    survival: &mut Survival,
) -> Vec<u8> {
    buffer.clear();
    buffer.extend_from_slice(image);
    let touched = damage(&mut buffer, spots, seed);
    fix(&mut buffer, &touched);
    let counted = Arc::new(Counted { bytes: buffer, reads: AtomicU64::new(0), read_bytes: AtomicU64::new(0) });
    let device: Device = Arc::clone(&counted) as Device;
    survival.rounds += 1;
    let mut messages = Vec::new();
    let _ = identify(device.as_ref());
    match open(&[device], &OpenOptions { replay: !seed.is_multiple_of(4), ..OpenOptions::default() }) {
        Ok(fs) => {
            survival.opened += 1;
            let walked = walk(fs.as_ref(), &Limits::hostile());
            survival.objects += walked.tree.len();
            survival.hurt += usize::from(!walked.tree.is_empty() && !walked.problems.is_empty());
            messages = walked.problems;
        }
        Err(error) => messages.push(error.to_string()),
    }
    let fault = messages.into_iter().find(|message| message.contains(PANICKED));
    let (reads, bytes) = (counted.reads.load(Ordering::Relaxed), counted.read_bytes.load(Ordering::Relaxed));
    let endless = (reads > ROUND_READS || bytes > ROUND_BYTES).then(|| format!("read {bytes} bytes in {reads} reads"));
    survival.faults.extend(fault.or(endless).map(|fault| (seed, fault)));
    Arc::try_unwrap(counted).map_or_else(|_| Vec::new(), |counted| counted.bytes)
}

/// Changes a few bytes within `spots`; gives where.
fn damage(bytes: &mut [u8], spots: &[Range<usize>], seed: u64) -> Vec<usize> {
    let mut noise = Noise::new(seed ^ 0x5eed);
    let mut touched = Vec::new();
    for _ in 0..1 + noise.below(8) {
        let spot = spots[noise.below(spots.len())].clone();
        let at = spot.start + noise.below(spot.len());
        let width = [1, 1, 2, 4, 8][noise.below(5)].min(spot.end - at);
        match noise.below(6) {
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => bytes[at..at + width].fill(0xff),
            3 => bytes[at..at + width].fill(0),
            4 => bytes[at..at + width].copy_from_slice(&noise.next().to_le_bytes()[..width]),
            _ => {
                // A structure in the place of another one: what leads to loops.
                let other = spots[noise.below(spots.len())].clone();
                let from = other.start + noise.below(other.len());
                let length = [4, 8, 16, 64][noise.below(4)].min(spot.end - at).min(other.end - from);
                bytes.copy_within(from..from + length, at);
            }
        }
        touched.push(at);
    }
    touched
}

/// A device that counts, and fails once it was asked for far too much.
struct Counted {
    bytes: Vec<u8>,
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

impl ReadAt for Counted {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.read_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        if reads > ROUND_READS || bytes > ROUND_BYTES {
            return Err(GuestError::limit("the image", "no sound reader asks for so much").into());
        }
        let start = usize::try_from(offset_bytes).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = start.checked_add(buffer.len()).and_then(|end| self.bytes.get(start..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}
