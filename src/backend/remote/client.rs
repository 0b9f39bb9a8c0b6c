//! Single requests to an object store, each tried once and bounded in time.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::errors;
use crate::backend::name::{check_name, is_name};
use crate::backend::{BackendError, Created, Listed};

/// The slowest line that is waited for: a pack of 64 MiB may take 17 minutes. A peer that vanished is noticed after half a
/// minute by TCP.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// A bucket, or the part of one below a prefix.
pub(super) struct Client {
    pub(super) location: String,
    /// Empty, or parts with `/` between them.
    pub(super) prefix: String,
    pub(super) store: Box<dyn ObjectStore>,
    pub(super) runtime: Runtime,
    /// How long the service may be silent.
    pub(super) silence: Duration,
}

impl Client {
    /// The object's path in the bucket.
    pub(super) fn path(&self, name: &str) -> Result<Path, BackendError> {
        check_name(&self.location, name)?;
        self.below_prefix(name)
    }

    fn below_prefix(&self, name: &str) -> Result<Path, BackendError> {
        let full = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        let refuse = |error: object_store::path::Error| self.unsupported(error.to_string());
        Path::parse(full.trim_end_matches('/')).map_err(refuse)
    }

    pub(super) fn unsupported(&self, reason: String) -> BackendError {
        BackendError::Unsupported { location: self.location.clone(), reason }
    }

    pub(super) fn missing(&self, name: &str) -> BackendError {
        BackendError::NotFound { location: self.location.clone(), name: name.to_owned() }
    }

    pub(super) fn truncated(&self, name: &str, size_bytes: u64, wanted_bytes: u64) -> BackendError {
        BackendError::Truncated { location: self.location.clone(), name: name.to_owned(), size_bytes, wanted_bytes }
    }

    fn io(&self, name: &str, doing: &'static str, source: io::Error) -> BackendError {
        BackendError::Io { location: self.location.clone(), name: name.to_owned(), doing, source }
    }

    fn silent(&self, name: &str, doing: &'static str, limit: Duration) -> BackendError {
        let text = format!("no answer within {limit:?}");
        self.io(name, doing, io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// Does one request, within a time that allows for sending `bytes`.
    fn request<T>(
        &self,
        name: &str,
        doing: &'static str,
        bytes: u64,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BackendError> {
        let limit = self.silence + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        match self.runtime.block_on(async { timeout(limit, request).await }) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(errors::sort(&self.location, name, doing, &error)),
            Err(_) => Err(self.silent(name, doing, limit)),
        }
    }

    /// Puts an object if its name is free.
    pub(super) fn put(&self, path: &Path, name: &str, payload: &PutPayload) -> Result<Created, BackendError> {
        const DOING: &str = "writing";
        let put = async {
            match self.store.put_opts(path, payload.clone(), PutMode::Create.into()).await {
                Ok(_) => Ok(Some(Created::New)),
                // A 409 of S3 may also mean that the name was free, but another request for it was under way.
                Err(object_store::Error::AlreadyExists { .. }) => match self.store.head(path).await {
                    Ok(_) => Ok(Some(Created::Exists)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            }
        };
        match self.request(name, DOING, payload.content_length() as u64, put) {
            Ok(Some(created)) => Ok(created),
            Ok(None) => Err(self.io(name, DOING, io::Error::other("the service reports a conflict, but there is no such object"))),
            Err(BackendError::NotFound { .. }) => Err(self.unsupported(errors::NO_BUCKET.to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Whether the object has these bytes, compared as they arrive.
    pub(super) fn is_same(&self, path: &Path, name: &str, payload: &PutPayload) -> Result<bool, BackendError> {
        let mut expected = payload.iter().flat_map(|piece| piece.iter());
        let mut same = true;
        let received = self.receive(path, name, None, |bytes| {
            same = bytes.iter().all(|byte| expected.next() == Some(byte));
            same
        });
        match received {
            Ok(_) => Ok(same && expected.next().is_none()),
            Err(BackendError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gets an object or a part of it; `take` is given the pieces as they arrive, until it says that it has seen enough. Gives the
    /// size of the whole object.
    fn receive(
        &self,
        path: &Path,
        name: &str,
        range: Option<Range<u64>>,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<u64, BackendError> {
        const DOING: &str = "reading";
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let result = self.request(name, DOING, 0, self.store.get_opts(path, options))?;
        let size_bytes = result.meta.size;
        let mut pieces = result.into_stream();
        self.runtime.block_on(async {
            loop {
                match timeout(self.silence, pieces.next()).await {
                    Ok(Some(Ok(bytes))) if take(&bytes) => {}
                    Ok(Some(Ok(_)) | None) => return Ok(size_bytes),
                    Ok(Some(Err(error))) => return Err(errors::sort(&self.location, name, DOING, &error)),
                    Err(_) => return Err(self.silent(name, DOING, self.silence)),
                }
            }
        })
    }

    /// A whole object.
    pub(super) fn get(&self, path: &Path, name: &str) -> Result<Vec<u8>, BackendError> {
        let mut bytes = Vec::new();
        let size_bytes = self.receive(path, name, None, |piece| {
            bytes.extend_from_slice(piece);
            true
        })?;
        self.check_length(name, bytes, size_bytes)
    }

    /// A part of an object; the range is not empty.
    pub(super) fn get_range(&self, path: &Path, name: &str, range: &Range<u64>) -> Result<Vec<u8>, BackendError> {
        let length = range.end - range.start;
        let mut bytes = Vec::new();
        let received = self.receive(path, name, Some(range.clone()), |piece| {
            bytes.extend_from_slice(piece);
            bytes.len() as u64 <= length
        });
        match received {
            Ok(size_bytes) if range.end <= size_bytes => self.check_length(name, bytes, length),
            // Services answer a range that ends behind the object with less.
            Ok(size_bytes) => Err(self.truncated(name, size_bytes, range.end)),
            Err(error @ (BackendError::NotFound { .. } | BackendError::Denied { .. })) => Err(error),
            // And one that starts there with errors of many kinds.
            Err(error) => match self.size_bytes(path, name)? {
                Some(size_bytes) if size_bytes < range.end => Err(self.truncated(name, size_bytes, range.end)),
                _ => Err(error),
            },
        }
    }

    /// An answer of another length than announced is a failure that may pass.
    fn check_length(&self, name: &str, bytes: Vec<u8>, expected: u64) -> Result<Vec<u8>, BackendError> {
        if bytes.len() as u64 == expected {
            return Ok(bytes);
        }
        let text = format!("{} bytes came instead of {expected}", bytes.len());
        Err(self.io(name, "reading", io::Error::new(io::ErrorKind::UnexpectedEof, text)))
    }

    /// An object's size, where there is one.
    pub(super) fn size_bytes(&self, path: &Path, name: &str) -> Result<Option<u64>, BackendError> {
        match self.request(name, "looking at", 0, self.store.head(path)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(BackendError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects below a prefix, which is empty or ends in `/`, in ascending order.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        let path = self.below_prefix(prefix)?;
        let above = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let mut listing = self.store.list(Some(&path));
        let mut found = Vec::new();
        self.runtime.block_on(async {
            loop {
                match timeout(self.silence, listing.next()).await {
                    Ok(Some(Ok(meta))) => {
                        let name = meta.location.as_ref().strip_prefix(&above).filter(|name| is_name(name));
                        found.extend(name.map(|name| Listed { name: name.to_owned(), size_bytes: meta.size }));
                    }
                    Ok(Some(Err(error))) => return Err(errors::sort(&self.location, prefix, "listing", &error)),
                    Ok(None) => return Ok(()),
                    Err(_) => return Err(self.silent(prefix, "listing", self.silence)),
                }
            }
        })?;
        found.sort_unstable_by(|one: &Listed, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Removes an object; no error where there is none.
    pub(super) fn delete(&self, path: &Path, name: &str) -> Result<(), BackendError> {
        match self.request(name, "removing", 0, self.store.delete(path)) {
            Err(BackendError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}
