//! Numbers at fixed places of structures. A field past the end of a structure reads as 0, as ext4 defines it for fields that an older,
//! shorter structure does not have.

/// The bytes of a structure.
#[derive(Clone, Copy)]
pub(super) struct Fields<'bytes>(pub(super) &'bytes [u8]);

impl<'bytes> Fields<'bytes> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }

    pub(super) fn byte(self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub(super) fn le16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(super) fn le32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    pub(super) fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub(super) fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    /// A number in two halves.
    pub(super) fn le64_halves(self, low: usize, high: usize) -> u64 {
        u64::from(self.le32(low)) | u64::from(self.le32(high)) << 32
    }

    pub(super) fn id(self, at: usize) -> [u8; 16] {
        self.array(at)
    }

    /// Bytes from `at`, as many of `length` as there are.
    pub(super) fn bytes(self, at: usize, length: usize) -> &'bytes [u8] {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }
}
