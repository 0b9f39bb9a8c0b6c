//! Records of the log: found whole by their checksums, the number of the cycle that stands in each unit taken out of them again.

use super::{Log, MOST_RECORD_BYTES, Range, UNIT, damaged};
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::fields::{array, be32, be64, le32};
use crate::guestfs::{GuestError, GuestResult};

/// What a record begins with.
pub(super) const MAGIC: u32 = 0xfeed_babe;
/// Data whose cycle numbers fit one unit of head.
const DATA_PER_HEAD: u32 = 32 << 10;
const UNITS_PER_HEAD: usize = 64;
/// Bytes of the first head that the checksum covers: with padding, and as 32-bit machines had it; of each further one.
const HEAD_BYTES: [usize; 2] = [328, 324];
const FURTHER_HEAD_BYTES: usize = 260;
const CHECKSUM_AT: usize = 32;
/// The format of x86 and ARM.
const LITTLE_ENDIAN: u32 = 1;

/// Why what should be a record is none that counts.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) unit: u32,
    problem: String,
}

impl From<Broken> for GuestError {
    fn from(broken: Broken) -> Self {
        damaged(format!("in its sector {}, {}", broken.unit, broken.problem))
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) lsn: u64,
    pub(super) tail: u32,
    pub(super) operations: u32,
    data_bytes: u32,
    head_units: u32,
}

impl Head {
    /// The units that the record takes.
    pub(super) fn units(&self) -> u32 {
        self.head_units.saturating_add(self.data_bytes.div_ceil(UNIT as u32))
    }

    /// Those before its data.
    pub(super) fn head_units(&self) -> u32 {
        self.head_units
    }

    /// Checks the first unit of a record.
    fn parse(unit: &[u8]) -> Result<Self, String> {
        let (version, data_bytes, size) = (be32(unit, 8), be32(unit, 12), be32(unit, 320));
        if be32(unit, 0) != MAGIC {
            return Err(format!("a record begins with {:08x}", be32(unit, 0)));
        }
        if version == 0 || version & !3 != 0 {
            return Err(format!("a record has version {version}"));
        }
        // Heads are for as much as a record can have, not for what it has.
        let head_units = if version & 2 != 0 && size > DATA_PER_HEAD { size.div_ceil(DATA_PER_HEAD) } else { 1 };
        if data_bytes == 0 || data_bytes > MOST_RECORD_BYTES || head_units > MOST_RECORD_BYTES / DATA_PER_HEAD {
            return Err(format!("a record has {data_bytes} bytes of at most {size}"));
        }
        Ok(Self { lsn: be64(unit, 16), tail: be64(unit, 24) as u32, operations: be32(unit, 40), data_bytes, head_units })
    }
}

/// A whole record.
pub(super) struct Record {
    pub(super) head: Head,
    pub(super) data: Vec<u8>,
}

impl Log {
    /// The unit after `count` more.
    pub(super) fn after(&self, unit: u32, count: u32) -> u32 {
        ((u64::from(unit) + u64::from(count)) % u64::from(self.units)) as u32
    }

    /// How many units there are from one to another.
    pub(super) fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + (self.units - from) }
    }

    /// One unit, through the cache.
    pub(super) fn unit(&self, unit: u32) -> GuestResult<[u8; UNIT]> {
        let mut bytes = [0; UNIT];
        let at = self.start_bytes + u64::from(unit) * UNIT as u64;
        self.cached.read_at(at, &mut bytes).map_err(|error| GuestError::of_read(error, || format!("sector {unit} of the log")))?;
        Ok(bytes)
    }

    /// Units that follow each other, the first one after the last one.
    fn read(&self, unit: u32, count: u32) -> GuestResult<Vec<u8>> {
        let mut bytes = vec![0; count as usize * UNIT];
        let before_end = count.min(self.units.saturating_sub(unit)) as usize * UNIT;
        let (head, rest) = bytes.split_at_mut(before_end);
        let object = || format!("the log from its sector {unit} on");
        let at = self.start_bytes + u64::from(unit) * UNIT as u64;
        self.device.read_at(at, head).map_err(|error| GuestError::of_read(error, object))?;
        self.device.read_at(self.start_bytes, rest).map_err(|error| GuestError::of_read(error, object))?;
        Ok(bytes)
    }

    /// The head of the record at a unit.
    pub(super) fn head(&self, unit: u32) -> GuestResult<Result<Head, Broken>> {
        let bytes = self.unit(unit)?;
        let head = match Head::parse(&bytes) {
            Ok(head) => head,
            Err(problem) => return Ok(Err(Broken { unit, problem })),
        };
        if be32(&bytes, 300) != LITTLE_ENDIAN {
            return Err(GuestError::unsupported(format!("a log of XFS in the format {} of another kind of machine", be32(&bytes, 300))));
        }
        if array(&bytes, 304) != self.uuid {
            return Err(damaged(format!("in its sector {unit}, a record is of another filesystem")));
        }
        Ok(Ok(head))
    }

    /// The record at a unit, of `most` units.
    fn record(&self, unit: u32, most: u32) -> GuestResult<Result<Record, Broken>> {
        let broken = |problem: String| Ok(Err(Broken { unit, problem }));
        let head = match self.head(unit)? {
            Ok(head) => head,
            Err(found) => return Ok(Err(found)),
        };
        if head.units() > most {
            return broken(format!("a record has {} sectors where {most} are left", head.units()));
        }
        let mut bytes = self.read(unit, head.units())?;
        let mut data = bytes.split_off(head.head_units as usize * UNIT);
        data.truncate(head.data_bytes as usize);
        let found = le32(&bytes, CHECKSUM_AT);
        // Records that mkfs made have no checksum.
        if found != 0 && !HEAD_BYTES.iter().any(|&length| checksum(&bytes, &data, length) == found) {
            return broken(format!("the checksum of a record is {found:08x}, not {:08x}", checksum(&bytes, &data, HEAD_BYTES[0])));
        }
        restore(&bytes, &mut data);
        Ok(Ok(Record { head, data }))
    }

    /// Visits the records of a range; gives the first that is none.
    pub(super) fn walk(&self, range: Range, visit: &mut dyn FnMut(&Record) -> GuestResult<()>) -> GuestResult<Option<Broken>> {
        let mut at = range.tail;
        let mut left = self.distance(range.tail, range.head);
        while left > 0 {
            let record = match self.record(at, left)? {
                Ok(record) => record,
                Err(broken) => return Ok(Some(broken)),
            };
            visit(&record)?;
            at = self.after(at, record.head.units());
            left -= record.head.units();
        }
        Ok(None)
    }
}

/// Over the first head, without the checksum itself, the further ones that data needs, and the data.
fn checksum(heads: &[u8], data: &[u8], head_bytes: usize) -> u32 {
    let first = heads.get(..head_bytes).unwrap_or_default();
    let (before, after) = (first.get(..CHECKSUM_AT).unwrap_or_default(), first.get(CHECKSUM_AT + 4..).unwrap_or_default());
    let mut sum = crc32c(crc32c(crc32c(!0, before), &[0; 4]), after);
    for head in heads.chunks_exact(UNIT).take(data.len().div_ceil(DATA_PER_HEAD as usize)).skip(1) {
        sum = crc32c(sum, head.get(..FURTHER_HEAD_BYTES).unwrap_or_default());
    }
    !crc32c(sum, data)
}

/// The checksum of a whole record with one head.
#[cfg(test)]
pub(in crate::guestfs::xfs) fn record_checksum(record: &[u8]) -> u32 {
    let (head, data) = record.split_at(UNIT.min(record.len()));
    checksum(head, data, HEAD_BYTES[0])
}

/// Puts the first four bytes of each unit back, which the heads keep.
fn restore(heads: &[u8], data: &mut [u8]) {
    for (at, unit) in data.chunks_mut(UNIT).enumerate() {
        let (nth, within) = (at / UNITS_PER_HEAD, at % UNITS_PER_HEAD);
        let kept_at = if nth == 0 { 44 } else { nth * UNIT + 4 } + within * 4;
        for (target, source) in unit.iter_mut().zip(heads.get(kept_at..kept_at + 4).unwrap_or_default()) {
            *target = *source;
        }
    }
}
