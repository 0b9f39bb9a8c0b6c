//! Objects as files below a directory: the embedded default.
//!
//! Files come to be in one way only, [`DurableFile`]. Directories are made on demand, mode 0700; files have mode 0600. Nothing
//! removes directories. Files whose names cannot be objects' names (`lost+found`, `.tmp-*`) are not seen.

mod directories;
mod leftovers;
mod open_files;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::name::{MAX_PARTS, check_name, check_prefix, is_part};
use super::{Backend, BackendError, Created, Leftover, Listed, ObjectWriter};
use crate::io::{DurableFile, start_write_back};
use directories::Directories;
use open_files::OpenFiles;

/// Writes below this size are gathered.
const GATHER_BYTES: usize = 1 << 20;
/// The kernel is told to start writing whenever this much has come together, so that the fsync at the end finds little to do:
/// measured with packs of 63 MiB on ext4, it takes 10 to 25 ms instead of 35 to 105.
const WRITE_BACK_BYTES: u64 = 8 << 20;
/// Requests in flight that a local disk is worth.
const PARALLEL_REQUESTS: usize = 4;

/// A directory that holds objects.
#[derive(Debug)]
pub struct LocalDirectory {
    location: String,
    directories: Directories,
    open_files: OpenFiles,
}

impl LocalDirectory {
    /// Opens an existing directory. What it holds is not looked at.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where there is no directory; others as the system says.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let location = path.display().to_string();
        match Directories::open(path) {
            Ok(directories) => Ok(Self { location, directories, open_files: OpenFiles::new() }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(BackendError::Unsupported { location, reason: format!("there is no such directory ({error})") })
            }
            Err(error) => Err(BackendError::from_io(&location, ".", "opening the directory", error)),
        }
    }

    /// Makes the directory, and those above it that are missing, durably; or takes one that exists and is empty.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where something is there already; others as the system says.
    pub fn create(path: &Path) -> Result<Self, BackendError> {
        let location = path.display().to_string();
        let io = |doing, error| BackendError::from_io(&location, ".", doing, error);
        let refuse = |reason: String| BackendError::Unsupported { location: location.clone(), reason };
        match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(|error| io("listing the directory", error))?.file_name();
                    // A filesystem that was just made is empty for its owner.
                    if name != "lost+found" {
                        return Err(refuse(format!("the directory is not empty: it holds {name:?}; choose another or empty it")));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directories::make_all(path).map_err(|error| io("making the directory", error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(refuse("there is something that is no directory; choose another place".to_owned()));
            }
            Err(error) => return Err(io("listing the directory", error)),
        }
        Self::open(path)
    }

    fn io(&self, name: &str, doing: &'static str, error: io::Error) -> BackendError {
        BackendError::from_io(&self.location, name, doing, error)
    }

    /// The error for an object that is not there; another one where the whole directory went away, because then nothing can be
    /// said of its objects.
    fn missing(&self, name: &str) -> BackendError {
        match self.directories.check_root() {
            Ok(()) => BackendError::NotFound { location: self.location.clone(), name: name.to_owned() },
            Err(error) => self.gone(name, error),
        }
    }

    fn gone(&self, name: &str, error: io::Error) -> BackendError {
        let (location, name) = (self.location.clone(), name.to_owned());
        BackendError::Io { location, name, doing: "looking for the store's directory because of", source: error }
    }

    fn path(&self, name: &str) -> Result<PathBuf, BackendError> {
        check_name(&self.location, name)?;
        Ok(self.directories.root().join(name))
    }

    /// Opens the file of an object.
    fn open_file(&self, name: &str) -> Result<File, BackendError> {
        let path = self.path(name)?;
        match File::open(path) {
            Ok(file) => Ok(file),
            Err(error) if is_absent(&error) => Err(self.missing(name)),
            Err(error) => Err(self.io(name, "opening", error)),
        }
    }

    fn start(&self, name: &str) -> Result<DurableFile, BackendError> {
        let path = self.path(name)?;
        // Without this, a store whose filesystem was unmounted would go on in the directory below.
        self.directories.check_root().map_err(|error| self.gone(name, error))?;
        self.directories.prepare(name).map_err(|error| self.io(name, "making the directory of", error))?;
        DurableFile::create(&path).map_err(|error| self.io(name, "creating", error))
    }

    /// Adds the objects below `directory` (of the name `prefix`) to `found`, in any order.
    fn list_below(&self, directory: &Path, prefix: &str, depth: usize, found: &mut Vec<Listed>) -> Result<(), BackendError> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.io(prefix, "listing", error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.io(prefix, "listing", error))?;
            let part = entry.file_name();
            let Some(part) = part.to_str().filter(|part| is_part(part)) else { continue };
            // Links are followed: an administrator may have moved a part of the vault to a larger disk.
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(self.io(&format!("{prefix}{part}"), "looking at", error)),
            };
            if metadata.is_file() {
                found.push(Listed { name: format!("{prefix}{part}"), size_bytes: metadata.len() });
            } else if metadata.is_dir() && depth < MAX_PARTS {
                self.list_below(&entry.path(), &format!("{prefix}{part}/"), depth + 1, found)?;
            }
        }
        Ok(())
    }
}

/// Whether the error says that a path, or a directory on it, is not there.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn finish(location: &str, name: &str, file: DurableFile) -> Result<Created, BackendError> {
    match file.finish() {
        Ok(true) => Ok(Created::New),
        Ok(false) => Ok(Created::Exists),
        Err(error) => Err(BackendError::from_io(location, name, "making durable", error)),
    }
}

/// A file under way.
struct LocalWriter {
    location: String,
    name: String,
    file: DurableFile,
    gathered: Vec<u8>,
    /// Bytes given to the kernel.
    written_bytes: u64,
    /// Bytes of these whose write-back was started.
    started_bytes: u64,
}

impl LocalWriter {
    fn write_out(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        let file = self.file.file();
        file.write_all(bytes).map_err(|error| BackendError::from_io(&self.location, &self.name, "writing", error))?;
        self.written_bytes += bytes.len() as u64;
        let waiting = self.written_bytes - self.started_bytes;
        if waiting >= WRITE_BACK_BYTES {
            // Only a hint: where the filesystem does not take it, the fsync does the work.
            let _ = start_write_back(self.file.file(), self.started_bytes, waiting);
            self.started_bytes = self.written_bytes;
        }
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), BackendError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        self.write_out(&gathered)?;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }
}

impl ObjectWriter for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        if self.gathered.len() + bytes.len() > GATHER_BYTES {
            self.write_gathered()?;
        }
        if bytes.len() >= GATHER_BYTES {
            return self.write_out(bytes);
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Created, BackendError> {
        self.write_gathered()?;
        let Self { location, name, file, .. } = *self;
        finish(&location, &name, file)
    }
}

impl Backend for LocalDirectory {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let mut file = self.start(name)?;
        file.file().write_all(bytes).map_err(|error| self.io(name, "writing", error))?;
        finish(&self.location, name, file)
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        let file = self.start(name)?;
        Ok(Box::new(LocalWriter {
            location: self.location.clone(),
            name: name.to_owned(),
            file,
            gathered: Vec::new(),
            written_bytes: 0,
            started_bytes: 0,
        }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        let mut file = self.open_file(name)?;
        let metadata = file.metadata().map_err(|error| self.io(name, "looking at", error))?;
        if !metadata.is_file() {
            return Err(self.missing(name));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.io(name, "reading", error))?;
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        let mut bytes = Vec::new();
        self.get_range_into(name, range, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range_into(&self, name: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let file = self.open_files.get_or_open(name, || self.open_file(name))?;
        let size_bytes = match file.metadata() {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => return Err(self.missing(name)),
            Err(error) => return Err(self.io(name, "looking at", error)),
        };
        let wanted_bytes = range.end.max(range.start);
        let truncated = || BackendError::Truncated { location: self.location.clone(), name: name.to_owned(), size_bytes, wanted_bytes };
        // Checked before memory is asked for: the range may come from a damaged object.
        if wanted_bytes > size_bytes {
            return Err(truncated());
        }
        let length = usize::try_from(wanted_bytes - range.start).map_err(|_| truncated())?;
        if buffer.capacity() == 0 {
            // Memory that the system gives out as zeros need not be filled.
            *buffer = vec![0; length];
        }
        buffer.resize(length, 0);
        file.read_exact_at(buffer, range.start).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => self.io(name, "reading", error),
        })
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        match fs::metadata(self.path(name)?) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => match self.missing(name) {
                BackendError::NotFound { .. } => Ok(None),
                gone => Err(gone),
            },
            Err(error) => Err(self.io(name, "looking at", error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        check_prefix(&self.location, prefix)?;
        self.directories.check_root().map_err(|error| self.gone(prefix, error))?;
        let mut found = Vec::new();
        let depth = prefix.matches('/').count() + 1;
        self.list_below(&self.directories.root().join(prefix), prefix, depth, &mut found)?;
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        let path = self.path(name)?;
        self.open_files.forget(name);
        match fs::remove_file(path) {
            Err(error) if !is_absent(&error) => Err(self.io(name, "removing", error)),
            Err(_) => self.directories.check_root().map_err(|error| self.gone(name, error)),
            Ok(()) => Ok(()),
        }
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        check_prefix(&self.location, prefix)?;
        match self.directories.sync(prefix) {
            Err(error) if is_absent(&error) => self.directories.check_root().map_err(|error| self.gone(prefix, error)),
            other => other.map_err(|error| self.io(prefix, "making durable the names in", error)),
        }
    }

    fn leftovers(&self) -> Result<Vec<Leftover>, BackendError> {
        self.directories.check_root().map_err(|error| self.gone(".", error))?;
        leftovers::find(self.directories.root()).map_err(|error| self.io(".", "looking for leftovers in", error))
    }

    fn remove_leftover(&self, leftover: &Leftover) -> Result<(), BackendError> {
        let name = &leftover.path;
        match leftovers::remove(self.directories.root(), name) {
            Err(error) if !is_absent(&error) => Err(self.io(name, "removing", error)),
            _ => Ok(()),
        }
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.path(name).ok()
    }

    fn parallel_requests(&self) -> usize {
        PARALLEL_REQUESTS
    }
}
