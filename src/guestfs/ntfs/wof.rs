//! Files that the Windows Overlay Filter compresses ("compact /exe", "compact OS"): the contents lie in chunks in a stream of their own,
//! after a table of the places where all chunks but the first begin.

use std::io;
use std::sync::Arc;

use super::bytes::{index, u32_at, u64_at};
use super::lzx;
use super::reparse::WofAlgorithm;
use super::xpress;
use crate::guestfs::recent::Recent;
use crate::guestfs::{FileData, GuestError, GuestResult, Place, Run};
use crate::io::ReadAt;

/// Bytes of packed chunks that are read at once.
const LARGEST_READ_BYTES: u64 = 1 << 20;

/// Bytes of decoded chunks that are kept of a file.
const KEPT_BYTES: usize = 256 << 10;

/// The name of the stream that holds the chunks.
pub(super) fn stream_name() -> Vec<u16> {
    "WofCompressedData".encode_utf16().collect()
}

/// A file in chunks.
pub(super) struct WofFile {
    object: String,
    /// The stream, with its pages kept: the table is read from here.
    table: Arc<dyn FileData>,
    /// The stream: the chunks are read from here.
    chunks: Arc<dyn FileData>,
    algorithm: WofAlgorithm,
    size_bytes: u64,
    /// Units by the places where they begin, for readers that ask for less than a unit at a time.
    decoded: Recent<u64, Vec<u8>>,
}

impl WofFile {
    /// `table` and `chunks` are the same stream.
    pub(super) fn new(
        object: String,
        table: Arc<dyn FileData>,
        chunks: Arc<dyn FileData>,
        algorithm: WofAlgorithm,
        size_bytes: u64,
    ) -> Self {
        Self { object, table, chunks, algorithm, size_bytes, decoded: Recent::new(KEPT_BYTES, 1) }
    }

    fn chunk_bytes(&self) -> u64 {
        match self.algorithm {
            WofAlgorithm::Xpress(chunk_bytes) => u64::from(chunk_bytes.max(1)),
            WofAlgorithm::Lzx => lzx::CHUNK_BYTES as u64,
        }
    }

    /// Where the chunks from `first` to `last` begin in the stream, and where the last one ends.
    fn places(&self, first: u64, last: u64) -> GuestResult<Vec<u64>> {
        let entry_bytes: u64 = if self.size_bytes > u64::from(u32::MAX) { 8 } else { 4 };
        let in_table = self.size_bytes.div_ceil(self.chunk_bytes()).saturating_sub(1);
        let table_bytes = in_table.saturating_mul(entry_bytes);
        // The first chunk has no entry: it begins where the table ends. The last one ends with the stream.
        let from = first.saturating_sub(1);
        let to = last.saturating_add(1).min(in_table);
        let mut raw = vec![0; index(to.saturating_sub(from).saturating_mul(entry_bytes))];
        self.table.read_at(from.saturating_mul(entry_bytes), &mut raw).map_err(|error| self.cut_off(error))?;
        let mut places = Vec::new();
        if first == 0 {
            places.push(table_bytes);
        }
        for entry in raw.chunks_exact(index(entry_bytes)) {
            let place = u64_at(entry, 0).or_else(|| u32_at(entry, 0).map(u64::from)).unwrap_or(u64::MAX);
            places.push(table_bytes.saturating_add(place));
        }
        if last >= in_table {
            places.push(self.chunks.size_bytes());
        }
        Ok(places)
    }

    fn cut_off(&self, error: io::Error) -> GuestError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => GuestError::damaged(&self.object, "its compressed stream ends too early"),
            _ => error.into(),
        }
    }

    /// Fills `buffer` from chunks `first` to `last`, which it touches all.
    fn read_chunks(&self, first: u64, last: u64, offset_bytes: u64, buffer: &mut [u8]) -> GuestResult<()> {
        let places = self.places(first, last)?;
        let (Some(&begin), Some(&end)) = (places.first(), places.last()) else { return Ok(()) };
        let most = last.saturating_sub(first).saturating_add(1).saturating_mul(self.chunk_bytes());
        if !places.is_sorted() || end.saturating_sub(begin) > most {
            return Err(GuestError::damaged(
                &self.object,
                format!("the places of its compressed chunks {first} to {last} contradict each other"),
            ));
        }
        let mut packed = vec![0; index(end.saturating_sub(begin))];
        self.chunks.read_at(begin, &mut packed).map_err(|error| self.cut_off(error))?;
        let mut rest = buffer;
        let mut at = offset_bytes;
        for (chunk, place) in (first..).zip(places.windows(2)) {
            let (Some(from), Some(to)) = (place.first(), place.last()) else { break };
            let packed = packed.get(index(from.saturating_sub(begin))..index(to.saturating_sub(begin))).unwrap_or_default();
            let start = chunk.saturating_mul(self.chunk_bytes());
            let unpacked = self.unpack(start, packed)?;
            let within = unpacked.get(index(at.saturating_sub(start))..).unwrap_or_default();
            let length = within.len().min(rest.len());
            let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
            part.copy_from_slice(within.get(..length).unwrap_or_default());
            rest = after;
            at = at.saturating_add(length as u64);
        }
        Ok(())
    }

    fn unpack(&self, start: u64, packed: &[u8]) -> GuestResult<Arc<Vec<u8>>> {
        if let Some(unit) = self.decoded.get(start) {
            return Ok(unit);
        }
        let length = index(self.size_bytes.saturating_sub(start).min(self.chunk_bytes()));
        let unpacked = match self.algorithm {
            // What would not become smaller is stored as it is.
            _ if packed.len() == length => Some(packed.to_vec()),
            WofAlgorithm::Xpress(_) => xpress::decode(packed, length),
            WofAlgorithm::Lzx => lzx::decode(packed, length),
        };
        let unpacked = unpacked.filter(|unpacked| unpacked.len() == length);
        let unpacked =
            unpacked.ok_or_else(|| GuestError::damaged(&self.object, format!("its compressed chunk at byte {start} cannot be decoded")))?;
        let unit = Arc::new(unpacked);
        self.decoded.put(start, Arc::clone(&unit), length);
        Ok(unit)
    }
}

impl ReadAt for WofFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|end| *end <= self.size_bytes);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset_bytes;
        while !buffer.is_empty() {
            let first = at.checked_div(self.chunk_bytes()).unwrap_or(0);
            // Up to the end of the last chunk that still fits in one read.
            let part_end = first.saturating_mul(self.chunk_bytes()).saturating_add(LARGEST_READ_BYTES);
            let length = index(part_end.saturating_sub(at)).min(buffer.len());
            let (part, rest) = std::mem::take(&mut buffer).split_at_mut(length);
            let last = at.saturating_add(length as u64).saturating_sub(1).checked_div(self.chunk_bytes()).unwrap_or(0);
            self.read_chunks(first, last, at, part)?;
            at = at.saturating_add(length as u64);
            buffer = rest;
        }
        Ok(())
    }
}

impl FileData for WofFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        Ok(match self.size_bytes.saturating_sub(offset_bytes) {
            0 => Run { length_bytes: 0, place: Place::Hole },
            length_bytes => Run { length_bytes, place: Place::Computed },
        })
    }
}
