//! The log of a VHDX that was not closed cleanly: what it says is laid over the file as it is read, and the file stays as it is.
//!
//! Layout and rules: [MS-VHDX], section 2.3. The log is a ring of entries; the active sequence is the one of consecutive entries
//! with the highest number whose last entry says where it starts.

use std::collections::BTreeMap;

use super::crc32c::crc32c;
use super::regions::Guid;
use crate::source::fields::{Fields, Flaw};

/// The unit of the log and of what it replaces.
const SECTOR: usize = 4096;
const SECTOR_BYTES: u64 = 4096;
/// Largest log that is read; writers make it 1 MiB.
pub(super) const MAX_LOG_BYTES: u32 = 64 << 20;
/// How often the log's bytes may be hashed in all: entries of one ring overlap little, unless somebody made them to.
const MAX_PASSES: usize = 8;

/// What is laid over the file: ranges of whole sectors that do not overlap, by their start.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    patches: BTreeMap<u64, Patch>,
}

#[derive(Debug)]
struct Patch {
    end: u64,
    /// One sector, or zeros for the whole range.
    sector: Option<Box<[u8; SECTOR]>>,
}

/// An entry of the log with a right checksum.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    /// Where in the log the sequence started when it was written.
    tail: usize,
    bytes: Vec<u8>,
    flushed_file_bytes: u64,
}

impl Overlay {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Changes `bytes`, which were read from `offset_bytes` of the file, to what the log says.
    pub(super) fn patch(&self, offset_bytes: u64, bytes: &mut [u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = offset_bytes.saturating_add(length);
        let before = self.patches.range(..offset_bytes).next_back();
        for (&start, patch) in before.into_iter().chain(self.patches.range(offset_bytes..end)) {
            let (from, to) = (start.max(offset_bytes), patch.end.min(end));
            let place = |at: u64, base: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX);
            if from >= to {
                continue;
            }
            let Some(target) = bytes.get_mut(place(from, offset_bytes)..place(to, offset_bytes)) else { continue };
            match patch.sector.as_ref().and_then(|sector| sector.get(place(from, start)..place(to, start))) {
                Some(sector) => target.copy_from_slice(sector),
                None => target.fill(0),
            }
        }
    }

    /// Lays a range over all that was laid before. All ranges are whole sectors, so that only zeros are ever cut.
    fn cover(&mut self, start: u64, end: u64, sector: Option<Box<[u8; SECTOR]>>) {
        let mut rest = None;
        if let Some((_, before)) = self.patches.range_mut(..start).next_back()
            && before.end > start
        {
            rest = (before.end > end).then_some(before.end);
            before.end = start;
        }
        while let Some((&inside, _)) = self.patches.range(start..end).next() {
            let removed = self.patches.remove(&inside);
            rest = rest.or(removed.map(|removed| removed.end).filter(|&removed| removed > end));
        }
        if let Some(rest) = rest {
            self.patches.insert(end, Patch { end: rest, sector: None });
        }
        self.patches.insert(start, Patch { end, sector });
    }
}

/// Replays a log. `log_id` is the one of the header that counts: entries of another belong to an earlier use of the file.
pub(super) fn replay(log: &[u8], log_id: &Guid, file_bytes: u64) -> Result<Overlay, Flaw> {
    let mut overlay = Overlay::default();
    for entry in active_sequence(log, log_id)? {
        if entry.flushed_file_bytes > file_bytes {
            let what = format!(
                "its log was written when it had {} bytes, and it has {file_bytes} now: it was cut short",
                entry.flushed_file_bytes
            );
            return Err(Flaw::Damaged(what));
        }
        replay_entry(&entry, &mut overlay)?;
    }
    Ok(overlay)
}

/// The entries to be replayed, in their order; none where the file was opened for writing and nothing was logged yet.
fn active_sequence(log: &[u8], log_id: &Guid) -> Result<Vec<Entry>, Flaw> {
    let mut entries = BTreeMap::new();
    let mut budget = log.len().saturating_mul(MAX_PASSES);
    for at in (0..log.len()).step_by(SECTOR) {
        if let Some(entry) = entry(log, at, log_id, &mut budget)? {
            entries.insert(at, entry);
        }
    }
    // The last entry of the active sequence has the highest number of those that lead back to their own start.
    let mut heads: Vec<(u64, usize)> = entries.iter().map(|(&at, entry)| (entry.sequence, at)).collect();
    heads.sort_unstable();
    for (_, head) in heads.into_iter().rev() {
        if let Some(places) = sequence_to(&entries, head, log.len()) {
            return Ok(places.into_iter().filter_map(|at| entries.remove(&at)).collect());
        }
    }
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    Err(Flaw::Damaged("its log has entries, but no whole sequence of them".to_owned()))
}

/// The places of the entries from the start that the entry at `head` tells to itself, where their numbers follow on each other.
fn sequence_to(entries: &BTreeMap<usize, Entry>, head: usize, log_bytes: usize) -> Option<Vec<usize>> {
    let mut at = entries.get(&head)?.tail;
    let mut places = Vec::new();
    let mut expected = None;
    while places.len() <= entries.len() {
        let entry = entries.get(&at)?;
        if expected.is_some_and(|expected| expected != entry.sequence) {
            return None;
        }
        places.push(at);
        if at == head {
            return Some(places);
        }
        expected = Some(entry.sequence.checked_add(1)?);
        at = at.checked_add(entry.bytes.len())?.checked_rem(log_bytes)?;
    }
    None
}

/// The entry at `at` of the ring, where there is a whole one of this log.
fn entry(log: &[u8], at: usize, log_id: &Guid, budget: &mut usize) -> Result<Option<Entry>, Flaw> {
    let Some(header) = log.get(at..).and_then(|rest| rest.get(..SECTOR)) else { return Ok(None) };
    let fields = Fields { what: "log entry", bytes: header };
    let (length, tail) = (index(fields.le32(8)?), index(fields.le32(12)?));
    let sequence = fields.le64(16)?;
    let whole = |number: usize| number.is_multiple_of(SECTOR);
    if !header.starts_with(b"loge") || fields.array(32)? != *log_id || sequence == 0 {
        return Ok(None);
    }
    if length == 0 || length > log.len() || !whole(length) || tail >= log.len() || !whole(tail) {
        return Ok(None);
    }
    *budget = budget.checked_sub(length).ok_or_else(|| Flaw::Damaged("the entries of its log overlap without end".to_owned()))?;
    // The ring may end inside of the entry.
    let (end, start) = (log.get(at..).unwrap_or_default(), log.get(..at).unwrap_or_default());
    let bytes: Vec<u8> = end.iter().chain(start).take(length).copied().collect();
    let right = fields.le32(4)? == crc32c(&bytes, 4);
    let flushed_file_bytes = fields.le64(48)?;
    Ok(right.then_some(Entry { sequence, tail, bytes, flushed_file_bytes }))
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Lays what one entry says over the file: descriptors behind the entry's header, then the sectors that they speak of.
fn replay_entry(entry: &Entry, overlay: &mut Overlay) -> Result<(), Flaw> {
    const HEADER: usize = 64;
    const DESCRIPTOR: usize = 32;
    let fields = Fields { what: "log entry", bytes: &entry.bytes };
    let length = index(fields.le32(24)?).saturating_mul(DESCRIPTOR);
    let mut data_at = HEADER.saturating_add(length).checked_next_multiple_of(SECTOR).unwrap_or(usize::MAX);
    for descriptor in fields.slice(HEADER, length)?.chunks_exact(DESCRIPTOR) {
        let descriptor = Fields { what: "log descriptor", bytes: descriptor };
        let at = descriptor.le64(16)?;
        let zero_bytes = match descriptor.array(0)? {
            [b'd', b'e', b's', b'c'] => None,
            [b'z', b'e', b'r', b'o'] => Some(descriptor.le64(8)?),
            other => return Err(Flaw::Damaged(format!("its log has a descriptor of the unknown kind {}", other.escape_ascii()))),
        };
        let length_bytes = zero_bytes.unwrap_or(SECTOR_BYTES);
        let end = at.checked_add(length_bytes).filter(|_| at.is_multiple_of(SECTOR_BYTES) && length_bytes.is_multiple_of(SECTOR_BYTES));
        let end =
            end.ok_or_else(|| Flaw::Damaged(format!("its log speaks of {length_bytes} bytes at {at}, which are no whole sectors")))?;
        if descriptor.le64(24)? != entry.sequence {
            return Err(Flaw::Damaged(format!("entry {} of its log has a descriptor of another entry", entry.sequence)));
        }
        if zero_bytes.is_some() {
            if end > at {
                overlay.cover(at, end, None);
            }
            continue;
        }
        let sector = data_sector(&fields, data_at, &descriptor, entry.sequence)?;
        overlay.cover(at, end, Some(sector));
        data_at = data_at.saturating_add(SECTOR);
    }
    Ok(())
}

/// A sector of data: its first eight and last four bytes stand in the descriptor, since marks and numbers lie in their place.
fn data_sector(entry: &Fields<'_>, at: usize, descriptor: &Fields<'_>, sequence: u64) -> Result<Box<[u8; SECTOR]>, Flaw> {
    let mut sector: Box<[u8; SECTOR]> = Box::new(entry.array(at)?);
    let fields = Fields { what: "log sector", bytes: sector.as_slice() };
    let (high, low) = (u64::from(fields.le32(4)?), u64::from(fields.le32(4092)?));
    if !sector.starts_with(b"data") || (high << 32 | low) != sequence {
        return Err(Flaw::Damaged(format!("entry {sequence} of its log has a sector of another entry")));
    }
    let (leading, trailing): ([u8; 8], [u8; 4]) = (descriptor.array(8)?, descriptor.array(4)?);
    if let Some(start) = sector.first_chunk_mut() {
        *start = leading;
    }
    if let Some(end) = sector.last_chunk_mut() {
        *end = trailing;
    }
    Ok(sector)
}
