//! The old kind of snapshot: an origin, and a store with what the origin's chunks were before they were written.
//!
//! Layout: Linux `drivers/md/dm-snap-persistent.c`. The store counts in chunks: a header, then areas, each a chunk full of pairs (which
//! chunk of the origin, which of the store) followed by as many chunks of data. The first pair without a place in the store is the end.

use std::io;
use std::sync::Arc;

use crate::io::ReadAt;
use crate::volume::bytes::{le32, le64};
use crate::volume::{AnyLayer, MadeOf, Place, Run, Runs, VolumeError, VolumeResult};

const MAGIC: u32 = 0x7041_6e53;
const PAIR_BYTES: u64 = 16;
/// The most chunks that are kept in memory (64 MiB of pairs): 16 GiB of changes in chunks of 4 KiB.
const MOST_EXCEPTIONS: usize = 4 << 20;
/// Chunks of the store are at most this large; LVM makes them 512 KiB at most.
const MOST_CHUNK_BYTES: u64 = 16 << 20;

/// An origin with other chunks laid over it.
pub(super) struct Snapshot {
    origin: AnyLayer,
    store: AnyLayer,
    chunk_bytes: u64,
    /// Chunk of the origin and of the store, by the former.
    exceptions: Vec<(u64, u64)>,
}

impl Snapshot {
    /// The snapshot `title` of `origin`, and what a person should know of it.
    ///
    /// # Errors
    /// Damage, also where the store overflowed and holds nothing of use any more; the disk's.
    pub(super) fn open(title: &str, origin: &AnyLayer, store: &AnyLayer) -> VolumeResult<(AnyLayer, Option<String>)> {
        let damaged = |problem: String| VolumeError::damaged(title, problem);
        let mut header = [0_u8; 16];
        store.read_at(0, &mut header)?;
        let field = |at: usize| le32(&header, at).unwrap_or(0);
        if field(0) == 0 {
            // It was made and never started: nothing has been kept yet.
            return Ok((Arc::clone(origin), Some("nothing has been written to it or its origin yet".to_owned())));
        }
        if field(0) != MAGIC || field(8) != 1 {
            return Err(damaged(format!("its store has magic number {:08x} and version {}", field(0), field(8))));
        }
        if field(4) != 1 {
            return Err(damaged("it is invalid: its store overflowed".to_owned()));
        }
        let chunk_bytes = u64::from(field(12)).saturating_mul(512);
        if !chunk_bytes.is_power_of_two() || chunk_bytes > MOST_CHUNK_BYTES {
            return Err(damaged(format!("its chunks have {chunk_bytes} bytes")));
        }
        let exceptions = exceptions(title, store.as_ref(), chunk_bytes)?;
        let snapshot = Self { origin: Arc::clone(origin), store: Arc::clone(store), chunk_bytes, exceptions };
        Ok((Arc::new(MadeOf(snapshot)), None))
    }
}

/// All pairs of the store, sorted.
fn exceptions(title: &str, store: &dyn ReadAt, chunk_bytes: u64) -> VolumeResult<Vec<(u64, u64)>> {
    let damaged = |problem: String| VolumeError::damaged(title, problem);
    let chunks = store.size_bytes().checked_div(chunk_bytes).unwrap_or(0);
    let per_area = chunk_bytes.checked_div(PAIR_BYTES).unwrap_or(0);
    let mut area = vec![0_u8; usize::try_from(chunk_bytes).unwrap_or(0)];
    let mut exceptions = Vec::new();
    let mut at = 1_u64;
    'areas: while at < chunks {
        store.read_at(at.saturating_mul(chunk_bytes), &mut area)?;
        for pair in area.chunks_exact(16) {
            let (from, to) = (le64(pair, 0).unwrap_or(0), le64(pair, 8).unwrap_or(0));
            if to == 0 {
                break 'areas;
            }
            if to >= chunks {
                return Err(damaged(format!("chunk {from} lies at chunk {to} of a store of {chunks}")));
            }
            if exceptions.len() >= MOST_EXCEPTIONS {
                return Err(VolumeError::unsupported(format!("{title}, a snapshot with more than {MOST_EXCEPTIONS} changed chunks,")));
            }
            exceptions.push((from, to));
        }
        at = at.saturating_add(per_area).saturating_add(1);
    }
    exceptions.sort_unstable();
    if let Some((chunk, _)) = exceptions.windows(2).find_map(|two| if let [a, b] = two { (a.0 == b.0).then_some(*a) } else { None }) {
        return Err(damaged(format!("chunk {chunk} of its origin is in its store twice")));
    }
    Ok(exceptions)
}

impl Runs for Snapshot {
    fn size_bytes(&self) -> u64 {
        self.origin.size_bytes()
    }

    fn run_at(&self, offset_bytes: u64) -> io::Result<Run<'_>> {
        let left = self.size_bytes().checked_sub(offset_bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let chunk = offset_bytes.checked_div(self.chunk_bytes).unwrap_or(0);
        let within = offset_bytes.checked_rem(self.chunk_bytes).unwrap_or(0);
        let next = self.exceptions.partition_point(|(from, _)| *from < chunk);
        Ok(match self.exceptions.get(next) {
            Some(&(from, to)) if from == chunk => {
                let at = to.saturating_mul(self.chunk_bytes).saturating_add(within);
                Run { length_bytes: self.chunk_bytes.saturating_sub(within).min(left), place: Place::On(&self.store, at) }
            }
            next => {
                let until = next.map_or(u64::MAX, |(from, _)| from.saturating_mul(self.chunk_bytes));
                Run { length_bytes: until.saturating_sub(offset_bytes).min(left), place: Place::On(&self.origin, offset_bytes) }
            }
        })
    }
}
