//! Frames that are kept because somebody said that they will be used.

use std::sync::Arc;

use super::{Kit, Place, Stored, chunk};
use crate::backend::{Operation, Recording};
use crate::store::{ForeseenFrames, PackReader};
use crate::units::BLOCK_BYTES;

/// Bytes of a frame of the test vaults.
const FRAME: usize = super::FRAME_BLOCKS as usize * BLOCK_BYTES;

/// Reads frames in this order, one a step, all announced before; how many were loaded from the store.
fn loads(order: &[usize], capacity_bytes: usize) -> usize {
    let kit = Kit::new(Place::Local);
    let stored: Vec<Stored> = (0..3).map(|n| chunk(n * 16..(n + 1) * 16)).map(|chunk| kit.store(&[chunk]).remove(0)).collect();
    let recording = Arc::new(Recording::new(Arc::clone(kit.backend())));
    let vault = kit.behind(Arc::clone(&recording) as _);
    let packs = PackReader::new(Arc::clone(vault.backend()), Arc::clone(vault.keys()), 0);
    let frames = ForeseenFrames::new(&packs, capacity_bytes);
    for (step, &number) in (0..).zip(order) {
        frames.announce(step, &stored[number].runs);
    }
    let reads = || recording.recorded().iter().filter(|done| done.operation == Operation::GetRange).count();
    let before = reads();
    for (step, &number) in (0..).zip(order) {
        let mut bytes = vec![0; FRAME];
        frames.read_runs(&stored[number].runs, &mut bytes).unwrap();
        assert!(bytes == stored[number].bytes, "step {step} reads another frame");
        frames.done(step);
    }
    assert_eq!(frames.held_bytes(), 0, "frames are held that nobody will use");
    reads() - before
}

#[test]
fn a_frame_is_loaded_once_where_all_fit() {
    assert_eq!(loads(&[0, 1, 2, 0, 1, 2, 2, 1, 0], 3 * FRAME), 3);
}

#[test]
fn the_frame_that_is_used_last_makes_room() {
    // A cache that drops what was used least recently would load frame 1 twice.
    assert_eq!(loads(&[0, 1, 0, 2, 1], 2 * FRAME), 3);
    assert_eq!(loads(&[0, 1, 0, 2, 0, 1], 2 * FRAME), 4);
    assert_eq!(loads(&[0, 1, 2, 0, 0, 0, 2, 1], 2 * FRAME), 4);
}

#[test]
fn what_does_not_fit_is_loaded_again() {
    assert_eq!(loads(&[0, 1, 0, 1], 0), 4);
    assert_eq!(loads(&[0, 0, 1, 1], FRAME), 2);
}

#[test]
fn what_nobody_announced_is_read_all_the_same() {
    let kit = Kit::new(Place::LocalEncrypted);
    let stored = kit.store(&[chunk(0..64)]).remove(0);
    let packs = kit.reader();
    let frames = ForeseenFrames::new(&packs, FRAME);
    let mut bytes = vec![0; stored.bytes.len()];
    frames.read_runs(&stored.runs, &mut bytes).unwrap();
    assert!(bytes == stored.bytes);
    assert_eq!(frames.held_bytes(), 0);
}
