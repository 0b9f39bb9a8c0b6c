//! Where a store is, as people write it: a path, or a URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::name::is_part;
use super::{Backend, BackendError, LocalDirectory};

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

impl Service {
    const ALL: [Self; 3] = [Self::S3, Self::Azure, Self::Google];

    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Google => "gs",
        }
    }
}

/// A place in an object store. Endpoint and credentials come from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The kind of store.
    pub service: Service,
    /// The bucket; Azure says container.
    pub name: String,
    /// What all names begin with: empty, or parts with `/` between them and none at the ends.
    pub prefix: String,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.name)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// The place of a store: `PATH`, `file:///PATH`, `s3://BUCKET/PREFIX`, `azure://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local directory.
    Directory(PathBuf),
    /// An object store.
    Bucket(Bucket),
}

impl FromStr for Location {
    type Err = BackendError;

    /// Reads a path or URL. Nothing is looked at.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let refuse = |reason: &str| BackendError::Unsupported { location: text.to_owned(), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(refuse("the place of the vault is empty: give a path or a URL"));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::Directory(PathBuf::from(text))) };
        if scheme == "file" {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            return match percent_decoded(path) {
                Some(path) if path.starts_with('/') => Ok(Self::Directory(PathBuf::from(path))),
                _ => Err(refuse("a file URL has the form file:///absolute/path")),
            };
        }
        let Some(service) = Service::ALL.into_iter().find(|service| service.scheme() == scheme) else {
            return Err(refuse("unknown scheme; known are a plain path, file://, s3://, azure:// and gs://"));
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.contains('@') {
            // The text is not shown: it may hold a secret.
            let location = format!("{scheme}://");
            let reason = "credentials do not belong into the URL; set the environment variables of the service".to_owned();
            return Err(BackendError::Unsupported { location, reason });
        }
        let prefix = prefix.trim_matches('/');
        if !is_part(name) {
            return Err(refuse("a URL needs a bucket: scheme://bucket/prefix"));
        }
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(refuse("a prefix consists of parts of A-Z a-z 0-9 - _ . with '/' between them"));
        }
        Ok(Self::Bucket(Bucket { service, name: name.to_owned(), prefix: prefix.to_owned() }))
    }
}

/// The text with `%XX` decoded; `None` where that is malformed.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(decoded).ok()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket(bucket) => write!(f, "{bucket}"),
        }
    }
}

impl Location {
    /// Opens what is there. An object store is not asked yet: whether it can be reached, the first request shows.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where there is no directory, a setting is missing, or this build has no object stores;
    /// others as the system says.
    pub fn open(&self) -> Result<Arc<dyn Backend>, BackendError> {
        match self {
            Self::Directory(path) => Ok(Arc::new(LocalDirectory::open(path)?)),
            Self::Bucket(bucket) => open_bucket(bucket),
        }
    }

    /// Opens a place for a new vault: makes the directory where it is missing; a bucket must exist.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where something is there already; others as [`Location::open`].
    pub fn create(&self) -> Result<Arc<dyn Backend>, BackendError> {
        match self {
            Self::Directory(path) => Ok(Arc::new(LocalDirectory::create(path)?)),
            Self::Bucket(bucket) => {
                let store = open_bucket(bucket)?;
                refuse_objects(store.as_ref())?;
                Ok(store)
            }
        }
    }

    /// The directory of a local store, to see whether a source or target lies in it.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Bucket(_) => None,
        }
    }
}

/// An error where the store holds anything.
fn refuse_objects(store: &dyn Backend) -> Result<(), BackendError> {
    match store.list("")?.first() {
        None => Ok(()),
        Some(found) => {
            let reason = format!("the place is not empty: it holds '{}'; choose another prefix", found.name);
            Err(BackendError::Unsupported { location: store.location(), reason })
        }
    }
}

#[cfg(feature = "remote")]
fn open_bucket(bucket: &Bucket) -> Result<Arc<dyn Backend>, BackendError> {
    Ok(Arc::new(super::ObjectStoreBackend::open(bucket, &super::RemoteOptions::default())?))
}

#[cfg(not(feature = "remote"))]
fn open_bucket(bucket: &Bucket) -> Result<Arc<dyn Backend>, BackendError> {
    let reason = "this build of Cairn has no object stores; build it with the cargo feature 'remote'".to_owned();
    Err(BackendError::Unsupported { location: bucket.to_string(), reason })
}

/// Opens the store at a path or URL; see [`Location`].
///
/// # Errors
/// As [`Location::open`]; [`BackendError::Unsupported`] where the text is neither a path nor a known URL.
pub fn open_location(text: &str) -> Result<Arc<dyn Backend>, BackendError> {
    text.parse::<Location>()?.open()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(service: Service, name: &str, prefix: &str) -> Location {
        Location::Bucket(Bucket { service, name: name.to_owned(), prefix: prefix.to_owned() })
    }

    #[test]
    fn paths_and_urls_are_understood() {
        let cases = [
            ("/srv/vault", Location::Directory("/srv/vault".into())),
            ("vault", Location::Directory("vault".into())),
            ("s3:/odd", Location::Directory("s3:/odd".into())),
            ("file:///srv/my%20vault", Location::Directory("/srv/my vault".into())),
            ("file://localhost/srv", Location::Directory("/srv".into())),
            ("s3://backups", bucket(Service::S3, "backups", "")),
            ("s3://backups/", bucket(Service::S3, "backups", "")),
            ("azure://cont/a/b/", bucket(Service::Azure, "cont", "a/b")),
            ("gs://my.bucket-1/x", bucket(Service::Google, "my.bucket-1", "x")),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        assert_eq!(bucket(Service::Azure, "cont", "a/b").to_string(), "azure://cont/a/b");
        assert_eq!("file:///srv".parse::<Location>().unwrap().directory(), Some(Path::new("/srv")));
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_reason() {
        let cases = [
            ("", "empty"),
            ("ftp://host/x", "unknown scheme"),
            ("file://host/x", "file:///"),
            ("file:///a%2", "file:///"),
            ("file:///a%+1", "file:///"),
            ("s3://", "needs a bucket"),
            ("s3:///x", "needs a bucket"),
            ("s3://b/a//b", "prefix"),
            ("s3://b/../c", "prefix"),
            ("s3://b/a b", "prefix"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = "s3://key:secret@bucket/x".parse::<Location>().unwrap_err().to_string();
        assert!(error.contains("environment") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_directory_is_made_then_opened() {
        let directory = tempfile::tempdir().unwrap();
        let location: Location = directory.path().join("vault").to_str().unwrap().parse().unwrap();
        assert!(location.open().is_err());
        assert!(location.create().unwrap().list("").unwrap().is_empty());
        assert_eq!(location.open().unwrap().location(), location.to_string());
    }

    #[test]
    fn a_bucket_that_holds_something_is_refused() {
        let store = crate::backend::MemoryBackend::new();
        refuse_objects(&store).unwrap();
        assert_eq!(store.create("a/b", b"1").unwrap(), crate::backend::Created::New);
        let error = refuse_objects(&store).unwrap_err().to_string();
        assert!(error.contains("not empty") && error.contains("a/b"), "{error}");
    }

    #[cfg(not(feature = "remote"))]
    #[test]
    fn a_build_without_object_stores_says_so() {
        let error = open_location("s3://bucket/x").map(drop).unwrap_err().to_string();
        assert!(error.contains("feature 'remote'"), "{error}");
    }
}
