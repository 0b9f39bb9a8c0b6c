//! In which points a path exists, and in which of them it is another than in the one before.
//!
//! Where both versions lie on the same blocks of the vault they are equal, and nothing is read. Only where that cannot decide (moved,
//! compressed, inline) contents are hashed, once a version.

use super::super::JobError;
use super::Recovery;
use crate::catalogue::points::PointSummary;
use crate::guestfs::{Attributes, FileKind, GuestError, GuestResult};
use crate::monitor::Monitor;
use crate::tree::{PointTree, Spot, Tree, resolve};

/// Bytes hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What a path is in a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionState {
    /// It is not there.
    Missing,
    /// It is there and was not in the point before.
    New,
    /// Its contents (of a link: its target; of a directory: nothing) are others than in the point before.
    Changed,
    /// Its contents are those of the point before.
    Same,
    /// It cannot be known.
    Unreadable(String),
}

/// A path in a point.
#[derive(Debug, Clone)]
pub struct Version {
    /// What it is there.
    pub state: VersionState,
    /// What is known of it, where it is there.
    pub attributes: Option<Attributes>,
    /// Whether its contents were read to find out.
    pub was_read: bool,
}

/// A version that the next one is compared with.
struct Before {
    tree: PointTree,
    spot: Spot,
    attributes: Attributes,
    key: Option<[u8; 32]>,
    hash: Option<[u8; 32]>,
}

/// Looks for a path of the guest in each of `points` (the oldest first), and calls `found` with each in turn.
///
/// # Errors
/// [`JobError::Cancelled`]. A point that cannot be read is a version that says so.
pub fn versions(
    recovery: &Recovery,
    points: &[&PointSummary],
    path: &[u8],
    monitor: &dyn Monitor,
    mut found: impl FnMut(&PointSummary, Version),
) -> Result<(), JobError> {
    let mut before: Option<Before> = None;
    for point in points {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let here = recovery.point(point.point()).map_err(|error| error.to_string());
        let here = here.and_then(|tree| find(tree, path).map_err(|error| error.to_string()));
        let version = match here {
            Err(problem) => Version { state: VersionState::Unreadable(problem), attributes: None, was_read: false },
            Ok(None) => {
                before = None;
                Version { state: VersionState::Missing, attributes: None, was_read: false }
            }
            Ok(Some(mut now)) => {
                let attributes = Some(now.attributes.clone());
                let (state, was_read) = match before.as_mut() {
                    None => (VersionState::New, false),
                    Some(before) => match same(before, &mut now) {
                        Ok((true, was_read)) => (VersionState::Same, was_read),
                        Ok((false, was_read)) => (VersionState::Changed, was_read),
                        Err(error) => (VersionState::Unreadable(error.to_string()), true),
                    },
                };
                before = Some(now);
                Version { state, attributes, was_read }
            }
        };
        found(point, version);
    }
    Ok(())
}

/// The path in a point's tree; `None` where it is not there.
fn find(tree: PointTree, path: &[u8]) -> GuestResult<Option<Before>> {
    let Some(top) = tree.guest_top() else {
        return Err(GuestError::NotFound { object: "the guest's own root, or a single volume with files,".to_owned() });
    };
    let spot = match resolve(&tree, &top, path, true) {
        Ok(found) => found.spot,
        Err(GuestError::NotFound { .. } | GuestError::WrongKind { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let attributes = tree.attributes(&spot)?;
    let key = if attributes.kind == FileKind::Regular { tree.content_key(&spot)? } else { None };
    Ok(Some(Before { tree, spot, attributes, key, hash: None }))
}

/// Whether two versions have the same contents, and whether they had to be read for that.
fn same(before: &mut Before, now: &mut Before) -> GuestResult<(bool, bool)> {
    let kind = before.attributes.kind;
    if kind != now.attributes.kind {
        return Ok((false, false));
    }
    match kind {
        FileKind::Regular => {
            if before.attributes.size_bytes != now.attributes.size_bytes {
                return Ok((false, false));
            }
            if before.key.is_some() && before.key == now.key {
                now.hash = before.hash;
                return Ok((true, false));
            }
            Ok((hash(before)? == hash(now)?, true))
        }
        FileKind::Link => Ok((before.tree.link_target(&before.spot)? == now.tree.link_target(&now.spot)?, false)),
        _ => Ok((true, false)),
    }
}

/// The hash of a version's contents.
fn hash(version: &mut Before) -> GuestResult<[u8; 32]> {
    if let Some(known) = version.hash {
        return Ok(known);
    }
    let file = version.tree.open(&version.spot)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < file.size_bytes() {
        // A piece at most, so the cast cannot cut.
        let length = (file.size_bytes() - at).min(PIECE_BYTES as u64) as usize;
        let part = &mut piece[..length];
        file.read_at(at, part)?;
        hasher.update(part);
        at += length as u64;
    }
    let found = *hasher.finalize().as_bytes();
    version.hash = Some(found);
    Ok(found)
}
