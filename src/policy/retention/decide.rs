//! The decision about each point of a machine, with all its reasons.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::period::{Period, day_end, day_number};
use super::{Keep, Retention};
use crate::units::PointId;

/// A point that retention decides about. Deleted points are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The point.
    pub point: PointId,
    /// Its number in its machine's history.
    pub sequence: u64,
    /// When the disks were as kept.
    pub time: Timestamp,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// Until when it is to be kept in any case.
    pub retain_until: Option<Timestamp>,
    /// Until when the vault's immutability keeps it.
    pub immutable_until: Option<Timestamp>,
}

/// What is decided about a point: kept if there is any reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The point.
    pub point: PointId,
    /// Its time.
    pub time: Timestamp,
    /// All reasons to keep it.
    pub reasons: Vec<Reason>,
}

/// A reason to keep a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What keeps it.
    pub why: Why,
    /// For how long, as things stand.
    pub until: Until,
}

/// What keeps a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A rule; of one that counts, the how manieth it is, from 1 for the newest.
    Rule(Keep, Option<u16>),
    /// It is the newest of its machine.
    Newest,
    /// A person pinned it.
    Pinned,
    /// Its own date has not come.
    RetainUntil,
    /// The vault is immutable.
    Immutable,
}

/// How long a reason holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until a person changes something.
    Changed,
    /// Until this moment; of a rule that counts periods, at the earliest: later where periods stay without points.
    Time(Timestamp),
    /// Until so many newer points exist.
    NewerPoints(u16),
}

impl Decision {
    /// Whether the point stays.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// The longest of its reasons: what a person changes, then the latest moment, then the most newer points. `None` for a point that
    /// nothing keeps.
    pub fn until(&self) -> Option<Until> {
        self.reasons.iter().map(|reason| reason.until).max_by_key(|until| match until {
            Until::NewerPoints(count) => (0, Timestamp::UNIX_EPOCH, *count),
            Until::Time(time) => (1, *time, 0),
            Until::Changed => (2, Timestamp::UNIX_EPOCH, 0),
        })
    }
}

/// Decides about all points of one machine, newest first, whatever order they come in. Days, weeks and months are those of `zone`.
pub fn decide(retention: &Retention, candidates: &[Candidate], zone: &TimeZone, now: Timestamp) -> Vec<Decision> {
    let mut points: Vec<(Candidate, Zoned)> = candidates.iter().map(|point| (*point, point.time.to_zoned(zone.clone()))).collect();
    points.sort_by_key(|(point, _)| std::cmp::Reverse((point.time, point.sequence, point.point)));
    let mut decisions: Vec<Decision> = points.iter().map(|(point, _)| own_reasons(point, now)).collect();
    for index in newest(&points) {
        keep(&mut decisions, index, Why::Newest, Until::NewerPoints(1));
    }
    for rule in retention.rules() {
        for (index, rank, until) in kept_by(rule, &points, now) {
            keep(&mut decisions, index, Why::Rule(*rule, rank), until);
        }
    }
    decisions
}

fn keep(decisions: &mut [Decision], index: usize, why: Why, until: Until) {
    if let Some(decision) = decisions.get_mut(index) {
        decision.reasons.push(Reason { why, until });
    }
}

fn own_reasons(point: &Candidate, now: Timestamp) -> Decision {
    let later = |until: Option<Timestamp>| until.filter(|until| *until > now).map(Until::Time);
    let pinned = point.pinned.then_some(Until::Changed);
    let all = [(Why::Pinned, pinned), (Why::RetainUntil, later(point.retain_until)), (Why::Immutable, later(point.immutable_until))];
    let reasons = all.into_iter().filter_map(|(why, until)| Some(Reason { why, until: until? })).collect();
    Decision { point: point.point, time: point.time, reasons }
}

/// The newest by time, and the last that was made: where a clock was wrong these are two, and neither may be lost.
fn newest(points: &[(Candidate, Zoned)]) -> Vec<usize> {
    let last_made = (0..points.len()).max_by_key(|index| points.get(*index).map(|(point, _)| (point.sequence, point.time, point.point)));
    let mut newest: Vec<usize> = last_made.into_iter().chain((!points.is_empty()).then_some(0)).collect();
    newest.sort_unstable();
    newest.dedup();
    newest
}

/// Index, rank and end of each point that a rule keeps. The points come newest first.
fn kept_by(rule: &Keep, points: &[(Candidate, Zoned)], now: Timestamp) -> Vec<(usize, Option<u16>, Until)> {
    match (rule, Period::of(rule)) {
        (Keep::Forever, _) => (0..points.len()).map(|index| (index, None, Until::Changed)).collect(),
        (Keep::Last(count), _) => {
            let ranked = (0..points.len()).zip(1..=*count);
            ranked.map(|(index, rank)| (index, Some(rank), Until::NewerPoints(count - rank + 1))).collect()
        }
        (Keep::Days(days), _) => {
            let ends = points.iter().map(|(_, at)| at.checked_add(i32::from(*days).days()).map_or(Timestamp::MAX, |end| end.timestamp()));
            ends.enumerate().filter(|(_, end)| *end > now).map(|(index, end)| (index, None, Until::Time(end))).collect()
        }
        (_, Some(period)) => kept_by_periods(rule, period, points, now),
        (_, None) => Vec::new(),
    }
}

/// A place that one point can fill: a period, or a selected day in it.
#[derive(Clone, Copy)]
struct Filled {
    index: usize,
    /// The day that counts, where days are selected.
    day: i64,
}

fn kept_by_periods(rule: &Keep, period: Period, points: &[(Candidate, Zoned)], now: Timestamp) -> Vec<(usize, Option<u16>, Until)> {
    let mut places: BTreeMap<(i64, i64), Filled> = BTreeMap::new();
    for (index, (_, at)) in points.iter().enumerate() {
        let Some((place, day)) = place_of(rule, period, at) else { continue };
        let filled = places.entry(place).or_insert(Filled { index, day });
        // Of the selected day, or of the first after it that has points, the last one: older days win, newer points of one day.
        if day < filled.day {
            *filled = Filled { index, day };
        }
    }
    let count = rule.count().unwrap_or(0);
    let Some(((newest, _), _)) = places.last_key_value() else { return Vec::new() };
    let newest = *newest;
    let (mut rank, mut counted, mut kept) = (0, None, Vec::new());
    for ((number, _), filled) in places.iter().rev() {
        if counted != Some(*number) {
            (rank, counted) = (rank + 1, Some(*number));
        }
        if rank > count {
            break;
        }
        if let Some((_, at)) = points.get(filled.index) {
            let replaced = newest.checked_add(i64::from(count - rank + 1)).and_then(|number| period.start(number, at));
            let until =
                if is_open(rule, period, at, now) { Until::NewerPoints(1) } else { Until::Time(replaced.unwrap_or(Timestamp::MAX)) };
            kept.push((filled.index, Some(rank), until));
        }
    }
    kept
}

/// Period and selected day whose place a point at this moment can fill, and the day that counts among several that can; `None` before the
/// first selected day of a period.
fn place_of(rule: &Keep, period: Period, at: &Zoned) -> Option<((i64, i64), i64)> {
    let number = period.number(at);
    if !rule.selects() {
        return Some(((number, 0), 0));
    }
    let mut selected = at.date();
    while !rule.is_selected(selected) {
        selected = selected.yesterday().ok().filter(|day| period.number_of_day(*day) == number)?;
    }
    Some(((number, day_number(selected)), day_number(at.date())))
}

/// Whether a newer point may still take this one's place because its period, or its day, is not over.
fn is_open(rule: &Keep, period: Period, at: &Zoned, now: Timestamp) -> bool {
    let end = if rule.selects() {
        day_end(at.date(), at.time_zone())
    } else {
        period.number(at).checked_add(1).and_then(|next| period.start(next, at))
    };
    end.is_none_or(|end| end > now)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule, Some(rank)) => write!(f, "{} {rank} of {}", rule.word(), rule.count().unwrap_or(0)),
            Self::Rule(rule, None) => write!(f, "{rule}"),
            Self::Newest => f.write_str("newest of its machine"),
            Self::Pinned => f.write_str("pinned"),
            Self::RetainUntil => f.write_str("its own date"),
            Self::Immutable => f.write_str("immutable"),
        }
    }
}
