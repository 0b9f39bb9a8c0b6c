//! Sets of small numbers: the hours, minutes, days and months that a schedule or a selector names.

/// A set of numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// All numbers from `first` to `last`.
    pub(super) fn range(first: u8, last: u8) -> Self {
        (first..=last).collect()
    }

    pub(super) fn insert(&mut self, number: u8) {
        self.0 |= bit(number);
    }

    pub(super) fn contains(self, number: u8) -> bool {
        self.0 & bit(number) != 0
    }

    /// The numbers in order.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = u8> {
        (0..64).filter(move |number| self.contains(*number))
    }

    /// The smallest number that is at least this.
    pub(super) fn first_from(self, number: u8) -> Option<u8> {
        (number..64).find(|number| self.contains(*number))
    }

    /// The largest number that is at most this.
    pub(super) fn last_until(self, number: u8) -> Option<u8> {
        (0..=number).rev().find(|number| self.contains(*number))
    }

    /// Ranges of neighbours, in order: 1, 2, 3, 7 are (1, 3) and (7, 7).
    pub(super) fn ranges(self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for number in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        ranges
    }
}

impl FromIterator<u8> for Numbers {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

fn bit(number: u8) -> u64 {
    1_u64.checked_shl(u32::from(number)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_know_their_neighbours() {
        let set: Numbers = [1, 2, 3, 7, 63, 64, 200].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 2, 3, 7, 63]);
        assert_eq!(set.ranges(), [(1, 3), (7, 7), (63, 63)]);
        assert_eq!((set.first_from(4), set.first_from(63), set.first_from(64)), (Some(7), Some(63), None));
        assert_eq!((set.last_until(62), set.last_until(0), set.last_until(200)), (Some(7), None, Some(63)));
        assert_eq!((set.contains(64), Numbers::range(0, 6).iter().count()), (false, 7));
    }
}
