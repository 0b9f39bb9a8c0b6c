//! From a time on the wall clock to the moment at which it runs, and back: the rule for the two clock changes of a year.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Shortest step of a timestamp.
const STEP: SignedDuration = SignedDuration::from_nanos(1);
/// For how long after a change of the clock a time before it may still stand later on the wall clock: whole days were skipped where a
/// country changed sides of the date line.
const LONGEST_CHANGE: SignedDuration = SignedDuration::from_hours(48);

/// The moment at which a time on the wall clock runs: a time that exists twice the first time, one that does not exist at the first moment
/// after the gap. `None` for times that no timestamp has.
pub(super) fn moment(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, after } => {
            // Read with the offset after the gap a time inside it lies before the change, with the one before the gap behind it.
            let (early, late) = (after.to_timestamp(wall).ok()?, before.to_timestamp(wall).ok()?);
            let mut changes = zone.following(early).map(|change| (change.timestamp(), change.offset()));
            let end = changes.by_ref().take_while(|(at, _)| *at <= late).find(|(_, offset)| *offset == after);
            Some(end.map_or(late, |(at, _)| at))
        }
    }
}

/// The latest time on the wall clock that may have run at this moment: where clocks went back a short while ago, a time that the clock
/// does not show again yet has run already.
pub(super) fn latest_wall(zone: &TimeZone, at: Timestamp) -> DateTime {
    let now = zone.to_datetime(at);
    let until = at.checked_add(STEP).unwrap_or(at);
    let Some(change) = zone.preceding(until).next().map(|change| change.timestamp()) else { return now };
    match change.checked_sub(STEP) {
        Ok(before) if at.duration_since(change) < LONGEST_CHANGE => now.max(zone.to_offset(before).to_datetime(at)),
        _ => now,
    }
}
