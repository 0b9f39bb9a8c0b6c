//! Chains of clusters, as FAT and exFAT have them: followed once into extents, so that seeking costs nothing afterwards. A chain that
//! leads back into itself, out of the volume or into free clusters is damaged there; what comes before can be read.

use std::collections::HashMap;
use std::io;

use super::mapped::{FileExtent, MOST_EXTENTS, MappedFile};
use super::pages::Pages;
use super::{Device, FileData, GuestError, GuestResult, Run};
use crate::io::ReadAt;

/// Where the clusters of a volume lie. The first one has the number 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clusters {
    /// Where on the device cluster 2 lies.
    pub(super) start_bytes: u64,
    /// Bytes of each.
    pub(super) cluster_bytes: u64,
    /// How many there are.
    pub(super) count: u32,
}

impl Clusters {
    /// Where a cluster lies on the device; `None` for a number that the volume does not have.
    pub(super) fn offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2)?;
        if index >= self.count {
            return None;
        }
        u64::from(index).checked_mul(self.cluster_bytes)?.checked_add(self.start_bytes)
    }

    /// The cluster at a place of the device.
    pub(super) fn at(&self, device_bytes: u64) -> Option<u32> {
        let index = device_bytes.checked_sub(self.start_bytes)?.checked_div(self.cluster_bytes)?;
        let index = u32::try_from(index).ok().filter(|index| *index < self.count)?;
        index.checked_add(2)
    }

    /// `size_bytes`, rounded up to clusters.
    pub(super) fn rounded(&self, size_bytes: u64) -> u64 {
        size_bytes.checked_next_multiple_of(self.cluster_bytes).unwrap_or(u64::MAX)
    }
}

/// What an allocation table says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The next one of the same chain.
    Next(u32),
    /// It is the last of its chain.
    End,
    /// It belongs to nothing.
    Free,
    /// It is marked as unusable.
    Bad,
}

/// A chain that was followed.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Its clusters, those that touch put together.
    pub(super) extents: Vec<FileExtent>,
    /// Bytes of all extents.
    pub(super) length_bytes: u64,
    /// Why it ends too early.
    pub(super) broken: Option<String>,
}

impl Chain {
    /// A chain of one piece, for what lies outside the table's care.
    pub(super) fn contiguous(device_bytes: u64, length_bytes: u64) -> Self {
        Self { extents: vec![FileExtent { start_bytes: 0, length_bytes, device_bytes }], length_bytes, broken: None }
    }

    /// `length_bytes` in clusters that follow each other from `first`, as far as the volume has them.
    pub(super) fn unbroken(clusters: &Clusters, first: u32, length_bytes: u64) -> Self {
        let past = || format!("it reaches past the last cluster, from {first} on for {length_bytes} bytes");
        let Some(offset) = clusters.offset(first) else { return Self::default().broken(past()) };
        let after = u64::from(clusters.count).saturating_add(2).saturating_sub(u64::from(first)).saturating_mul(clusters.cluster_bytes);
        let chain = Self::contiguous(offset, clusters.rounded(length_bytes).min(after));
        if chain.length_bytes < length_bytes { chain.broken(past()) } else { chain }
    }

    /// Follows a chain from `first` to its end, or until `most_bytes` have been found.
    ///
    /// # Errors
    /// Those of `link` alone: damage of the chain is kept in the result.
    pub(super) fn follow(
        clusters: &Clusters,
        first: u32,
        most_bytes: u64,
        mut link: impl FnMut(u32) -> GuestResult<Link>,
    ) -> GuestResult<Self> {
        let mut chain = Self::default();
        let mut seen = Seen::default();
        let mut cluster = first;
        while chain.length_bytes < most_bytes {
            let Some(offset) = clusters.offset(cluster) else {
                return Ok(chain.broken(format!("its chain leads to cluster {cluster}, which the volume does not have")));
            };
            if !seen.insert(cluster) {
                return Ok(chain.broken(format!("its chain leads back into itself at cluster {cluster}")));
            }
            if !chain.push(offset, clusters.cluster_bytes) {
                return Ok(chain.broken(format!("it has more than {MOST_EXTENTS} fragments")));
            }
            if chain.length_bytes >= most_bytes {
                break;
            }
            match link(cluster)? {
                Link::Next(next) => cluster = next,
                Link::End => break,
                Link::Free => return Ok(chain.broken(format!("its chain leads into free clusters at {cluster}"))),
                Link::Bad => return Ok(chain.broken(format!("its chain leads into a bad cluster at {cluster}"))),
            }
        }
        Ok(chain)
    }

    fn broken(mut self, problem: String) -> Self {
        self.broken = Some(problem);
        self
    }

    /// Adds a cluster; false where there are too many extents.
    fn push(&mut self, device_bytes: u64, length_bytes: u64) -> bool {
        let full = self.extents.len() >= MOST_EXTENTS;
        match self.extents.last_mut() {
            Some(last) if last.device_bytes.saturating_add(last.length_bytes) == device_bytes => {
                last.length_bytes = last.length_bytes.saturating_add(length_bytes);
            }
            _ if full => return false,
            _ => self.extents.push(FileExtent { start_bytes: self.length_bytes, length_bytes, device_bytes }),
        }
        self.length_bytes = self.length_bytes.saturating_add(length_bytes);
        true
    }
}

/// Clusters that were met, a bit for each in pages of 4,096, so that neither a large volume nor a scattered chain takes much.
#[derive(Default)]
struct Seen {
    pages: HashMap<u32, [u64; 64]>,
}

impl Seen {
    /// Whether it is new.
    fn insert(&mut self, cluster: u32) -> bool {
        let page = self.pages.entry(cluster >> 12).or_insert([0; 64]);
        let Some(word) = page.get_mut(((cluster >> 6) & 63) as usize) else { return false };
        let bit = 1 << (cluster & 63);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Bytes of an allocation table that are looked at at once. All of FAT12's (at most 6 KiB) fits in one window, so no entry lies in two.
const WINDOW_BYTES: u64 = 16 << 10;

/// An allocation table on the device, and what was read of it last, for one walk. Read through the shared cache in large pieces; where
/// the first copy cannot be read, from the next one.
pub(super) struct Table<'a> {
    pages: &'a Pages,
    copies: &'a [u64],
    length_bytes: u64,
    window: Option<u64>,
    bytes: Vec<u8>,
}

impl<'a> Table<'a> {
    /// A table of `length_bytes` of which there are copies at these places.
    pub(super) fn new(pages: &'a Pages, copies: &'a [u64], length_bytes: u64) -> Self {
        Self { pages, copies, length_bytes, window: None, bytes: Vec::new() }
    }

    /// The bytes from `at_bytes` on, a few at least; none past the end.
    ///
    /// # Errors
    /// The device's, where no copy can be read there.
    pub(super) fn around(&mut self, at_bytes: u64) -> GuestResult<&[u8]> {
        let start = at_bytes - at_bytes % WINDOW_BYTES;
        if self.window != Some(start) {
            let length = self.length_bytes.saturating_sub(start).min(WINDOW_BYTES);
            self.bytes = self.load(start, usize::try_from(length).unwrap_or(0)).map_err(GuestError::Device)?;
            self.window = Some(start);
        }
        Ok(self.bytes.get(usize::try_from(at_bytes - start).unwrap_or(usize::MAX)..).unwrap_or_default())
    }

    fn load(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut result = Err(io::ErrorKind::NotFound.into());
        for copy in self.copies {
            result = self.pages.read(copy.saturating_add(start), &mut bytes);
            if result.is_ok() {
                break;
            }
        }
        result.map(|()| bytes)
    }
}

/// The contents of a file in a chain. Past the place where the chain is broken, reading gives the damage.
pub(super) struct ChainFile {
    mapped: MappedFile,
    object: String,
    sound_bytes: u64,
    problem: String,
}

impl ChainFile {
    /// A file of `size_bytes`, of which those from `valid_bytes` on were never written and read as zeros.
    ///
    /// # Errors
    /// As [`MappedFile::new`].
    pub(super) fn new(object: String, device: Device, chain: Chain, size_bytes: u64, valid_bytes: u64) -> GuestResult<Self> {
        let valid_bytes = valid_bytes.min(size_bytes);
        let complete = chain.length_bytes >= valid_bytes;
        let sound_bytes = if complete { size_bytes } else { chain.length_bytes };
        let problem =
            chain.broken.unwrap_or_else(|| format!("its chain ends after {} bytes, {valid_bytes} were expected", chain.length_bytes));
        let extents = chain.extents.into_iter().filter_map(|extent| {
            let left = valid_bytes.checked_sub(extent.start_bytes)?;
            Some(FileExtent { length_bytes: extent.length_bytes.min(left), ..extent })
        });
        let mapped = MappedFile::new(&object, device, size_bytes, extents.collect())?;
        Ok(Self { mapped, object, sound_bytes, problem })
    }

    fn check(&self, end_bytes: u64) -> io::Result<()> {
        if end_bytes <= self.sound_bytes {
            return Ok(());
        }
        Err(GuestError::damaged(&self.object, &self.problem).into())
    }
}

impl ReadAt for ChainFile {
    fn size_bytes(&self) -> u64 {
        self.mapped.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.saturating_add(buffer.len() as u64);
        if end <= self.mapped.size_bytes() {
            self.check(end)?;
        }
        self.mapped.read_at(offset_bytes, buffer)
    }
}

impl FileData for ChainFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        if offset_bytes < self.mapped.size_bytes() {
            self.check(offset_bytes.saturating_add(1))?;
        }
        let run = self.mapped.run_at(offset_bytes)?;
        let left = self.sound_bytes.saturating_sub(offset_bytes);
        Ok(Run { length_bytes: run.length_bytes.min(left), ..run })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::MemoryAt;

    const CLUSTERS: Clusters = Clusters { start_bytes: 100, cluster_bytes: 10, count: 20 };

    fn follow(links: &[(u32, Link)], most_bytes: u64) -> Chain {
        let link = |cluster| Ok(links.iter().find(|(from, _)| *from == cluster).map_or(Link::Free, |(_, link)| *link));
        Chain::follow(&CLUSTERS, 2, most_bytes, link).expect("links can be read")
    }

    #[test]
    fn neighbours_become_one_extent_and_reading_stops_at_the_size() {
        let chain = follow(&[(2, Link::Next(3)), (3, Link::Next(9)), (9, Link::End)], u64::MAX);
        let shape: Vec<_> = chain.extents.iter().map(|extent| (extent.start_bytes, extent.length_bytes, extent.device_bytes)).collect();
        assert_eq!((shape, chain.broken.is_none()), (vec![(0, 20, 100), (20, 10, 170)], true));
        assert_eq!(follow(&[(2, Link::Next(3))], 20).broken, None, "what lies past the size is not followed");
    }

    #[test]
    fn loops_and_strays_end_a_chain() {
        for (links, length) in [
            (&[(2, Link::Next(3)), (3, Link::Next(2))][..], 20),
            (&[(2, Link::Next(2))], 10),
            (&[(2, Link::Next(22))], 10),
            (&[(2, Link::Next(1))], 10),
            (&[(2, Link::Bad)], 10),
            (&[], 10),
        ] {
            let chain = follow(links, 1000);
            assert!(chain.broken.is_some(), "{links:?}");
            assert_eq!(chain.length_bytes, length, "{links:?}");
        }
    }

    #[test]
    fn what_comes_before_the_break_can_be_read_and_nothing_after() {
        let device: Device = Arc::new(MemoryAt::new((0..=255).collect()));
        let file = ChainFile::new("file".into(), device, follow(&[(2, Link::Next(3))], 100), 35, 35).expect("opens");
        let mut bytes = [0; 20];
        file.read_at(0, &mut bytes).expect("sound");
        assert_eq!(bytes.to_vec(), (100..120).collect::<Vec<u8>>());
        assert!(file.read_at(15, &mut bytes).expect_err("past the break").to_string().contains("free clusters"));
        assert_eq!(file.run_at(5).expect("sound").length_bytes, 15);
        file.run_at(20).expect_err("past the break");
        assert_eq!(file.run_at(35).expect("the end").length_bytes, 0);
        assert_eq!(file.read_at(30, &mut bytes).expect_err("past the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_was_never_written_is_zeros() {
        let device: Device = Arc::new(MemoryAt::new((0..=255).collect()));
        let file = ChainFile::new("file".into(), device, follow(&[(2, Link::End)], 100), 35, 7).expect("opens");
        let mut bytes = [9; 35];
        file.read_at(0, &mut bytes).expect("whole");
        assert_eq!(bytes.to_vec(), (100..107).chain([0; 28]).collect::<Vec<u8>>());
    }
}
