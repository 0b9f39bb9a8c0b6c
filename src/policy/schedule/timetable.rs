//! A schedule in its zone: the run after a moment, and the latest one before.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::calendar::Calendar;
use super::clock;
use super::{DAY_SECONDS, Rule, TimeOfDay, Weekdays};

/// First and last year in which anything runs.
pub(super) const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// When a schedule runs, in its zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    days: Days,
    times: Times,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Days {
    Every,
    Week(Weekdays),
    Calendar(Box<Calendar>),
}

#[derive(Debug, Clone)]
enum Times {
    List(Vec<TimeOfDay>),
    Calendar(Box<Calendar>),
}

impl Timetable {
    pub(super) fn new(rule: &Rule, zone: TimeZone) -> Self {
        let days = match rule {
            Rule::Daily(_) | Rule::Hours { .. } => Days::Every,
            Rule::Weekly(days, _) => Days::Week(*days),
            Rule::Calendar(calendar) => Days::Calendar(Box::new(calendar.clone())),
        };
        let times = match (rule, rule.times()) {
            (_, Some(times)) => Times::List(times),
            (Rule::Calendar(calendar), None) => Times::Calendar(Box::new(calendar.clone())),
            (_, None) => Times::List(Vec::new()),
        };
        Self { days, times, zone }
    }

    /// The zone on whose wall clock it runs.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first run later than this moment; `None` where none follows until the year 2199.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.to_datetime(after);
        let (mut date, mut second) = (wall.date(), second_of_day(wall.time()));
        loop {
            (date, second) = self.wall_from(date, second)?;
            // Runs inside a gap fall on one moment, and in an hour that comes a second time they lie behind: both are passed over here.
            match self.moment(date, second) {
                Some(moment) if moment > after => return Some(moment),
                _ => second += 1,
            }
        }
    }

    /// The last run that is not later than this moment; `None` where there is none since 1970.
    pub fn latest_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let wall = clock::latest_wall(&self.zone, at);
        let (mut date, mut second) = (wall.date(), second_of_day(wall.time()));
        loop {
            (date, second) = self.wall_until(date, second)?;
            match self.moment(date, second) {
                Some(moment) if moment <= at => return Some(moment),
                _ if second > 0 => second -= 1,
                _ => (date, second) = (date.yesterday().ok()?, DAY_SECONDS - 1),
            }
        }
    }

    /// The days on which it runs, of so many from the year 2001 on.
    pub(in crate::policy) fn days(&self, count: i32) -> impl Iterator<Item = Date> {
        let first = Date::constant(2001, 1, 1);
        let end = first.saturating_add(count.days());
        let next = move |date: &Date| date.tomorrow().ok().and_then(|date| self.days.first_from(date));
        std::iter::successors(self.days.first_from(first), next).take_while(move |date| *date < end)
    }

    fn moment(&self, date: Date, second: u32) -> Option<Timestamp> {
        clock::moment(&self.zone, wall_time(date, second)?)
    }

    /// The first run on the wall clock from this time on.
    fn wall_from(&self, date: Date, second: u32) -> Option<(Date, u32)> {
        let day = self.days.first_from(date)?;
        if let Some(second) = self.times.first_from(if day == date { second } else { 0 }) {
            return Some((day, second));
        }
        Some((self.days.first_from(day.tomorrow().ok()?)?, self.times.first_from(0)?))
    }

    /// The last run on the wall clock up to this time.
    fn wall_until(&self, date: Date, second: u32) -> Option<(Date, u32)> {
        let day = self.days.last_until(date)?;
        if let Some(second) = self.times.last_until(if day == date { second } else { DAY_SECONDS - 1 }) {
            return Some((day, second));
        }
        Some((self.days.last_until(day.yesterday().ok()?)?, self.times.last_until(DAY_SECONDS - 1)?))
    }
}

impl Days {
    fn first_from(&self, date: Date) -> Option<Date> {
        let date = date.max(Date::new(*YEARS.start(), 1, 1).ok()?);
        let found = match self {
            Self::Every => Some(date),
            Self::Week(days) => week(date, 1).find(|date| days.contains(date.weekday())),
            Self::Calendar(calendar) => calendar.first_day_from(date),
        };
        found.filter(|date| YEARS.contains(&date.year()))
    }

    fn last_until(&self, date: Date) -> Option<Date> {
        let date = date.min(Date::new(*YEARS.end(), 12, 31).ok()?);
        let found = match self {
            Self::Every => Some(date),
            Self::Week(days) => week(date, -1).find(|date| days.contains(date.weekday())),
            Self::Calendar(calendar) => calendar.last_day_until(date),
        };
        found.filter(|date| YEARS.contains(&date.year()))
    }
}

/// Seven days from this one on, forwards or backwards.
fn week(date: Date, step: i64) -> impl Iterator<Item = Date> {
    (0..7).filter_map(move |day: i64| date.checked_add((day * step).days()).ok())
}

impl Times {
    fn first_from(&self, second: u32) -> Option<u32> {
        match self {
            Self::List(times) => times.iter().map(|time| time.seconds()).find(|time| *time >= second),
            Self::Calendar(calendar) => calendar.first_time_from(second),
        }
    }

    fn last_until(&self, second: u32) -> Option<u32> {
        match self {
            Self::List(times) => times.iter().rev().map(|time| time.seconds()).find(|time| *time <= second),
            Self::Calendar(calendar) => calendar.last_time_until(second),
        }
    }
}

fn second_of_day(time: Time) -> u32 {
    let part = |number: i8| u32::try_from(number).unwrap_or(0);
    part(time.hour()) * 3600 + part(time.minute()) * 60 + part(time.second())
}

fn wall_time(date: Date, second: u32) -> Option<DateTime> {
    let part = |number: u32| i8::try_from(number).ok();
    let time = Time::new(part(second / 3600)?, part(second / 60 % 60)?, part(second % 60)?, 0).ok()?;
    Some(date.to_datetime(time))
}
