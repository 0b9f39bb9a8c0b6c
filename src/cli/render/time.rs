//! Times. Tables show local time with its zone; names and JSON are UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment in the given zone, to the second, with the zone's name: "2026-11-22 21:30:00 CET".
pub(crate) fn local(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
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
    }
}
