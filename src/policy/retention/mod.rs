//! Which points are kept: rules that each keep some, and a point stays where any of them keeps it.
//!
//! A rule that counts periods (`daily 7`, `monthly 12`) keeps the last point of each of the newest so many periods *that have points*: a
//! machine that was off for a month loses nothing by it. A rule that selects days (`monthly 12 on first sun`) keeps the last point of each
//! selected day; where such a day has none, the next day with points stands in for it, before the next selected day and within the period.

mod decide;
mod period;
mod select;
mod simulate;
mod text;

#[cfg(test)]
mod tests;

use super::schedule::{Schedule, Weekdays};
pub use decide::{Candidate, Decision, Reason, Until, Why, decide};
use jiff::tz::TimeZone;
pub use select::{MonthDays, YearDays};
pub use simulate::{Simulation, simulate};

use super::PolicyError;

/// What keeps points: a non-empty list of rules, sorted, at most one of each kind and selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    rules: Vec<Keep>,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Everything.
    Forever,
    /// The newest so many points.
    Last(u16),
    /// Points for so many days.
    Days(u16),
    /// The last point of each of so many hours.
    Hourly(u16),
    /// The last point of each of so many days.
    Daily(u16),
    /// The last point of each of so many weeks, from Monday on, or of these days in each.
    Weekly(u16, Option<Weekdays>),
    /// The last point of each of so many months, or of these days in each.
    Monthly(u16, Option<MonthDays>),
    /// The last point of each of so many years, or of these days in each.
    Yearly(u16, Option<YearDays>),
}

/// When a machine is backed up, and how long its points are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// When; `None` where only a person or another program starts backups.
    pub schedule: Option<Schedule>,
    /// How long.
    pub retention: Retention,
}

/// How many days a schedule is followed to see whether it ever meets a selected day: a 29th of February of each weekday lies in them.
const MEETING_DAYS: i32 = 29 * 366;

impl Retention {
    /// These rules together.
    ///
    /// # Errors
    /// [`PolicyError::Retention`] for none, and for rules that contradict each other.
    pub fn new(mut rules: Vec<Keep>) -> Result<Self, PolicyError> {
        rules.sort_unstable();
        rules.dedup();
        let refuse = |why: String| PolicyError::Retention { text: text::joined(&rules), why };
        if rules.is_empty() {
            return Err(refuse("it would keep nothing".to_owned()));
        }
        if let Some(rule) = rules.iter().find(|rule| rule.count() == Some(0)) {
            return Err(refuse(format!("'{rule}' would keep nothing")));
        }
        if rules.len() > 1 && rules.contains(&Keep::Forever) {
            return Err(refuse("'forever' keeps everything, so nothing can stand beside it".to_owned()));
        }
        let same = rules.iter().zip(rules.iter().skip(1)).find(|(one, other)| one.with_count(1) == other.with_count(1));
        if let Some((one, other)) = same {
            return Err(refuse(format!("'{one}' and '{other}' say different things of the same points")));
        }
        Ok(Self { rules })
    }

    /// Its rules, sorted.
    pub fn rules(&self) -> &[Keep] {
        &self.rules
    }

    /// Whether it keeps whatever `other` keeps, whichever points there are.
    pub fn covers(&self, other: &Self) -> bool {
        let covered = |rule: &Keep| {
            let at_least = |ours: &Keep| ours.with_count(1) == rule.with_count(1) && ours.count() >= rule.count();
            self.rules.iter().any(|ours| *ours == Keep::Forever || at_least(ours))
        };
        other.rules.iter().all(covered)
    }
}

impl Keep {
    /// How many points, days or periods; `None` for all.
    pub fn count(&self) -> Option<u16> {
        match *self {
            Self::Forever => None,
            Self::Last(count) | Self::Days(count) | Self::Hourly(count) | Self::Daily(count) => Some(count),
            Self::Weekly(count, _) | Self::Monthly(count, _) | Self::Yearly(count, _) => Some(count),
        }
    }

    fn with_count(self, count: u16) -> Self {
        match self {
            Self::Forever => Self::Forever,
            Self::Last(_) => Self::Last(count),
            Self::Days(_) => Self::Days(count),
            Self::Hourly(_) => Self::Hourly(count),
            Self::Daily(_) => Self::Daily(count),
            Self::Weekly(_, days) => Self::Weekly(count, days),
            Self::Monthly(_, days) => Self::Monthly(count, days),
            Self::Yearly(_, days) => Self::Yearly(count, days),
        }
    }
}

impl Default for Policy {
    /// What a vault has where nobody said otherwise: daily at 20:30 local time, kept for 180 days.
    fn default() -> Self {
        let rule = super::Rule::Daily(vec![super::TimeOfDay::from_seconds(20 * 3600 + 30 * 60)]);
        let schedule = Schedule { rule, zone: super::Zone::Local };
        Self { schedule: Some(schedule), retention: Retention { rules: vec![Keep::Days(180)] } }
    }
}

impl Policy {
    /// The zone whose days, weeks and months count: the schedule's, or that of this computer.
    pub fn zone(&self, local: &TimeZone) -> TimeZone {
        self.schedule.as_ref().map_or_else(|| local.clone(), |schedule| schedule.zone.resolve(local))
    }

    /// Whether schedule and retention fit together: a rule that selects only days on which nothing runs would keep nothing that it
    /// was written for.
    ///
    /// # Errors
    /// [`PolicyError::NeverMeets`].
    pub fn check(&self) -> Result<(), PolicyError> {
        let Some(schedule) = &self.schedule else { return Ok(()) };
        let timetable = schedule.timetable(&TimeZone::UTC);
        let selecting: Vec<&Keep> = self.retention.rules.iter().filter(|rule| rule.selects()).collect();
        let unmet = |rule: &&&Keep| !timetable.days(MEETING_DAYS).any(|day| rule.is_selected(day));
        match selecting.iter().find(unmet) {
            Some(rule) => Err(PolicyError::NeverMeets { rule: rule.to_string(), schedule: schedule.to_string() }),
            None => Ok(()),
        }
    }
}
