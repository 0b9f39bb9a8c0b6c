//! Times, ages and durations. Tables show local time with its zone; names and JSON are UTC.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment in the given zone, to the second, with the zone's name: "2026-11-22 21:30:00 CET".
pub(crate) fn local(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The same to the minute, for tables.
pub(crate) fn local_minute(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// How long ago a moment is, in its largest unit: "3 days ago", "just now", "in the future".
pub(crate) fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second());
    let (count, unit) = match seconds {
        ..-59 => return "in the future".to_owned(),
        -59..60 => return "just now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..5_184_000 => (seconds / 86_400, "day"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// How long something took: "45 ms", "3.2 s", "2 min 05 s", "1 h 03 min".
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = (duration.as_millis() + 500) / 1000;
    match seconds {
        _ if duration.as_millis() < 1_000 => format!("{} ms", duration.as_millis()),
        ..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_its_zone() {
        let time: Timestamp = "2026-11-22T20:30:00Z".parse().unwrap();
        assert_eq!(local(time, &TimeZone::UTC), "2026-11-22 20:30:00 UTC");
        let zone = TimeZone::posix("CET-1").unwrap();
        assert_eq!(local(time, &zone), "2026-11-22 21:30:00 CET");
        assert_eq!(local_minute(time, &zone), "2026-11-22 21:30 CET");
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let cases = [
            (-3_600, "in the future"),
            (-5, "just now"),
            (0, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (86_400 * 30, "30 days ago"),
            (86_400 * 61, "2 months ago"),
            (86_400 * 800, "2 years ago"),
        ];
        for (seconds, expected) in cases {
            let then = Timestamp::from_second(now.as_second() - seconds).unwrap();
            assert_eq!(age(then, now), expected);
        }
    }

    #[test]
    fn durations_read_well() {
        let cases =
            [(45, "45 ms"), (999, "999 ms"), (3_240, "3.2 s"), (59_960, "1 min 00 s"), (125_000, "2 min 05 s"), (3_780_000, "1 h 03 min")];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }
}
