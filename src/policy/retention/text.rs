//! The text of retention, in and out: `last 3 + daily 7 + weekly 4 on sun + monthly 12 on first sun`. And in plain words.

use std::fmt;
use std::str::FromStr;

use super::select::{DayNumbers, LAST_WEEK, MonthDays, Weeks, YearDays};
use super::{Keep, Retention};
use crate::policy::PolicyError;
use crate::policy::numbers::Numbers;

/// Largest count of a rule, as of points a machine.
const MAX_COUNT: u16 = 9999;
/// Longest text of retention; the longest that means something is shorter by far.
const MAX_BYTES: usize = 4096;
const WEEKS: [&str; 5] = ["first", "second", "third", "fourth", "last"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

impl FromStr for Retention {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let refuse = |why: String| PolicyError::Retention { text: text.chars().take(200).collect(), why };
        if text.len() > MAX_BYTES {
            return Err(refuse("it is too long".to_owned()));
        }
        if text.trim().is_empty() {
            return Err(refuse("it would keep nothing".to_owned()));
        }
        Self::new(text.split('+').map(parse_rule).collect::<Result<_, _>>().map_err(refuse)?)
    }
}

fn parse_rule(text: &str) -> Result<Keep, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["forever"] => Ok(Keep::Forever),
        ["for", days, "day" | "days"] => Ok(Keep::Days(count(days)?)),
        ["last", points] => Ok(Keep::Last(count(points)?)),
        ["hourly", hours] => Ok(Keep::Hourly(count(hours)?)),
        ["daily", days] => Ok(Keep::Daily(count(days)?)),
        ["weekly", weeks] => Ok(Keep::Weekly(count(weeks)?, None)),
        ["weekly", weeks, "on", days] => Ok(Keep::Weekly(count(weeks)?, Some(days.parse()?))),
        ["monthly", months] => Ok(Keep::Monthly(count(months)?, None)),
        ["monthly", months, "on", days @ ..] => Ok(Keep::Monthly(count(months)?, Some(parse_month_days(days)?))),
        ["yearly", years] => Ok(Keep::Yearly(count(years)?, None)),
        ["yearly", years, "on", days @ .., "of", months] => {
            let (months, days) = (parse_names(months, &MONTHS, "month")?, parse_month_days(days)?);
            Ok(Keep::Yearly(count(years)?, Some(YearDays::new(months, days)?)))
        }
        ["yearly", _, "on", ..] => Err(format!("'{}' names no month; write 'yearly 7 on last day of dec'", text.trim())),
        _ => Err(format!("{:?} is no rule", text.trim())),
    }
}

fn count(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|count| digits && (1..=MAX_COUNT).contains(count));
    count.ok_or_else(|| format!("{text:?} is no count, 1 to {MAX_COUNT}"))
}

/// `first,last sun`, `day 1,15,last`, `last day`.
fn parse_month_days(words: &[&str]) -> Result<MonthDays, String> {
    match words {
        ["last", "day"] => Ok(MonthDays::Numbers(DayNumbers { days: Numbers::default(), last: true })),
        ["day" | "days", numbers] => parse_numbers(numbers).map(MonthDays::Numbers),
        [weeks, days] => Ok(MonthDays::Weekdays(Weeks(parse_names(weeks, &WEEKS, "week of a month")?), days.parse()?)),
        _ => Err(format!("'{}' selects no days; write 'first sun', 'day 1,15' or 'last day'", words.join(" "))),
    }
}

fn parse_numbers(text: &str) -> Result<DayNumbers, String> {
    let mut found = DayNumbers { days: Numbers::default(), last: false };
    for part in text.split(',') {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        match part.parse().ok().filter(|day| digits && (1..=31).contains(day)) {
            Some(day) => found.days.insert(day),
            None if part == "last" => found.last = true,
            None => return Err(format!("{part:?} is no day of a month; they are 1 to 31 and last")),
        }
    }
    Ok(found)
}

/// The numbers of names in a list, from 1.
fn parse_names(text: &str, names: &[&str], what: &str) -> Result<Numbers, String> {
    let number = |name: &str| (1..).zip(names).find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| number);
    let found = text.split(',').map(|name| number(name).ok_or_else(|| format!("{name:?} is no {what}; they are {}", names.join(", "))));
    found.collect()
}

fn names(numbers: Numbers, names: &[&str]) -> String {
    let known: Vec<&str> = numbers.iter().filter_map(|number| names.get(usize::from(number).checked_sub(1)?).copied()).collect();
    known.join(",")
}

impl YearDays {
    /// These days of these months.
    ///
    /// # Errors
    /// Words for days that no year has, such as the 30th of February.
    fn new(months: Numbers, days: MonthDays) -> Result<Self, String> {
        let found = Self { months, days };
        let leap_year = (1..=12).flat_map(|month| (1..=31).filter_map(move |day| jiff::civil::Date::new(2024, month, day).ok()));
        let weekdays = matches!(days, MonthDays::Weekdays(..));
        if weekdays || leap_year.into_iter().any(|day| found.contains(day)) { Ok(found) } else { Err(format!("no year has '{found}'")) }
    }
}

impl Keep {
    /// The word by which the rule goes.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Forever => "forever",
            Self::Last(_) => "last",
            Self::Days(_) => "days",
            Self::Hourly(_) => "hourly",
            Self::Daily(_) => "daily",
            Self::Weekly(..) => "weekly",
            Self::Monthly(..) => "monthly",
            Self::Yearly(..) => "yearly",
        }
    }

    /// The rule as a person would say it.
    fn describe(&self) -> String {
        let newest =
            |count: u16, unit: &str| if count == 1 { format!("the newest {unit}") } else { format!("each of the newest {count} {unit}s") };
        let on = |count: u16, unit: &str, days: String| format!("the points of {days}, for {}", plural(count, unit));
        match self {
            Self::Forever => "every point".to_owned(),
            Self::Last(1) => "the newest point".to_owned(),
            Self::Last(count) => format!("the newest {count} points"),
            Self::Days(count) => format!("every point for {}", plural(*count, "day")),
            Self::Hourly(count) => format!("the last point of {} with points", newest(*count, "hour")),
            Self::Daily(count) => format!("the last point of {} with points", newest(*count, "day")),
            Self::Weekly(count, None) => format!("the last point of {} with points", newest(*count, "week")),
            Self::Monthly(count, None) => format!("the last point of {} with points", newest(*count, "month")),
            Self::Yearly(count, None) => format!("the last point of {} with points", newest(*count, "year")),
            Self::Weekly(count, Some(days)) => on(*count, "week", format!("each {}", days.names())),
            Self::Monthly(count, Some(days)) => on(*count, "month", format!("the {days} of each month")),
            Self::Yearly(count, Some(days)) => on(*count, "year", format!("the {days} of each year")),
        }
    }
}

fn plural(count: u16, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

impl Retention {
    /// What is kept, as a person would say it.
    pub fn describe(&self) -> String {
        self.rules().iter().map(Keep::describe).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for MonthDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekdays(weeks, days) => write!(f, "{} {days}", names(weeks.0, &WEEKS)),
            Self::Numbers(DayNumbers { days, last: true }) if *days == Numbers::default() => f.write_str("last day"),
            Self::Numbers(DayNumbers { days, last }) => {
                let last = last.then(|| "last".to_owned());
                let numbers: Vec<String> = days.iter().map(|day| day.to_string()).chain(last).collect();
                write!(f, "day {}", numbers.join(","))
            }
        }
    }
}

impl fmt::Display for YearDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.days, names(self.months, &MONTHS))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::Days(1) => f.write_str("for 1 day"),
            Self::Days(count) => write!(f, "for {count} days"),
            Self::Weekly(count, Some(days)) => write!(f, "weekly {count} on {days}"),
            Self::Monthly(count, Some(days)) => write!(f, "monthly {count} on {days}"),
            Self::Yearly(count, Some(days)) => write!(f, "yearly {count} on {days}"),
            Self::Last(count) | Self::Hourly(count) | Self::Daily(count) => write!(f, "{} {count}", self.word()),
            Self::Weekly(count, None) | Self::Monthly(count, None) | Self::Yearly(count, None) => write!(f, "{} {count}", self.word()),
        }
    }
}

/// Rules as a text has them.
pub(super) fn joined(rules: &[Keep]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(self.rules()))
    }
}

const _: () = assert!(WEEKS.len() == 5 && LAST_WEEK == 5);
