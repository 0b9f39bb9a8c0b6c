//! Files that writers have begun: nobody sees them as objects, but they take space.

use std::fs;
use std::io;
use std::path::Path;

use super::is_absent;
use crate::backend::Leftover;
use crate::backend::name::{MAX_PARTS, is_part};
use crate::io::TEMPORARY_PREFIX;

/// All unfinished files below `root`, ascending by path.
pub(super) fn find(root: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let mut directories = vec![(String::new(), 1)];
    while let Some((prefix, depth)) = directories.pop() {
        let entries = match fs::read_dir(root.join(&prefix)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_temporary = name.starts_with(TEMPORARY_PREFIX);
            if !is_temporary && !is_part(name) {
                continue;
            }
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                // Finished meanwhile.
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_file() && is_temporary {
                let (path, size_bytes) = (format!("{prefix}{name}"), metadata.len());
                found.push(Leftover { path, size_bytes, modified: metadata.modified().ok() });
            } else if metadata.is_dir() && !is_temporary && depth < MAX_PARTS {
                directories.push((format!("{prefix}{name}/"), depth + 1));
            }
        }
    }
    found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Removes an unfinished file by the path that [`find`] gave; refuses every other.
pub(super) fn remove(root: &Path, path: &str) -> io::Result<()> {
    let mut parts = path.rsplit('/');
    let is_temporary = parts.next().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name != "..");
    if !is_temporary || !parts.all(is_part) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no unfinished file of a vault"));
    }
    fs::remove_file(root.join(path))
}
