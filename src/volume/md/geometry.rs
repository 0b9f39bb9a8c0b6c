//! Where the bytes of an array lie on its members, level by level. All offsets on members count from the start of their data.
//!
//! The sizes that come in are checked in `Geometry::new`: an array is below 2^60 bytes and each divisor above 0, so that what follows
//! calculates without overflow.

use super::Level;
use super::copies::StripedCopies;
use super::striped::Striped;
use super::stripes::{Parity, Stripe};

/// Most bytes of an array.
pub(super) const MOST_BYTES: u64 = 1 << 60;
/// Smallest chunk of the levels for which Linux asks for a power of two.
const LEAST_CHUNK_BYTES: u64 = 512;

/// What decides the layout of an array.
pub(super) struct Plan<'a> {
    pub(super) level: Level,
    pub(super) layout: u32,
    pub(super) chunk_bytes: u64,
    pub(super) devices: usize,
    /// Bytes used of each member, where the level uses the same of all.
    pub(super) used_bytes: u64,
    /// Bytes of each member by role, where the level uses all of them.
    pub(super) member_bytes: &'a [u64],
    /// Whether the layout of raid0 is recorded.
    pub(super) raid0_layout: bool,
}

/// Why there is no geometry for a plan.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The numbers contradict each other.
    Damaged(String),
    /// A layout that is not known here.
    Unsupported(String),
}

/// A range of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) role: usize,
    pub(super) offset_bytes: u64,
    /// How far the array goes on in the same place.
    pub(super) length_bytes: u64,
}

/// Where the bytes of an array lie.
#[derive(Debug)]
pub(super) struct Geometry {
    size_bytes: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Ends of the members in the array.
    Linear(Vec<u64>),
    Striped(Striped),
    /// How many copies.
    Mirror(usize),
    Parity(Parity),
    StripedCopies(StripedCopies),
}

impl Geometry {
    pub(super) fn new(plan: &Plan<'_>) -> Result<Self, Refusal> {
        let (size_bytes, kind) = match plan.level {
            Level::Linear => linear(plan)?,
            Level::Raid0 => with(Kind::Striped, Striped::laid_out(plan)?),
            Level::Raid1 => (Some(plan.used_bytes), Kind::Mirror(plan.devices)),
            Level::Raid4 | Level::Raid5 | Level::Raid6 => with(Kind::Parity, Parity::laid_out(plan)?),
            Level::Raid10 => with(Kind::StripedCopies, StripedCopies::laid_out(plan)?),
        };
        match size_bytes {
            Some(size_bytes) if (1..=MOST_BYTES).contains(&size_bytes) => Ok(Self { size_bytes, kind }),
            size => Err(Refusal::Damaged(format!("an array of {size:?} bytes comes of its numbers"))),
        }
    }

    /// Bytes of the array.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many times each byte is kept.
    pub(super) fn copies(&self) -> usize {
        match &self.kind {
            Kind::Linear(_) | Kind::Striped(_) | Kind::Parity(_) => 1,
            Kind::Mirror(copies) => *copies,
            Kind::StripedCopies(copies) => copies.near * copies.far,
        }
    }

    /// Where one of the copies of the byte at `at`, which is inside of the array, lies.
    pub(super) fn place(&self, at: u64, copy: usize) -> Option<Place> {
        let mut place = match &self.kind {
            Kind::Linear(ends) => {
                let role = ends.partition_point(|&end| end <= at);
                let start = role.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
                Place { role, offset_bytes: at - start, length_bytes: ends.get(role)? - at }
            }
            Kind::Striped(striped) => striped.place(at)?,
            Kind::Mirror(_) => Place { role: copy, offset_bytes: at, length_bytes: u64::MAX },
            Kind::Parity(parity) => parity.place(at),
            Kind::StripedCopies(copies) => copies.place(at, copy),
        };
        place.length_bytes = place.length_bytes.min(self.size_bytes.saturating_sub(at));
        Some(place)
    }

    /// The stripe with the byte at `at`, where there is parity.
    pub(super) fn stripe(&self, at: u64) -> Option<Stripe> {
        match &self.kind {
            Kind::Parity(parity) => Some(parity.stripe(at / parity.chunk_bytes / parity.data_devices())),
            _ => None,
        }
    }

    /// Whether every byte can be read or computed from the members that are `present`, by role.
    pub(super) fn is_enough(&self, present: &[bool]) -> bool {
        let there = |role: usize| present.get(role).copied().unwrap_or(false);
        let missing = present.iter().filter(|&&there| !there).count();
        match &self.kind {
            Kind::Linear(_) | Kind::Striped(_) => missing == 0,
            Kind::Mirror(_) => missing < present.len(),
            Kind::Parity(parity) => missing <= parity.parities(),
            // The members of one chunk's copies repeat after as many chunks as there are members.
            Kind::StripedCopies(copies) => (0..present.len() as u64)
                .all(|chunk| (0..self.copies()).any(|copy| there(copies.place(chunk * copies.chunk_bytes, copy).role))),
        }
    }
}

pub(super) fn rounded(bytes: u64, chunk_bytes: u64) -> u64 {
    bytes.checked_rem(chunk_bytes).map_or(bytes, |rest| bytes - rest)
}

fn with<T>(kind: impl Fn(T) -> Kind, (size_bytes, layout): (Option<u64>, T)) -> (Option<u64>, Kind) {
    (size_bytes, kind(layout))
}

fn linear(plan: &Plan<'_>) -> Result<(Option<u64>, Kind), Refusal> {
    let mut ends = Vec::with_capacity(plan.member_bytes.len());
    let mut end = 0u64;
    for &bytes in plan.member_bytes {
        end = end.checked_add(rounded(bytes, plan.chunk_bytes)).ok_or_else(|| Refusal::Damaged("its members are too large".to_owned()))?;
        ends.push(end);
    }
    Ok((Some(end), Kind::Linear(ends)))
}

pub(super) fn check_chunk(chunk_bytes: u64) -> Result<(), Refusal> {
    if !chunk_bytes.is_power_of_two() || chunk_bytes < LEAST_CHUNK_BYTES {
        return Err(Refusal::Damaged(format!("its chunks have {chunk_bytes} bytes")));
    }
    Ok(())
}
