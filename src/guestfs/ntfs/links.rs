//! Paths of Windows as targets of links. A path from a drive letter on is looked for on this volume and written relative to the link's
//! own directory, so that it leads there wherever the volume is mounted. What is not found here lies below `.NTFS-3G` in the topmost
//! directory, as with ntfs-3g: `.NTFS-3G/D:/x`, where a person may put links to other drives.

use super::directory::{self, Directories, depth};
use super::names::to_utf8;
use super::record::Reference;
use super::volume::{Inode, Volume, system};
use crate::guestfs::GuestResult;

/// Names of a path that are followed; what comes after is kept as it is written.
const MOST_NAMES: usize = 256;

/// Translates the path of a link.
///
/// # Errors
/// Damage of the link's own name.
pub(super) fn translate(volume: &Volume, directories: &Directories, link: &Inode, path: &[u16], is_relative: bool) -> GuestResult<Vec<u8>> {
    let path = to_utf8(path);
    let path = path.strip_suffix(b"\0").unwrap_or(&path);
    if is_relative && !path.starts_with(b"\\") {
        let from = directory::names(volume, link)?.into_iter().find(|name| !name.is_dos).map(|name| name.parent);
        let resolved = from.map(|from| resolve(volume, directories, from, path));
        return Ok(resolved.map_or_else(|| slashes(path), |(text, _)| text));
    }
    let mut target = b"../".repeat(depth(volume, link)?);
    let top = Reference { record: system::ROOT, sequence: 0 };
    let path = [&b"\\??\\"[..], b"\\\\?\\"].iter().find_map(|head| path.strip_prefix(*head)).unwrap_or(path);
    let on_drive = match path {
        [letter, b':', b'\\', rest @ ..] if letter.is_ascii_alphabetic() => Some(rest),
        [b'\\', rest @ ..] if !rest.starts_with(b"\\") => Some(rest),
        _ => None,
    };
    match on_drive.filter(|rest| !rest.is_empty()).map(|rest| resolve(volume, directories, top, rest)) {
        Some((text, true)) => target.extend(text),
        Some((text, false)) if path.starts_with(b"\\") => target.extend(text),
        _ => {
            target.extend_from_slice(b".NTFS-3G/");
            target.extend(slashes(path));
        }
    }
    Ok(target)
}

fn slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
}

/// Follows a path from a directory on and writes each name in the case in which it is on the disk. The flag says whether all of it was
/// found.
fn resolve(volume: &Volume, directories: &Directories, from: Reference, path: &[u8]) -> (Vec<u8>, bool) {
    let mut text = Vec::with_capacity(path.len());
    let mut here = Some(from);
    for (place, name) in path.split(|&byte| byte == b'\\').enumerate() {
        if place > 0 {
            text.push(b'/');
        }
        let inode = here.filter(|_| place < MOST_NAMES).and_then(|reference| volume.inode(reference).ok());
        match (inode, name) {
            (_, b"" | b".") => text.extend_from_slice(name),
            (Some(inode), b"..") => {
                text.extend_from_slice(name);
                let names = directory::names(volume, &inode).unwrap_or_default();
                here = names.into_iter().find(|name| !name.is_dos).map(|name| name.parent);
            }
            (Some(inode), _) if inode.record.is_directory() => match directories.find(volume, &inode, name) {
                Ok(Some(found)) => {
                    text.extend(to_utf8(&found.letters));
                    here = Some(found.reference);
                }
                _ => {
                    text.extend_from_slice(name);
                    here = None;
                }
            },
            _ => {
                text.extend_from_slice(name);
                here = None;
            }
        }
    }
    (text, here.is_some())
}
