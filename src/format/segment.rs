//! Segments of the index: sorted fingerprints with their addresses, made to be mapped and searched in place.
//!
//! FORMAT.md, "index segments". A segment is a cache: it is never needed to read a point, and whatever is wrong with one,
//! it is thrown away and made anew. Entries are therefore not covered by a checksum of their own; whoever uses a hit compares the
//! fingerprint with the pack's own table.

use crate::units::{Fingerprint, PackId};

/// `CAIRNSEG`.
const MAGIC: [u8; 8] = *b"CAIRNSEG";
/// Version of the layout.
const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an entry: fingerprint, pack's number in the segment's table, slot.
pub const ENTRY_BYTES: usize = 24;
/// Bytes of a filter line: the unit of the blocked Bloom filter, one cache line.
pub const FILTER_LINE_BYTES: usize = 64;
/// Filter bits for each entry: with 6 probes in one line about 2 of 100 absent fingerprints pass.
const FILTER_BITS_PER_ENTRY: u64 = 9;
/// Probes of the filter for each fingerprint.
const FILTER_PROBES: u32 = 6;
/// Entries that one slot of the fan-out table covers on average.
const ENTRIES_PER_FAN: u64 = 64;

/// One entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentEntry {
    /// The block's fingerprint.
    pub fingerprint: Fingerprint,
    /// Number of its pack in the segment's table.
    pub pack: u32,
    /// Its slot in that pack.
    pub slot: u32,
}

/// Why bytes are no segment. The cure is always the same: throw it away, make it anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no usable index segment: {0}")]
pub struct SegmentError(pub &'static str);

/// Where the parts of a segment lie. Everything follows from the two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLayout {
    entries: u64,
    packs: u32,
    fan_bits: u32,
}

impl SegmentLayout {
    /// The layout for so many entries (at most 2^32 - 1) and packs.
    pub fn new(entries: u32, packs: u32) -> Self {
        let fans = (u64::from(entries) / ENTRIES_PER_FAN).max(1);
        Self { entries: u64::from(entries), packs, fan_bits: u64::BITS.saturating_sub(1).saturating_sub(fans.leading_zeros()) }
    }

    fn filter_lines(&self) -> u64 {
        let bits = self.entries.saturating_mul(FILTER_BITS_PER_ENTRY);
        bits.div_ceil(8).div_ceil(FILTER_LINE_BYTES_U64).max(1)
    }

    fn fan_slots(&self) -> u64 {
        1_u64.checked_shl(self.fan_bits).unwrap_or(u64::MAX)
    }

    fn packs_at(&self) -> u64 {
        HEADER_BYTES_U64
    }

    fn fan_at(&self) -> u64 {
        self.packs_at().saturating_add(u64::from(self.packs).saturating_mul(16))
    }

    /// The fan-out table has one more slot than there are prefixes: the number of entries.
    fn filter_at(&self) -> u64 {
        let fan_end = self.fan_at().saturating_add(self.fan_slots().saturating_add(1).saturating_mul(4));
        fan_end.next_multiple_of(FILTER_LINE_BYTES_U64)
    }

    fn entries_at(&self) -> u64 {
        self.filter_at().saturating_add(self.filter_lines().saturating_mul(FILTER_LINE_BYTES_U64))
    }

    /// Bytes of the whole segment.
    pub fn total_bytes(&self) -> u64 {
        self.entries_at().saturating_add(self.entries.saturating_mul(ENTRY_BYTES_U64))
    }

    /// Number of the fan-out slot of a fingerprint: its first bits.
    fn fan_of(&self, fingerprint: &Fingerprint) -> u64 {
        prefix(fingerprint).checked_shr(u64::BITS.saturating_sub(self.fan_bits)).unwrap_or(0)
    }
}

const HEADER_BYTES_U64: u64 = 64;
const ENTRY_BYTES_U64: u64 = 24;
const FILTER_LINE_BYTES_U64: u64 = 64;

/// The first eight bytes as a number whose order is that of the bytes.
fn prefix(fingerprint: &Fingerprint) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = fingerprint.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The last eight bytes as a number: independent of the prefix, it drives the filter.
fn suffix(fingerprint: &Fingerprint) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = fingerprint.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The line of the filter and the bits in it (each below 512) of a fingerprint.
fn probes(fingerprint: &Fingerprint, lines: u64) -> (u64, impl Iterator<Item = (usize, u8)>) {
    let line = prefix(fingerprint).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let line = u64::try_from((u128::from(line).wrapping_mul(u128::from(lines))) >> 64).unwrap_or(0);
    let bits = suffix(fingerprint);
    let probe = move |n: u32| {
        let bit = bits.checked_shr(n.wrapping_mul(9)).unwrap_or(0) & 511;
        (usize::try_from(bit / 8).unwrap_or(0), 1_u8.checked_shl(u32::try_from(bit % 8).unwrap_or(0)).unwrap_or(0))
    };
    (line, (0..FILTER_PROBES).map(probe))
}

/// A segment's bytes, for searching in place.
#[derive(Debug, Clone, Copy)]
pub struct SegmentView<'a> {
    layout: SegmentLayout,
    packs: &'a [u8],
    fan: &'a [u8],
    filter: &'a [u8],
    entries: &'a [u8],
}

fn u32_at(bytes: &[u8], index: u64) -> Option<u32> {
    let start = usize::try_from(index.checked_mul(4)?).ok()?;
    let bytes = bytes.get(start..start.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> SegmentView<'a> {
    /// Looks at a segment's header and size. Cheap: it reads neither filter nor entries.
    ///
    /// # Errors
    /// [`SegmentError`] for anything but a whole segment of a known version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        let (header, _) = bytes.split_at_checked(HEADER_BYTES).ok_or(SegmentError("it is shorter than its header"))?;
        if header.get(..8) != Some(MAGIC.as_slice()) {
            return Err(SegmentError("its first bytes are not CAIRNSEG"));
        }
        if u32_at(header, 15) != Some(crc32fast::hash(header.get(..60).unwrap_or_default())) {
            return Err(SegmentError("its header's checksum is wrong"));
        }
        if u32_at(header, 2) != Some(VERSION) {
            return Err(SegmentError("its version is unknown"));
        }
        let (Some(entries), Some(packs)) = (u32_at(header, 3), u32_at(header, 4)) else {
            return Err(SegmentError("its header is too short"));
        };
        Self::with_layout(bytes, SegmentLayout::new(entries, packs))
    }

    /// The layout, to look at the same bytes again without reading the header.
    pub fn layout(&self) -> SegmentLayout {
        self.layout
    }

    /// Looks at the bytes of a segment whose layout is known.
    ///
    /// # Errors
    /// [`SegmentError`] where the size is another than the layout's.
    pub fn with_layout(bytes: &'a [u8], layout: SegmentLayout) -> Result<Self, SegmentError> {
        if u64::try_from(bytes.len()) != Ok(layout.total_bytes()) {
            return Err(SegmentError("its size is not what its header says"));
        }
        let part = |start: u64, end: u64| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            bytes.get(start..end)
        };
        let parts = (
            part(layout.packs_at(), layout.fan_at()),
            part(layout.fan_at(), layout.filter_at()),
            part(layout.filter_at(), layout.entries_at()),
            part(layout.entries_at(), layout.total_bytes()),
        );
        let (Some(packs), Some(fan), Some(filter), Some(entries)) = parts else {
            return Err(SegmentError("its parts do not fit into memory"));
        };
        Ok(Self { layout, packs, fan, filter, entries })
    }

    /// Entries of the segment.
    pub fn len(&self) -> u64 {
        self.layout.entries
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.layout.entries == 0
    }

    /// The packs that the segment knows, in the order of their numbers.
    pub fn packs(&self) -> impl ExactSizeIterator<Item = PackId> + 'a {
        self.packs.as_chunks::<16>().0.iter().map(|id| PackId(*id))
    }

    /// An entry by its place in the order of fingerprints.
    pub fn entry(&self, index: u64) -> Option<SegmentEntry> {
        let start = usize::try_from(index.checked_mul(ENTRY_BYTES_U64)?).ok()?;
        let bytes = self.entries.get(start..start.checked_add(ENTRY_BYTES)?)?;
        let (fingerprint, rest) = bytes.split_first_chunk::<16>()?;
        Some(SegmentEntry { fingerprint: Fingerprint(*fingerprint), pack: u32_at(rest, 0)?, slot: u32_at(rest, 1)? })
    }

    /// False: the segment surely has no such fingerprint.
    pub fn may_contain(&self, fingerprint: &Fingerprint) -> bool {
        let (line, mut bits) = probes(fingerprint, self.layout.filter_lines());
        let line = usize::try_from(line).unwrap_or(0).saturating_mul(FILTER_LINE_BYTES);
        let Some(line) = self.filter.get(line..line.saturating_add(FILTER_LINE_BYTES)) else { return true };
        bits.all(|(byte, mask)| line.get(byte).is_some_and(|byte| byte & mask != 0))
    }

    /// Looks a fingerprint up: filter, fan-out, then binary search in about a page. Damaged tables give wrong answers or none.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<SegmentEntry> {
        if !self.may_contain(fingerprint) {
            return None;
        }
        let fan = self.layout.fan_of(fingerprint);
        let mut low = u64::from(u32_at(self.fan, fan)?);
        let mut high = u64::from(u32_at(self.fan, fan.checked_add(1)?)?).min(self.layout.entries);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.entry(middle)?;
            match entry.fingerprint.cmp(fingerprint) {
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Less => low = middle.checked_add(1)?,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Makes a segment's bytes in two passes over its sorted entries: first everything before the entries, then the entries.
#[derive(Debug)]
pub struct SegmentHead {
    layout: SegmentLayout,
    fan: Vec<u32>,
    filter: Vec<u8>,
    seen: u32,
}

impl SegmentHead {
    /// Begins a segment of at most `entries` entries and `packs` packs.
    pub fn new(entries: u32, packs: u32) -> Self {
        let layout = SegmentLayout::new(entries, packs);
        let fan = vec![0; usize::try_from(layout.fan_slots().saturating_add(1)).unwrap_or(usize::MAX)];
        let filter = vec![0; usize::try_from(layout.filter_lines().saturating_mul(FILTER_LINE_BYTES_U64)).unwrap_or(usize::MAX)];
        Self { layout, fan, filter, seen: 0 }
    }

    /// Takes note of the next entry, in ascending order of fingerprints.
    pub fn add(&mut self, entry: &SegmentEntry) {
        let fan = self.layout.fan_of(&entry.fingerprint).saturating_add(1);
        if let Some(count) = usize::try_from(fan).ok().and_then(|fan| self.fan.get_mut(fan)) {
            *count = count.saturating_add(1);
        }
        let (line, bits) = probes(&entry.fingerprint, self.layout.filter_lines());
        let line = usize::try_from(line).unwrap_or(0).saturating_mul(FILTER_LINE_BYTES);
        for (byte, mask) in bits {
            if let Some(byte) = self.filter.get_mut(line.saturating_add(byte)) {
                *byte |= mask;
            }
        }
        self.seen = self.seen.saturating_add(1);
    }

    /// Everything before the entries. The number of entries that were added must be the one it was begun with.
    ///
    /// # Errors
    /// [`SegmentError`] where it is not.
    pub fn encode(mut self, packs: &[PackId]) -> Result<Vec<u8>, SegmentError> {
        if u64::from(self.seen) != self.layout.entries || u32::try_from(packs.len()) != Ok(self.layout.packs) {
            return Err(SegmentError("it got another number of entries than it was begun with"));
        }
        let mut sum = 0_u32;
        for count in &mut self.fan {
            sum = sum.saturating_add(*count);
            *count = sum;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.layout.entries_at()).unwrap_or(0));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.seen.to_le_bytes());
        bytes.extend_from_slice(&self.layout.packs.to_le_bytes());
        bytes.resize(HEADER_BYTES.saturating_sub(4), 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        packs.iter().for_each(|pack| bytes.extend_from_slice(pack.as_bytes()));
        self.fan.iter().for_each(|count| bytes.extend_from_slice(&count.to_le_bytes()));
        bytes.resize(usize::try_from(self.layout.filter_at()).unwrap_or(0), 0);
        bytes.extend_from_slice(&self.filter);
        Ok(bytes)
    }
}

impl SegmentEntry {
    /// Appends the entry's bytes.
    pub fn encode_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.fingerprint.as_bytes());
        bytes.extend_from_slice(&self.pack.to_le_bytes());
        bytes.extend_from_slice(&self.slot.to_le_bytes());
    }
}
