//! A bounded cache over a device for the metadata of filesystems that keep it in small pieces all over the place: directories,
//! allocation tables. Contents of files do not come through here.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Device;
use crate::io::ReadAt;

/// Bytes that are read at once and kept together.
const PAGE_BYTES: u64 = 64 << 10;

/// Parts of the cache with a lock each, so that threads seldom meet.
const SHARDS: usize = 8;

/// The cache. Its locks are held for a lookup only, never while the device is read.
pub(super) struct Pages {
    device: Device,
    size_bytes: u64,
    pages_per_shard: usize,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    pages: HashMap<u64, (Arc<[u8]>, u64)>,
    clock: u64,
}

impl Pages {
    /// A cache of about `cache_bytes`, at least one page in each shard.
    pub(super) fn new(device: Device, cache_bytes: usize) -> Self {
        let pages = u64::try_from(cache_bytes).unwrap_or(u64::MAX) / PAGE_BYTES;
        let pages_per_shard = usize::try_from(pages).unwrap_or(usize::MAX).div_euclid(SHARDS).max(1);
        Self { size_bytes: device.size_bytes(), device, pages_per_shard, shards: Default::default() }
    }

    /// The device below.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Fills `buffer` from `offset_bytes`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end of the device; what the device says. Where a whole page cannot be read, what was asked for may
    /// still be: it is tried alone.
    pub(super) fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let number = at / PAGE_BYTES;
            let within = usize::try_from(at % PAGE_BYTES).unwrap_or(usize::MAX);
            let wanted = rest.len().min(usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX).saturating_sub(within));
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(wanted);
            match self.page(number).ok().as_deref().and_then(|page| page.get(within..)?.get(..wanted)) {
                Some(bytes) => head.copy_from_slice(bytes),
                None => self.device.read_at(at, head)?,
            }
            rest = tail;
            at = at.saturating_add(wanted as u64);
        }
        Ok(())
    }

    fn page(&self, number: u64) -> io::Result<Arc<[u8]>> {
        let index = usize::try_from(number % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(index).ok_or(io::ErrorKind::NotFound)?;
        if let Some(page) = shard.lock().unwrap_or_else(PoisonError::into_inner).touch(number) {
            return Ok(page);
        }
        let start = number.saturating_mul(PAGE_BYTES);
        let length = self.size_bytes.saturating_sub(start).min(PAGE_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.device.read_at(start, &mut bytes)?;
        let page: Arc<[u8]> = bytes.into();
        shard.lock().unwrap_or_else(PoisonError::into_inner).keep(number, Arc::clone(&page), self.pages_per_shard);
        Ok(page)
    }
}

/// So that it can stand for the device: the files of metadata lie on it.
impl ReadAt for Pages {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(offset_bytes, buffer)
    }
}

impl Shard {
    fn touch(&mut self, number: u64) -> Option<Arc<[u8]>> {
        self.clock = self.clock.wrapping_add(1);
        let (page, used) = self.pages.get_mut(&number)?;
        *used = self.clock;
        Some(Arc::clone(page))
    }

    fn keep(&mut self, number: u64, page: Arc<[u8]>, most: usize) {
        if self.pages.len() >= most && !self.pages.contains_key(&number) {
            let oldest = self.pages.iter().min_by_key(|(_, (_, used))| *used).map(|(&number, _)| number);
            if let Some(oldest) = oldest {
                self.pages.remove(&oldest);
            }
        }
        self.clock = self.clock.wrapping_add(1);
        self.pages.insert(number, (page, self.clock));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Bytes of 200 KiB that tell their place; from `bad` on, 512 bytes fail.
    struct Counting {
        reads: AtomicU64,
        bad: u64,
    }

    impl ReadAt for Counting {
        fn size_bytes(&self) -> u64 {
            200 << 10
        }

        fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if offset_bytes < self.bad + 512 && offset_bytes + buffer.len() as u64 > self.bad {
                return Err(io::Error::other("a bad sector"));
            }
            for (at, byte) in (offset_bytes..).zip(buffer) {
                *byte = (at / 256) as u8 ^ at as u8;
            }
            Ok(())
        }
    }

    fn expected(at: u64, length: u64) -> Vec<u8> {
        (at..at + length).map(|at| (at / 256) as u8 ^ at as u8).collect()
    }

    #[test]
    fn what_was_read_once_is_not_read_again() {
        let device = Arc::new(Counting { reads: AtomicU64::new(0), bad: u64::MAX / 2 });
        let pages = Pages::new(Arc::clone(&device) as Device, 1 << 20);
        for _ in 0..3 {
            for at in [0, 65_530, 70_000, 204_700] {
                let mut bytes = [0; 100];
                pages.read(at, &mut bytes).expect("inside");
                assert_eq!(bytes.to_vec(), expected(at, 100), "{at}");
            }
        }
        assert_eq!(device.reads.load(Ordering::Relaxed), 3);
        assert_eq!(pages.read(204_701, &mut [0; 100]).expect_err("past the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn one_bad_sector_does_not_take_its_page_with_it() {
        let device = Arc::new(Counting { reads: AtomicU64::new(0), bad: 1024 });
        let pages = Pages::new(device, 1 << 20);
        let mut bytes = [0; 1024];
        pages.read(0, &mut bytes).expect("before the bad sector");
        assert_eq!(bytes.to_vec(), expected(0, 1024));
        pages.read(1000, &mut bytes).expect_err("over it");
    }

    #[test]
    fn the_cache_stays_within_its_size() {
        let pages = Pages::new(Arc::new(Counting { reads: AtomicU64::new(0), bad: u64::MAX / 2 }), 0);
        for page in 0..4 {
            pages.read(page * PAGE_BYTES, &mut [0; 8]).expect("inside");
        }
        let mut shard = Shard::default();
        for number in 0..10 {
            shard.keep(number, Arc::from([0_u8; 4]), 2);
        }
        assert_eq!(shard.pages.len(), 2);
        assert!(shard.touch(9).is_some() && shard.touch(8).is_some());
    }
}
