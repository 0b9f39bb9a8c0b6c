//! The text of calendar expressions: `Mon..Fri *-*-1..7 08,20:00`. What is read shows itself again in one form.

use std::fmt;

use super::calendar::{Calendar, MonthDays};
use super::timetable::YEARS;
use crate::policy::numbers::Numbers;

/// Names of weekdays, Monday first, as expressions have them.
pub(super) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Words for whole expressions, as systemd.time(7) has them.
const SHORT_FORMS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
];

/// Reads an expression; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Calendar, String> {
    let short = SHORT_FORMS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    let mut words = short.map_or(text, |(_, meant)| meant).split_whitespace().peekable();
    let weekdays = words.next_if(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()));
    let date = words.next_if(|word| !word.contains(':'));
    let time = words.next_if(|word| word.contains(':'));
    if let Some(word) = words.next() {
        return Err(format!("{word:?} is one part too many; the parts are weekdays, date and time"));
    }
    if weekdays.is_none() && date.is_none() && time.is_none() {
        return Err("it is empty".to_owned());
    }
    let weekdays = weekdays.map_or(Ok(Numbers::range(0, 6)), parse_weekdays)?;
    let (years, months, days) = parse_date(date.unwrap_or("*-*-*"))?;
    let (hours, minutes, seconds) = parse_time(time.unwrap_or("00:00:00"))?;
    Ok(Calendar { weekdays, years, months, days, hours, minutes, seconds })
}

/// Weekdays in a list, with ranges, by names of which three letters are enough: `mon,thu`, `Sat..Mon`.
pub(super) fn parse_weekdays(text: &str) -> Result<Numbers, String> {
    let mut set = Numbers::default();
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        let span = (last + 7 - first) % 7;
        set = set.iter().chain((first..=first + span).map(|day| day % 7)).collect();
    }
    Ok(set)
}

fn weekday(name: &str) -> Result<u8, String> {
    let fits = |full: &&str| name.len() >= 3 && full.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let found = (0..7).zip(WEEKDAYS).find(|(_, full)| fits(full) && (name.len() == 3 || name.len() == full.len()));
    found.map(|(day, _)| day).ok_or_else(|| format!("{name:?} is no weekday; they are mon, tue, wed, thu, fri, sat, sun"))
}

type DateFields = (Option<Vec<i16>>, Numbers, MonthDays);

fn parse_date(text: &str) -> Result<DateFields, String> {
    let malformed = || {
        format!("{text:?} is no date; write YEAR-MONTH-DAY or MONTH-DAY, with * for any, or ~ before a day counted from the month's end")
    };
    let (before, from_end) = match text.split_once('~') {
        Some((before, day)) => (before, Some(day)),
        None => (text, None),
    };
    let mut parts: Vec<&str> = before.split('-').collect();
    let day = match from_end {
        Some(day) => MonthDays::FromEnd(parse_from_end(day)?),
        None => MonthDays::FromStart(parse_set(parts.pop().ok_or_else(malformed)?, 1, 31, "a day of a month")?),
    };
    let (years, month) = match parts.as_slice() {
        [month] => (None, month),
        [year, month] => (parse_years(year)?, month),
        _ => return Err(malformed()),
    };
    Ok((years, parse_set(month, 1, 12, "a month")?, day))
}

fn parse_time(text: &str) -> Result<(Numbers, Numbers, Numbers), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (hour, minute, &"00"),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(format!("{text:?} is no time; write HOUR:MINUTE or HOUR:MINUTE:SECOND")),
    };
    Ok((parse_set(hour, 0, 23, "an hour")?, parse_set(minute, 0, 59, "a minute")?, parse_set(second, 0, 59, "a second")?))
}

/// `*`, numbers, ranges `a..b` and steps `a/n`, in a list.
fn parse_set(text: &str, min: u8, max: u8, what: &str) -> Result<Numbers, String> {
    let numbers = parse_list(text, i16::from(min), i16::from(max), what)?;
    Ok(numbers.into_iter().filter_map(|number| u8::try_from(number).ok()).collect())
}

fn parse_years(text: &str) -> Result<Option<Vec<i16>>, String> {
    if text == "*" {
        return Ok(None);
    }
    let mut years = parse_list(text, *YEARS.start(), *YEARS.end(), "a year")?;
    years.sort_unstable();
    years.dedup();
    Ok(Some(years).filter(|years| years.len() < YEARS.count()))
}

fn parse_list(text: &str, min: i16, max: i16, what: &str) -> Result<Vec<i16>, String> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step, 1, max, "a step")?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once("..") {
            Some((first, last)) => (number(first, min, max, what)?, number(last, min, max, what)?),
            None if range == "*" => (min, max),
            None if part.contains('/') => (number(range, min, max, what)?, max),
            None => (number(range, min, max, what)?, number(range, min, max, what)?),
        };
        if first > last {
            return Err(format!("the range {range} ends before it begins"));
        }
        numbers.extend((first..=last).step_by(usize::try_from(step).unwrap_or(1)));
    }
    Ok(numbers)
}

/// Days counted from a month's end: `1` the last, `7/1` from the seventh last on every day.
fn parse_from_end(text: &str) -> Result<Numbers, String> {
    let mut days = Numbers::default();
    for part in text.split(',') {
        let (first, step) = match part.split_once('/') {
            Some((first, step)) => (first, Some(number(step, 1, 31, "a step")?)),
            None => (part, None),
        };
        let first = number(first, 1, 31, "a day counted from the end of a month")?;
        let last = if step.is_some() { 1 } else { first };
        let counted = (last..=first).rev().step_by(usize::try_from(step.unwrap_or(1)).unwrap_or(1));
        days = days.iter().chain(counted.filter_map(|day| u8::try_from(day).ok())).collect();
    }
    Ok(days)
}

fn number(text: &str, min: i16, max: i16, what: &str) -> Result<i16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let found = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
    found.ok_or_else(|| format!("{text:?} is not {what}, {min} to {max}"))
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != Numbers::range(0, 6) {
            write!(f, "{} ", weekday_list(self.weekdays, 3))?;
        }
        match &self.years {
            None => f.write_str("*")?,
            Some(years) => f.write_str(&years.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))?,
        }
        write!(f, "-{}", Field(self.months, 1, 12))?;
        match self.days {
            MonthDays::FromStart(days) => write!(f, "-{}", Field(days, 1, 31))?,
            MonthDays::FromEnd(days) => {
                let days: Vec<String> = days.iter().rev().map(|day| format!("{day:02}")).collect();
                write!(f, "~{}", days.join(","))?;
            }
        }
        write!(f, " {}:{}", Field(self.hours, 0, 23), Field(self.minutes, 0, 59))?;
        if self.seconds == Numbers::range(0, 0) { Ok(()) } else { write!(f, ":{}", Field(self.seconds, 0, 59)) }
    }
}

/// A field and its smallest and largest number.
struct Field(Numbers, u8, u8);

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Numbers::range(self.1, self.2) {
            return f.write_str("*");
        }
        let ranges: Vec<String> = self.0.ranges().into_iter().map(|range| shown(range, &|number| format!("{number:02}"))).collect();
        f.write_str(&ranges.join(","))
    }
}

/// Weekdays as a list with ranges, their names cut to so many letters.
pub(super) fn weekday_list(days: Numbers, letters: usize) -> String {
    let name = |day: u8| WEEKDAYS.get(usize::from(day)).map(|name| name.get(..letters).unwrap_or(name).to_owned()).unwrap_or_default();
    days.ranges().into_iter().map(|range| shown(range, &name)).collect::<Vec<_>>().join(",")
}

fn shown((first, last): (u8, u8), name: &dyn Fn(u8) -> String) -> String {
    match last - first {
        0 => name(first),
        1 => format!("{},{}", name(first), name(last)),
        _ => format!("{}..{}", name(first), name(last)),
    }
}
