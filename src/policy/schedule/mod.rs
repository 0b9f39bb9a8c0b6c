//! When a backup is due: on which days, at which times, in which zone.

mod calendar;
mod clock;
mod fields;
mod text;
mod timetable;
mod words;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use super::PolicyError;
use super::numbers::Numbers;
pub use calendar::Calendar;
pub use timetable::Timetable;

/// Seconds of a day on the wall clock.
const DAY_SECONDS: u32 = 24 * 3600;

/// When a backup is due. Its text ([`ToString::to_string`], [`str::parse`]) is what vaults and command lines have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The days and times.
    pub rule: Rule,
    /// Whose wall clock shows them.
    pub zone: Zone,
}

/// The days and times of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every day at these times, sorted, at least one.
    Daily(Vec<TimeOfDay>),
    /// Every day, every so many hours, from a time on, up to and including another; a window may pass midnight.
    Hours {
        /// Hours between two runs, 1 to 23.
        every: u8,
        /// The first run of a day.
        from: TimeOfDay,
        /// The end of the window; `None` for the whole day.
        to: Option<TimeOfDay>,
    },
    /// On these days of each week at these times, sorted, at least one of each.
    Weekly(Weekdays, Vec<TimeOfDay>),
    /// Whatever a calendar expression names.
    Calendar(Calendar),
}

/// A time on the wall clock, in seconds since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// The time at so many seconds after midnight, modulo a day.
    pub fn from_seconds(seconds: u32) -> Self {
        Self(seconds % DAY_SECONDS)
    }

    /// Seconds since midnight.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weekdays(pub(super) Numbers);

impl Weekdays {
    /// All seven.
    pub fn all() -> Self {
        Self(Numbers::range(0, 6))
    }

    /// Whether a day of this name is among them.
    pub fn contains(self, day: jiff::civil::Weekday) -> bool {
        u8::try_from(day.to_monday_zero_offset()).is_ok_and(|day| self.0.contains(day))
    }
}

/// Whose wall clock a schedule means.
#[derive(Debug, Clone)]
pub enum Zone {
    /// That of the computer that looks at the policy.
    Local,
    /// A zone of the IANA database, by its name there.
    Named(String, TimeZone),
}

impl Zone {
    /// The zone of this name.
    ///
    /// # Errors
    /// [`PolicyError::UnknownZone`].
    pub fn named(name: &str) -> Result<Self, PolicyError> {
        let unknown = || PolicyError::UnknownZone { name: name.to_owned() };
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        let name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self::Named(name, zone))
    }

    /// The zone itself; `local` is that of this computer.
    pub fn resolve(&self, local: &TimeZone) -> TimeZone {
        match self {
            Self::Local => local.clone(),
            Self::Named(_, zone) => zone.clone(),
        }
    }
}

/// Zones are equal where their names are: what the database says of them changes over the years.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::Named(ours, _), Self::Named(theirs, _)) => ours == theirs,
            _ => false,
        }
    }
}

impl Eq for Zone {}

impl Schedule {
    /// The schedule in its zone, ready to be asked; `local` is the zone of this computer.
    pub fn timetable(&self, local: &TimeZone) -> Timetable {
        Timetable::new(&self.rule, self.zone.resolve(local))
    }
}

impl Rule {
    /// The times of a day at which it runs; `None` where a calendar expression has them in fields of its own.
    fn times(&self) -> Option<Vec<TimeOfDay>> {
        match self {
            Self::Daily(times) | Self::Weekly(_, times) => Some(times.clone()),
            Self::Hours { every, from, to } => Some(times_of_hours(*every, *from, *to)),
            Self::Calendar(_) => None,
        }
    }
}

/// How long a window of hours is, in seconds.
fn window_seconds(from: TimeOfDay, to: TimeOfDay) -> u32 {
    (to.0 + DAY_SECONDS - from.0) % DAY_SECONDS
}

fn times_of_hours(every: u8, from: TimeOfDay, to: Option<TimeOfDay>) -> Vec<TimeOfDay> {
    let step = u32::from(every.max(1)) * 3600;
    let last = to.map_or(DAY_SECONDS - 1, |to| window_seconds(from, to));
    let mut times: Vec<TimeOfDay> = (0..=last / step).map(|run| TimeOfDay::from_seconds(from.0 + run * step)).collect();
    times.sort_unstable();
    times
}
