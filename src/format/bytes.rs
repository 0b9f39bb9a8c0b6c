//! Checked cursors over bytes: every field of every object is read and written here, little-endian, in fixed widths.
//!
//! Nothing here knows an object. A length or count in the bytes is compared with the bytes that are left before anything is
//! allocated or added up.

use jiff::Timestamp;

use super::FormatError;

/// `value` as a number that is stored. No machine's `usize` has more than 64 bits.
pub(super) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Appends fields.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// How many items follow.
    pub(super) fn count(&mut self, count: usize) {
        self.u64(wide(count));
    }

    /// A length and that many bytes.
    pub(super) fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    pub(super) fn texts(&mut self, texts: &[String]) {
        self.count(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Seconds and nanoseconds since 1970, both of the same sign.
    pub(super) fn time(&mut self, time: Timestamp) {
        self.raw(&time.as_second().to_le_bytes());
        self.i32(time.subsec_nanosecond());
    }

    /// A byte that says whether the item is there, and the item.
    pub(super) fn option<T>(&mut self, item: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(item.is_some());
        if let Some(item) = item {
            write(self, item);
        }
    }

    /// The CRC-32 of all before it.
    pub(super) fn checksum(&mut self) {
        let checksum = crc32fast::hash(&self.bytes);
        self.u32(checksum);
    }
}

/// Takes fields from the front.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    object: &'static str,
    rest: &'a [u8],
    at: u64,
    /// Where the field taken last starts: what an error points at.
    field_at: u64,
}

impl<'a> Reader<'a> {
    /// Reads what is, in words, an `object`.
    pub(super) fn new(object: &'static str, bytes: &'a [u8]) -> Self {
        Self { object, rest: bytes, at: 0, field_at: 0 }
    }

    /// Bytes not yet taken.
    pub(super) fn remaining(&self) -> u64 {
        wide(self.rest.len())
    }

    /// Damage at the field taken last.
    pub(super) fn corrupt(&self, expected: impl Into<String>, found: impl ToString) -> FormatError {
        FormatError::Corrupt { object: self.object, at: self.field_at, expected: expected.into(), found: found.to_string() }
    }

    /// Refuses, pointing at the field taken last, unless `holds`.
    pub(super) fn require(&self, holds: bool, expected: &str, found: impl ToString) -> Result<(), FormatError> {
        if holds { Ok(()) } else { Err(self.corrupt(expected, found)) }
    }

    pub(super) fn raw(&mut self, length: u64) -> Result<&'a [u8], FormatError> {
        self.field_at = self.at;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = split else {
            return Err(self.corrupt(format!("{length} more bytes"), format!("{} before the end", self.remaining())));
        };
        self.rest = rest;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let taken = self.raw(wide(N))?;
        taken.try_into().map_err(|_| self.corrupt(format!("{N} bytes"), taken.len()))
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, FormatError> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// How many items of at least `least_bytes` each follow; refused where the bytes that are left cannot hold them.
    pub(super) fn count(&mut self, least_bytes: u64) -> Result<u64, FormatError> {
        let count = self.u64()?;
        self.fits(count, least_bytes)?;
        Ok(count)
    }

    /// Refuses a count of items of at least `least_bytes` each that the bytes that are left cannot hold.
    pub(super) fn fits(&self, count: u64, least_bytes: u64) -> Result<(), FormatError> {
        let holds = count.checked_mul(least_bytes).is_some_and(|bytes| bytes <= self.remaining());
        self.require(holds, "a count that fits into the bytes that follow", count)
    }

    /// As many items as the count before them says, each of at least `least_bytes`.
    pub(super) fn list<T>(
        &mut self,
        least_bytes: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, FormatError> {
        let count = self.count(least_bytes)?;
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn blob(&mut self) -> Result<&'a [u8], FormatError> {
        let length = self.count(1)?;
        self.raw(length)
    }

    pub(super) fn text(&mut self) -> Result<String, FormatError> {
        let bytes = self.blob()?;
        let text = std::str::from_utf8(bytes).map_err(|error| self.corrupt("text in UTF-8", error))?;
        Ok(text.to_owned())
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, FormatError> {
        self.list(8, Self::text)
    }

    pub(super) fn flag(&mut self) -> Result<bool, FormatError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt("0 or 1", other)),
        }
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, FormatError> {
        let second = i64::from_le_bytes(self.array()?);
        let seconds_at = self.field_at;
        let nanosecond = self.i32()?;
        self.field_at = seconds_at;
        Timestamp::new(second, nanosecond)
            .ok()
            .filter(|time| time.as_second() == second && time.subsec_nanosecond() == nanosecond)
            .ok_or_else(|| self.corrupt("a time", format!("{second} s and {nanosecond} ns")))
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, FormatError>) -> Result<Option<T>, FormatError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Refuses bytes after the last field.
    pub(super) fn finish(mut self) -> Result<(), FormatError> {
        self.field_at = self.at;
        self.require(self.rest.is_empty(), "the end", format!("{} more bytes", self.remaining()))
    }
}

/// Takes the CRC-32 off the end of `bytes` and compares it; gives what it covers.
pub(super) fn checked<'a>(object: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let corrupt = |at: usize, expected: String, found: String| FormatError::Corrupt { object, at: wide(at), expected, found };
    let Some((covered, &stored)) = bytes.split_last_chunk::<4>() else {
        return Err(corrupt(0, "at least 4 bytes".into(), bytes.len().to_string()));
    };
    let (stored, computed) = (u32::from_le_bytes(stored), crc32fast::hash(covered));
    if stored == computed { Ok(covered) } else { Err(corrupt(covered.len(), format!("checksum {computed:08x}"), format!("{stored:08x}"))) }
}
