//! Hints of every format: a byte that picks the disk's size, and the hints.
#![no_main]

use cairn::source::parse_hints;
use libfuzzer_sys::fuzz_target;

/// Sizes of disks: of the examples, odd ones, and the largest number.
const SIZES: [u64; 5] = [2 << 20, 300_001, 0, 8 << 40, u64::MAX];

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let size = SIZES[usize::from(*size) % SIZES.len()];
    match parse_hints(bytes, size) {
        Ok(hints) => {
            for extent in hints.changed.iter().chain(hints.zeroed.iter()) {
                assert!(extent.end() <= size, "a range past the end of the disk: {extent:?}");
            }
            for extent in hints.changed.iter() {
                assert!(!hints.zeroed.overlaps(extent), "changed and zeroed at once: {extent:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
