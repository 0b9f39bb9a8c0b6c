//! Names in directories of FAT: eight letters and three of code page 437 (that of DOS in the USA, and what Linux takes unless it is
//! told otherwise), and long ones in UTF-16 that are spread over the entries before.

use super::super::fields::{byte, le16};
use super::super::utf16::utf16_name;

/// The upper half of code page 437. Machines in western Europe used 850, which differs in drawing characters and some capitals; a
/// volume does not say which it was.
#[rustfmt::skip]
const UPPER_HALF: [u16; 128] = [
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
];

/// Bytes of an entry of a directory.
pub(super) const SLOT_BYTES: usize = 32;

/// Places of the UTF-16 units in an entry that holds a part of a long name.
const UNIT_PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The most entries that a long name takes.
const MOST_PARTS: u8 = 20;

/// A character of code page 437.
fn character(byte: u8) -> char {
    let unit = byte.checked_sub(128).and_then(|index| UPPER_HALF.get(usize::from(index)));
    unit.map_or(char::from(byte), |&unit| char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// A field padded with spaces; `lower` for the flags by which Windows NT keeps a short name in small letters.
fn field(bytes: &[u8], lower: bool, name: &mut String) {
    let used = bytes.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last.saturating_add(1));
    for letter in bytes.iter().take(used).map(|&byte| character(byte)) {
        let mut small = letter.to_lowercase();
        match (small.next(), small.next()) {
            (Some(one), None) if lower => name.push(one),
            _ => name.push(letter),
        }
    }
}

/// The eleven bytes of a short name; the first letter 0xE5, which marks free entries, is kept as 5.
fn short_bytes(slot: &[u8]) -> [u8; 11] {
    let mut bytes: [u8; 11] = super::super::fields::array(slot, 0);
    if let Some(first) = bytes.first_mut().filter(|first| **first == 5) {
        *first = 0xe5;
    }
    bytes
}

/// The short name of an entry.
pub(super) fn short_name(slot: &[u8]) -> Vec<u8> {
    let bytes = short_bytes(slot);
    let (base, extension) = bytes.split_at(8);
    let case = byte(slot, 12);
    let mut name = String::new();
    field(base, case & 0x08 != 0, &mut name);
    let mut end = String::new();
    field(extension, case & 0x10 != 0, &mut end);
    if !end.is_empty() {
        name.push('.');
        name.push_str(&end);
    }
    name.into_bytes()
}

/// A label, which uses all eleven bytes; `None` for an empty one.
pub(super) fn label(slot: &[u8]) -> Option<String> {
    let mut name = String::new();
    field(&short_bytes(slot), false, &mut name);
    let name = name.trim_end_matches(' ');
    (!name.is_empty()).then(|| name.to_owned())
}

/// What long names are bound to their short one with.
fn checksum(slot: &[u8]) -> u8 {
    slot.iter().take(11).fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// A long name while its parts, the last one first, are met. Parts out of order are orphans of a system that knew only short names.
#[derive(Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    checksum: u8,
    /// Parts still to come.
    missing: u8,
}

impl LongName {
    /// Takes a part.
    pub(super) fn part(&mut self, slot: &[u8]) {
        let order = byte(slot, 0);
        let number = order & 0x3f;
        if order & 0x40 != 0 {
            let sound = (1..=MOST_PARTS).contains(&number);
            *self = Self {
                units: vec![0; if sound { usize::from(number).saturating_mul(13) } else { 0 }],
                checksum: byte(slot, 13),
                missing: number,
            };
        }
        if self.units.is_empty() || number != self.missing || number == 0 || byte(slot, 13) != self.checksum {
            *self = Self::default();
            return;
        }
        self.missing = number.saturating_sub(1);
        let places = self.units.iter_mut().skip(usize::from(self.missing).saturating_mul(13));
        for (unit, place) in places.zip(UNIT_PLACES) {
            *unit = le16(slot, place);
        }
    }

    /// The long name of the entry `short`, if its parts are complete and belong to it. Ready for the next one.
    pub(super) fn take(&mut self, short: &[u8]) -> Option<Vec<u8>> {
        let whole = std::mem::take(self);
        if whole.units.is_empty() || whole.missing != 0 || whole.checksum != checksum(short) {
            return None;
        }
        let name = utf16_name(whole.units.into_iter().take_while(|&unit| unit != 0));
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &[u8; 11], case: u8) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..11].copy_from_slice(name);
        slot[12] = case;
        slot
    }

    /// Part `number` (0x40 in it: the last) of a long name for the short name `of`.
    fn part(number: u8, units: &[u16], of: &[u8]) -> [u8; SLOT_BYTES] {
        let mut slot = [0xff; SLOT_BYTES];
        slot[0] = number;
        slot[13] = checksum(of);
        for (place, unit) in UNIT_PLACES.into_iter().zip(units.iter().copied().chain([0])) {
            slot[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        slot
    }

    #[test]
    fn short_names_have_their_case_and_code_page() {
        assert_eq!(short_name(&slot(b"README  TXT", 0)), b"README.TXT");
        assert_eq!(short_name(&slot(b"README  TXT", 0x08)), b"readme.TXT");
        assert_eq!(short_name(&slot(b"README  TXT", 0x18)), b"readme.txt");
        assert_eq!(short_name(&slot(b"A B        ", 0)), b"A B");
        assert_eq!(short_name(&slot(b"\x05\x90      \x9a  ", 0)), "\u{3c3}\u{c9}.\u{dc}".as_bytes());
        assert_eq!(short_name(&slot(b"\x90          ", 0x08)), "\u{e9}".as_bytes());
        assert_eq!(label(&slot(b"MY DISK    ", 0)).as_deref(), Some("MY DISK"));
        assert_eq!(label(&slot(b"           ", 0)), None);
    }

    #[test]
    fn long_names_belong_to_the_entry_that_follows_all_their_parts() {
        let short = slot(b"LONGNA~1TXT", 0);
        let first: Vec<u16> = "A long name.t".encode_utf16().collect();
        let mut name = LongName::default();
        name.part(&part(0x42, &[0x78, 0x74], &short));
        name.part(&part(1, &first, &short));
        assert_eq!(name.take(&short).as_deref(), Some(&b"A long name.txt"[..]));
        assert_eq!(name.take(&short), None, "it is used up");

        for parts in [&[0x42_u8][..], &[1], &[0x43, 1], &[0x42, 2], &[0x40], &[0x55], &[0x42, 1, 1]] {
            for &number in parts {
                name.part(&part(number, &first, &short));
            }
            assert_eq!(name.take(&short), None, "{parts:x?}");
        }
        name.part(&part(0x41, &first, &slot(b"OTHER      ", 0)));
        assert_eq!(name.take(&short), None, "another checksum");
        let mut changed = LongName::default();
        changed.part(&part(0x42, &first, &short));
        changed.part(&part(1, &first, &slot(b"OTHER      ", 0)));
        assert_eq!(changed.take(&short), None, "a part of another name");
    }
}
