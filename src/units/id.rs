//! Ids and names: one newtype each, shown and parsed as lower-case hex.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}: expected {digits} hexadecimal digits")]
pub struct IdParseError {
    /// The text that was given, as given.
    pub text: String,
    /// The id's kind, in words.
    pub what: &'static str,
    /// Hexadecimal digits that the id has.
    pub digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Bytes of this id.
            pub const LEN: usize = $bytes;

            /// The id's bytes.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                let refuse = || IdParseError { text: text.to_owned(), what: $what, digits: 2 * $bytes };
                let digits = text.as_bytes();
                if digits.len() != 2 * $bytes {
                    return Err(refuse());
                }
                let mut id = [0_u8; $bytes];
                for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
                    if !pair.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                        return Err(refuse());
                    }
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
                }
                Ok(Self(id))
            }
        }
    };
}

id!(
    /// A vault, drawn at random when it is made.
    VaultId, 16, "a vault id"
);
id!(
    /// A pack, drawn at random for each attempt to write it.
    PackId, 16, "a pack id"
);
id!(
    /// A recovery point, drawn at random for each attempt to publish it.
    PointId, 16, "a recovery point id"
);
id!(
    /// A writer's or collector's lease, drawn at random.
    LeaseId, 16, "a lease id"
);
id!(
    /// A segment of the index, drawn at random.
    SegmentId, 16, "an index segment id"
);
id!(
    /// A key slot, drawn at random.
    KeySlotId, 8, "a key slot id"
);
id!(
    /// The first 16 bytes of the vault-keyed BLAKE3 of a block: what deduplication compares.
    Fingerprint, 16, "a fingerprint"
);
id!(
    /// BLAKE3 of a chunk's raw bytes, not keyed, so that it is the same in any vault.
    ChunkHash, 32, "a chunk hash"
);
id!(
    /// The vault-keyed BLAKE3 of a map node's encoding.
    NodeId, 32, "a map node id"
);
id!(
    /// What a disk's content is, whatever vault it lies in: equal for equal bytes on the same grid.
    ContentId, 32, "a content id"
);

/// Where a block or a map node was born. It never changes; a relocated pack says what it took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The pack of its birth.
    pub pack: PackId,
    /// Its number in that pack, from 0: a block of a data pack, a node of a metadata pack.
    pub slot: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pack, self.slot)
    }
}

/// Why a text cannot name a machine or a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} cannot be a name: {why}; use letters, digits, '.', '_' and '-', starting with a letter or a digit, 64 at most")]
pub struct NameError {
    /// The text that was given.
    pub given: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// The name of a machine or of one of its disks.
///
/// It becomes part of point names (`web01@...`), file names and terminal output, so it is plain: ASCII letters, digits, `.`,
/// `_`, `-`; first a letter or digit; 1 to 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(String);

impl MachineName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError { given: text.to_owned(), why });
        let Some(first) = text.bytes().next() else {
            return refuse("it is empty");
        };
        if text.len() > Self::MAX_BYTES {
            return refuse("it is too long");
        }
        if !first.is_ascii_alphanumeric() {
            return refuse("it does not start with a letter or a digit");
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return refuse("it has a character that names cannot have");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = PackId([0x0f; 16]);
        assert_eq!(id.to_string(), "0f".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_refuses_signs_upper_case_and_wrong_lengths() {
        for text in ["", "0", &"+f".repeat(16), &"0F".repeat(16), &"00".repeat(17), "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert!(text.parse::<PackId>().is_err(), "{text:?} was taken for an id");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["web01", "a", "0.b_c-d", &"x".repeat(64)] {
            assert!(good.parse::<MachineName>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", ".", "-x", "a/b", "a b", "a\n", "a@b", "\u{1b}[31m", "\u{e4}", &"x".repeat(65)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad:?} was taken");
        }
    }
}
