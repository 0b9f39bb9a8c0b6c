//! The text of schedules, in and out: `daily 20:30 in Europe/Berlin`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::fields::{self, parse_weekdays, weekday_list};
use super::timetable::YEARS;
use super::{Rule, Schedule, TimeOfDay, Weekdays, Zone, window_seconds};
use crate::policy::PolicyError;
use crate::policy::numbers::Numbers;

/// Longest text of a schedule; the longest that means something is shorter by far.
const MAX_BYTES: usize = 4096;

impl FromStr for Schedule {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let refuse = |why: &str| PolicyError::Schedule { text: text.chars().take(200).collect(), why: why.to_owned() };
        if text.len() > MAX_BYTES {
            return Err(refuse("it is too long"));
        }
        let (rule_text, zone) = match text.rsplit_once(" in ") {
            Some((rule, zone)) => (rule.trim(), Zone::named(zone.trim())?),
            None => (text.trim(), Zone::Local),
        };
        let (kind, rest) = rule_text.split_once(char::is_whitespace).unwrap_or((rule_text, ""));
        let rule = match kind {
            "daily" => parse_times(rest).map(Rule::Daily),
            "every" => parse_hours(rest),
            "weekly" => parse_weekly(rest),
            "calendar" => fields::parse(rest.trim()).map(Rule::Calendar),
            _ => Err(format!("{kind:?} is no kind of schedule")),
        };
        let schedule = Self { rule: rule.map_err(|why| refuse(&why))?, zone };
        if schedule.ever_runs() { Ok(schedule) } else { Err(PolicyError::NeverRuns { text: text.to_owned() }) }
    }
}

impl Schedule {
    fn ever_runs(&self) -> bool {
        let Rule::Calendar(calendar) = &self.rule else { return true };
        Date::new(*YEARS.start(), 1, 1).is_ok_and(|first| calendar.first_day_from(first).is_some())
    }
}

/// `20:30`, or several times in a list; `at` may stand before them.
fn parse_times(text: &str) -> Result<Vec<TimeOfDay>, String> {
    let text = text.trim();
    let text = text.strip_prefix("at ").unwrap_or(text).trim();
    if text.is_empty() {
        return Err("it names no time".to_owned());
    }
    let mut times = text.split(',').map(|time| time.trim().parse()).collect::<Result<Vec<TimeOfDay>, String>>()?;
    times.sort_unstable();
    times.dedup();
    Ok(times)
}

/// `4h`, `4h from 08:00`, `4h from 08:00 to 20:00`.
fn parse_hours(text: &str) -> Result<Rule, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (every, from, to) = match words.as_slice() {
        [every] => (every, None, None),
        [every, "from", from] => (every, Some(from), None),
        [every, "from", from, "to", to] => (every, Some(from), Some(to)),
        _ => return Err("after 'every' come hours, and if need be 'from' and 'to' with times".to_owned()),
    };
    let hours = every.strip_suffix('h').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let every = hours.and_then(|digits| digits.parse().ok()).filter(|hours| (1..24).contains(hours));
    let every: u8 = every.ok_or("the hours between two runs are 1h to 23h; for one run a day there is 'daily'")?;
    let from = from.map_or(Ok(TimeOfDay(0)), |from| from.parse())?;
    let to = to.map(|to| to.parse()).transpose()?;
    if to.is_some_and(|to| window_seconds(from, to) < u32::from(every) * 3600) {
        return Err(format!("the window is shorter than {every} hours, so that there would be one run a day; for that there is 'daily'"));
    }
    Ok(Rule::Hours { every, from, to })
}

/// `mon,thu 20:30`; `on` may stand before the days and `at` before the times.
fn parse_weekly(text: &str) -> Result<Rule, String> {
    let text = text.trim();
    let text = text.strip_prefix("on ").unwrap_or(text).trim();
    let (days, times) = text.split_once(char::is_whitespace).ok_or("it needs days and a time")?;
    Ok(Rule::Weekly(days.parse()?, parse_times(times)?))
}

impl FromStr for Weekdays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_weekdays(text).map(Self)
    }
}

impl fmt::Display for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&weekday_list(self.0, 3).to_ascii_lowercase())
    }
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no time of a day; write 20:30");
        let parts: Vec<&str> = text.split(':').collect();
        let two = |part: &str, end: u32| {
            let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|number| digits && *number < end).ok_or_else(malformed)
        };
        match parts.as_slice() {
            [hour, minute] => Ok(Self(two(hour, 24)? * 3600 + two(minute, 60)? * 60)),
            [hour, minute, second] => Ok(Self(two(hour, 24)? * 3600 + two(minute, 60)? * 60 + two(second, 60)?)),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60)?;
        if self.0.is_multiple_of(60) { Ok(()) } else { write!(f, ":{:02}", self.0 % 60) }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Daily(times) => write!(f, "daily {}", time_list(times, ","))?,
            Rule::Hours { every, from, to } => {
                write!(f, "every {every}h from {from}")?;
                to.map_or(Ok(()), |to| write!(f, " to {to}"))?;
            }
            Rule::Weekly(days, times) => write!(f, "weekly {days} {}", time_list(times, ","))?,
            Rule::Calendar(calendar) => write!(f, "calendar {calendar}")?,
        }
        match &self.zone {
            Zone::Local => Ok(()),
            Zone::Named(name, _) => write!(f, " in {name}"),
        }
    }
}

pub(super) fn time_list(times: &[TimeOfDay], between: &str) -> String {
    times.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// All weekdays, for sentences.
pub(super) fn is_every_day(days: Weekdays) -> bool {
    days.0 == Numbers::range(0, 6)
}
