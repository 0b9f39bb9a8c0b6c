//! Which packs are emptied: a rule about what it costs and what it gives. Pure.

use std::cmp::Ordering;

use crate::format::pack::PackKind;
use crate::units::PackId;

/// Packs below this size are merged with others.
const SMALL_BYTES: u64 = 16 << 20;
/// So many small packs of one kind are worth merging: each block of them is then copied once for eight backups, not for each.
const MERGED_PACKS: usize = 8;

/// A pack that may be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The pack.
    pub pack: PackId,
    /// What it holds.
    pub kind: PackKind,
    /// Its slots.
    pub slots: u32,
    /// Slots that something needs.
    pub live: u64,
    /// Bytes of the pack.
    pub size_bytes: u64,
}

impl Candidate {
    /// Bytes of its live slots, by the mean of all.
    fn live_bytes(&self) -> u64 {
        let bytes = u128::from(self.size_bytes) * u128::from(self.live) / u128::from(self.slots.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// By the part that is live, the least first.
    fn by_share(&self, other: &Self) -> Ordering {
        let share = |one: &Self, of: &Self| u128::from(one.live) * u128::from(of.slots.max(1));
        share(self, other).cmp(&share(other, self)).then_with(|| self.pack.cmp(&other.pack))
    }
}

/// What is worth it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Packs of which less than this part is live are emptied, in percent.
    pub repack_below_percent: f64,
    /// Most bytes that are copied before the packs that they came from are deleted.
    pub max_copy_bytes: u64,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The packs, ascending.
    pub packs: Vec<PackId>,
    /// Bytes to be copied out of them.
    pub copy_bytes: u64,
    /// Bytes that their deletion frees, copies not counted.
    pub size_bytes: u64,
    /// Packs that are worth it too and did not fit.
    pub left: u64,
}

/// Chooses among packs. Dead ones first: they cost nothing and give room. Then those with the least to copy for what they free. `already`
/// bytes are to be copied in any case.
pub fn choose(candidates: &[Candidate], rule: Rule, already_bytes: u64) -> Choice {
    let mut choice = Choice { copy_bytes: already_bytes, ..Choice::default() };
    let (dead, mut worth): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().copied().filter(|one| is_sparse(one, rule)).partition(|one| one.live == 0);
    worth.sort_by(Candidate::by_share);
    worth.extend(small(candidates, rule));
    for one in dead.into_iter().chain(worth) {
        let copied_bytes = choice.copy_bytes.saturating_add(one.live_bytes());
        if one.live > 0 && copied_bytes > rule.max_copy_bytes {
            choice.left += 1;
            continue;
        }
        choice.copy_bytes = copied_bytes;
        choice.size_bytes = choice.size_bytes.saturating_add(one.size_bytes);
        choice.packs.push(one.pack);
    }
    choice.packs.sort_unstable();
    choice
}

fn is_sparse(one: &Candidate, rule: Rule) -> bool {
    one.live == 0 || (one.live as f64) * 100.0 < f64::from(one.slots) * rule.repack_below_percent
}

/// Small packs of a kind, if they are many.
fn small(candidates: &[Candidate], rule: Rule) -> Vec<Candidate> {
    let mut found = Vec::new();
    for kind in [PackKind::Data, PackKind::Map] {
        let is_small = |one: &&Candidate| one.kind == kind && one.size_bytes < SMALL_BYTES && !is_sparse(one, rule);
        let mut small: Vec<Candidate> = candidates.iter().filter(is_small).copied().collect();
        if small.len() >= MERGED_PACKS {
            small.sort_by_key(|one| (one.size_bytes, one.pack));
            found.append(&mut small);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { repack_below_percent: 70.0, max_copy_bytes: 1 << 30 };

    fn candidate(number: u8, live: u64, size_bytes: u64) -> Candidate {
        Candidate { pack: PackId([number; 16]), kind: PackKind::Data, slots: 100, live, size_bytes }
    }

    fn chosen(candidates: &[Candidate], rule: Rule) -> (Vec<u8>, u64, u64) {
        let choice = choose(candidates, rule, 0);
        (choice.packs.iter().map(|pack| pack.0[0]).collect(), choice.copy_bytes, choice.left)
    }

    #[test]
    fn sparse_packs_are_emptied_and_full_ones_left() {
        let packs = [candidate(1, 100, 64 << 20), candidate(2, 70, 64 << 20), candidate(3, 69, 100 << 20), candidate(4, 0, 64 << 20)];
        assert_eq!(chosen(&packs, RULE), (vec![3, 4], 69 << 20, 0));
        assert_eq!(chosen(&packs, Rule { repack_below_percent: 0.0, ..RULE }), (vec![4], 0, 0), "dead packs go in any case");
        assert_eq!(chosen(&packs, Rule { repack_below_percent: 71.0, ..RULE }).0, [2, 3, 4]);
    }

    #[test]
    fn what_is_copied_at_one_time_is_bounded_and_dead_packs_are_free() {
        let packs = [candidate(1, 50, 100), candidate(2, 10, 100), candidate(3, 60, 100), candidate(4, 0, 1 << 40)];
        assert_eq!(chosen(&packs, Rule { max_copy_bytes: 60, ..RULE }), (vec![1, 2, 4], 60, 1));
        assert_eq!(chosen(&packs, Rule { max_copy_bytes: 9, ..RULE }), (vec![4], 0, 3));
        let inherited = choose(&packs, Rule { max_copy_bytes: 60, ..RULE }, 50);
        assert_eq!((inherited.packs.len(), inherited.copy_bytes), (2, 60));
    }

    #[test]
    fn small_packs_are_merged_when_they_are_many() {
        let small = |count: u8| (0..count).map(|number| candidate(number, 100, 1 << 20)).collect::<Vec<_>>();
        assert_eq!(chosen(&small(7), RULE).0, [0; 0]);
        assert_eq!(chosen(&small(8), RULE).0.len(), 8);
        let mixed: Vec<Candidate> =
            small(8).into_iter().map(|one| if one.pack.0[0] == 0 { Candidate { kind: PackKind::Map, ..one } } else { one }).collect();
        assert_eq!(chosen(&mixed, RULE).0, [0; 0], "blocks and map nodes never share a pack");
    }
}
