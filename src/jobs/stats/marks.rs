//! Which blocks are referred to, and by one machine or several: three bits a block, in pages, so that memory follows what is there.

use std::collections::HashMap;

use crate::units::{Address, PackId};

/// Slots of a page.
const PAGE_SLOTS: u32 = 4096;
const WORDS: usize = PAGE_SLOTS as usize / 64;

/// Marks of consecutive slots of one pack.
struct Page {
    /// Of the machine that is being walked.
    mine: [u64; WORDS],
    /// Of any machine walked so far.
    any: [u64; WORDS],
    /// Of more than one.
    several: [u64; WORDS],
}

/// Marks of all blocks.
#[derive(Default)]
pub(super) struct Marks {
    pages: HashMap<(PackId, u32), Box<Page>>,
}

/// Blocks of a machine, by who else has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owned {
    /// Blocks that no other machine has.
    pub(super) alone: u64,
    /// Blocks that others have too.
    pub(super) shared: u64,
}

impl Marks {
    /// Marks consecutive blocks as the current machine's.
    pub(super) fn mark(&mut self, first: Address, count: u16) {
        for slot in (first.slot..).take(usize::from(count)) {
            let page = self.pages.entry((first.pack, slot / PAGE_SLOTS)).or_insert_with(|| {
                let empty = [0; WORDS];
                Box::new(Page { mine: empty, any: empty, several: empty })
            });
            let bit = (slot % PAGE_SLOTS) as usize;
            page.mine[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// The current machine was walked for the first time.
    pub(super) fn end_first_walk(&mut self) {
        for page in self.pages.values_mut() {
            for word in 0..WORDS {
                page.several[word] |= page.any[word] & page.mine[word];
                page.any[word] |= page.mine[word];
                page.mine[word] = 0;
            }
        }
    }

    /// The current machine was walked for the second time, after all were walked once: which of its blocks others have, by pack.
    pub(super) fn end_second_walk(&mut self) -> HashMap<PackId, Owned> {
        let mut owned: HashMap<PackId, Owned> = HashMap::new();
        for ((pack, _), page) in &mut self.pages {
            let shared = ones(page.mine.iter().zip(&page.several).map(|(mine, several)| mine & several));
            let all = ones(page.mine.iter().copied());
            page.mine = [0; WORDS];
            if all > 0 {
                let of_pack = owned.entry(*pack).or_default();
                of_pack.shared += shared;
                of_pack.alone += all - shared;
            }
        }
        owned
    }

    /// Blocks that any machine refers to.
    pub(super) fn referenced(&self) -> u64 {
        self.pages.values().map(|page| ones(page.any.iter().copied())).sum()
    }
}

fn ones(words: impl Iterator<Item = u64>) -> u64 {
    words.map(|word| u64::from(word.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(pack: u8, slot: u32) -> Address {
        Address { pack: PackId([pack; 16]), slot }
    }

    #[test]
    fn blocks_of_two_machines_are_told_from_those_of_one() {
        let mut marks = Marks::default();
        let walk = |marks: &mut Marks, machine: u8| match machine {
            0 => {
                marks.mark(address(1, 4090), 10);
                marks.mark(address(1, 4090), 10);
                marks.mark(address(2, 0), 1);
            }
            _ => marks.mark(address(1, 4095), 3),
        };
        for machine in 0..2 {
            walk(&mut marks, machine);
            marks.end_first_walk();
        }
        assert_eq!(marks.referenced(), 11);
        walk(&mut marks, 0);
        let first = marks.end_second_walk();
        assert_eq!(first[&PackId([1; 16])], Owned { alone: 7, shared: 3 });
        assert_eq!(first[&PackId([2; 16])], Owned { alone: 1, shared: 0 });
        walk(&mut marks, 1);
        let second = marks.end_second_walk();
        assert_eq!(second.len(), 1);
        assert_eq!(second[&PackId([1; 16])], Owned { alone: 0, shared: 3 });
    }
}
