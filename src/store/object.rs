//! Small sealed objects: one way in, one way out.

use crate::backend::{Backend, Created};
use crate::crypt::VaultKeys;
use crate::format::FormatError;
use crate::format::envelope::ObjectKind;
use crate::store::StoreError;

/// Seals a body and creates its object, if the name is free.
pub(crate) fn create(backend: &dyn Backend, keys: &VaultKeys, kind: ObjectKind, name: &str, body: &[u8]) -> Result<Created, StoreError> {
    let sealed = keys.seal_object(kind, name, &[], body).map_err(|source| StoreError::Sealed { name: name.to_owned(), source })?;
    Ok(backend.create(name, &sealed)?)
}

/// Reads, opens and decodes an object.
pub(crate) fn get<T>(
    backend: &dyn Backend,
    keys: &VaultKeys,
    kind: ObjectKind,
    name: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, StoreError> {
    let bytes = backend.get(name)?;
    let opened = keys.open_object(kind, name, &bytes).map_err(|source| StoreError::Sealed { name: name.to_owned(), source })?;
    decode(&opened.body).map_err(|source| StoreError::Damaged { name: name.to_owned(), source })
}
