//! Ranges of bytes and sorted sets of them.

/// A range of bytes of a disk: `offset..offset + length`. `end()` never overflows for an extent made by [`Extent::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    offset: u64,
    length: u64,
}

impl Extent {
    /// The range of `length` bytes from `offset`; `None` where its end would not fit in 64 bits.
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        offset.checked_add(length).map(|_| Self { offset, length })
    }

    /// The range from `start` to `end`, empty where `end` is not after `start`.
    pub fn between(start: u64, end: u64) -> Self {
        Self { offset: start, length: end.saturating_sub(start) }
    }

    /// First byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The byte after the last one.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes that both have, where there are any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self::between(self.offset.max(other.offset), self.end().min(other.end()));
        (!both.is_empty()).then_some(both)
    }
}

/// Extents in ascending order that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtentSet {
    extents: Vec<Extent>,
}

impl ExtentSet {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// All bytes below `size_bytes`.
    pub fn whole(size_bytes: u64) -> Self {
        Self::from_unsorted(vec![Extent::between(0, size_bytes)])
    }

    /// Sorts and merges extents given in any order.
    pub fn from_unsorted(mut extents: Vec<Extent>) -> Self {
        extents.sort_unstable();
        let mut set = Self::new();
        for extent in extents {
            set.push(extent);
        }
        set
    }

    /// Adds an extent that starts no earlier than the last one does; extents that touch become one.
    pub fn push(&mut self, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        match self.extents.last_mut() {
            Some(last) if extent.offset <= last.end() => {
                debug_assert!(last.offset <= extent.offset, "extents are pushed in order");
                *last = Extent::between(last.offset, last.end().max(extent.end()));
            }
            _ => self.extents.push(extent),
        }
    }

    /// The extents, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Extent> + '_ {
        self.extents.iter().copied()
    }

    /// Bytes of all extents together.
    pub fn total_bytes(&self) -> u64 {
        self.extents.iter().map(Extent::length).sum()
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The extents that overlap `range`, cut to it, ascending.
    pub fn within(&self, range: Extent) -> impl Iterator<Item = Extent> + '_ {
        let first = self.extents.partition_point(|extent| extent.end() <= range.offset);
        let rest = self.extents.get(first..).unwrap_or_default();
        rest.iter().map_while(move |extent| extent.intersection(&range))
    }

    /// Whether any byte of `range` is in the set.
    pub fn overlaps(&self, range: Extent) -> bool {
        self.within(range).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(extents: &[(u64, u64)]) -> ExtentSet {
        ExtentSet::from_unsorted(extents.iter().map(|&(start, end)| Extent::between(start, end)).collect())
    }

    #[test]
    fn touching_and_overlapping_extents_become_one() {
        assert_eq!(set(&[(10, 20), (0, 5), (5, 7), (15, 30), (40, 40)]), set(&[(0, 7), (10, 30)]));
        assert_eq!(set(&[(0, 7), (10, 30)]).total_bytes(), 27);
    }

    #[test]
    fn within_cuts_to_the_range() {
        let extents = set(&[(0, 7), (10, 30), (40, 50)]);
        let cut: Vec<_> = extents.within(Extent::between(5, 45)).collect();
        assert_eq!(cut, [Extent::between(5, 7), Extent::between(10, 30), Extent::between(40, 45)]);
        assert!(!extents.overlaps(Extent::between(7, 10)));
        assert!(extents.overlaps(Extent::between(7, 11)));
    }

    #[test]
    fn an_extent_past_the_end_of_numbers_is_refused() {
        assert_eq!(Extent::new(u64::MAX, 1), None);
    }
}
