//! Which names objects may have: the same in every store, so that a vault can move from one to another.

use super::BackendError;

/// Most bytes of one part of a name: leaves room for what a temporary name adds below the 255 of filesystems.
const MAX_PART_BYTES: usize = 200;
/// Most parts of a name. It also bounds how deep a listing descends.
pub(super) const MAX_PARTS: usize = 8;

/// Whether `part` may stand between two slashes. A leading dot is reserved for unfinished files, and keeps `.` and `..` out.
pub(super) fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part.len() <= MAX_PART_BYTES && !part.starts_with('.') && part.bytes().all(plain)
}

/// Whether `name` may be an object's name: relative, plain ASCII, not hidden.
pub(super) fn is_name(name: &str) -> bool {
    name.split('/').count() <= MAX_PARTS && name.split('/').all(is_part)
}

/// Refuses what is no name.
///
/// # Errors
/// [`BackendError::Unsupported`].
pub(super) fn check_name(location: &str, name: &str) -> Result<(), BackendError> {
    if is_name(name) {
        return Ok(());
    }
    let reason = format!("{name:?} cannot name an object: a name is 1 to {MAX_PARTS} parts of A-Z a-z 0-9 - _ . with '/' between them");
    Err(BackendError::Unsupported { location: location.to_owned(), reason })
}

/// Refuses what is no prefix: empty, or a name and `/`.
///
/// # Errors
/// [`BackendError::Unsupported`].
pub(super) fn check_prefix(location: &str, prefix: &str) -> Result<(), BackendError> {
    if prefix.is_empty() || prefix.strip_suffix('/').is_some_and(is_name) {
        return Ok(());
    }
    let reason = format!("{prefix:?} cannot be listed: a prefix is empty, or a name that ends in '/'");
    Err(BackendError::Unsupported { location: location.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_pass() {
        for good in ["a", "packs/0f/0f3c", "x_Y-1.json", "a/b/c/d/e/f/g/h"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".tmp-x", "a/.hidden", "a b", "a\\b", "\u{e9}", "a\0", "a/b/c/d/e/f/g/h/i"]
        {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_part(&"x".repeat(200)) && !is_part(&"x".repeat(201)));
    }

    #[test]
    fn a_prefix_is_a_directory() {
        for good in ["", "packs/", "packs/0f/"] {
            assert!(check_prefix("here", good).is_ok(), "{good}");
        }
        for bad in ["packs", "/", "../", "packs//"] {
            assert!(check_prefix("here", bad).is_err(), "{bad}");
        }
    }
}
