//! Objects in memory, for tests of any room and for measurements without a disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::name::{check_name, check_prefix};
use super::{Backend, BackendError, Created, Listed, ObjectWriter};

/// What messages say of the place.
const LOCATION: &str = "memory";

type Objects = BTreeMap<String, Arc<[u8]>>;

/// A store that is gone when it is dropped. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    objects: Arc<RwLock<Objects>>,
}

impl MemoryBackend {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, name: &str) -> Result<Arc<[u8]>, BackendError> {
        check_name(LOCATION, name)?;
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || BackendError::NotFound { location: LOCATION.to_owned(), name: name.to_owned() };
        objects.get(name).cloned().ok_or_else(missing)
    }

    fn insert(&self, name: &str, bytes: Arc<[u8]>) -> Created {
        use std::collections::btree_map::Entry;
        match self.objects.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(bytes);
                Created::New
            }
            Entry::Occupied(_) => Created::Exists,
        }
    }
}

/// An object under way.
struct MemoryWriter {
    store: MemoryBackend,
    name: String,
    bytes: Vec<u8>,
}

impl ObjectWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        Ok(self.store.insert(&self.name, self.bytes.into()))
    }
}

impl Backend for MemoryBackend {
    fn location(&self) -> String {
        LOCATION.to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        check_name(LOCATION, name)?;
        Ok(self.insert(name, bytes.into()))
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        check_name(LOCATION, name)?;
        Ok(Box::new(MemoryWriter { store: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        Ok(self.find(name)?.to_vec())
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        let object = self.find(name)?;
        let truncated = || BackendError::Truncated {
            location: LOCATION.to_owned(),
            name: name.to_owned(),
            size_bytes: object.len() as u64,
            wanted_bytes: range.end,
        };
        let start = usize::try_from(range.start).map_err(|_| truncated())?;
        let end = usize::try_from(range.end.max(range.start)).map_err(|_| truncated())?;
        object.get(start..end).map(<[u8]>::to_vec).ok_or_else(truncated)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        match self.find(name) {
            Ok(object) => Ok(Some(object.len() as u64)),
            Err(BackendError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        check_prefix(LOCATION, prefix)?;
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let below = objects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        Ok(below.map(|(name, bytes)| Listed { name: name.clone(), size_bytes: bytes.len() as u64 }).collect())
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        check_name(LOCATION, name)?;
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        check_prefix(LOCATION, prefix)
    }

    fn local_path(&self, _: &str) -> Option<PathBuf> {
        None
    }

    fn parallel_requests(&self) -> usize {
        4
    }
}
