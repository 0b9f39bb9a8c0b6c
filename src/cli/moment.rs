//! Moments and shares as people type them.
//!
//! A moment without a zone is local, as tables show it; one with `Z` or an offset is what it says.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::fault::usage;

/// Which end of a range a moment is: a day stands for its beginning or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// From the day's first moment.
    Since,
    /// To the day's last moment.
    Until,
}

/// `2026-11-21`, `2026-11-21T20:30`, `2026-11-21T20:30:00Z`, or an age: `90m`, `36h`, `30d`, `2w`.
pub(crate) fn range_end(text: &str, end: End, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    if let Some(age) = age(text) {
        return now.checked_sub(age).map_err(|_| refuse(text));
    }
    if let Ok(day) = text.parse::<Date>()
        && text.len() == "2026-11-21".len()
    {
        let start = |day: Date| day.to_zoned(zone.clone()).map(|midnight| midnight.timestamp());
        let moment = match end {
            End::Since => start(day),
            End::Until => day.checked_add(1.day()).and_then(start).and_then(|next| next.checked_sub(SignedDuration::from_nanos(1))),
        };
        return moment.map_err(|_| refuse(text));
    }
    moment(text, zone)
}

/// `2026-11-21T20:30`, `2026-11-21 20:30:00`, `2026-11-21T20:30:00Z`.
pub(crate) fn moment(text: &str, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    // A date alone would parse as its midnight, which nobody means by the time of a backup.
    let local = text.parse::<DateTime>().ok().filter(|_| text.len() > "2026-11-21".len());
    local.and_then(|local| local.to_zoned(zone.clone()).ok()).map(|zoned| zoned.timestamp()).ok_or_else(|| refuse(text))
}

/// A moment to come: a day, of which the end is meant, a time, or a span from now on such as `90d`.
pub(crate) fn future(text: &str, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    let moment = match age(text) {
        Some(span) => now.checked_add(span).map_err(|_| refuse(text))?,
        None => range_end(text, End::Until, now, zone)?,
    };
    if moment > now {
        Ok(moment)
    } else {
        Err(usage(format!("'{text}' lies in the past; name a day or time to come, or a span such as 90d")))
    }
}

fn refuse(text: &str) -> anyhow::Error {
    usage(format!(
        "'{text}' is no time; write 2026-11-21, 2026-11-21T20:30 (local), 2026-11-21T20:30:00Z, or an age such as 36h or 30d where a range begins"
    ))
}

fn age(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let hours = match unit {
        "m" => return SignedDuration::try_from_mins(count(number)?),
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return None,
    };
    SignedDuration::try_from_hours(count(number)?.checked_mul(hours)?)
}

/// Digits only: a sign would turn an age into a future.
fn count(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A share in percent, 0 to 100, with or without the sign: `10%`, `0.5`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a share from 0% to 100%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, end: End) -> Option<String> {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let zone = TimeZone::posix("CET-1").unwrap();
        range_end(text, end, now, &zone).ok().map(|moment| moment.to_string())
    }

    #[test]
    fn days_are_local_and_have_two_ends() {
        assert_eq!(parsed("2026-11-21", End::Since).as_deref(), Some("2026-11-20T23:00:00Z"));
        assert_eq!(parsed("2026-11-21", End::Until).as_deref(), Some("2026-11-21T22:59:59.999999999Z"));
    }

    #[test]
    fn moments_are_local_unless_they_say_otherwise() {
        for (text, expected) in [
            ("2026-11-21T20:30:00Z", "2026-11-21T20:30:00Z"),
            ("2026-11-21T20:30:00+02:00", "2026-11-21T18:30:00Z"),
            ("2026-11-21T20:30", "2026-11-21T19:30:00Z"),
            ("2026-11-21 20:30:15", "2026-11-21T19:30:15Z"),
            ("36h", "2026-11-21T00:00:00Z"),
            ("90m", "2026-11-22T10:30:00Z"),
            ("2w", "2026-11-08T12:00:00Z"),
        ] {
            assert_eq!(parsed(text, End::Since).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_to_come_is_not_over() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let parsed = |text: &str| future(text, now, &TimeZone::UTC).map(|moment| moment.to_string());
        assert_eq!(parsed("36h").unwrap(), "2026-11-24T00:00:00Z");
        assert_eq!(parsed("2026-11-22").unwrap(), "2026-11-22T23:59:59.999999999Z");
        assert_eq!(parsed("2026-11-22T12:00:01Z").unwrap(), "2026-11-22T12:00:01Z");
        for text in ["2026-11-21", "2026-11-22T12:00:00Z", "0d"] {
            assert!(parsed(text).unwrap_err().to_string().contains("in the past"), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "d",
            "-3d",
            "+3d",
            "3",
            "3y",
            "yesterday",
            "2026-13-01",
            "2026-11-21T25:00",
            "99999999999999999999d",
            "9223372036854775807w",
            "\u{e9}",
        ] {
            assert_eq!(parsed(text, End::Since), None, "{text}");
        }
        assert!(moment("2026-11-21", &TimeZone::UTC).is_err());
    }

    #[test]
    fn shares_have_bounds() {
        assert_eq!((percent("10%"), percent("0.5"), percent("100")), (Ok(10.0), Ok(0.5), Ok(100.0)));
        for text in ["", "%", "-1", "100.1%", "NaN", "inf", "ten"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
