//! Objects in an object store: S3-compatible, Azure Blob, Google Cloud Storage.
//!
//! Each object is put by one conditional request (create-if-absent), never in parts: not every service can make a multipart upload
//! conditional, and a pack is small enough to be held until it is whole. The bytes of a finished object do not change, so an
//! attempt whose answer was lost is repeated with identical bytes (see `retry.rs`). What one of these services has accepted, it
//! lists and reads at once.
//!
//! The client crate is asynchronous; its small runtime stays in here. S3 and Azure are tested against servers that implement the
//! protocols; for Google Cloud no such server is known, and it is only built, on the same code path.

mod client;
mod errors;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::RemoteOptions;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::{PutPayload, PutPayloadMut};

use super::name::{check_name, check_prefix};
use super::{Backend, BackendError, Bucket, Created, Listed, ObjectWriter, RetryPolicy};
use client::Client;

/// Largest object: it is held in memory until it is finished. Services take 5 GB in one request.
const MAX_OBJECT_BYTES: usize = 512 << 20;
/// Bytes of an object under way are gathered in pieces of this size, so that growing never copies them.
const PIECE_BYTES: usize = 4 << 20;
/// Requests in flight that a distant store is worth.
const PARALLEL_REQUESTS: usize = 16;

/// A bucket, or the part of one below a prefix.
pub struct ObjectStoreBackend {
    client: Arc<Client>,
    retry: RetryPolicy,
}

impl ObjectStoreBackend {
    /// Makes a client; the service is not asked yet.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where a setting is missing or malformed.
    pub fn open(bucket: &Bucket, options: &RemoteOptions) -> Result<Self, BackendError> {
        let location = bucket.to_string();
        let refuse = |reason: String| BackendError::Unsupported { location: location.clone(), reason };
        let store = settings::client(bucket, options)
            .map_err(|error| refuse(format!("{error}; check the environment variables of the service")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("object-store").enable_all().build();
        let runtime = runtime.map_err(|error| refuse(format!("threads cannot be started: {error}")))?;
        let client = Client { prefix: bucket.prefix.clone(), store, runtime, location, silence: options.silence };
        Ok(Self { client: Arc::new(client), retry: options.retry })
    }
}

/// Creates an object, trying again as the policy says.
fn put(client: &Client, retry: &RetryPolicy, name: &str, payload: &PutPayload) -> Result<Created, BackendError> {
    let path = client.path(name)?;
    check_size(client, name, payload.content_length())?;
    retry.create(|| client.put(&path, name, payload), || client.is_same(&path, name, payload))
}

fn check_size(client: &Client, name: &str, length: usize) -> Result<(), BackendError> {
    if length <= MAX_OBJECT_BYTES {
        return Ok(());
    }
    Err(client.unsupported(format!("'{name}' grows beyond {} MiB, the most that is put in one request", MAX_OBJECT_BYTES >> 20)))
}

/// An object under way: its bytes, until it is whole.
struct RemoteWriter {
    client: Arc<Client>,
    retry: RetryPolicy,
    name: String,
    pieces: PutPayloadMut,
}

impl ObjectWriter for RemoteWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        check_size(&self.client, &self.name, self.pieces.content_length().saturating_add(bytes.len()))?;
        self.pieces.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Created, BackendError> {
        let Self { client, retry, name, pieces } = *self;
        put(&client, &retry, &name, &pieces.freeze())
    }
}

impl Backend for ObjectStoreBackend {
    fn location(&self) -> String {
        self.client.location.clone()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        put(&self.client, &self.retry, name, &PutPayload::from(bytes.to_vec()))
    }

    fn writer(&self, name: &str) -> Result<Box<dyn ObjectWriter>, BackendError> {
        check_name(&self.client.location, name)?;
        let pieces = PutPayloadMut::new().with_block_size(PIECE_BYTES);
        Ok(Box::new(RemoteWriter { client: Arc::clone(&self.client), retry: self.retry, name: name.to_owned(), pieces }))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackendError> {
        let path = self.client.path(name)?;
        self.retry.run(|| self.client.get(&path, name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, BackendError> {
        let path = self.client.path(name)?;
        if range.start < range.end {
            return self.retry.run(|| self.client.get_range(&path, name, &range));
        }
        // No service can be asked for nothing.
        match self.size_bytes(name)? {
            None => Err(self.client.missing(name)),
            Some(size_bytes) if size_bytes < range.start => Err(self.client.truncated(name, size_bytes, range.start)),
            Some(_) => Ok(Vec::new()),
        }
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, BackendError> {
        let path = self.client.path(name)?;
        self.retry.run(|| self.client.size_bytes(&path, name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, BackendError> {
        check_prefix(&self.client.location, prefix)?;
        self.retry.run(|| self.client.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        let path = self.client.path(name)?;
        self.retry.run(|| self.client.delete(&path, name))
    }

    fn sync_names(&self, prefix: &str) -> Result<(), BackendError> {
        check_prefix(&self.client.location, prefix)
    }

    fn local_path(&self, _: &str) -> Option<PathBuf> {
        None
    }

    fn parallel_requests(&self) -> usize {
        PARALLEL_REQUESTS
    }
}
