//! Making a vault and opening one: the place and its promise, the header, the key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::JobError;
use crate::backend::{Backend, Location, Rates, Throttle, probe_create_if_absent};
use crate::crypt::slot::{PassphraseCost, Unlock};
use crate::format::vault::{Cipher, DedupScope, VaultHeader, Writers};
use crate::store::{self, NewVault, Vault};
use crate::units::MAX_FRAME_BLOCKS;

/// The zstd level of a new vault unless told otherwise.
pub const DEFAULT_COMPRESSION_LEVEL: i32 = 2;

/// What a new vault shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultOptions {
    /// The zstd level that backups use unless told otherwise.
    pub compression_level: i32,
    /// Which machines share blocks.
    pub dedup_scope: DedupScope,
    /// Whether a store that ignores create-if-absent is taken, for one writer at a time.
    pub single_writer: bool,
}

/// A new or empty place that can become a vault.
pub struct NewPlace {
    backend: Arc<dyn Backend>,
    local: bool,
}

impl NewPlace {
    /// Takes a place: makes the directory where it is missing; a bucket must exist.
    ///
    /// # Errors
    /// [`JobError`] of a place that is not empty or cannot be reached.
    pub fn take(location: &str) -> Result<Self, JobError> {
        let location: Location = location.parse()?;
        Ok(Self { backend: location.create()?, local: location.directory().is_some() })
    }

    /// Makes the vault, with one key slot that `unlock` opens. Whether the store keeps the promise of create-if-absent is found
    /// out by trying.
    ///
    /// # Errors
    /// [`JobError::NoCreateIfAbsent`] where that is not accepted; [`JobError`] of the place or of the key derivation.
    pub fn make(self, options: VaultOptions, unlock: &Unlock, cache: &Path) -> Result<Vault, JobError> {
        // Hard links are exclusive, and a filesystem without them fails at the first object. Trying would leave a directory behind.
        let keeps_promise = self.local || probe_create_if_absent(self.backend.as_ref())?;
        if !keeps_promise && !options.single_writer {
            return Err(JobError::NoCreateIfAbsent { location: self.backend.location() });
        }
        let new = NewVault {
            compression_level: options.compression_level,
            frame_blocks: MAX_FRAME_BLOCKS as u16,
            dedup_scope: options.dedup_scope,
            writers: if keeps_promise { Writers::Many } else { Writers::One },
        };
        Ok(Vault::create(self.backend, new, unlock, PassphraseCost::default(), cache)?)
    }
}

/// A vault that was found but not opened: what can be known of it without a key.
pub struct FoundVault {
    backend: Arc<dyn Backend>,
    header: VaultHeader,
    cache: PathBuf,
}

impl FoundVault {
    /// Finds the vault at a path or URL. `cache` is the directory where this machine keeps what can be fetched again.
    ///
    /// # Errors
    /// [`JobError`] where there is none, of a newer format, or the place cannot be reached.
    pub fn find(location: &str, cache: &Path) -> Result<Self, JobError> {
        let backend = location.parse::<Location>()?.open()?;
        let header = store::read_header(backend.as_ref())?;
        Ok(Self { backend, header, cache: cache.to_owned() })
    }

    /// The same vault, to which no more than so many bytes a second go, and from which no more come, until `cancelled` is set.
    #[must_use]
    pub fn limited(self, rates: Rates, cancelled: Arc<AtomicBool>) -> Self {
        if rates == Rates::default() {
            return self;
        }
        Self { backend: Arc::new(Throttle::new(self.backend, rates, cancelled)), ..self }
    }

    /// Where it is, for messages.
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// What it is.
    pub fn header(&self) -> &VaultHeader {
        &self.header
    }

    /// Whether it takes a passphrase or a key file to open it.
    pub fn is_encrypted(&self) -> bool {
        self.header.cipher != Cipher::None
    }

    /// Where its objects are.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`JobError`] where no key slot fits.
    pub fn open(&self, unlock: &Unlock) -> Result<Vault, JobError> {
        Ok(Vault::open(Arc::clone(&self.backend), unlock, &self.cache)?)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::backend::{BackendError, Created, Listed, MemoryBackend, ObjectWriter};

    /// A store that accepts the condition and ignores it, as some S3 servers do.
    struct Overwriting(MemoryBackend);

    impl Backend for Overwriting {
        fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
            self.0.delete(name)?;
            self.0.create(name, bytes)
        }
        fn location(&self) -> String {
            self.0.location()
        }
        fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
            self.0.writer(name)
        }
        fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
            self.0.get(name)
        }
        fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
            self.0.get_range(name, range)
        }
        fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
            self.0.size_bytes(name)
        }
        fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
            self.0.list(prefix)
        }
        fn delete(&self, name: &str) -> Result<(), BackendError> {
            self.0.delete(name)
        }
        fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
            self.0.sync_names(prefix)
        }
        fn local_path(&self, name: &str) -> Option<PathBuf> {
            self.0.local_path(name)
        }
        fn parallel_requests(&self) -> usize {
            self.0.parallel_requests()
        }
    }

    #[test]
    fn a_store_that_overwrites_is_refused_or_taken_for_one_writer() {
        let backend: Arc<dyn Backend> = Arc::new(Overwriting(MemoryBackend::new()));
        let make = |single_writer| {
            let options = VaultOptions { compression_level: 1, dedup_scope: DedupScope::Vault, single_writer };
            let place = NewPlace { backend: Arc::clone(&backend), local: false };
            place.make(options, &Unlock::Nothing, Path::new("/nonexistent"))
        };
        let error = make(false).map(drop).unwrap_err();
        assert!(matches!(error, JobError::NoCreateIfAbsent { .. }), "{error}");
        assert!(backend.list("").unwrap().is_empty(), "something was left behind");
        assert_eq!(make(true).unwrap().header().writers, Writers::One);
    }
}
