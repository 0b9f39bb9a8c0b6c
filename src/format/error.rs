//! What can be wrong with an object's bytes. Which object it was, by name, the caller adds: this room sees bytes only.

/// Why bytes are not an object, or an object cannot become bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes break a rule of FORMAT.md: damage, or a writer's fault.
    #[error("the {object} is damaged at byte {at}: expected {expected}, found {found}")]
    Corrupt {
        /// What the bytes should be, in words.
        object: &'static str,
        /// Where in these bytes, from 0.
        at: u64,
        /// What the format asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The object is of a later format.
    #[error("the {object} has {what}, which this cairn does not know; use a newer cairn")]
    Unsupported {
        /// What the bytes should be, in words.
        object: &'static str,
        /// The version or the feature bit, with its number.
        what: String,
    },
    /// The object is whole, but of another kind.
    #[error("expected a {expected}, found a {found}")]
    WrongKind {
        /// The kind that was asked for, in words.
        expected: &'static str,
        /// The kind that it is, in words.
        found: &'static str,
    },
    /// The value breaks a rule of FORMAT.md, so that nobody could read it back.
    #[error("this {object} cannot be stored: {reason}")]
    Invalid {
        /// What was to be stored, in words.
        object: &'static str,
        /// The rule that it breaks.
        reason: String,
    },
}

impl FormatError {
    /// A value that cannot be stored.
    pub(super) fn invalid(object: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { object, reason: reason.into() }
    }
}
