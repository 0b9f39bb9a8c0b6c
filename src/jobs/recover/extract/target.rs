//! Where files are taken to: a directory that is there, or a new name in one.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::super::JobError;
use super::Source;
use super::directory::Directory;
use crate::guestfs::FileKind;
use crate::tree::Tree;

/// Where everything goes.
pub(super) struct Target {
    pub(super) root: Arc<Directory>,
    /// Its path.
    pub(super) above: PathBuf,
    /// The name in it, for one source that is to get a new one.
    pub(super) new_name: Option<Vec<u8>>,
}

impl Target {
    pub(super) fn open<T: Tree>(tree: &T, sources: &[Source<T::Spot>], target: &Path) -> Result<Self, JobError> {
        let fail = |path: &Path, doing, source| JobError::File { what: "the target", path: path.to_owned(), doing, source };
        let error = match Directory::named(target) {
            Ok(root) => return Ok(Self { root, above: target.to_owned(), new_name: None }),
            Err(error) => error,
        };
        let is_new = error.kind() == io::ErrorKind::NotFound;
        let is_file = error.kind() == io::ErrorKind::NotADirectory;
        if !(is_new || is_file) {
            return Err(fail(target, "cannot be opened", error));
        }
        let [source] = sources else { return Err(fail(target, "is no directory that several files could go into", error)) };
        let is_directory = tree.attributes(&source.spot).is_ok_and(|known| known.kind == FileKind::Directory);
        let wants_directory = target.as_os_str().as_bytes().ends_with(b"/");
        if (is_file && is_directory) || (wants_directory && !is_directory) {
            return Err(fail(target, "is no directory", error));
        }
        let Some(name) = target.file_name() else { return Err(fail(target, "cannot be made", error)) };
        let above = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = Directory::named(above).map_err(|error| fail(above, "cannot be opened", error))?;
        Ok(Self { root, above: above.to_owned(), new_name: Some(name.as_bytes().to_vec()) })
    }
}
