//! The table of capitals by which exFAT compares names. It is needed for looking names up, never for listing.

use super::super::fields::le16;
use super::boot::checksum32;

/// Capitals of all UTF-16 units.
pub(super) struct Upcase(Vec<u16>);

impl Upcase {
    /// From the volume's table; where it is damaged, the capitals of Unicode.
    pub(super) fn new(table: &[u8], checksum: u32) -> Self {
        if table.is_empty() || checksum32(table.iter().copied()) != checksum {
            return Self::unicode();
        }
        let mut capitals = Vec::with_capacity(1 << 16);
        let (units, _) = table.as_chunks::<2>();
        let mut units = units.iter().map(|unit| le16(unit, 0));
        while let Some(unit) = units.next().filter(|_| capitals.len() < 1 << 16) {
            if unit == 0xffff {
                // So many units are their own capitals.
                let same = usize::from(units.next().unwrap_or(0)).min((1_usize << 16).saturating_sub(capitals.len()));
                capitals.extend((capitals.len()..).take(same).filter_map(|unit| u16::try_from(unit).ok()));
            } else {
                capitals.push(unit);
            }
        }
        Self(capitals)
    }

    fn unicode() -> Self {
        let capital = |unit: u16| {
            let letter = char::from_u32(u32::from(unit))?;
            let mut capitals = letter.to_uppercase();
            let first = capitals.next().filter(|_| capitals.next().is_none())?;
            u16::try_from(u32::from(first)).ok()
        };
        Self((0..=u16::MAX).map(|unit| capital(unit).unwrap_or(unit)).collect())
    }

    fn capital(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Whether two names are the same to exFAT.
    pub(super) fn same(&self, left: &[u16], right: &[u16]) -> bool {
        left.len() == right.len() && left.iter().zip(right).all(|(&left, &right)| self.capital(left) == self.capital(right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn names_are_compared_by_the_table_or_by_unicode() {
        // All up to 'a' their own, 'a' like 'A', 'b' like 'X'.
        let table: Vec<u8> = [0xffff, 0x61, 0x41, 0x58].iter().flat_map(|unit: &u16| unit.to_le_bytes()).collect();
        let own = Upcase::new(&table, checksum32(table.iter().copied()));
        assert!(own.same(&units("aBb"), &units("ABX")) && !own.same(&units("c"), &units("C")));
        let other = Upcase::new(&table, 1);
        assert!(other.same(&units("\u{e9}tude"), &units("\u{c9}TUDE")) && !other.same(&units("b"), &units("X")));
    }
}
