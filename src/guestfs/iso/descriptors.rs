//! Volume descriptors of ISO 9660 (ECMA-119), one in each sector from the sixteenth on: the primary one, that of Joliet, and others that
//! mean nothing here.

use super::super::civil::CivilTime;
use super::super::fields::{array, byte, le16, le32};
use super::super::utf16::utf16_name;
use super::record::{Record, zone_seconds};
use crate::guestfs::{GuestError, GuestResult, Timestamp};
use crate::io::ReadAt;

/// Bytes of a sector: descriptors and directories are made of them, whatever the size of a block.
pub(super) const SECTOR_BYTES: usize = 2048;

const FIRST_SECTOR: u64 = 16;

/// Descriptors before the one that ends them; real volumes have three to five.
const MOST_DESCRIPTORS: u64 = 64;

/// A tree of directories.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    /// Bytes of a block.
    pub(super) block_bytes: u64,
    /// Bytes of the volume, as it says.
    pub(super) size_bytes: u64,
    /// The topmost directory.
    pub(super) root: Record,
    /// The label.
    pub(super) label: Option<String>,
    /// When it was changed, else made, as blkid writes it.
    pub(super) uuid: Option<String>,
}

/// All that the descriptors say.
#[derive(Clone, Debug)]
pub(super) struct Descriptors {
    /// The tree with names in capitals, or with Rock Ridge.
    pub(super) primary: Volume,
    /// The tree with names in UCS-2.
    pub(super) joliet: Option<Volume>,
    /// Whether the volume holds UDF as well.
    pub(super) has_udf: bool,
}

impl Descriptors {
    /// The longer one of both labels, where Joliet's is the beginning of the other.
    pub(super) fn label(&self) -> Option<String> {
        let plain = self.primary.label.clone();
        match self.joliet.as_ref().and_then(|joliet| joliet.label.clone()) {
            Some(joliet) if !plain.as_ref().is_some_and(|plain| plain.starts_with(&joliet)) => Some(joliet),
            _ => plain,
        }
    }
}

/// Reads the descriptors; `None` where there is no primary one.
///
/// # Errors
/// The device's.
pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Option<Descriptors>> {
    let (mut primary, mut joliet, mut has_udf) = (None, None, false);
    let mut ended = false;
    for sector in FIRST_SECTOR..FIRST_SECTOR + MOST_DESCRIPTORS {
        let mut bytes = [0; SECTOR_BYTES];
        match device.read_at(sector * SECTOR_BYTES as u64, &mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            result => result.map_err(GuestError::Device)?,
        }
        match (&array::<5>(&bytes, 1), byte(&bytes, 0)) {
            (b"CD001", 1) if !ended => primary = primary.or_else(|| volume(&bytes, text)),
            (b"CD001", 2) if !ended && is_joliet(&bytes) => joliet = joliet.or_else(|| volume(&bytes, text16)),
            (b"CD001", 255) => ended = true,
            (b"CD001" | b"BEA01" | b"TEA01" | b"BOOT2", _) => {}
            (b"NSR02" | b"NSR03", _) => has_udf = true,
            _ => break,
        }
    }
    Ok(primary.map(|primary| Descriptors { primary, joliet, has_udf }))
}

/// The three levels of UCS-2.
fn is_joliet(descriptor: &[u8]) -> bool {
    matches!(&array::<3>(descriptor, 88), b"%/@" | b"%/C" | b"%/E")
}

fn volume(descriptor: &[u8], text: fn(&[u8]) -> String) -> Option<Volume> {
    let block_bytes = u64::from(le16(descriptor, 128));
    if !matches!(block_bytes, 512 | 1024 | 2048) {
        return None;
    }
    let root = Record::parse(descriptor.get(156..190)?)?;
    let label = text(descriptor.get(40..72)?);
    Some(Volume {
        block_bytes,
        size_bytes: u64::from(le32(descriptor, 80)).saturating_mul(block_bytes),
        root,
        label: (!label.is_empty()).then_some(label),
        uuid: written_time(descriptor, 830).or_else(|| written_time(descriptor, 813)),
    })
}

fn text(bytes: &[u8]) -> String {
    let used = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(used).trim_end().to_owned()
}

fn text16(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    let name = utf16_name(units.iter().map(|unit| u16::from_be_bytes(*unit)).take_while(|&unit| unit != 0));
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

/// A time in seventeen bytes, all but the last digits, with dashes; `None` where it was not set.
fn written_time(descriptor: &[u8], at: usize) -> Option<String> {
    let digits = std::str::from_utf8(descriptor.get(at..at.checked_add(16)?)?).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || (digits.bytes().all(|digit| digit == b'0') && byte(descriptor, at + 16) == 0)
    {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to);
    let parts = [part(0, 4)?, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, part(14, 16)?];
    Some(parts.join("-"))
}

/// A time in seventeen bytes: digits down to hundredths, and the zone.
pub(super) fn long_time(bytes: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| std::str::from_utf8(bytes.get(from..to)?).ok()?.parse::<u16>().ok();
    let small = |from: usize| number(from, from.saturating_add(2)).and_then(|number| u8::try_from(number).ok());
    let civil = CivilTime {
        year: i64::from(number(0, 4)?),
        month: small(4)?,
        day: small(6)?,
        hour: small(8)?,
        minute: small(10)?,
        second: small(12)?,
    };
    let hundredths = u32::from(small(14)?);
    Some(Timestamp { seconds: civil.seconds().saturating_sub(zone_seconds(byte(bytes, 16))), nanoseconds: hundredths.min(99) * 10_000_000 })
}
