//! From what a person names to the disks of a backup: sources, hints, configuration files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::JobError;
use super::backup::DiskRequest;
use crate::format::names::ObjectName;
use crate::format::point::ConfigFile;
use crate::io::ReadAt;
use crate::quiesce::ACCOUNT_NAME;
use crate::source::{self, MAX_HINT_BYTES, Source, SourceSpec, parse_hints};
use crate::store::Vault;
use crate::units::MachineName;

/// Largest configuration file that is kept with a point.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// What errors call such a file.
const CONFIG: &str = "the configuration file";

/// Opens a disk and reads what somebody says has changed on it.
///
/// # Errors
/// [`JobError`] of the source or the hints; [`JobError::SourceInVault`].
pub fn open_disk(vault: &Vault, name: MachineName, spec: &SourceSpec, hints: Option<&Path>) -> Result<DiskRequest, JobError> {
    let source = open_source(vault, spec)?;
    let hints = hints.map(|path| read_hints(path, source.as_ref())).transpose()?;
    Ok(DiskRequest { name, source, spec: Some(spec.clone()), hints, keep_clone: None })
}

/// Opens what is read of a disk, unless it lies in the vault.
pub(super) fn open_source(vault: &Vault, spec: &SourceSpec) -> Result<Box<dyn Source>, JobError> {
    if let Some(location) = vault_that_holds(vault, &spec.path) {
        return Err(JobError::SourceInVault { path: spec.path.clone(), location });
    }
    Ok(source::open(&spec.path, spec.format)?)
}

fn read_hints(path: &Path, source: &dyn Source) -> Result<source::Hints, JobError> {
    // One byte more than the limit, so that the parser sees that it is too long.
    let bytes = read(path, "the file of hints", MAX_HINT_BYTES + 1)?;
    parse_hints(&bytes, ReadAt::size_bytes(source)).map_err(|source| JobError::Hints { path: path.to_owned(), source })
}

/// Reads files to be kept with a point, under their names without directories.
///
/// # Errors
/// [`JobError::File`] where one cannot be read, is too large, has no name that can be kept, or the name of another.
pub fn read_configs<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<ConfigFile>, JobError> {
    let mut configs: Vec<ConfigFile> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let config = read_config(path)?;
        if configs.iter().any(|other| other.name == config.name) {
            return Err(refused_config(path, "another one has the same name"));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn read_config(path: &Path) -> Result<ConfigFile, JobError> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| refused_config(path, "its name is not UTF-8"))?;
    let config = ConfigFile { name: name.to_owned(), bytes: read(path, CONFIG, MAX_CONFIG_BYTES + 1)? };
    if config.bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(refused_config(path, "it has more than 1 MiB"));
    }
    if config.name == ACCOUNT_NAME {
        return Err(refused_config(path, "its name is that of Cairn's own account of the backup; rename it"));
    }
    if !config.has_plain_name() {
        return Err(refused_config(path, "its name has control characters or backslashes, or more than 255 bytes"));
    }
    Ok(config)
}

fn refused_config(path: &Path, why: &'static str) -> JobError {
    file_error(path, CONFIG, "cannot be kept", io::Error::other(why))
}

fn read(path: &Path, what: &'static str, limit_bytes: u64) -> Result<Vec<u8>, JobError> {
    let failed = |source| file_error(path, what, "cannot be read", source);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit_bytes).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn file_error(path: &Path, what: &'static str, doing: &'static str, source: io::Error) -> JobError {
    JobError::File { what, path: path.to_owned(), doing, source }
}

/// The vault's directory, if the path lies in it: a vault that backs up its own files would never be done.
fn vault_that_holds(vault: &Vault, path: &Path) -> Option<PathBuf> {
    let header = vault.backend().local_path(&ObjectName::Vault.to_string())?;
    let directory = header.parent()?.canonicalize().ok()?;
    path.canonicalize().ok()?.starts_with(&directory).then_some(directory)
}

#[cfg(test)]
mod tests;
