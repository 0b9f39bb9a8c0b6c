//! Whole objects under names: a local directory, an object store, memory; and decorators around them.
//!
//! A store must keep one promise: create-if-absent ([`Backend::create`]) is atomic, exclusive and durable when it returns. Nothing is
//! ever overwritten. Names are relative paths of plain ASCII (`packs/0f/0f3c...`). This room knows nothing of what objects hold.

mod error;
mod faulty;
mod local;
mod location;
mod memory;
mod name;
mod operation;
mod probe;
mod recording;
#[cfg(feature = "remote")]
mod remote;
mod retry;
mod throttle;

pub use error::BackendError;
pub use faulty::{Fault, Faulty};
pub use local::LocalDirectory;
pub use location::{Bucket, Location, Service, open_location};
pub use memory::MemoryBackend;
pub use operation::Operation;
pub use probe::probe_create_if_absent;
pub use recording::{Recorded, Recording};
#[cfg(feature = "remote")]
pub use remote::{ObjectStoreBackend, RemoteOptions};
pub use retry::{Retry, RetryPolicy};
pub use throttle::{Clock, Rates, Throttle};

use std::ops::Range;
use std::path::PathBuf;
use std::time::SystemTime;

/// A name and its object's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object's name, from the vault's root.
    pub name: String,
    /// Bytes.
    pub size_bytes: u64,
}

/// A file of an object that is not finished: somebody is writing it, or somebody was killed over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path, from the vault's root. It is no object's name.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
    /// When it was written to last, where the system tells.
    pub modified: Option<SystemTime>,
}

/// Whether a name was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// The object is now there, whole and durable.
    New,
    /// The name was taken; what has it stays as it is.
    Exists,
}

/// An object that grows: nobody sees it until [`ObjectWriter::finish`]; dropped before, it leaves nothing.
pub trait ObjectWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`BackendError`]; the object is then lost.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError>;

    /// Makes the object visible under its name, if that is free, and durable.
    ///
    /// # Errors
    /// [`BackendError`]; the object may then exist or not, but never in part.
    fn finish(self: Box<Self>) -> Result<Created, BackendError>;
}

/// A store of objects, used by many threads at once.
pub trait Backend: Send + Sync {
    /// Where it is, for messages: a path or a URL, without secrets.
    fn location(&self) -> String;

    /// Creates an object if its name is free. Stores that try again after lost answers cannot tell two writers of the same bytes
    /// under one name apart: who must know that it was first puts an id drawn at random into the bytes.
    ///
    /// # Errors
    /// [`BackendError`]; after an unclear failure the caller looks before it tries again.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError>;

    /// Starts an object that is written in parts.
    ///
    /// # Errors
    /// [`BackendError`].
    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError>;

    /// A whole object. For small ones: the caller knows its kind, and thereby its greatest size.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] and others.
    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError>;

    /// A part of an object, exactly as long as asked; a range that ends before it starts is empty.
    ///
    /// # Errors
    /// [`BackendError::NotFound`]; [`BackendError::Truncated`] where the object ends before the range; others.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError>;

    /// [`Backend::get_range`] into memory that is used again: `buffer` then holds the range and nothing else.
    ///
    /// # Errors
    /// As [`Backend::get_range`]; what is in `buffer` then means nothing.
    fn get_range_into(&self, name: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        *buffer = self.get_range(name, range)?;
        Ok(())
    }

    /// Bytes of an object, `None` where there is none.
    ///
    /// # Errors
    /// [`BackendError`].
    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError>;

    /// All objects whose names start with `prefix`, which ends in `/` or is empty, in ascending order of names. Unfinished
    /// objects are not shown.
    ///
    /// # Errors
    /// [`BackendError`].
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError>;

    /// What writers have begun and not finished, ascending by path. Stores that show no such thing have none.
    ///
    /// # Errors
    /// [`BackendError`].
    fn leftovers(&self) -> Result<Vec<Leftover>, BackendError> {
        Ok(Vec::new())
    }

    /// Removes what [`Backend::leftovers`] told of; no error where it is gone. Whoever still writes to it fails when he finishes.
    ///
    /// # Errors
    /// [`BackendError`].
    fn remove_leftover(&self, _leftover: &Leftover) -> Result<(), BackendError> {
        Ok(())
    }

    /// Removes an object; no error where there is none.
    ///
    /// # Errors
    /// [`BackendError`].
    fn delete(&self, name: &str) -> Result<(), BackendError>;

    /// Returns when the names directly below the directory `prefix` that are visible now survive a loss of power: visible is not
    /// durable until then, when another process made them. Object stores have nothing to do.
    ///
    /// # Errors
    /// [`BackendError`].
    fn sync_names(&self, prefix: &str) -> Result<(), BackendError>;

    /// The object's path where it is a local file that can be mapped.
    fn local_path(&self, name: &str) -> Option<PathBuf>;

    /// How many requests are worth having in flight at once: small for a local disk, more for a distant store.
    fn parallel_requests(&self) -> usize;
}
