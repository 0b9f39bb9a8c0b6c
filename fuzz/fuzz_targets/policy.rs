//! Texts of schedules and retention: what reads shows itself again, and runs of a schedule are in order. A byte that tells what, and the text.
#![no_main]

use cairn::policy::{Retention, Schedule};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

/// Some moment of this century, from a byte of the input.
fn moment(byte: u8) -> Timestamp {
    Timestamp::from_second(i64::from(byte) * 12_345_678 + 946_684_800).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn schedule(text: &str, at: Timestamp) {
    let Ok(schedule) = text.parse::<Schedule>() else { return };
    assert_eq!(schedule.to_string().parse(), Ok(schedule.clone()));
    assert!(!schedule.describe().is_empty());
    let timetable = schedule.timetable(&TimeZone::UTC);
    if let Some(next) = timetable.next_after(at) {
        assert!(next > at);
        assert_eq!(timetable.latest_at_or_before(next), Some(next));
    }
    if let Some(latest) = timetable.latest_at_or_before(at) {
        assert!(latest <= at && timetable.next_after(latest) == timetable.next_after(at));
    }
}

fn retention(text: &str) {
    let Ok(retention) = text.parse::<Retention>() else { return };
    assert!(retention.covers(&retention) && !retention.describe().is_empty());
    assert_eq!(retention.to_string().parse(), Ok(retention));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((at, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    schedule(text, moment(*at));
    retention(text);
});
