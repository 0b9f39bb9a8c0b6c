//! The files kept with a point, put back beside its disks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::point::Manifest;
use crate::io::replace_durable;
use crate::jobs::JobError;
use crate::restore::RestoreError;

/// Refuses files that would take the place of others: of a restored disk, or of what is there and may not be replaced.
pub(super) fn check(manifest: &Manifest, directory: &Path, overwrite: bool) -> Result<(), JobError> {
    for config in &manifest.configs {
        let path = directory.join(&config.name);
        let refuse =
            |source| JobError::File { what: "the file kept with the point", path: path.clone(), doing: "cannot be put back", source };
        if manifest.disks.iter().any(|disk| config.name == format!("{}.raw", disk.name)) {
            return Err(refuse(io::Error::other("one of the point's disks is restored to a file of this name; name disks one by one")));
        }
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error)),
            Ok(there) if there == config.bytes || overwrite => {}
            Ok(_) => {
                let holds = "holds something else than the file kept with the point".to_owned();
                return Err(refuse(io::Error::other(RestoreError::Exists { path: path.clone(), holds })));
            }
        }
    }
    Ok(())
}

/// Writes the files, and says where they are.
pub(super) fn write(manifest: &Manifest, directory: &Path) -> Result<Vec<PathBuf>, JobError> {
    let put = |config: &crate::format::point::ConfigFile| {
        let path = directory.join(&config.name);
        match replace_durable(&path, &config.bytes) {
            Ok(()) => Ok(path),
            Err(source) => Err(JobError::File { what: "the file kept with the point", path, doing: "cannot be put back", source }),
        }
    };
    manifest.configs.iter().map(put).collect()
}
