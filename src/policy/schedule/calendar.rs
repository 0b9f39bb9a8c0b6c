//! Calendar expressions in the style of systemd's `OnCalendar` (systemd.time(7)): which days and times they name.

use jiff::civil::Date;

use super::timetable::YEARS;
use crate::policy::numbers::Numbers;

/// A calendar expression: weekday, year, month and day must all fit, as must hour, minute and second. It names at least one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub(super) weekdays: Numbers,
    /// Sorted; `None` for every year.
    pub(super) years: Option<Vec<i16>>,
    pub(super) months: Numbers,
    pub(super) days: MonthDays,
    pub(super) hours: Numbers,
    pub(super) minutes: Numbers,
    pub(super) seconds: Numbers,
}

/// Days of a month, the first and the last being 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MonthDays {
    FromStart(Numbers),
    FromEnd(Numbers),
}

impl Calendar {
    pub(super) fn first_day_from(&self, from: Date) -> Option<Date> {
        let mut month = from.first_of_month();
        while YEARS.contains(&month.year()) {
            if self.has_month(month) {
                let day = (from.max(month).day()..=month.days_in_month()).find_map(|day| self.day(month, day));
                if day.is_some() {
                    return day;
                }
            }
            month = month.last_of_month().tomorrow().ok()?;
        }
        None
    }

    pub(super) fn last_day_until(&self, until: Date) -> Option<Date> {
        let mut month = until.first_of_month();
        while YEARS.contains(&month.year()) {
            if self.has_month(month) {
                let day = (1..=until.min(month.last_of_month()).day()).rev().find_map(|day| self.day(month, day));
                if day.is_some() {
                    return day;
                }
            }
            month = month.yesterday().ok()?.first_of_month();
        }
        None
    }

    fn has_month(&self, month: Date) -> bool {
        let years = self.years.as_ref();
        years.is_none_or(|years| years.binary_search(&month.year()).is_ok())
            && u8::try_from(month.month()).is_ok_and(|number| self.months.contains(number))
    }

    /// This day of the month, if the expression names it.
    fn day(&self, month: Date, day: i8) -> Option<Date> {
        let date = Date::new(month.year(), month.month(), day).ok()?;
        let named = match self.days {
            MonthDays::FromStart(days) => days.contains(u8::try_from(day).ok()?),
            MonthDays::FromEnd(days) => days.contains(u8::try_from(date.days_in_month() - day + 1).ok()?),
        };
        let weekday = u8::try_from(date.weekday().to_monday_zero_offset()).ok()?;
        (named && self.weekdays.contains(weekday)).then_some(date)
    }

    pub(super) fn first_time_from(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = split(second);
        let first = |set: Numbers| set.first_from(0);
        if self.hours.contains(hour) {
            let in_minute = self.seconds.first_from(second).filter(|_| self.minutes.contains(minute)).map(|second| (minute, second));
            let later = || Some((self.minutes.first_from(minute.checked_add(1)?)?, first(self.seconds)?));
            if let Some((minute, second)) = in_minute.or_else(later) {
                return Some(join(hour, minute, second));
            }
        }
        Some(join(self.hours.first_from(hour.checked_add(1)?)?, first(self.minutes)?, first(self.seconds)?))
    }

    pub(super) fn last_time_until(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = split(second);
        let last = |set: Numbers| set.last_until(u8::MAX);
        if self.hours.contains(hour) {
            let in_minute = self.seconds.last_until(second).filter(|_| self.minutes.contains(minute)).map(|second| (minute, second));
            let earlier = || Some((self.minutes.last_until(minute.checked_sub(1)?)?, last(self.seconds)?));
            if let Some((minute, second)) = in_minute.or_else(earlier) {
                return Some(join(hour, minute, second));
            }
        }
        Some(join(self.hours.last_until(hour.checked_sub(1)?)?, last(self.minutes)?, last(self.seconds)?))
    }
}

/// Hour, minute and second of a second of a day; the end of the day is hour 24.
fn split(second: u32) -> (u8, u8, u8) {
    let part = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    (part(second / 3600), part(second / 60 % 60), part(second % 60))
}

fn join(hour: u8, minute: u8, second: u8) -> u32 {
    u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second)
}
