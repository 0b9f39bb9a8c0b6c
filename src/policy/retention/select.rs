//! Which days of a week, month or year a rule selects: Grandfather, Father, Son.

use jiff::civil::Date;

use super::Keep;
use crate::policy::numbers::Numbers;
use crate::policy::schedule::Weekdays;

/// In [`MonthDays::Weekdays`] the number of the last week, after the fourth.
pub(super) const LAST_WEEK: u8 = 5;

/// Days of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MonthDays {
    /// These weekdays of these weeks: the first to the fourth of the month, and the last.
    Weekdays(Weeks, Weekdays),
    /// These days by number. A month that does not have a day does not have it selected.
    Numbers(DayNumbers),
}

/// First to fourth week of a month, and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weeks(pub(super) Numbers);

/// Days 1 to 31, and the last day of a month, whichever that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayNumbers {
    pub(super) days: Numbers,
    pub(super) last: bool,
}

/// Days of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct YearDays {
    pub(super) months: Numbers,
    pub(super) days: MonthDays,
}

impl MonthDays {
    /// Whether it selects this day.
    pub fn contains(&self, date: Date) -> bool {
        let (Ok(day), Ok(length)) = (u8::try_from(date.day()), u8::try_from(date.days_in_month())) else { return false };
        match self {
            Self::Numbers(numbers) => numbers.days.contains(day) || (numbers.last && day == length),
            Self::Weekdays(weeks, weekdays) => {
                // The fifth of a weekday is always the last; of the fourth the length of the month decides.
                let number = (day - 1) / 7 + 1;
                let in_week = (number < LAST_WEEK && weeks.0.contains(number)) || (weeks.0.contains(LAST_WEEK) && day + 7 > length);
                in_week && weekdays.contains(date.weekday())
            }
        }
    }
}

impl YearDays {
    /// Whether it selects this day.
    pub fn contains(&self, date: Date) -> bool {
        u8::try_from(date.month()).is_ok_and(|month| self.months.contains(month)) && self.days.contains(date)
    }
}

impl Keep {
    /// Whether it selects days at all.
    pub(super) fn selects(&self) -> bool {
        matches!(self, Self::Weekly(_, Some(_)) | Self::Monthly(_, Some(_)) | Self::Yearly(_, Some(_)))
    }

    /// Whether it selects this day.
    pub(super) fn is_selected(&self, date: Date) -> bool {
        match self {
            Self::Weekly(_, Some(days)) => days.contains(date.weekday()),
            Self::Monthly(_, Some(days)) => days.contains(date),
            Self::Yearly(_, Some(days)) => days.contains(date),
            _ => false,
        }
    }
}
