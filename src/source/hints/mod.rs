//! Hints: what somebody else says has changed on a disk since an earlier state of it.
//!
//! Each producer's format is parsed into the same two sets; `docs/hints.md` tells users which command makes which and what the
//! earlier state is. Hints are only read here, not believed: the backup job samples what they call unchanged. Nothing here
//! knows how large the disk was at the base: where it has grown since, the job adds the growth to what changed.

mod array;
mod collect;
mod error;
mod neutral;
mod reflink;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "generated tests count in small numbers")]
mod tests;
mod thin;

pub use error::{EntryFault, HintError};
pub use reflink::{clone_file, may_share_extents, reflink_hints};

use crate::units::ExtentSet;

/// Most bytes of hints that are read: 256 MiB.
pub const MAX_HINT_BYTES: u64 = 256 << 20;

/// The state of the disk that hints compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HintBase {
    /// The hints do not say; whoever gives them vouches that it is the machine's latest recovery point.
    Unknown,
    /// The recovery point that they name, in the form in which points are named anywhere.
    Point(String),
}

/// What has changed on a disk. What is in neither set is as it was at the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    /// Who made them, for a person: `qemu-img map`.
    pub origin: String,
    /// What they compare with.
    pub base: HintBase,
    /// Ranges that must be read.
    pub changed: ExtentSet,
    /// Ranges that became zero or a hole; they need not be read.
    pub zeroed: ExtentSet,
}

/// Reads hints for a disk of `disk_bytes`, of whichever known format they are.
///
/// # Errors
/// [`HintError`] for hints of no known format, malformed ones, and ones that cannot be of this disk.
pub fn parse_hints(bytes: &[u8], disk_bytes: u64) -> Result<Hints, HintError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_HINT_BYTES {
        return Err(HintError::TooLarge { bytes: length, limit_bytes: MAX_HINT_BYTES });
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => array::parse(text, disk_bytes),
        Some(b'{') => neutral::parse(text, disk_bytes),
        Some(b'<') => thin::parse(text, disk_bytes),
        Some(_) => {
            let start: String = String::from_utf8_lossy(text.get(..20).unwrap_or(text)).escape_debug().collect();
            Err(HintError::Unrecognised { found: format!("they start with '{start}'") })
        }
        None => Err(HintError::Unrecognised { found: "they are empty".to_owned() }),
    }
}

/// The fault of JSON as the parser tells it, for the named format. Faults of entries are kept aside by the visitors, since the
/// parser's error holds only text.
fn json_fault(format: &'static str, kept: Option<(u64, EntryFault)>, error: &serde_json::Error) -> HintError {
    match kept {
        Some((entry, fault)) => HintError::Entry { format, entry, fault },
        None => {
            // The parser appends the place, which the line already tells.
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned();
            HintError::Malformed { format, line: u64::try_from(error.line()).unwrap_or(u64::MAX), what }
        }
    }
}
