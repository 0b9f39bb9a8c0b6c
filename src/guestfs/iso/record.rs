//! Records of directories: where a file lies, how long it is, and its name, in capitals or in UCS-2.

use super::super::civil::CivilTime;
use super::super::fields::{array, byte, le32};
use super::super::utf16::utf16_name;
use crate::guestfs::Timestamp;

const DIRECTORY: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;
const GOES_ON: u8 = 0x80;

/// Bytes before the name.
const HEAD_BYTES: usize = 33;

/// A record as it is on the disc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// From its bytes and those that follow; `None` where they are none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..usize::from(byte(bytes, 0)))?;
        let end = HEAD_BYTES.saturating_add(usize::from(byte(bytes, 32)));
        (end > HEAD_BYTES && end <= bytes.len()).then(|| Self { bytes: bytes.to_vec() })
    }

    /// Bytes of the record.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The block in which the contents begin.
    pub(super) fn block(&self) -> u64 {
        // Before the contents stand attributes that no system has ever used.
        u64::from(le32(&self.bytes, 2)).saturating_add(u64::from(byte(&self.bytes, 1)))
    }

    /// Bytes of the contents.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(le32(&self.bytes, 10))
    }

    /// Whether it says that it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        byte(&self.bytes, 25) & DIRECTORY != 0
    }

    /// Whether it is the second half of a Macintosh file, which has the name of the first.
    pub(super) fn is_associated(&self) -> bool {
        byte(&self.bytes, 25) & ASSOCIATED != 0
    }

    /// Whether the next record is another piece of the same file.
    pub(super) fn goes_on(&self) -> bool {
        byte(&self.bytes, 25) & GOES_ON != 0
    }

    /// Whether the contents lie with gaps between them.
    pub(super) fn is_interleaved(&self) -> bool {
        byte(&self.bytes, 26) != 0 || byte(&self.bytes, 27) != 0
    }

    /// The name as stored.
    pub(super) fn raw_name(&self) -> &[u8] {
        let end = HEAD_BYTES.saturating_add(usize::from(byte(&self.bytes, 32)));
        self.bytes.get(HEAD_BYTES..end).unwrap_or_default()
    }

    /// Whether it leads to the directory itself or to the one above.
    pub(super) fn is_way_back(&self) -> bool {
        matches!(self.raw_name(), [0 | 1])
    }

    /// What extensions keep behind the name.
    pub(super) fn system_use(&self) -> &[u8] {
        let name = self.raw_name().len();
        let start = HEAD_BYTES.saturating_add(name).saturating_add(usize::from(name.is_multiple_of(2)));
        self.bytes.get(start..).unwrap_or_default()
    }

    /// When it was recorded.
    pub(super) fn time(&self) -> Timestamp {
        short_time(&array::<7>(&self.bytes, 18))
    }

    /// The name of the primary tree as Linux shows it: in small letters, without version 1.
    pub(super) fn plain_name(&self) -> Vec<u8> {
        let raw = self.raw_name();
        let name = raw.strip_suffix(b".;1").or_else(|| raw.strip_suffix(b";1")).unwrap_or(raw);
        name.iter().map(|byte| if matches!(byte, b';' | b'/') { b'.' } else { byte.to_ascii_lowercase() }).collect()
    }

    /// The name of the tree of Joliet, without its version and dots at the end, as Linux shows it.
    pub(super) fn joliet_name(&self) -> Vec<u8> {
        let (units, _) = self.raw_name().as_chunks::<2>();
        let mut name = utf16_name(units.iter().map(|unit| u16::from_be_bytes(*unit)));
        if name.len() > 2 && name.ends_with(b";1") {
            name.truncate(name.len().saturating_sub(2));
        }
        while name.len() >= 2 && name.ends_with(b".") {
            name.pop();
        }
        name
    }
}

/// Seconds east of UTC, from quarters of an hour with a sign. Some writers put nonsense there: as in Linux, what is farther away than
/// any place on Earth does not count.
pub(super) fn zone_seconds(quarters: u8) -> i64 {
    let quarters = i64::from(quarters.cast_signed());
    if quarters.abs() > 52 { 0 } else { quarters.saturating_mul(900) }
}

/// A time in seven bytes: years since 1900, down to seconds, and the zone. Zeros: not set.
pub(super) fn short_time(bytes: &[u8]) -> Timestamp {
    if bytes.iter().all(|&byte| byte == 0) {
        return Timestamp::default();
    }
    let part = |at| byte(bytes, at);
    let civil =
        CivilTime { year: 1900 + i64::from(part(0)), month: part(1), day: part(2), hour: part(3), minute: part(4), second: part(5) };
    Timestamp { seconds: civil.seconds().saturating_sub(zone_seconds(part(6))), nanoseconds: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Record {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend_from_slice(name);
        bytes[0] = bytes.len() as u8;
        bytes[32] = name.len() as u8;
        Record::parse(&bytes).expect("a record")
    }

    #[test]
    fn names_are_those_that_linux_shows() {
        for (stored, shown) in [
            (&b"README.TXT;1"[..], &b"readme.txt"[..]),
            (b"README.;1", b"readme"),
            (b"README", b"readme"),
            (b"A.B;2", b"a.b.2"),
            (b"A/B;1", b"a.b"),
        ] {
            assert_eq!(named(stored).plain_name(), shown);
        }
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        assert_eq!(named(&wide("\u{dc}ber.txt;1")).joliet_name(), "\u{dc}ber.txt".as_bytes());
        assert_eq!(named(&wide("dots..")).joliet_name(), b"dots");
        assert!(named(&[0]).is_way_back() && named(&[1]).is_way_back() && !named(b"A").is_way_back());
        assert_eq!(Record::parse(&[40; 30]), None);
        assert_eq!(Record::parse(&[0; 40]), None);
    }

    #[test]
    fn times_have_a_zone() {
        // 2001-09-09 03:46:40 two hours east of UTC.
        assert_eq!(short_time(&[101, 9, 9, 3, 46, 40, 8]).seconds, 1_000_000_000);
        assert_eq!(short_time(&[101, 9, 9, 0, 46, 40, 0xfc]).seconds, 1_000_000_000);
        assert_eq!(short_time(&[101, 9, 9, 1, 46, 40, 0xa0]).seconds, 1_000_000_000, "no zone is a day away");
        assert_eq!(short_time(&[0; 7]).seconds, 0);
    }
}
