//! Finds out who reads on from where he ended, and how far ahead of him frames should be decoded.
//!
//! A reader's requests reach a mount through several threads and may overtake each other, so a stream goes on wherever a request begins
//! near the place where it was expected. The distance grows with what the stream has read: a program that reads a header gets nothing
//! decoded that it does not want, one that copies a disk has all cores at work.

use std::sync::{Mutex, PoisonError};

use crate::units::Extent;

/// Streams followed at once; the one not heard of for longest is forgotten.
const STREAMS: usize = 16;
/// How far from the expected place a request may begin.
const SLACK_BYTES: u64 = 512 << 10;
/// What a stream must have read before anything is read ahead of it.
const LEAST_BYTES: u64 = 128 << 10;
/// The farthest that is read ahead: frames of a megabyte, for some cores.
const MOST_BYTES: u64 = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    streams: Mutex<Vec<Stream>>,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Where the next request is expected.
    next_bytes: u64,
    /// What it has read in one go.
    read_bytes: u64,
    /// How far was read ahead.
    ahead_bytes: u64,
}

impl ReadAhead {
    /// Notes a request; gives what should be read ahead because of it, if anything.
    pub(super) fn advance(&self, range: Extent, size_bytes: u64) -> Option<Extent> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let near = |stream: &Stream| stream.next_bytes.abs_diff(range.offset()) <= SLACK_BYTES;
        let Some(found) = streams.iter().position(near) else {
            if streams.len() >= STREAMS {
                streams.remove(0);
            }
            streams.push(Stream { next_bytes: range.end(), read_bytes: range.length(), ahead_bytes: range.end() });
            return None;
        };
        // The last one heard of stands last.
        let mut stream = streams.remove(found);
        stream.read_bytes = stream.read_bytes.saturating_add(range.length());
        stream.next_bytes = stream.next_bytes.max(range.end());
        let soon = stream.soon(size_bytes);
        if let Some(soon) = soon {
            stream.ahead_bytes = soon.end();
        }
        streams.push(stream);
        soon
    }
}

impl Stream {
    /// What should be read ahead now. Nothing while at least half of the distance is still ahead, so that requests come in larger parts.
    fn soon(&self, size_bytes: u64) -> Option<Extent> {
        if self.read_bytes < LEAST_BYTES {
            return None;
        }
        let distance = self.read_bytes.min(MOST_BYTES);
        let from = self.ahead_bytes.max(self.next_bytes);
        let to = self.next_bytes.saturating_add(distance).min(size_bytes);
        let left = self.ahead_bytes.saturating_sub(self.next_bytes);
        (from < to && left <= distance / 2).then(|| Extent::between(from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ahead: &ReadAhead, offset: u64, length: u64) -> Option<(u64, u64)> {
        ahead.advance(Extent::between(offset, offset + length), 1 << 40).map(|soon| (soon.offset(), soon.end()))
    }

    #[test]
    fn who_reads_on_is_read_ahead_of_farther_and_farther() {
        let ahead = ReadAhead::default();
        assert_eq!(request(&ahead, 0, 128 << 10), None);
        let (mut last, mut farthest) = (0, 0);
        for at in (128_u64 << 10..64 << 20).step_by(128 << 10) {
            if let Some((from, to)) = request(&ahead, at, 128 << 10) {
                assert!(from >= last, "nothing is asked for twice");
                last = to;
                farthest = farthest.max(to - at);
            }
        }
        assert!(last > 64 << 20, "the end is ahead: {last}");
        assert!((8 << 20..=17 << 20).contains(&farthest), "{farthest}");
    }

    #[test]
    fn requests_that_overtake_each_other_are_one_stream() {
        let ahead = ReadAhead::default();
        let order = [0, 2, 1, 3, 5, 4, 7, 6];
        let asked = order.iter().filter(|&&nth| request(&ahead, nth << 17, 1 << 17).is_some()).count();
        assert!(asked > 0);
        assert_eq!(ahead.streams.lock().expect("a lock").len(), 1);
    }

    #[test]
    fn scattered_reads_get_nothing() {
        let ahead = ReadAhead::default();
        for nth in 0..100_u64 {
            assert_eq!(request(&ahead, (nth * 7919 % 100) << 30, 4096), None);
        }
    }

    #[test]
    fn the_disk_ends() {
        let ahead = ReadAhead::default();
        let all: Vec<_> = (0..8_u64).filter_map(|nth| ahead.advance(Extent::between(nth << 17, (nth + 1) << 17), 1 << 20)).collect();
        assert!(all.iter().all(|soon| soon.end() <= 1 << 20), "{all:?}");
    }
}
