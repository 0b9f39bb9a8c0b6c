//! Bytes for the benches: made up, the same each time.

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress about as files of a system do: in turn 16 KiB of noise and 16 KiB of numbers as text.
pub(crate) fn half_text(length: usize) -> Vec<u8> {
    let mut bytes = noise(7, length);
    for (number, part) in bytes.chunks_mut(16 << 10).enumerate().filter(|(number, _)| number % 2 == 1) {
        let mut line = number as u64;
        for text in part.chunks_mut(20) {
            line = line.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.copy_from_slice(&format!("{:019}\n", line >> 2).as_bytes()[..text.len()]);
        }
    }
    bytes
}
