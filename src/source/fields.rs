//! Numbers at places in bytes from outside, in either byte order; never past the end.

use super::SourceError;
use std::path::Path;

/// What a parser of bytes finds wrong; where they lie is known to its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The bytes contradict the format.
    Damaged(String),
    /// The bytes ask for what is not read.
    Unsupported {
        /// What they ask for.
        what: String,
        /// What to do instead.
        cure: String,
    },
}

impl Flaw {
    /// The error for the file at `path`.
    pub(super) fn of(self, path: &Path, format: &'static str) -> SourceError {
        let path = path.to_owned();
        match self {
            Self::Damaged(what) => SourceError::Damaged { path, format, what },
            Self::Unsupported { what, cure } => SourceError::Unsupported { path, format, what, cure },
        }
    }
}

/// Bytes from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// What the bytes are, in words.
    pub(super) what: &'static str,
    pub(super) bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `length` bytes from `at`.
    pub(super) fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], Flaw> {
        let found = at.checked_add(length).and_then(|end| self.bytes.get(at..end));
        found.ok_or_else(|| Flaw::Damaged(format!("its {} ends after {} bytes, before byte {at} + {length}", self.what, self.bytes.len())))
    }

    /// `N` bytes from `at`.
    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Flaw> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(at, N)?);
        Ok(array)
    }

    pub(super) fn be16(&self, at: usize) -> Result<u16, Flaw> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(super) fn be32(&self, at: usize) -> Result<u32, Flaw> {
        self.array(at).map(u32::from_be_bytes)
    }

    pub(super) fn be64(&self, at: usize) -> Result<u64, Flaw> {
        self.array(at).map(u64::from_be_bytes)
    }

    pub(super) fn le16(&self, at: usize) -> Result<u16, Flaw> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn le32(&self, at: usize) -> Result<u32, Flaw> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn le64(&self, at: usize) -> Result<u64, Flaw> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// How many whole `unit_bytes` lie before `offset_bytes`, and the rest. All is rest where there is no unit.
pub(super) fn split(offset_bytes: u64, unit_bytes: u64) -> (u64, u64) {
    match (offset_bytes.checked_div(unit_bytes), offset_bytes.checked_rem(unit_bytes)) {
        (Some(whole), Some(rest)) => (whole, rest),
        _ => (0, offset_bytes),
    }
}
