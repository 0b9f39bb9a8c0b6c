//! Hours, days, weeks, months and years on the wall clock of a zone, numbered.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::Keep;

/// A Monday, from which weeks are counted; days are counted from it too.
const MONDAY: Date = Date::constant(1969, 12, 29);
const HOUR_SECONDS: i64 = 3600;

/// The kinds of periods that rules count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// What a rule counts; `None` for one that counts no periods.
    pub(super) fn of(rule: &Keep) -> Option<Self> {
        match rule {
            Keep::Hourly(_) => Some(Self::Hour),
            Keep::Daily(_) => Some(Self::Day),
            Keep::Weekly(..) => Some(Self::Week),
            Keep::Monthly(..) => Some(Self::Month),
            Keep::Yearly(..) => Some(Self::Year),
            Keep::Forever | Keep::Last(_) | Keep::Days(_) => None,
        }
    }

    /// The number of the period that a moment lies in; later ones have larger numbers. An hour that exists twice is two hours.
    pub(super) fn number(self, at: &Zoned) -> i64 {
        match self {
            Self::Hour => (at.timestamp().as_second() + minutes_off(at)).div_euclid(HOUR_SECONDS),
            Self::Day | Self::Week | Self::Month | Self::Year => self.number_of_day(at.date()),
        }
    }

    /// The number of the period that a day lies in.
    pub(super) fn number_of_day(self, date: Date) -> i64 {
        match self {
            Self::Hour | Self::Day => day_number(date),
            Self::Week => day_number(date).div_euclid(7),
            Self::Month => i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
            Self::Year => i64::from(date.year()),
        }
    }

    /// When the period of this number begins; `None` beyond the end of the calendar. `near` has the zone.
    pub(super) fn start(self, number: i64, near: &Zoned) -> Option<Timestamp> {
        let date = match self {
            Self::Hour => return Timestamp::from_second(number.checked_mul(HOUR_SECONDS)?.checked_sub(minutes_off(near))?).ok(),
            Self::Day => day_of(number)?,
            Self::Week => day_of(number.checked_mul(7)?)?,
            Self::Month => Date::new(i16::try_from(number.div_euclid(12)).ok()?, i8::try_from(number.rem_euclid(12) + 1).ok()?, 1).ok()?,
            Self::Year => Date::new(i16::try_from(number).ok()?, 1, 1).ok()?,
        };
        day_start(date, near.time_zone())
    }
}

/// Days since [`MONDAY`].
pub(super) fn day_number(date: Date) -> i64 {
    date.duration_since(MONDAY).as_hours().div_euclid(24)
}

fn day_of(number: i64) -> Option<Date> {
    MONDAY.checked_add(jiff::Span::new().try_days(number).ok()?).ok()
}

/// The first moment of a day.
pub(super) fn day_start(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().map(|midnight| midnight.timestamp())
}

/// The first moment of the day after.
pub(super) fn day_end(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    day_start(date.checked_add(1.day()).ok()?, zone)
}

/// By how much the hours of a zone begin apart from those of UTC, in seconds.
fn minutes_off(at: &Zoned) -> i64 {
    i64::from(at.offset().seconds()).rem_euclid(HOUR_SECONDS)
}
