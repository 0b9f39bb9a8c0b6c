//! Sealed objects of a vault: one way in, one way out.

use super::CatalogueError;
use crate::backend::{Backend, BackendError, Created};
use crate::crypt::{OpenObject, VaultKeys};
use crate::format::envelope::ObjectKind;
use crate::format::names::ObjectName;

#[derive(Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) keys: &'a VaultKeys,
}

impl Sealed<'_> {
    pub(super) fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>, CatalogueError> {
        match self.backend.get(&name.to_string()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BackendError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an object; false where the name is taken by other bytes. A failure after which exactly our bytes are there was none: only
    /// the answer was lost on its way.
    pub(super) fn create(&self, name: &ObjectName, sealed: &[u8]) -> Result<bool, CatalogueError> {
        let name = name.to_string();
        match self.backend.create(&name, sealed) {
            Ok(Created::New) => Ok(true),
            Ok(Created::Exists) => Ok(self.backend.get(&name)? == sealed),
            Err(error) => match self.backend.get(&name) {
                Ok(found) => Ok(found == sealed),
                Err(_) => Err(error.into()),
            },
        }
    }

    pub(super) fn seal(&self, kind: ObjectKind, name: &ObjectName, clear: &[u8], body: &[u8]) -> Result<Vec<u8>, CatalogueError> {
        Ok(self.keys.seal_object(kind, &name.to_string(), clear, body)?)
    }

    pub(super) fn open(&self, kind: ObjectKind, name: &ObjectName, bytes: &[u8]) -> Result<OpenObject, CatalogueError> {
        Ok(self.keys.open_object(kind, &name.to_string(), bytes)?)
    }
}
