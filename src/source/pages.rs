//! The tables of an image, read a page at a time and kept while they are in use.

use std::sync::Arc;

use super::SourceError;
use super::cache::Cache;
use super::fields::split;
use super::host::HostFile;

/// Bytes of a page. A multiple of every table entry, so that no entry of an aligned table crosses two pages.
const PAGE_BYTES: u64 = 64 << 10;
/// Bytes of tables that are kept for one image: those of 128 GiB of disk in clusters of 64 KiB.
const CACHE_BYTES: usize = 16 << 20;

/// Pages of the files of one image.
#[derive(Debug)]
pub(super) struct Pages {
    cache: Cache,
}

/// The part of a page from the byte that was asked for to the page's end.
#[derive(Debug)]
pub(super) struct Page {
    bytes: Arc<Vec<u8>>,
    start: usize,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { cache: Cache::new(CACHE_BYTES) }
    }

    /// The bytes of the file from `offset_bytes` to the end of their page or of the file; none past its end. `patch` may change
    /// the page as it is loaded, given its offset in the file.
    pub(super) fn from(&self, host: &HostFile, offset_bytes: u64, patch: impl FnOnce(u64, &mut [u8])) -> Result<Page, SourceError> {
        self.starting_at_file(host, 0, offset_bytes, patch)
    }

    /// The same of the image's file with this number.
    pub(super) fn starting_at_file(
        &self,
        host: &HostFile,
        number: u16,
        offset_bytes: u64,
        patch: impl FnOnce(u64, &mut [u8]),
    ) -> Result<Page, SourceError> {
        let (page, within) = split(offset_bytes, PAGE_BYTES);
        let first = offset_bytes.saturating_sub(within);
        // A page's number has at most 48 bits.
        let bytes = self.cache.get_or_load(u64::from(number) << 48 | page, || {
            let length = host.size_bytes().saturating_sub(first).min(PAGE_BYTES);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            host.read(first, &mut bytes)?;
            patch(first, &mut bytes);
            Ok(bytes)
        })?;
        Ok(Page { bytes, start: usize::try_from(within).unwrap_or(usize::MAX) })
    }
}

impl Page {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}
