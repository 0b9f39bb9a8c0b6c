//! Numbers and bytes that look random and are the same for one seed (SplitMix64).

/// The generator.
#[derive(Clone, Debug)]
pub(in crate::guestfs) struct Noise(u64);

impl Noise {
    pub(in crate::guestfs) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::guestfs) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(in crate::guestfs) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Incompressible bytes.
    pub(in crate::guestfs) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
