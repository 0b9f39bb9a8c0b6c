//! Pages of the device that hold metadata, kept in bounded memory: file records, directories and lists are small and lie close together,
//! so one read of a page serves many of them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bytes::index;
use crate::guestfs::Device;
use crate::io::ReadAt;

/// Bytes of a page: 64 file records.
const PAGE_BYTES: u64 = 64 << 10;
/// Parts of the cache with a lock each.
const SHARDS: u64 = 8;

/// A device whose pages are kept.
pub(super) struct PageCache {
    device: Device,
    shards: Vec<Mutex<Shard>>,
    pages_per_shard: usize,
}

#[derive(Default)]
struct Shard {
    pages: HashMap<u64, (Arc<[u8]>, u64)>,
    clock: u64,
}

impl PageCache {
    /// Keeps up to `cache_bytes` of `device`, at least one page in each of its parts.
    pub(super) fn new(device: Device, cache_bytes: usize) -> Self {
        let pages_per_shard = (cache_bytes / index(PAGE_BYTES * SHARDS)).max(1);
        Self { device, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), pages_per_shard }
    }

    fn shard(&self, page: u64) -> Option<MutexGuard<'_, Shard>> {
        // What a panic in between leaves behind is still a cache.
        self.shards.get(index(page % SHARDS)).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn page(&self, page: u64) -> io::Result<Arc<[u8]>> {
        if let Some(mut shard) = self.shard(page) {
            shard.clock = shard.clock.wrapping_add(1);
            let now = shard.clock;
            if let Some((bytes, used)) = shard.pages.get_mut(&page) {
                *used = now;
                return Ok(Arc::clone(bytes));
            }
        }
        let start = page.saturating_mul(PAGE_BYTES);
        let length = self.device.size_bytes().saturating_sub(start).min(PAGE_BYTES);
        let mut bytes = vec![0; index(length)];
        self.device.read_at(start, &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        if let Some(mut shard) = self.shard(page) {
            if shard.pages.len() >= self.pages_per_shard {
                let oldest = shard.pages.iter().min_by_key(|(_, (_, used))| *used).map(|(page, _)| *page);
                oldest.and_then(|oldest| shard.pages.remove(&oldest));
            }
            let now = shard.clock;
            shard.pages.insert(page, (Arc::clone(&bytes), now));
        }
        Ok(bytes)
    }
}

impl ReadAt for PageCache {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|end| *end <= self.size_bytes());
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let page = self.page(at / PAGE_BYTES).or_else(|error| self.without_page(at, rest.len(), error))?;
            let from = page.get(index(at % PAGE_BYTES)..).unwrap_or_default();
            let length = from.len().min(rest.len());
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(length);
            head.copy_from_slice(from.get(..length).unwrap_or_default());
            rest = tail;
            at = at.saturating_add(length as u64);
        }
        Ok(())
    }
}

impl PageCache {
    /// A page of which a part cannot be read may still have the bytes that are asked for: they are read alone, behind as many zeros as
    /// stand before them in the page.
    fn without_page(&self, at: u64, wanted: usize, error: io::Error) -> io::Result<Arc<[u8]>> {
        let before = index(at % PAGE_BYTES);
        let length = wanted.min(index(PAGE_BYTES).saturating_sub(before));
        let mut bytes = vec![0; before.saturating_add(length)];
        let Some(wanted) = bytes.get_mut(before..) else { return Err(error) };
        self.device.read_at(at, wanted).map_err(|_| error)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// 1 MiB in which each byte tells its place, with a hole that cannot be read.
    struct Counting(AtomicU64);

    impl ReadAt for Counting {
        fn size_bytes(&self) -> u64 {
            (1 << 20) + 100
        }

        fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let end = offset_bytes + buffer.len() as u64;
            if offset_bytes < 300_000 && end > 299_000 {
                return Err(io::Error::other("a bad sector"));
            }
            for (place, byte) in (offset_bytes..).zip(buffer.iter_mut()) {
                *byte = (place / 251) as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn pages_are_read_once_and_bad_ones_as_far_as_they_go() {
        let device = Arc::new(Counting(AtomicU64::new(0)));
        let cache = PageCache::new(Arc::clone(&device) as Device, 16 << 20);
        let mut bytes = vec![0; 100_000];
        for _ in 0..3 {
            cache.read_at(700_000, &mut bytes).expect("sound");
            assert!((700_000_u64..).zip(&bytes).all(|(place, byte)| (place / 251) as u8 == *byte));
        }
        assert_eq!(device.0.load(Ordering::Relaxed), 3, "three pages, each once");
        let mut few = [0; 50];
        cache.read_at(300_000, &mut few).expect("behind the bad sector");
        assert_eq!(few[0], (300_000_u64 / 251) as u8);
        cache.read_at(299_990, &mut few).expect_err("in it");
        cache.read_at((1 << 20) + 60, &mut few).expect_err("past the end");
        cache.read_at((1 << 20) + 50, &mut few).expect("the last page is short");
    }
}
