//! How users name recovery points, and which point a name means.
//!
//! | text | means |
//! | --- | --- |
//! | `web01@2026-11-22T20:30:00Z` | the machine's point of that second; any offset from UTC may stand for `Z` |
//! | `web01@2026-11-22T20:3` | the machine's only point whose time, in UTC, starts so |
//! | `web01@latest`, `web01@latest~2` | its newest point by time, the second before that one |
//! | `web01@2026-11-21` | its last point of that day, as the days are in the time zone given (the user's own) |
//! | `0f3c1a` | the only point whose id starts so, 4 digits at least |
//!
//! A machine's name alone is no point's name: `db01` could be both a machine and the start of an id, and "the latest" should be
//! said where it is meant. Points in soft delete and pending ones are only named by their whole id.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::CatalogueError;
use super::points::{Listing, PointSummary};
use crate::units::{MachineName, PointId};

/// Fewest digits of an id that name a point.
const LEAST_ID_DIGITS: usize = 4;
/// Most points or machines that an error lists.
const CANDIDATES: usize = 5;

/// A name that a user gave to a point, taken apart. It may mean one point, several, or none: see [`PointName::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointName {
    given: String,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// The start of an id, in lower case.
    Id(String),
    /// A point of a machine.
    Of(MachineName, Which),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    /// So many before the newest.
    Latest(usize),
    /// The last of a day.
    Day(Date),
    /// Of a moment.
    At(Timestamp),
    /// The start of the time in UTC as it is shown.
    TimePrefix(String),
}

impl FromStr for PointName {
    type Err = CatalogueError;

    fn from_str(given: &str) -> Result<Self, CatalogueError> {
        let refuse = |why: String| CatalogueError::BadPointName { given: given.to_owned(), why };
        let meaning = match given.split_once('@') {
            Some((machine, which)) => {
                let machine = machine.parse().map_err(|error: crate::units::NameError| refuse(error.to_string()))?;
                Meaning::Of(machine, parse_which(which).ok_or_else(|| refuse(format!("{which:?} is no time")))?)
            }
            None if is_id_prefix(given) => Meaning::Id(given.to_ascii_lowercase()),
            None => return Err(refuse("it has no '@', and it is not the start of an id".to_owned())),
        };
        Ok(Self { given: given.to_owned(), meaning })
    }
}

fn is_id_prefix(text: &str) -> bool {
    (LEAST_ID_DIGITS..=2 * PointId::LEN).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn parse_which(text: &str) -> Option<Which> {
    if let Some(rest) = text.strip_prefix("latest") {
        return match rest.strip_prefix('~') {
            Some(back) if back.bytes().all(|digit| digit.is_ascii_digit()) => back.parse().ok().map(Which::Latest),
            None if rest.is_empty() => Some(Which::Latest(0)),
            _ => None,
        };
    }
    if text.len() == "2026-11-21".len()
        && let Ok(day) = text.parse()
    {
        return Some(Which::Day(day));
    }
    if let Ok(time) = text.parse() {
        return Some(Which::At(time));
    }
    let shown = "0000-00-00T00:00:00Z";
    let fits = |(byte, like): (u8, u8)| if like == b'0' { byte.is_ascii_digit() } else { byte == like };
    let starts_like_a_time = (4..shown.len()).contains(&text.len()) && text.bytes().zip(shown.bytes()).all(fits);
    starts_like_a_time.then(|| Which::TimePrefix(text.to_owned()))
}

impl PointName {
    /// The one point that is meant. `zone` says when days begin.
    ///
    /// # Errors
    /// [`CatalogueError::UnknownPoint`] and [`CatalogueError::AmbiguousPoint`], with points or machines that may be meant instead.
    pub fn resolve<'l>(&self, listing: &'l Listing, zone: &TimeZone) -> Result<&'l PointSummary, CatalogueError> {
        match &self.meaning {
            Meaning::Id(digits) => self.resolve_id(digits, listing),
            Meaning::Of(machine, which) => self.resolve_time(machine, which, listing, zone),
        }
    }

    fn resolve_id<'l>(&self, digits: &str, listing: &'l Listing) -> Result<&'l PointSummary, CatalogueError> {
        if let Ok(point) = digits.parse::<PointId>() {
            let mut all = listing.points.iter().chain(&listing.deleted).chain(&listing.pending);
            let gone = listing.removed.contains(&point);
            let why = if gone { "it was deleted, and its data is gone" } else { "no recovery point has this id" };
            return all.find(|summary| summary.point() == point).ok_or_else(|| self.unknown(why, vec![]));
        }
        let found: Vec<&PointSummary> = listing.points.iter().filter(|summary| summary.point().to_string().starts_with(digits)).collect();
        let machine = listing.points.iter().find(|summary| summary.manifest.machine.as_str() == self.given);
        match (&found[..], machine) {
            ([point], None) => Ok(point),
            ([], None) => Err(self.unknown("no recovery point's id starts so", vec![])),
            ([], Some(_)) => Err(self.unknown("it is a machine", vec![format!("{}@latest", self.given)])),
            (_, None) => Err(self.ambiguous(&found)),
            (_, Some(_)) => {
                let mut candidates = vec![format!("{}@latest", self.given)];
                candidates.extend(found.iter().take(CANDIDATES - 1).map(|point| shown(point)));
                Err(CatalogueError::AmbiguousPoint { given: self.given.clone(), candidates })
            }
        }
    }

    fn resolve_time<'l>(
        &self,
        machine: &MachineName,
        which: &Which,
        listing: &'l Listing,
        zone: &TimeZone,
    ) -> Result<&'l PointSummary, CatalogueError> {
        // Ascending by time: the listing's order.
        let points: Vec<&PointSummary> = listing.points.iter().filter(|summary| summary.manifest.machine == *machine).collect();
        if points.is_empty() {
            return Err(self.unknown("the vault has no recovery point of this machine", nearest_machines(machine, listing)));
        }
        let of_day = |day: &Date| points.iter().rev().find(|point| zone.to_datetime(point.manifest.time).date() == *day);
        let found = match which {
            Which::Latest(back) => points.iter().rev().nth(*back).into_iter().collect::<Vec<_>>(),
            Which::Day(day) => of_day(day).into_iter().collect(),
            Which::At(time) => points.iter().filter(|point| point.manifest.time == *time).collect(),
            Which::TimePrefix(start) => points.iter().filter(|point| point.manifest.time.to_string().starts_with(start)).collect(),
        };
        match found[..] {
            [point] => Ok(point),
            [] => Err(self.unknown(why_none(which), nearest_points(which, &points, zone))),
            _ => Err(self.ambiguous(&found.into_iter().copied().collect::<Vec<_>>())),
        }
    }

    fn unknown(&self, why: &'static str, candidates: Vec<String>) -> CatalogueError {
        CatalogueError::UnknownPoint { given: self.given.clone(), why, candidates }
    }

    fn ambiguous(&self, points: &[&PointSummary]) -> CatalogueError {
        let candidates = points.iter().take(CANDIDATES).map(|point| shown(point)).collect();
        CatalogueError::AmbiguousPoint { given: self.given.clone(), candidates }
    }
}

fn why_none(which: &Which) -> &'static str {
    match which {
        Which::Latest(_) => "the machine does not have so many",
        Which::Day(_) => "the machine has none of that day",
        Which::At(_) | Which::TimePrefix(_) => "the machine has none of that time",
    }
}

/// A point as errors list it: by name, and by id for where names are the same.
fn shown(point: &PointSummary) -> String {
    format!("{}  {}", point.name(), point.point())
}

/// The points around the time that was asked for, or the oldest ones, ascending by time.
fn nearest_points(which: &Which, points: &[&PointSummary], zone: &TimeZone) -> Vec<String> {
    let asked = match which {
        Which::Latest(_) => points.first().map(|point| point.manifest.time),
        Which::Day(day) => day.to_zoned(zone.clone()).ok().map(|midnight| midnight.timestamp()),
        Which::At(time) => Some(*time),
        Which::TimePrefix(start) => points.iter().map(|point| point.manifest.time).find(|time| time.to_string().as_str() > start.as_str()),
    };
    let asked = asked.unwrap_or(Timestamp::MAX);
    let after = points.partition_point(|point| point.manifest.time < asked);
    let start = after.saturating_sub(CANDIDATES / 2).min(points.len().saturating_sub(CANDIDATES));
    points.iter().skip(start).take(CANDIDATES).map(|point| shown(point)).collect()
}

/// Machines that may be meant: those that start alike first, the longer the better.
fn nearest_machines(machine: &MachineName, listing: &Listing) -> Vec<String> {
    let mut machines: Vec<&MachineName> = listing.points.iter().map(|summary| &summary.manifest.machine).collect();
    machines.dedup();
    let alike = |other: &MachineName| {
        let pairs = machine.as_str().bytes().zip(other.as_str().bytes());
        pairs.take_while(|(mine, theirs)| mine.eq_ignore_ascii_case(theirs)).count()
    };
    machines.sort_by_key(|other| std::cmp::Reverse(alike(other)));
    machines.into_iter().take(CANDIDATES).map(|machine| format!("{machine}@latest")).collect()
}
