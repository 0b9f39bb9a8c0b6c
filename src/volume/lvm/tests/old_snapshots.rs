//! Old snapshots: an origin and a store that a test writes as the kernel would.

use crate::volume::VolumeError;
use crate::volume::testing::lvm::*;

const CHUNK: u64 = 4096;

fn logical(merging: bool) -> Logical {
    let store = if merging { "merging_store" } else { "cow_store" };
    Logical::default().add("orig", true, &[(4, linear(0, 0))]).add("snap", !merging, &[(2, linear(0, 10))]).add(
        "snapshot0",
        false,
        &[(4, format!("type=\"snapshot\" chunk_size=8 origin=\"orig\" {store}=\"snap\""))],
    )
}

/// A store with these chunks of the origin, the first in the store's chunk 2 (behind the header and the pairs).
fn store(chunks: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0_u8; 2 << 20];
    bytes[..4].copy_from_slice(b"SnAp");
    (bytes[4], bytes[8], bytes[12]) = (1, 1, 8);
    let per_area = CHUNK / 16;
    for (number, chunk) in (0..).zip(chunks) {
        let (area, place) = (number / per_area, number % per_area);
        let pairs = 1 + area * (per_area + 1);
        let at = usize::try_from(pairs * CHUNK + place * 16).expect("small");
        bytes[at..at + 8].copy_from_slice(&chunk.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(pairs + 1 + place).to_le_bytes());
    }
    bytes
}

/// The disk with origin and store, stamped but for the store's own numbers.
fn images(merging: bool, store: &[u8]) -> Option<Vec<Vec<u8>>> {
    let lvm = Lvm::new(1, 16)?;
    lvm.group(&logical(merging))?;
    let mut images = lvm.images();
    stamp(&mut images);
    let start = usize::try_from(at(10)).expect("small");
    for (chunk, bytes) in store.chunks_exact(4096).enumerate() {
        if chunk < 2 || bytes.iter().any(|byte| *byte != 0) {
            images[0][start + chunk * 4096..start + chunk * 4096 + 4096].copy_from_slice(bytes);
        }
    }
    Some(images)
}

/// What the snapshot is made of where these chunks, ascending, lie in the store's places.
fn places(chunks: &[(u64, u64)]) -> Vec<Place> {
    let mut all = Vec::new();
    let mut next = 0;
    for &(chunk, place) in chunks {
        all.push((0, at(0) + next * CHUNK, (chunk - next) * CHUNK));
        all.push((0, at(10) + place * CHUNK, CHUNK));
        next = chunk + 1;
    }
    all.push((0, at(0) + next * CHUNK, 4 * EXTENT - next * CHUNK));
    all
}

#[test]
fn a_snapshot_is_its_origin_with_the_kept_chunks() {
    let Some(images) = images(false, &store(&[7, 3, 4, 1023])) else { return };
    let found = assembled(&images);
    check(opened(&found, "orig"), &images, &[(0, at(0), 4 * EXTENT)]);
    check(opened(&found, "snap"), &images, &places(&[(3, 3), (4, 4), (7, 2), (1023, 5)]));
    assert_eq!(found.groups[0].volumes.len(), 2);
}

#[test]
fn areas_follow_each_other_in_the_store() {
    // 256 pairs fill the first area; the second one is chunk 258.
    let chunks: Vec<u64> = (0..300).map(|number| number * 3).collect();
    let Some(images) = images(false, &store(&chunks)) else { return };
    let expected: Vec<(u64, u64)> = (0..300).map(|number| (number * 3, if number < 256 { number + 2 } else { number + 3 })).collect();
    check(opened(&assembled(&images), "snap"), &images, &places(&expected));
}

#[test]
fn a_merging_snapshot_shows_in_its_origin() {
    let Some(images) = images(true, &store(&[5])) else { return };
    let found = assembled(&images);
    check(opened(&found, "orig"), &images, &places(&[(5, 2)]));
    assert_eq!(volume(&found, "orig").notes, ["a snapshot is being merged into it; it is shown as it will be"]);
    assert_eq!(found.groups[0].volumes.len(), 1);
}

#[test]
fn stores_that_are_new_full_or_wrong() {
    let Some(mut images) = images(false, &store(&[5])) else { return };
    let mut problem = |offset: u64, byte: u8| {
        let at = usize::try_from(at(10) + offset).expect("small");
        let before = std::mem::replace(&mut images[0][at], byte);
        let found = assembled(&images);
        images[0][at] = before;
        match &volume(&found, "snap").opened {
            Err(VolumeError::Damaged { problem, .. }) => problem.clone(),
            other => panic!("{:?}", other.as_ref().err()),
        }
    };
    assert_eq!(problem(4, 0), "it is invalid: its store overflowed");
    assert_eq!(problem(8, 2), "its store has magic number 70416e53 and version 2");
    assert_eq!(problem(12, 7), "its chunks have 3584 bytes");
    assert_eq!(problem(4096 + 9, 2), "chunk 5 lies at chunk 514 of a store of 512");
    let start = usize::try_from(at(10)).expect("small");
    images[0][start + 4096 + 16] = 5;
    images[0][start + 4096 + 24] = 9;
    let found = assembled(&images);
    let error = volume(&found, "snap").opened.as_ref().err().expect("twice").to_string();
    assert_eq!(error, "LVM vgt/snap is damaged: chunk 5 of its origin is in its store twice");
    images[0][start..start + 4].fill(0);
    check(opened(&assembled(&images), "snap"), &images, &[(0, at(0), 4 * EXTENT)]);
}
